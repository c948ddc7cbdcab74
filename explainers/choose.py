"""The one place that decides which method explains a graph, and says why.

Methods are asked in a fixed order; each either returns its plan or refuses with the true reason.
The reasons of those that refused are part of the reason of the one that is taken, so that a
slower or sampled method never appears silently.
"""

from __future__ import annotations

from collections.abc import Callable

from explainers.errors import GraphError, MethodRefusedError
from explainers.explainer import Plan, Question, Slot
from explainers.graph import read_graph
from explainers.tree import plan_trees

METHODS: tuple[Callable[[Question], Plan], ...] = (plan_trees,)
"""In the order they are asked: exact and fast first."""


def choose(
    graph: bytes,
    *,
    slots: tuple[Slot, ...],
    score_outputs: tuple[str, ...],
    targets: tuple[int, ...],
    n_scores: int,
    score_columns: tuple[int, ...] | None = None,
) -> Plan:
    """Return the plan to explain the scores ``targets`` of the ONNX model ``graph``.

    ``score_columns[s]`` says which column of the score output (or which of ``score_outputs``)
    score ``s`` is; by default they are in the same order. Raises GraphError when the graph is not
    sound, MethodRefusedError when no method can explain it.
    """
    columns = tuple(range(n_scores)) if score_columns is None else score_columns
    if len(columns) != n_scores:
        raise GraphError("score_columns", got=len(columns), want=n_scores)
    for target in targets:
        if not 0 <= target < n_scores:
            raise GraphError("target", got=target, want=f"0 to {n_scores - 1}")
    question = Question(
        graph=read_graph(graph),
        slots=slots,
        score_outputs=score_outputs,
        targets=targets,
        n_scores=n_scores,
        score_columns=columns,
    )
    refusals: list[str] = []
    for plan in METHODS:
        try:
            return plan(question)
        except MethodRefusedError as refusal:
            refusals.append(str(refusal))
    raise MethodRefusedError("every method", "; ".join(refusals))
