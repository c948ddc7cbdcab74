"""The typed contract of a case: from what a caller sent to one row of graph inputs, or refusals.

Graphs score anything: an unknown category, a NaN, a whole number too large for a 32-bit float all
get an answer, and it is silently wrong. The schema is where that stops. It is on the path of every
case, so each field's check is compiled when the bundle is opened.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from models.card import Card, Field, Value
from models.checks import (
    MAX_TEXT,
    Check,
    FaultFoundError,
    Fed,
    Flag,
    compile_check,
    describe_allowed,
    exact_range,
    kind_of,
)
from models.errors import CaseRejectedError, FieldFault
from models.graph import GraphInput
from models.session import Array, Feeds
from models.slots import Layout, Slot

_MAX_UNKNOWN_FIELDS = 20
"""How many unknown fields are named before the rest are only counted."""
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class EncodedCase:
    """One case, checked: ready for the graph (``feeds``, one row) and for people (``values``).

    ``values`` holds every field in the card's order, numbers as float, missing ones as None.
    ``flags`` names what was accepted though missing or unknown.
    """

    feeds: Feeds
    values: dict[str, Value]
    flags: tuple[Flag, ...]


class CaseSchema:
    """The fields of one card, compiled for the inputs of one graph.

    Raises CardRefusedError when a field cannot be fed as the card says.
    """

    def __init__(self, card: Card, layout: Layout) -> None:
        self.fields = card.fields
        self.slots: tuple[Slot, ...] = layout.slots
        self._dtypes = layout.dtypes
        self._checks: tuple[tuple[str, Check], ...] = tuple(
            (field.name, compile_check(field, dtype))
            for field, dtype in zip(card.fields, layout.dtypes, strict=True)
        )
        self._names = frozenset(field.name for field in card.fields)
        self._blocks = _blocks(layout)

    def encode(self, case: Mapping[str, object]) -> EncodedCase:
        """Return the case as one row of graph inputs.

        Raises CaseRejectedError with every fault of every field.
        """
        fed: list[Fed] = []
        flags: list[Flag] = []
        values: dict[str, Value] = {}
        faults: list[FieldFault] = []
        for name, check in self._checks:
            try:
                value = case[name]
                item = check(value, flags)
            except FaultFoundError as found:
                faults.append(found.fault)
            except KeyError:
                faults.append(self._missing_field(name))
            else:
                fed.append(item)
                values[name] = None if value is None else item
        if faults or len(case) != len(values):
            raise CaseRejectedError((*faults, *self._unknown_fields(case)))
        feeds: dict[str, Array] = {}
        for fill in self._blocks:
            feeds.update(fill(fed))
        return EncodedCase(feeds, values, tuple(flags))

    def json_schema(self) -> dict[str, object]:
        """Return the contract as JSON Schema 2020-12, for a caller who has not seen the card."""
        return {
            "type": "object",
            "properties": {
                field.name: _field_schema(field, dtype)
                for field, dtype in zip(self.fields, self._dtypes, strict=True)
            },
            "required": [field.name for field in self.fields],
            "additionalProperties": False,
        }

    def _missing_field(self, name: str) -> FieldFault:
        field = next(field for field in self.fields if field.name == name)
        send = "; send null where it is not known" if field.may_be_missing else ""
        return FieldFault(
            field=name,
            code="missing_field",
            message=f"{name} is missing{send}",
            got_kind="nothing",
            allowed=describe_allowed(field),
        )

    def _unknown_fields(self, case: Mapping[str, object]) -> list[FieldFault]:
        unknown = [str(name) for name in case if name not in self._names]
        faults = [self._unknown_field(name) for name in unknown[:_MAX_UNKNOWN_FIELDS]]
        if len(unknown) > _MAX_UNKNOWN_FIELDS:
            faults.append(
                FieldFault(
                    field="",
                    code="unknown_field",
                    message=f"and {len(unknown) - _MAX_UNKNOWN_FIELDS} more unknown fields",
                    got_kind="fields",
                    allowed=f"the {len(self.fields)} fields of the schema",
                )
            )
        return faults

    def _unknown_field(self, name: str) -> FieldFault:
        # A stranger's name goes into messages: keep it short and printable.
        shown = "".join(c if c.isprintable() else "?" for c in name[:_MAX_NAME])
        close = difflib.get_close_matches(shown, sorted(self._names), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return FieldFault(
            field=shown,
            code="unknown_field",
            message=f"{shown!r} is not a field of this model{hint}",
            got_kind="field",
            allowed=f"the {len(self.fields)} fields of the schema",
        )


def stack(rows: Sequence[Feeds]) -> Feeds:
    """Return feeds of one row each as one set of feeds; at least one row."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


