"""Comparing what was recorded with what is computed today, bit for bit.

Pure: the application recomputes and hands both sides over as raw IEEE 754 bytes. Nothing is rounded
and no tolerance is applied; how far numbers are apart is reported in units in the last place.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

NumberType: TypeAlias = Literal["float32", "float64", "bytes", "json"]

MAX_ULPS = 4
"""How many units in the last place count as the same numbers, from another machine."""

MOST_PLACES = 20
"""Places named of one JSON text that came out otherwise."""

_WIDTHS: dict[str, tuple[int, str]] = {"float32": (4, "I"), "float64": (8, "Q")}
_FOLLOWING_SHARE = 1e-6
"""How far a number in a text may move with the numbers it is worked out from, as a share of it: some
units in the last place of a 32-bit float. It can be a difference of nearly equal ones, so near zero it is a share
of the largest of them."""


@dataclass(frozen=True, slots=True)
class Item:
    """One named result: numbers as little-endian bytes, bytes that are equal or not, or JSON.

    JSON is compared byte for byte too; where it differs, it is said at which places.
    """

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
    places: tuple[str, ...] = ()
    """Where in a JSON text, such as ``explanation.reasons_for.0``; at most MOST_PLACES."""
    follows: bool = False
    """Whether it is a JSON text in which only numbers moved, and so little that they merely follow
    from other items that differ by some units in the last place."""


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
        """Return the largest distance, or None when something differs in another way.

        A text whose numbers merely follow does not count, unless nothing else differs.
        """
        distances = [each.max_ulps for each in self.differences if not each.follows]
        known = [distance for distance in distances if distance is not None]
        return max(known) if known and len(known) == len(distances) else None


@dataclass(frozen=True, slots=True)
class NotReplayable:
    """The record cannot be recomputed."""

    reason: Literal["erased", "model_missing", "failed", "damaged"]
    """Its content was erased; what it was made with is not there; it is there and can no longer
    be computed; or the record itself cannot be read."""
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
    largest = max(map(_largest, recorded), default=0.0) or 1.0
    before = {item.name for item in recorded}
    differences = [
        difference
        for item in recorded
        if (difference := _difference(item, now.get(item.name), largest)) is not None
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


def _largest(item: Item) -> float:
    """Return the largest magnitude of an item's numbers, 0 where it has none."""
    if item.type not in _WIDTHS or len(item.raw) % _WIDTHS[item.type][0]:
        return 0.0
    numbers = struct.iter_unpack("<f" if item.type == "float32" else "<d", item.raw)
    return max((abs(number) for (number,) in numbers if math.isfinite(number)), default=0.0)


def _difference(recorded: Item, recomputed: Item | None, largest: float) -> Difference | None:
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
    if recorded.type == "json":
        return _json_difference(recorded.name, recorded.raw, recomputed.raw, largest)
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


def _json_difference(name: str, recorded: bytes, recomputed: bytes, largest: float) -> Difference:
    near = _FOLLOWING_SHARE * largest
    try:
        moved = list(_moved(json.loads(recorded), json.loads(recomputed), "", near))
    except (ValueError, RecursionError):
        return Difference(name, (), None, "is not JSON")
    if not moved:
        return Difference(name, (), None, "says the same in another spelling")
    follows = all(is_small for _, is_small in moved)
    places = tuple(place for place, _ in moved[:MOST_PLACES])
    why = "numbers in it follow" if follows else "does not say the same"
    return Difference(name, (), None, why, places, follows)


def _moved(
    recorded: object, recomputed: object, place: str, near: float
) -> Iterator[tuple[str, bool]]:
    """Yield each place where two JSON values differ, and whether a number moved only a little."""
    if isinstance(recorded, dict) and isinstance(recomputed, dict):
        for key in {**recorded, **recomputed}:
            inner = f"{place}.{key}" if place else str(key)
            if key not in recorded or key not in recomputed:
                yield inner, False
            else:
                yield from _moved(recorded[key], recomputed[key], inner, near)
    elif isinstance(recorded, list) and isinstance(recomputed, list):
        if len(recorded) != len(recomputed):
            yield place, False
            return
        for at, (left, right) in enumerate(zip(recorded, recomputed, strict=True)):
            yield from _moved(left, right, f"{place}.{at}" if place else str(at), near)
    elif type(recorded) is not type(recomputed) or recorded != recomputed:
        is_small = (
            isinstance(recorded, float)
            and isinstance(recomputed, float)
            and math.isclose(recorded, recomputed, rel_tol=_FOLLOWING_SHARE, abs_tol=near)
        )
        yield place, is_small


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
