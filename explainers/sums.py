"""Exact Shapley values, by field, of affine sums of tree ensembles and linear parts.

Shapley values are linear in the game: the values of a weighted sum are the weighted sum of the
parts' values. Voting, averaging, bagging, stacking on a linear model and linear models themselves
are all such sums; where a logistic or softmax follows, its margin is explained. Encoders are never
imitated: each part's input is a tap of the served graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.affine import Reading, read_scores
from explainers.ensemble import read_ensemble
from explainers.errors import BackgroundError
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
    Explanation,
    Terms,
    Vector,
    gathered,
    scale_of,
    stated,
    tolerance_of_sum,
)
from explainers.game import OUTPUT, PROBABILITY, unit_of
from explainers.linear import LinearPart
from explainers.links import LINKS, link_outputs
from explainers.parts import (
    PartPlan,
    check_reading,
    encoded,
    fields_of,
    linear_part_of,
    places_of,
    plan_parts,
)
from explainers.products import plan_product
from explainers.sum_kernel import add_up_and_link
from explainers.tree_game import TreeGame, build_game

LINEAR = "linear"
SUM = "sum of parts"
Part: TypeAlias = LinearPart | TreeGame
"""M sums of one encoded tensor, with their base values and contributions."""


@dataclass(frozen=True, slots=True)
class SumExplainer(InTerms):
    """Explains rows of a graph whose M margins are sums of parts; T of them are explained."""

    terms: Terms
    reason: str
    background_rows: int
    background_digest: str
    tolerance: float
    """Largest residual, relative to the output's scale."""
    scale: float
    """The outputs' scale; see ``scale_of``."""
    inputs: tuple[str | int, ...]
    """What each part reads: the name of a graph input, or which tap."""
    parts: tuple[Part, ...]
    margin_bases: Vector
    """Shape (M,): base values of all linked margins."""
    explained: tuple[int, ...]
    """Shape (T,): which of the M margins are the targets'."""

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        """Return the exact values of the one row in ``feeds``; see ``Explainer.explain``."""
        del seed
        contributions = self.parts[0].contributions(encoded(self.inputs[0], feeds, taps))
        for where, part in zip(self.inputs[1:], self.parts[1:], strict=True):
            contributions += part.contributions(encoded(where, feeds, taps))
        margins, linked = np.empty((2, len(self.margin_bases)))
        add_up_and_link(contributions, self.margin_bases, LINKS.index(self.link), margins, linked)
        chosen = list(self.explained)
        values = gathered(
            contributions=contributions[chosen],
            margins=margins[chosen],
            linked=linked[chosen],
            outputs=np.asarray(scores, dtype=np.float64)[list(self.terms.targets)],
            relative=self.tolerance,
            scale=self.scale,
        )
        return stated(self.terms, values)


def plan_sums(question: Question) -> Plan:
    """Return the plan for a graph whose margins are affine sums of exactly explained parts.

    The method is LINEAR when no tree ensemble is among the terms. Raises MethodRefusedError, with
    the operator that stands in the way, when there is no such margin.
    """
    reading = read_scores(question, method=SUM)
    if reading.link == "exp":
        return plan_product(question, reading)
    parts = plan_parts(question, reading, method=SUM)
    ensembles = sum(part.ensemble_output is not None for part in parts)
    columns = sum(len(part.used) for part in parts if part.ensemble_output is None)
    terms = [f"{ensembles} tree ensemble{'s' * (ensembles > 1)}"] if ensembles else []
    if columns:
        terms.append(f"{columns} encoded columns")
    margin = "scores are" if reading.link == "identity" else f"margin before the {reading.link} is"
    reason = f"the {margin} an affine sum of {' and '.join(terms)}"
    taps, inputs = places_of(parts, question)
    method = SUM if ensembles else LINEAR
    return Plan(
        method=method,
        reason=reason,
        taps=taps,
        unit=_UNITS.get(reading.link, OUTPUT),
        build=partial(_build, question, reading, tuple(parts), inputs, method, reason),
    )


def _build(
    question: Question,
    reading: Reading,
    plans: tuple[PartPlan, ...],
    inputs: tuple[str | int, ...],
    method: str,
    reason: str,
    background: Feeds,
    run: Run,
    settings: ExplainerSettings,
) -> SumExplainer:
    if rows_of(background) == 0:
        raise BackgroundError("rows", got=0, want="at least 1")
    scores, tapped = run(background)
    bases = np.array([form.constant for form in reading.margins])
    margins = np.tile(bases, (len(scores), 1))
    parts: list[Part] = []
    ensembles = sum(plan.ensemble_output is not None for plan in plans)
    for where, plan in zip(inputs, plans, strict=True):
        fields = fields_of(plan, where, question, background, run, method)
        part, offsets = _build_part(
            question,
            plan,
            fields=fields,
            encoded=encoded(where, background, tapped),
            memory_budget_bytes=settings.memory_budget_bytes // max(ensembles, 1),
        )
        parts.append(part)
        bases = bases + offsets + part.base_values
        margins += offsets + part.sums(encoded(where, background, tapped))
    explained = list(reading.explained)
    tolerance = settings.tolerance
    if reading.link == "identity" and scores.dtype == np.float32:
        trees = sum(len(part.ensemble.roots) for part in parts if isinstance(part, TreeGame))
        tolerance = tolerance_of_sum(tolerance, trees)
    unit = _UNITS.get(reading.link) or unit_of(
        np.asarray(scores, dtype=np.float64), gives_probabilities=question.gives_probabilities
    )
    own_scores = np.asarray(scores, dtype=np.float64)[:, list(question.targets)]
    scale = scale_of(own_scores, is_probability=reading.link != "identity" or unit == PROBABILITY)
    explainer = SumExplainer(
        terms=Terms(
            method=method,
            unit=unit,
            link=reading.link,
            targets=question.targets,
            base_values=bases[explained],
        ),
        reason=reason,
        background_rows=len(scores),
        background_digest=digest_of(background),
        tolerance=tolerance,
        scale=scale,
        inputs=inputs,
        parts=tuple(parts),
        margin_bases=bases,
        explained=reading.explained,
    )
    check_reading(
        method,
        "sums",
        np.stack([link_outputs(reading.link, own)[explained] for own in margins]),
        own_scores,
        relative=tolerance,
        scale=scale,
    )
    # The first explanation, so that compiling is over before the first request.
    first = {name: column[:1] for name, column in background.items()}
    explainer.explain(first, scores[0], tuple(tap[:1] for tap in tapped), b"")
    return explainer


def _build_part(
    question: Question,
    plan: PartPlan,
    *,
    fields: tuple[int, ...],
    encoded: NDArray[Any],
    memory_budget_bytes: int,
) -> tuple[Part, Vector]:
    """Return the part and what it adds to each margin beside its sums, shape (M,)."""
    n_fields = len(question.slots)
    if plan.ensemble_output is None:
        part = linear_part_of(plan, fields=fields, n_fields=n_fields, background=encoded)
        return part, np.zeros(len(plan.weights))
    ensemble = read_ensemble(question.graph.producers[plan.ensemble_output])
    width = plan.weights.shape[1]
    aggregation = ensemble.aggregation
    game = build_game(
        ensemble,
        forms=plan.weights @ aggregation.weights[:width],
        fields=fields,
        n_fields=n_fields,
        background=encoded,
        memory_budget_bytes=memory_budget_bytes,
    )
    return game, np.asarray(plan.weights @ aggregation.offsets[:width])


_UNITS = {
    "logistic": "log-odds",
    "softmax": "log-odds up to a constant",
    "softmax_zero": "log-odds up to a constant",
}
