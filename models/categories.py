"""Proof at load that the graph knows every category of the card.

A graph scores a category it has never seen without complaint: all zeros, or a default code. So a
card that says "Private" where the trainer had "private" would be wrong on every such case, and no
sample might show it. What an encoder makes of each category is compared with what it makes of a
value that nobody could have trained on.
"""

from collections.abc import Sequence

import numpy as np

from models.card import Card, Field
from models.checks import Fed
from models.errors import CardRefusedError, ScoringError
from models.session import Feeds, Session
from models.slots import Slot

_NEVER_SEEN = "\N{REPLACEMENT CHARACTER} never seen \N{REPLACEMENT CHARACTER}"


def check_categories(card: Card, slots: Sequence[Slot], session: Session, row: Feeds) -> None:
    """Try every category in ``row``, through a session whose taps are the graph's encoders.

    Raises CardRefusedError naming categories (and missing_value) that are encoded as if unknown.
    A field of whole numbers that no encoder reads is taken as a number, and passes; a text that
    none reads is refused, for it may as well be misspelt throughout.
    """
    for field, slot in zip(card.fields, slots, strict=True):
        offered = _to_try(field)
        if not offered:
            continue
        unseen = _encoded(session, row, slot, _unseen(field))
        strange = []
        for category in offered:
            made = _encoded(session, row, slot, category)
            if made is None or made == unseen:
                strange.append(category)
        if strange and (field.type == "string" or len(strange) < len(offered)):
            raise CardRefusedError(
                f"field {field.name!r}",
                got="categories that the graph does not know: "
                + ", ".join(repr(category) for category in strange[:8]),
                want="the trainer's own, or may_be_unknown: true",
            )


def _to_try(field: Field) -> list[Fed]:
    if not field.categories:
        return []
    offered: list[Fed] = [] if field.may_be_unknown else [*field.categories]
    stand_in = field.missing_value
    return [*offered, stand_in] if isinstance(stand_in, str) else offered


def _unseen(field: Field) -> Fed:
    if field.type == "string":
        return _NEVER_SEEN
    known = {category for category in field.categories if isinstance(category, int)}
    return next(number for number in range(len(known) + 1) if number not in known)


def _encoded(session: Session, row: Feeds, slot: Slot, value: Fed) -> list[object] | None:
    """Return what all encoders make of the row with that value; None when the graph refuses it."""
    changed = np.array(row[slot.input])
    changed[(0, slot.column)[: changed.ndim]] = value
    try:
        scored = session.run_row({**row, slot.input: changed})
    except ScoringError:
        return None
    return [tap.tolist() for tap in scored.taps]
