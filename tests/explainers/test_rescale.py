"""Rescaled contributions keep sign and order and add up to the change in probability."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from explainers.rescale import Rescaled, logistic_slope, rescale

margins = st.floats(-40, 40)
contributions = arrays(np.float64, st.integers(1, 30), elements=st.floats(-8, 8, width=32))


def exact_logistic(margin: float) -> Decimal:
    getcontext().prec = 60
    return 1 / (1 + (-Decimal(margin)).exp())


def rescaled(phi: np.ndarray, base: float) -> Rescaled:
    result = rescale(phi, base=base, link="logistic")
    assert result is not None
    return result


@given(phi=contributions, base=margins)
def test_contributions_sum_to_the_change_in_probability(phi: np.ndarray, base: float) -> None:
    result = rescaled(phi, base)
    change = exact_logistic(base + float(phi.sum())) - exact_logistic(base)
    assert abs(float(result.contributions.sum()) - float(change)) <= 1e-12
    assert abs(result.base + result.contributions.sum() - result.output) <= 1e-12


@given(phi=contributions, base=st.floats(-20, 20))
def test_sign_and_order_are_kept(phi: np.ndarray, base: float) -> None:
    if np.any((phi != 0) & (np.abs(phi) < 1e-30)):  # would underflow, and nobody is shown it
        return
    result = rescaled(phi, base).contributions
    np.testing.assert_array_equal(np.sign(result), np.sign(phi))
    for i in range(len(phi)):
        for j in range(len(phi)):
            assert (result[i] <= result[j]) or (phi[i] > phi[j])


@given(
    base=st.floats(-30, 30), step=st.floats(1e-25, 1e-3) | st.floats(-1e-3, -1e-25) | st.just(0.0)
)
def test_slope_is_accurate_when_the_margins_nearly_meet(base: float, step: float) -> None:
    stop = base + step
    if stop == base:
        p = exact_logistic(base)
        want = p * (1 - p)
    else:
        difference = exact_logistic(stop) - exact_logistic(base)
        want = difference / (Decimal(stop) - Decimal(base))
    assert logistic_slope(base, stop) == pytest.approx(float(want), rel=1e-12)


def test_the_naive_quotient_would_fail_where_the_slope_does_not() -> None:
    """The near miss: at a distance of 1e-13 the plain quotient loses most of its digits."""
    start, stop = 2.0, 2.0 + 1e-13
    naive = (1 / (1 + np.exp(-stop)) - 1 / (1 + np.exp(-start))) / (stop - start)
    p = float(exact_logistic(start))
    assert abs(naive / (p * (1 - p)) - 1) > 1e-4
    assert logistic_slope(start, stop) == pytest.approx(p * (1 - p), rel=1e-12)


def test_equal_margins_use_the_derivative() -> None:
    result = rescaled(np.array([1.5, -1.5]), 0.3)
    p = float(exact_logistic(0.3))
    np.testing.assert_allclose(
        result.contributions, np.array([1.5, -1.5]) * p * (1 - p), rtol=1e-13
    )


def test_far_margins_do_not_overflow() -> None:
    result = rescaled(np.array([3000.0, -1000.0]), -1500.0)
    assert result.base == 0.0
    assert result.output == 1.0
    np.testing.assert_allclose(result.contributions, [1.5, -0.5], rtol=1e-12)


def test_identity_leaves_everything_as_it_is() -> None:
    phi = np.array([0.25, -0.5])
    result = rescale(phi, base=2.0, link="identity")
    assert result is not None
    np.testing.assert_array_equal(result.contributions, phi)
    assert (result.base, result.output) == (2.0, 1.75)


@pytest.mark.parametrize("link", ["softmax", "softmax_zero", "probit", "unknown"])
def test_links_without_a_common_factor_give_none(link: str) -> None:
    assert rescale(np.array([1.0]), base=0.0, link=link) is None


def test_two_class_softmax_is_the_logistic_of_the_difference() -> None:
    phi = np.array([[0.2, -1.0, 0.4], [0.9, 0.3, -0.5]])
    bases = np.array([0.1, -0.2])
    before, after = np.exp(bases), np.exp(bases + phi.sum(axis=1))
    for target in (0, 1):
        other = 1 - target
        result = rescale(
            phi[target] - phi[other], base=bases[target] - bases[other], link="logistic"
        )
        assert result is not None
        want = after[target] / after.sum() - before[target] / before.sum()
        assert result.contributions.sum() == pytest.approx(want, abs=1e-14)
        np.testing.assert_array_equal(
            np.sign(result.contributions), np.sign(phi[target] - phi[other])
        )


def test_three_class_softmax_gives_none_because_a_sign_can_turn() -> None:
    """Field 0 raises class 0's margin, yet lowers its probability: no factor can be honest."""
    phi = np.array([[0.5, 0.0], [3.0, 0.0], [0.0, 0.0]])
    bases = np.zeros(3)
    before, after = np.exp(bases), np.exp(bases + phi.sum(axis=1))
    assert phi[0].sum() > 0 > after[0] / after.sum() - before[0] / before.sum()
    assert rescale(phi[0], base=bases[0], link="softmax") is None
