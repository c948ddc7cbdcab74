"""Which graph outputs hold the label and the scores, and which class each score is about."""

from dataclasses import dataclass

from models.card import Card
from models.errors import CardRefusedError, GraphRefusedError
from models.graph import Graph, GraphOutput

_SCORE_TYPES = {"float32", "float64"}
_LABEL_TYPES = {"int64", "int32", "string"}


@dataclass(frozen=True, slots=True)
class OutputMap:
    """How to read the graph's answer.

    ``scores`` are one tensor, one ZipMap (``is_map``), or one tensor per class. Scores are kept
    exactly as the graph returns them, in the card's class order, with one exception to "one per
    class": a graph with a single probability for two classes has one score, about the positive
    class (``n_scores`` is then 1, which only running it can tell).
    """

    task: str
    classes: tuple[int | float | str, ...]
    positive_index: int
    label: str | None
    scores: tuple[str, ...]
    is_map: bool
    map_labels: tuple[int | str, ...]
    """The keys of a map in the graph's own order; empty where the graph does not say."""
    dtype: str
    number: int | None
    """Which number a regression with several is about."""


def map_outputs(card: Card, graph: Graph) -> OutputMap:
    """Return how to read ``graph`` as ``card`` describes it.

    Raises CardRefusedError when the card names outputs that are not there or leaves a choice, and
    GraphRefusedError when no output can hold scores.
    """
    wanted = card.output
    by_name = {output.name: output for output in graph.outputs}
    for name in (*wanted.score_outputs, *([wanted.label_output] if wanted.label_output else [])):
        if name not in by_name:
            raise CardRefusedError(
                "output", got=f"graph output {name!r}", want=f"one of {_names(graph.outputs)}"
            )
    if wanted.score_outputs:
        scores = tuple(by_name[name] for name in wanted.score_outputs)
    else:
        scores = _derive_scores(card, graph)
    for output in scores:
        if output.dtype not in _SCORE_TYPES:
            raise GraphRefusedError(
                f"score output {output.name!r}", got=output.dtype, want="float32 or float64"
            )
    if len(scores) not in {1, len(wanted.classes)} or len({s.dtype for s in scores}) != 1:
        raise CardRefusedError(
            "output.score_outputs",
            got=_names(scores),
            want=f"one output, or one of the same type for each of {len(wanted.classes)} classes",
        )
    is_map = scores[0].keys is not None
    if is_map and (len(scores) != 1 or not wanted.classes):
        raise CardRefusedError(
            "output.score_outputs",
            got=f"ZipMap output {scores[0].name!r}",
            want="a classification with that output alone",
        )
    return OutputMap(
        task=wanted.task,
        classes=wanted.classes,
        positive_index=wanted.positive_index,
        label=_label(card, graph),
        scores=tuple(output.name for output in scores),
        is_map=is_map,
        map_labels=scores[0].labels,
        dtype=scores[0].dtype,
        number=wanted.number,
    )


def _derive_scores(card: Card, graph: Graph) -> tuple[GraphOutput, ...]:
    maps = tuple(output for output in graph.outputs if output.keys is not None)
    tensors = tuple(o for o in graph.outputs if o.keys is None and o.dtype in _SCORE_TYPES)
    candidates = maps + tensors
    if not candidates:
        raise GraphRefusedError(
            "score output",
            got=f"only {_names(graph.outputs)}",
            want="an output of float32 or float64 with the scores",
        )
    if len(candidates) == 1 or (not maps and len(tensors) == len(card.output.classes)):
        return candidates
    raise CardRefusedError(
        "score output",
        got=f"a choice between {_names(candidates)}",
        want="output.score_outputs in the card",
    )


def _label(card: Card, graph: Graph) -> str | None:
    if card.output.task == "regression":
        return None
    candidates = [o for o in graph.outputs if o.keys is None and o.dtype in _LABEL_TYPES]
    named = card.output.label_output
    if named is not None:
        if named not in {output.name for output in candidates}:
            raise CardRefusedError(
                "output.label_output", got=repr(named), want="an output of int64 or string"
            )
        return named
    if len(candidates) > 1:
        raise CardRefusedError(
            "label output",
            got=f"a choice between {_names(tuple(candidates))}",
            want="output.label_output in the card",
        )
    return candidates[0].name if candidates else None


def _names(outputs: tuple[GraphOutput, ...]) -> str:
    return ", ".join(f"{output.name!r} ({output.dtype})" for output in outputs[:12])
