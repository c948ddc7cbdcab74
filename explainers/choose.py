"""The one place that decides which method explains a graph, and says why.

Methods are asked in a fixed order; each either returns its plan or refuses with the true reason.
The reasons of those that refused are part of the reason of the one that is taken, so that a
slower or sampled method never appears silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from explainers.black_box import plan_black_box
from explainers.errors import GraphError, MethodRefusedError
from explainers.explainer import (
    Explainer,
    ExplainerSettings,
    Feeds,
    Plan,
    Question,
    Run,
    Slot,
)
from explainers.graph import read_graph
from explainers.sums import plan_sums
from explainers.tree import plan_trees

EXACT_METHODS: tuple[Callable[[Question], Plan], ...] = (plan_trees, plan_sums)
"""In the order they are asked: the fastest first. What all refuse is a black box."""


def choose(
    graph: bytes,
    *,
    slots: tuple[Slot, ...],
    score_outputs: tuple[str, ...],
    targets: tuple[int, ...],
    n_scores: int,
    score_columns: tuple[int, ...] | None = None,
    gives_probabilities: bool = False,
    untapped_because: str = "",
) -> Plan:
    """Return the plan to explain the scores ``targets`` of the ONNX model ``graph``.

    ``score_columns[s]`` says which column of the score output (or which of ``score_outputs``)
    score ``s`` is; by default they are in the same order. ``gives_probabilities``: as in ``Question``.
    ``untapped_because``, unless empty, says why no tensor within the graph can be had, which some
    methods need. Raises GraphError when the graph is not sound. The explainer that the plan builds
    states its method and reason, which are the black box's when the background disproves the plan.
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
        gives_probabilities=gives_probabilities,
    )
    refusals: list[str] = []
    for plan_method in EXACT_METHODS:
        try:
            plan = plan_method(question)
        except MethodRefusedError as refusal:
            refusals.append(str(refusal))
            continue
        if plan.taps and untapped_because:
            refusals.append(str(MethodRefusedError(plan.method, untapped_because)))
            continue
        return _or_black_box(plan, question)
    return _as_black_box(plan_black_box(question), refusals)


def _or_black_box(plan: Plan, question: Question) -> Plan:
    """Return ``plan``, explained as a black box if the background disproves it.

    Only the background can show that a column mixes fields or that the graph was misread.
    """

    def build(background: Feeds, run: Run, settings: ExplainerSettings) -> Explainer:
        try:
            return plan.build(background, run, settings)
        except MethodRefusedError as refusal:
            fallback = _as_black_box(plan_black_box(question), [str(refusal)])
            return fallback.build(background, run, settings)

    return dataclasses.replace(plan, build=build)


def _as_black_box(plan: Plan, refusals: list[str]) -> Plan:
    """Return ``plan`` with the reasons of the methods that refused before its own."""
    because = "; ".join(refusals)

    def build(background: Feeds, run: Run, settings: ExplainerSettings) -> Explainer:
        explainer = plan.build(background, run, settings)
        # Every explainer is a frozen dataclass; the protocol cannot say so.
        reasoned: Explainer = dataclasses.replace(
            cast(Any, explainer), reason=f"{because}; {explainer.reason}"
        )
        return reasoned

    return dataclasses.replace(plan, reason=f"{because}; {plan.reason}", build=build)
