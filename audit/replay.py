"""Comparing what was recorded with what is computed today, bit for bit.

Pure: the application recomputes and hands both sides over as raw IEEE 754 bytes. Nothing is rounded
and no tolerance is applied; how far numbers are apart is reported in units in the last place.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

NumberType: TypeAlias = Literal["float32", "float64", "bytes"]

_WIDTHS: dict[str, tuple[int, str]] = {"float32": (4, "I"), "float64": (8, "Q")}


@dataclass(frozen=True, slots=True)
class Item:
    """One named result: numbers as little-endian bytes, or bytes that are simply equal or not."""

    name: str
    type: NumberType
    raw: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """One item that came out otherwise."""

    name: str
    positions: tuple[int, ...]
    """Which numbers of the item differ."""
    max_ulps: int | None
    """The largest distance, in units in the last place; None when there is no such distance:
    not numbers, another type or count, NaN on one side, or an item only one side has."""
    why: str


@dataclass(frozen=True, slots=True)
class EnvironmentChange:
    """Something about the machine or its libraries that was not so when the record was made."""

    name: str
    recorded: str | None
    current: str | None


@dataclass(frozen=True, slots=True)
class Identical:
    """Every bit came out the same."""


@dataclass(frozen=True, slots=True)
class Differs:
    """Something came out otherwise."""

    differences: tuple[Difference, ...]
    environment: tuple[EnvironmentChange, ...]

    @property
    def max_ulps(self) -> int | None:
        """Return the largest distance, or None when an item has none."""
        distances = [difference.max_ulps for difference in self.differences]
        known = [distance for distance in distances if distance is not None]
        return max(known) if len(known) == len(distances) else None


@dataclass(frozen=True, slots=True)
class NotReplayable:
    """The record cannot be recomputed."""

    reason: Literal["erased", "model_missing", "model_changed", "not_a_recommendation"]
    detail: str


Verdict: TypeAlias = Identical | Differs | NotReplayable


def compare(
    recorded: Sequence[Item],
    recomputed: Sequence[Item],
    *,
    recorded_environment: Mapping[str, str],
    current_environment: Mapping[str, str],
) -> Identical | Differs:
    """Return whether all items are the same bits, and otherwise which differ and how far.

    Changes of environment are reported only beside differences: they are what to suspect.
    """
    now = {item.name: item for item in recomputed}
    before = {item.name for item in recorded}
    differences = [
        difference
        for item in recorded
        if (difference := _difference(item, now.get(item.name))) is not None
    ]
    differences += [
        Difference(item.name, (), None, "was not recorded")
        for item in recomputed
        if item.name not in before
    ]
    if not differences:
        return Identical()
    return Differs(
        tuple(differences), _environment_changes(recorded_environment, current_environment)
    )


def ulps_between(
    left: bytes, right: bytes, number_type: Literal["float32", "float64"]
) -> int | None:
    """Return how many representable numbers lie between two, or None when either is NaN.

    0.0 and -0.0 are 0 apart, though their bits differ.
    """
    first, second = _ordinal(left, number_type), _ordinal(right, number_type)
    return None if first is None or second is None else abs(first - second)


def _difference(recorded: Item, recomputed: Item | None) -> Difference | None:
    if recomputed is None:
        return Difference(recorded.name, (), None, "was not recomputed")
    if recorded == recomputed:
        return None
    if recorded.type != recomputed.type:
        return Difference(
            recorded.name, (), None, f"recorded as {recorded.type}, now {recomputed.type}"
        )
    if recorded.type == "bytes":
        return Difference(recorded.name, (), None, "is not the same")
    width, _ = _WIDTHS[recorded.type]
    if len(recorded.raw) != len(recomputed.raw) or len(recorded.raw) % width:
        return Difference(
            recorded.name,
            (),
            None,
            f"recorded {len(recorded.raw) / width:g} numbers, now {len(recomputed.raw) / width:g}",
        )
    positions = []
    distances: list[int | None] = []
    for at in range(0, len(recorded.raw), width):
        left, right = recorded.raw[at : at + width], recomputed.raw[at : at + width]
        if left != right:
            positions.append(at // width)
            distances.append(ulps_between(left, right, recorded.type))
    known = [distance for distance in distances if distance is not None]
    if len(known) < len(distances):
        return Difference(recorded.name, tuple(positions), None, "NaN, or another NaN")
    return Difference(recorded.name, tuple(positions), max(known), "numbers differ")


def _ordinal(raw: bytes, number_type: Literal["float32", "float64"]) -> int | None:
    """Return the number's place on the line of representable numbers; zero is 0."""
    width, code = _WIDTHS[number_type]
    bits: int = struct.unpack(f"<{code}", raw)[0]
    sign = 1 << (8 * width - 1)
    magnitude = bits & (sign - 1)
    infinity = 0x7F800000 if width == 4 else 0x7FF0000000000000
    if magnitude > infinity:
        return None
    return -magnitude if bits & sign else magnitude


def _environment_changes(
    recorded: Mapping[str, str], current: Mapping[str, str]
) -> tuple[EnvironmentChange, ...]:
    return tuple(
        EnvironmentChange(name, recorded.get(name), current.get(name))
        for name in sorted(recorded.keys() | current.keys())
        if recorded.get(name) != current.get(name)
    )
