"""Replay compares bits: what is equal, what differs and how far, and what cannot be compared."""

import json
import math
import struct
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.replay import Differs, Identical, Item, compare, ulps_between


def doubles(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def compared(recorded: list[Item], recomputed: list[Item]) -> Identical | Differs:
    return compare(recorded, recomputed, recorded_environment={}, current_environment={})


def test_same_bits_are_identical() -> None:
    items = [Item("scores", "float64", doubles(0.1, math.nan)), Item("outcome", "bytes", b"yes")]
    assert compared(items, list(reversed(items))) == Identical()


def test_one_ulp_is_a_difference_and_named() -> None:
    before = [Item("scores", "float64", doubles(0.1, 0.2, 0.3))]
    after = [Item("scores", "float64", doubles(0.1, math.nextafter(0.2, 1), 0.3))]
    verdict = compare(
        before,
        after,
        recorded_environment={"onnxruntime": "1.31", "cpu": "avx2"},
        current_environment={"onnxruntime": "1.32", "cpu": "avx2"},
    )
    assert isinstance(verdict, Differs)
    assert verdict.max_ulps == 1
    assert verdict.differences[0].positions == (1,)
    assert [change.name for change in verdict.environment] == ["onnxruntime"]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_number_in_a_text_follows_in_proportion_to_what_it_is_worked_out_from(
    size: float,
) -> None:
    def items(score: float, residual: float) -> list[Item]:
        text = json.dumps({"residual": residual * size}).encode()
        return [Item("scores", "float64", doubles(score)), Item("answer", "json", text)]

    score = 2.0 * size
    after = math.nextafter(score, math.inf)
    near = compared(items(score, 1e-9), items(after, 1e-7))
    far = compared(items(score, 1e-9), items(after, 1e-5))
    assert isinstance(near, Differs)
    assert isinstance(far, Differs)
    assert (near.max_ulps, far.max_ulps) == (1, None)


def test_minus_zero_differs_from_zero_by_no_ulps() -> None:
    verdict = compared([Item("x", "float64", doubles(0.0))], [Item("x", "float64", doubles(-0.0))])
    assert isinstance(verdict, Differs)
    assert verdict.max_ulps == 0


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (Item("x", "float64", doubles(1.0)), Item("x", "float64", doubles(math.nan)), "NaN"),
        (Item("x", "float64", doubles(1.0)), Item("x", "float64", doubles(1.0, 2.0)), "1 numbers"),
        (Item("x", "float64", doubles(1.0)), Item("x", "float32", bytes(4)), "float32"),
        (Item("x", "bytes", b"yes"), Item("x", "bytes", b"no"), "not the same"),
        (Item("x", "float64", b"123"), Item("x", "float64", b"456"), "numbers"),
    ],
    ids=["nan", "count", "type", "bytes", "torn"],
)
def test_differences_without_a_distance_say_why(before: Item, after: Item, why: str) -> None:
    verdict = compared([before], [after])
    assert isinstance(verdict, Differs)
    assert verdict.max_ulps is None
    assert why in verdict.differences[0].why


def test_an_item_on_one_side_only_is_a_difference() -> None:
    item = Item("x", "bytes", b"")
    for verdict in (compared([item], []), compared([], [item])):
        assert isinstance(verdict, Differs)
        assert verdict.differences[0].name == "x"
    assert compared([], []) == Identical()


@given(st.floats(-(2.0**100), 2.0**100, width=32), st.integers(1, 50))
def test_distance_counts_the_steps_between_float32_numbers(start: float, steps: int) -> None:
    value = np.float32(start)
    for _ in range(steps):
        value = np.nextafter(value, np.float32(np.inf))
    raw = np.float32(start).tobytes()
    assert ulps_between(raw, value.tobytes(), "float32") == steps
    assert ulps_between(value.tobytes(), raw, "float32") == steps


@given(st.floats(), st.floats())
def test_distance_is_symmetric_and_zero_only_for_equal_numbers(left: float, right: float) -> None:
    width: Literal["float64"] = "float64"
    distance = ulps_between(doubles(left), doubles(right), width)
    assert distance == ulps_between(doubles(right), doubles(left), width)
    if math.isnan(left) or math.isnan(right):
        assert distance is None
    else:
        assert (distance == 0) is (left == right)
