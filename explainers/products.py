"""Exact Shapley values, by field, of scores that are exponentials of sums.

Regressions of counts and amounts (Poisson, gamma, Tweedie) have a logarithmic link, so a score is a
product with a factor for each field. Their unit stays the score's own. Against a background row
with factors b, a case with factors a has

    phi_i = (a_i - b_i) * integral from 0 to 1 of prod over j != i of (t a_j + (1 - t) b_j) dt

(the game's multilinear extension: Owen 1972). The integrand is a polynomial of a degree below the
number of fields, which Gauss-Legendre quadrature sums up exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.affine import Reading
from explainers.errors import BackgroundError, MethodRefusedError
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
    add_up,
    gathered,
    scale_of,
    stated,
)
from explainers.game import OUTPUT, PROBABILITY, unit_of
from explainers.linear import LinearPart
from explainers.parts import (
    PartPlan,
    check_reading,
    encoded,
    fields_of,
    linear_part_of,
    places_of,
    plan_parts,
)

METHOD = "product of parts"


@dataclass(frozen=True, slots=True)
class ProductExplainer(InTerms):
    """Explains rows of a graph whose T scores are products of factors of one field each."""

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
    parts: tuple[LinearPart, ...]
    """Of the exponents."""
    constants: Vector
    """Shape (T,): the factor that is the same for every row."""
    factors: NDArray[np.float64]
    """Shape (T, B, fields): those of the background, in relation to the mean exponents."""

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        """Return the exact values of the one row in ``feeds``; see ``Explainer.explain``."""
        del seed
        with np.errstate(over="ignore", invalid="ignore"):  # infinity does not add up: refused
            own = np.exp(_exponents(self.parts, self.inputs, feeds, taps))
            contributions = self.constants[:, None] * _shapley_values(own, self.factors)
        margins = add_up(self.terms.base_values, contributions)
        values = gathered(
            contributions=contributions,
            margins=margins,
            linked=margins,
            outputs=np.asarray(scores, dtype=np.float64)[list(self.terms.targets)],
            relative=self.tolerance,
            scale=self.scale,
        )
        return stated(self.terms, values)


def _shapley_values(own: NDArray[np.float64], factors: NDArray[np.float64]) -> Any:
    """Return the mean over the background rows, shape (T, fields)."""
    fields = own.shape[1]
    moved = own[:, None, :] - factors
    total = np.zeros(own.shape)
    for point, weight in _quadrature(fields // 2 + 1):
        mixed = factors + (1 + point) / 2 * moved
        products = np.multiply.reduce(mixed, axis=2, keepdims=True)
        total += weight / 2 * (moved * (products / mixed)).mean(axis=1)
    return total


@lru_cache
def _quadrature(points: int) -> tuple[tuple[float, float], ...]:
    """Return points from -1 to 1 and weights: exact for polynomials below degree 2 x points."""
    places, weights = np.polynomial.legendre.leggauss(points)
    return tuple(zip(places.tolist(), weights.tolist(), strict=True))


def plan_product(question: Question, reading: Reading) -> Plan:
    """Return the plan for scores that are the exponentials of the margins in ``reading``.

    Raises MethodRefusedError when a tree ensemble is in an exponent, or a mixed column.
    """
    parts = plan_parts(question, reading, method=METHOD)
    if any(part.ensemble_output is not None for part in parts):
        raise MethodRefusedError(METHOD, "a tree ensemble is in the exponent")
    columns = sum(len(part.used) for part in parts)
    reason = f"the logarithm of the scores is an affine sum of {columns} encoded columns"
    taps, inputs = places_of(parts, question)
    return Plan(
        method=METHOD,
        reason=reason,
        taps=taps,
        unit=OUTPUT,
        build=partial(_build, question, reading, tuple(parts), inputs, reason),
    )


def _build(
    question: Question,
    reading: Reading,
    plans: tuple[PartPlan, ...],
    inputs: tuple[str | int, ...],
    reason: str,
    background: Feeds,
    run: Run,
    settings: ExplainerSettings,
) -> ProductExplainer:
    if rows_of(background) == 0:
        raise BackgroundError("rows", got=0, want="at least 1")
    scores, tapped = run(background)
    exponents = np.array([form.constant for form in reading.margins])
    parts: list[LinearPart] = []
    for where, plan in zip(inputs, plans, strict=True):
        rows = encoded(where, background, tapped)
        fields = fields_of(plan, where, question, background, run, METHOD)
        part = linear_part_of(plan, fields=fields, n_fields=len(question.slots), background=rows)
        exponents = exponents + part.base_values
        parts.append(part)
    each = [
        _exponents(
            tuple(parts),
            inputs,
            {name: column[row : row + 1] for name, column in background.items()},
            tuple(tap[row : row + 1] for tap in tapped),
        )
        for row in range(len(scores))
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        constants, factors = np.exp(exponents), np.exp(np.stack(each, axis=1))
        read = constants * np.multiply.reduce(factors, axis=2).T
    own = np.asarray(scores, dtype=np.float64)[:, list(question.targets)]
    unit = unit_of(
        np.asarray(scores, dtype=np.float64), gives_probabilities=question.gives_probabilities
    )
    scale = scale_of(own, is_probability=unit == PROBABILITY)
    check_reading(METHOD, "products", read, own, relative=settings.tolerance, scale=scale)
    return ProductExplainer(
        terms=Terms(
            method=METHOD,
            unit=unit,
            link="identity",
            targets=question.targets,
            base_values=read.mean(axis=0),
        ),
        reason=reason,
        background_rows=len(scores),
        background_digest=digest_of(background),
        tolerance=settings.tolerance,
        scale=scale,
        inputs=inputs,
        parts=tuple(parts),
        constants=constants,
        factors=factors,
    )


def _exponents(
    parts: tuple[LinearPart, ...],
    inputs: tuple[str | int, ...],
    feeds: Feeds,
    taps: tuple[NDArray[Any], ...],
) -> NDArray[np.float64]:
    """Return what each field of one row adds to the mean exponents, shape (T, fields)."""
    rows = [encoded(where, feeds, taps) for where in inputs]
    found: NDArray[np.float64] = sum(
        (part.contributions(row) for part, row in zip(parts[1:], rows[1:], strict=True)),
        start=parts[0].contributions(rows[0]),
    )
    return found
