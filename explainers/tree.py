"""Exact interventional Shapley values, by field, of a graph whose scores come from one ensemble.

The graph up to the ensemble's input is run by the served session itself (a tap), so encoders are
never imitated; the trees are read from the same file, and at load their outputs are compared with
the session's on the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.aggregation import METHOD
from explainers.columns import Columns, trace_copies
from explainers.ensemble import Ensemble, is_tree_ensemble, output_width, read_ensemble
from explainers.errors import BackgroundError, GraphError, MethodRefusedError
from explainers.explainer import (
    ExplainerSettings,
    Feeds,
    InTerms,
    Plan,
    Question,
    Run,
    digest_of,
    rows_of,
)
from explainers.explanation import (
    AFTER_FIELDS,
    Explanation,
    Matrix,
    Terms,
    Vector,
    allowed_residual,
    scale_of,
    stated,
    tolerance_of_sum,
)
from explainers.fields import single_fields, trace_fields, verify_fields
from explainers.game import OUTPUT, PROBABILITY
from explainers.graph import Graph, Node
from explainers.links import LINKS, SEPARATE_LINKS, link_outputs
from explainers.tree_game import Lookup, TreeGame, build_game, pack
from explainers.tree_kernel import explain_rows, finish_row


@dataclass(frozen=True, slots=True)
class Margins:
    """How each of the T targets' margins is made of the ensemble's sums: sum * sign + offset."""

    sums: tuple[int, ...]
    signs: Vector
    offsets: Vector


@dataclass(frozen=True, slots=True)
class TreeExplainer(InTerms):
    """Explains rows of one ensemble; O margins are linked, T of them are explained."""

    terms: Terms
    reason: str
    background_rows: int
    background_digest: str
    encoded_input: str | None
    """The graph input that the ensemble reads directly, None when it is a tap."""
    game: TreeGame
    lookup: Lookup
    """The game's tables, packed with what is to be done with the sums."""
    n_scores: int
    shape: tuple[int, int]
    """Of one row's values: (F + 5, T)."""
    fields: tuple[int, ...]
    """Of each encoded column the field it is made of."""
    margins: Margins

    def explain(
        self,
        feeds: Feeds,
        scores: NDArray[Any],
        taps: tuple[NDArray[Any], ...],
        seed: bytes = b"",  # noqa: ARG002 - exact: nothing is drawn
    ) -> Explanation:
        """Return the explanation of one row; see ``Explainer.explain``."""
        return Explanation(self.terms, self._explained(self.encoded(feeds, taps), scores)[0])

    def explain_rows(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...]
    ) -> list[Explanation]:
        """Return the explanation of each of N rows, the same bits as one by one.

        ``scores``, shape (N, n_scores); ``taps``, each (N, width).
        """
        explained = self._explained(self.encoded(feeds, taps), scores)
        return [Explanation(self.terms, values) for values in explained]

    def encoded(self, feeds: Feeds, taps: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        """Return what the trees read of N rows, shape (N, columns)."""
        return taps[0] if self.encoded_input is None else feeds[self.encoded_input]

    def _explained(self, encoded: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``Explanation.values`` of N rows, shape (N, F + 5, T); raise if one is unsound."""
        encoded = self.game.comparable(encoded)
        plain = scores.ravel() if scores.flags.carray else np.array(scores).ravel()
        rows = len(encoded)
        if len(plain) != rows * self.n_scores:
            raise GraphError("scores", got=len(plain), want=rows * self.n_scores)
        out = np.empty((rows, *self.shape))
        if len(self.game.walked_roots):
            sound = self._walk(encoded, plain, out)
        else:
            sound = explain_rows(encoded, plain, out, *self.lookup)
        if not sound:
            for values in out:
                stated(self.terms, values)  # raises for the first that does not add up
        return out

    def _walk(self, encoded: NDArray[Any], plain: NDArray[Any], out: NDArray[np.float64]) -> bool:
        """Do what ``explain_rows`` does, for leaves that no table covers."""
        game, lookup, n_scores = self.game, self.lookup, self.n_scores
        sound = True
        for row in range(len(encoded)):
            found = game.found(encoded[row : row + 1])
            own = plain[row * n_scores : (row + 1) * n_scores]
            sound &= finish_row(
                found, lookup.ints, lookup.bases, own, lookup.relative, lookup.scale, out[row]
            )
        return sound


def plan_trees(question: Question) -> Plan:
    """Return the plan for a graph whose scores are copied from one tree ensemble's output.

    Raises MethodRefusedError otherwise, with the reason.
    """
    node, columns = _scored_ensemble(question)
    ensemble = read_ensemble(node)
    tensor = node.inputs[0]
    walked = _walked_fields(question, ensemble, tensor)
    how = (
        f"the scores are the output of one {node.op} of {len(ensemble.roots)} trees; its encoded "
        "columns are traced to fields"
    )
    return Plan(
        method=METHOD,
        reason=how,
        taps=() if tensor in question.graph.inputs else (tensor,),
        unit=_unit(question, ensemble),
        build=partial(_build, question, ensemble, tensor, columns, walked, how),
    )


def _build(
    question: Question,
    ensemble: Ensemble,
    tensor: str,
    columns: tuple[int, ...],
    walked: tuple[int, ...],
    reason: str,
    background: Feeds,
    run: Run,
    settings: ExplainerSettings,
) -> TreeExplainer:
    if rows_of(background) == 0:
        raise BackgroundError("rows", got=0, want="at least 1")
    direct = tensor in question.graph.inputs

    def encode(feeds: Feeds) -> NDArray[Any]:
        return np.asarray(feeds[tensor] if direct else run(feeds)[1][0])

    fields = verify_fields(encode, background, slots=question.slots, walked=walked, method=METHOD)
    scores, taps = run(background)
    encoded = np.asarray(background[tensor] if direct else taps[0])
    if ensemble.n_columns > encoded.shape[1]:
        raise MethodRefusedError(
            METHOD, f"the trees read column {ensemble.n_columns - 1} of {encoded.shape[1]}"
        )
    link = ensemble.aggregation.link
    linked = columns if link in SEPARATE_LINKS else tuple(range(len(ensemble.aggregation.offsets)))
    forms, sums, signs = _distinct_forms(ensemble.aggregation.weights[list(linked)])
    game = build_game(
        ensemble,
        forms=forms,
        fields=fields,
        n_fields=len(question.slots),
        background=encoded,
        memory_budget_bytes=settings.memory_budget_bytes,
    )
    offsets = ensemble.aggregation.offsets[list(linked)]
    bases = signs * game.base_values[list(sums)] + offsets
    explained = tuple(linked.index(column) for column in columns)
    unit = _unit(question, ensemble)
    relative = settings.tolerance
    if link == "identity" and scores.dtype == np.float32:
        relative = tolerance_of_sum(relative, len(ensemble.roots))
    explainer = TreeExplainer(
        terms=Terms(METHOD, unit, link, question.targets, bases[list(explained)]),
        reason=reason,
        background_rows=len(encoded),
        background_digest=digest_of(background),
        encoded_input=tensor if direct else None,
        game=game,
        lookup=pack(
            game.tables,
            game.cuts,
            columns=ensemble.used_columns().astype(np.int32),
            n_fields=game.n_fields,
            n_sums=len(forms),
            outputs=(sums, explained, question.targets),
            link=LINKS.index(link),
            n_scores=question.n_scores,
            bases=np.stack([signs, bases]),
            relative=relative,
            scale=scale_of(
                scores[:, list(question.targets)].astype(np.float64),
                is_probability=link != "identity" or unit == PROBABILITY,
            ),
        ),
        n_scores=question.n_scores,
        shape=(game.n_fields + AFTER_FIELDS, len(question.targets)),
        fields=tuple(int(field) for field in fields),
        margins=Margins(
            sums=tuple(sums[place] for place in explained),
            signs=signs[list(explained)],
            offsets=offsets[list(explained)],
        ),
    )
    margins = game.sums(encoded)[:, list(sums)] * signs + offsets
    _check_reading(explainer, margins, explained, scores)
    return explainer


def _check_reading(
    explainer: TreeExplainer, margins: Matrix, explained: tuple[int, ...], scores: NDArray[Any]
) -> None:
    """Raise unless the trees as read give the session's own scores on the background."""
    lookup = explainer.lookup
    for row, own in enumerate(margins):
        outputs = scores[row, list(explainer.terms.targets)].astype(np.float64)
        linked = link_outputs(explainer.terms.link, own)[list(explained)]
        worst = float(np.max(np.abs(linked - outputs)))
        if not worst <= allowed_residual(outputs, lookup.relative, lookup.scale):
            raise MethodRefusedError(
                METHOD,
                f"the trees as read differ from the graph's own output by {worst:g} on "
                f"background row {row}",
            )


def _distinct_forms(weights: Matrix) -> tuple[Matrix, tuple[int, ...], Vector]:
    """Return the rows of ``weights`` that differ by more than sign, and how each row uses them."""
    forms: list[Vector] = []
    sums: list[int] = []
    signs: list[float] = []
    for row in weights:
        for index, form in enumerate(forms):
            if np.array_equal(form, row) or np.array_equal(form, -row):
                sums.append(index)
                signs.append(1.0 if np.array_equal(form, row) else -1.0)
                break
        else:
            sums.append(len(forms))
            signs.append(1.0)
            forms.append(row)
    return np.array(forms), tuple(sums), np.array(signs)


def _scored_ensemble(question: Question) -> tuple[Node, tuple[int, ...]]:
    """Return the ensemble behind the scores and its output column for each target."""
    nodes = [node for node in question.graph.nodes if is_tree_ensemble(node)]
    if not nodes:
        raise MethodRefusedError(METHOD, "the graph has no tree ensemble")
    where = score_sources(question.graph, nodes, question)
    owners = {owner for owner, _ in where}
    if len(owners) != 1:
        raise MethodRefusedError(METHOD, f"the scores come from {len(owners)} tree ensembles")
    return nodes[owners.pop()], tuple(column for _, column in where)


def score_sources(
    graph: Graph, nodes: list[Node], question: Question
) -> tuple[tuple[int, int], ...]:
    """Return (which of ``nodes``, which column of its scores) for each target.

    Raises MethodRefusedError when a target's score is computed from them and not copied.
    """
    seeds: dict[str, Columns[tuple[int, int]]] = {}
    for owner, node in enumerate(nodes):
        width = output_width(node)
        seeds[node.outputs[-1]] = tuple((owner, column) for column in range(width))
    known = trace_copies(graph, seeds)
    found: list[tuple[int, int]] = []
    for target in question.targets:
        column = question.score_columns[target]
        if len(question.score_outputs) > 1:
            name, column = question.score_outputs[column], 0
        else:
            name = question.score_outputs[0]
        labels = known.get(name)
        if labels is None or column >= len(labels):
            raise MethodRefusedError(METHOD, f"score {target} is computed after the ensemble")
        found.append(labels[column])
    return tuple(found)


def _walked_fields(question: Question, ensemble: Ensemble, tensor: str) -> tuple[int, ...]:
    sources = trace_fields(question.graph, question.slots).get(tensor)
    used = [int(column) for column in ensemble.used_columns()]
    return single_fields(sources, used=used, method=METHOD)


def _unit(question: Question, ensemble: Ensemble) -> str:
    match ensemble.aggregation.link:
        case "logistic":
            return "log-odds"
        case "softmax" | "softmax_zero":
            return "log-odds up to a constant"
        case "probit":
            return "probability before probit"
        case _:
            return (
                PROBABILITY if question.gives_probabilities or _is_probability(ensemble) else OUTPUT
            )


def _is_probability(ensemble: Ensemble) -> bool:
    """Return whether a classifier's trees can only add up to numbers between 0 and 1."""
    if len(ensemble.aggregation.offsets) < 2 or not len(ensemble.listed_trees):
        return False
    values = ensemble.leaf_values @ ensemble.aggregation.weights.T
    highest = np.full((len(ensemble.roots), values.shape[1]), -np.inf)
    lowest = -highest
    np.maximum.at(highest, ensemble.listed_trees, values)
    np.minimum.at(lowest, ensemble.listed_trees, values)
    highest_sum = highest.sum(axis=0) + ensemble.aggregation.offsets
    lowest_sum = lowest.sum(axis=0) + ensemble.aggregation.offsets
    return bool((highest_sum <= 1 + 1e-5).all() and (lowest_sum >= -1e-5).all())
