"""Where each field of the card sits in the graph's inputs.

A graph keeps column names only where it has one input per column. For one tensor, or one tensor
per type, the order of the card's fields is the order of the columns; the sample rows, which carry
the trainer's own scores, then prove it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.card import Card, Field
from models.errors import CardRefusedError
from models.graph import GraphInput

# Which input types can hold a field of this type, the closest first. A whole number fits a float
# input because the schema refuses the ones that would not survive the cast.
_FITTING = {
    "number": ("float64", "float32"),
    "integer": ("int64", "int32", "float64", "float32"),
    "boolean": ("bool", "int64", "int32", "float64", "float32"),
    "string": ("string",),
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One field's place: the name of the graph input and the column of it, counted from 0."""

    input: str
    column: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The inputs as they are fed, and each field's place among them, in the card's order."""

    inputs: tuple[GraphInput, ...]
    """In the graph's order, every width known."""
    slots: tuple[Slot, ...]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The type of each field's input, in the card's order."""
        by_name = {entry.name: entry.dtype for entry in self.inputs}
        return tuple(by_name[slot.input] for slot in self.slots)


def lay_out(card: Card, inputs: Sequence[GraphInput]) -> Layout:
    """Return where the card's fields go.

    A field goes to the input that the card names; else to the input of its own name; else to the
    only input left that fits its type best. Raises CardRefusedError when that leaves a choice, a
    column empty or taken twice, or a type that does not fit.
    """
    by_name = {entry.name: entry for entry in inputs}
    chosen = [_choose(field, card, by_name) for field in card.fields]
    members: dict[str, list[Field]] = {name: [] for name in by_name}
    for field, entry in zip(card.fields, chosen, strict=True):
        members[entry.name].append(field)
    columns: dict[str, int] = {}
    widths: list[GraphInput] = []
    for entry in inputs:
        columns.update(_columns(entry, members[entry.name]))
        widths.append(
            GraphInput(entry.name, entry.dtype, rank=entry.rank, width=len(members[entry.name]))
        )
    slots = tuple(
        Slot(entry.name, columns[field.name])
        for field, entry in zip(card.fields, chosen, strict=True)
    )
    return Layout(tuple(widths), slots)


def _choose(field: Field, card: Card, inputs: dict[str, GraphInput]) -> GraphInput:
    what = f"field {field.name!r}"
    if field.input is not None:
        if field.input not in inputs:
            raise CardRefusedError(
                what, got=f"input {field.input!r}", want=f"one of {_names(list(inputs.values()))}"
            )
        entry = inputs[field.input]
    elif len(inputs) == 1:
        entry = next(iter(inputs.values()))
    elif field.name in inputs:
        entry = inputs[field.name]
    else:
        entry = _closest(field, card, inputs)
    if entry.dtype not in _FITTING[field.type]:
        raise CardRefusedError(
            what,
            got=f"type {field.type} for input {entry.name!r} of {entry.dtype}",
            want=f"an input of {' or '.join(_FITTING[field.type])}",
        )
    return entry


def _closest(field: Field, card: Card, inputs: dict[str, GraphInput]) -> GraphInput:
    own = {other.name for other in card.fields}
    free = [entry for name, entry in inputs.items() if name not in own]
    for dtype in _FITTING[field.type]:
        fitting = [entry for entry in free if entry.dtype == dtype]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise CardRefusedError(
                f"field {field.name!r}",
                got=f"a choice between inputs {_names(fitting)}",
                want="input and column in the card",
            )
    raise CardRefusedError(
        f"field {field.name!r}",
        got=f"no input of that name, and no other for {field.type}",
        want=f"a field that fits one of the graph's inputs: {_names(list(inputs.values()))}",
    )


def _columns(entry: GraphInput, members: list[Field]) -> dict[str, int]:
    what = f"graph input {entry.name!r}"
    names = ", ".join(repr(field.name) for field in members[:8]) + (", ..." * (len(members) > 8))
    if len(members) != (entry.width or max(len(members), 1)):
        raise CardRefusedError(
            what,
            got=f"{len(members)} fields of the card ({names or 'none'})",
            want=f"{entry.width or 'one or more'}, one per column",
        )
    if all(field.column is None for field in members):
        return {field.name: place for place, field in enumerate(members)}
    given = {field.name: field.column for field in members if field.column is not None}
    if sorted(given.values()) != list(range(len(members))):
        raise CardRefusedError(
            what,
            got=f"columns {sorted(given.values())} for {len(members)} fields",
            want=f"each of 0 to {len(members) - 1} once, or none given",
        )
    return given


def _names(inputs: Sequence[GraphInput]) -> str:
    shown = ", ".join(f"{entry.name!r} ({entry.dtype})" for entry in inputs[:12])
    return shown + (", ..." * (len(inputs) > 12))