_Fill = Callable[[list[Fed]], Mapping[str, Array]]


def _blocks(layout: Layout) -> tuple[_Fill, ...]:
    """Return one function per input type that turns the fed values into the arrays of that type.

    One array is made per type and the inputs are views of it: making an array per input costs
    more than all the checks.
    """
    fields: dict[str, list[int]] = {}
    for entry in layout.inputs:
        columns = {
            slot.column: place
            for place, slot in enumerate(layout.slots)
            if slot.input == entry.name
        }
        fields[entry.name] = [columns[column] for column in sorted(columns)]
    fills: list[_Fill] = []
    for dtype in dict.fromkeys(entry.dtype for entry in layout.inputs):
        inputs = [entry for entry in layout.inputs if entry.dtype == dtype]
        places = [place for entry in inputs for place in fields[entry.name]]
        same = {(entry.rank, entry.width) for entry in inputs} in ({(2, 1)}, {(1, 1)})
        fill = _fill_single_columns if same else _fill_slices
        fills.append(fill(inputs, _pick(places), np.dtype(object if dtype == "string" else dtype)))
    return tuple(fills)


def _pick(places: list[int]) -> Callable[[list[Fed]], tuple[Fed, ...]]:
    if len(places) == 1:
        (place,) = places
        return lambda fed: (fed[place],)
    return itemgetter(*places)


def _fill_single_columns(
    inputs: list[GraphInput],
    pick: Callable[[list[Fed]], tuple[Fed, ...]],
    dtype: np.dtype[np.generic],
) -> _Fill:
    names = tuple(entry.name for entry in inputs)
    shape = (len(names), 1, 1) if inputs[0].rank == 2 else (len(names), 1)

    def fill(fed: list[Fed]) -> Mapping[str, Array]:
        # Iterating an array yields views of its rows, cheaper than slicing it.
        return dict(zip(names, np.array(pick(fed), dtype).reshape(shape), strict=True))

    return fill


def _fill_slices(
    inputs: list[GraphInput],
    pick: Callable[[list[Fed]], tuple[Fed, ...]],
    dtype: np.dtype[np.generic],
) -> _Fill:
    cuts: list[tuple[str, int, int, tuple[int, ...]]] = []
    start = 0
    for entry in inputs:
        width = entry.width or 1
        cuts.append((entry.name, start, start + width, (1, width) if entry.rank == 2 else (1,)))
        start += width

    def fill(fed: list[Fed]) -> Mapping[str, Array]:
        block = np.array(pick(fed), dtype)
        return {name: block[a:b].reshape(shape) for name, a, b, shape in cuts}

    return fill


def _field_schema(field: Field, dtype: str) -> dict[str, object]:
    kinds: str | list[str] = [field.type, "null"] if field.may_be_missing else field.type
    schema: dict[str, object] = {"type": kinds, "title": field.label}
    told = [field.description or "", f"Unit: {field.unit}." if field.unit else ""]
    if any(told):
        schema["description"] = " ".join(part for part in told if part)
    if field.categories and not field.may_be_unknown:
        schema["enum"] = [*field.categories, *([None] if field.may_be_missing else [])]
    elif field.categories:
        schema["examples"] = list(field.categories)
        if field.type == "string":
            schema["maxLength"] = MAX_TEXT
    if field.type in {"number", "integer"} and not field.categories:
        least, greatest = exact_range(field, dtype)
        if least is not None:
            schema["minimum"] = least
        if greatest is not None:
            schema["maximum"] = greatest
    return schema


__all__ = ["CaseSchema", "EncodedCase", "Flag", "kind_of", "stack"]
