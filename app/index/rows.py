"""What one entry of the log changes in the index: pure, entry by entry, in the log's order.

A row holds opaque names and outcomes, nothing of a case's fields. The advised outcome is in it only
once everybody who reads lists may see it: at once where the policy shows advice at once, else with
the final decision. So no filter or sort order can tell what is kept back. After an erasure a row
says what the public leaf says, and no more.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import orjson

from app.case_events import (
    CASEWORKER_DECISION,
    CONTEST,
    CORRECTED,
    CORRECTS,
    RELEASED,
    REVIEW,
    TAKEN,
    EventType,
)
from app.domain import Role
from app.index.store import Statement
from app.log_entries import READ
from app.monitoring.entries import OUTCOME
from app.records import FIRST_WITH_TERMS, RECOMMENDATION, REPLAY
from audit.leaf import Leaf
from audit.records import ERASURE

OPEN = "open"
SECOND_PERSON = "waiting_for_second_person"
FINAL = "final"
CONTESTED = "contested"
REVIEWED = "reviewed"
WAS_CORRECTED = "corrected"
ERASED = "erased"
DAMAGED = "damaged"
"""What is stored of it contradicts the log: see ``grounds verify``."""

EVENTS = frozenset(
    (CASEWORKER_DECISION, CONTEST, REVIEW, TAKEN, RELEASED, CORRECTS, CORRECTED)
)  # fmt: skip
"""The steps of a case that lists know of."""
ABOUT = frozenset((READ, REPLAY, ERASURE, OUTCOME, *get_args(EventType)))
"""Entries that are about one decision, or several: its timeline."""
TYPES = frozenset((RECOMMENDATION,)) | ABOUT
WITH_PAYLOAD = frozenset((RECOMMENDATION,)) | EVENTS

_LIVING = f"status NOT IN ('{ERASED}', '{DAMAGED}')"
_EMPTIED = (
    "UPDATE decision SET status = ?, policy = NULL, policy_version = NULL, caller = NULL,"
    " advised = NULL, outcome = NULL, departed = NULL, reason = NULL, holder = NULL,"
    " decided = NULL, due = NULL, opened_by = NULL, opened = NULL, dwell_ms = NULL,"
    " corrects = NULL, corrected_as = NULL WHERE seq = ?"
)
# The first reading counts, until somebody else opens the case.
_SEEN = (
    "UPDATE decision SET opened_by = ?1, opened = ?2 WHERE seq = ?3"
    " AND status IN ('open', 'waiting_for_second_person') AND opened_by IS NOT ?1"
)
_DWELT = (
    "UPDATE decision SET"
    " dwell_ms = cast(round((julianday(?) - julianday(opened)) * 86400000) AS INTEGER)"
    " WHERE seq = ? AND opened_by = ?"
)
_OPENED_IN = ("page", "decision")
"""The ways to read a case that count as having it before one's eyes."""


def changes(
    index: int,
    leaf: Leaf,
    payload: bytes | None,
    *,
    advised: Callable[[int], str | None],
    damaged: bool = False,
) -> list[Statement]:
    """Return what an entry changes. ``payload`` is None when the entry has none, or not any more.

    ``advised`` reads what a recommendation, by its index, advised.
    """
    if leaf.type == RECOMMENDATION:
        return [_inserted(index, leaf, payload, damaged=damaged)]
    of = leaf.facts.get("of")
    if leaf.type == ERASURE:
        erased = [each for each in of if isinstance(each, int)] if isinstance(of, list) else []
        return [
            *((_EMPTIED, (ERASED, each)) for each in erased),
            *(_about(each, index) for each in erased),
        ]
    if not isinstance(of, int):
        return []
    return [_about(of, index), *_moved(of, leaf, payload, advised)]


def _about(of: int, index: int) -> Statement:
    """Remember that an entry is about a decision, if that is one."""
    return (
        "INSERT OR IGNORE INTO about(of, seq) SELECT seq, ?2 FROM decision WHERE seq = ?1",
        (of, index),
    )


def _moved(
    of: int, leaf: Leaf, payload: bytes | None, advised: Callable[[int], str | None]
) -> list[Statement]:
    """Return what an entry about a decision changes in its row."""
    if leaf.type == READ:
        return _opened(of, leaf)
    if leaf.type in EVENTS and payload is not None:
        said: Mapping[str, Any] = orjson.loads(payload)
        return _STEPS[leaf.type](of, said, advised)
    return []


def advised_outcome(payload: bytes) -> str | None:
    """Return the outcome that a recommendation's payload advises, None when it advises none."""
    return _advised(orjson.loads(payload))


def _advised(said: Mapping[str, Any]) -> str | None:
    recommendation = said["answer"].get("recommendation")
    return None if recommendation is None else str(recommendation["outcome"])


def _inserted(index: int, leaf: Leaf, payload: bytes | None, *, damaged: bool) -> Statement:
    model = leaf.facts.get("model")
    named = model if isinstance(model, Mapping) else {}
    row: dict[str, str | int | None] = {
        "seq": index,
        "id": leaf.id,
        "created": leaf.timestamp,
        "model": str(named.get("name")),
        "version": str(named.get("version")),
        "status": ERASED,
    }
    if damaged:
        row["status"] = DAMAGED
    elif payload is not None:
        # Not parse_recommendation: it makes the whole record, at twice the cost of an entry.
        said = orjson.loads(payload)
        at_once = said["v"] < FIRST_WITH_TERMS or said["terms"]["reveal"] == "concurrent"
        row |= {
            "status": OPEN,
            "policy": said["answer"]["policy"]["name"],
            "policy_version": said["answer"]["policy"]["version"],
            "caller": said["caller"],
            "advised": _advised(said) if at_once else None,
        }
    places = ", ".join("?" * len(row))
    return f"INSERT INTO decision({', '.join(row)}) VALUES({places})", tuple(row.values())


def _opened(of: int, leaf: Leaf) -> list[Statement]:
    """Remember who last had an open case before their eyes, and since when."""
    if leaf.facts.get("role") != Role.CASEWORKER or leaf.facts.get("what") not in _OPENED_IN:
        return []
    return [(_SEEN, (str(leaf.facts.get("reader")), leaf.timestamp, of))]


def _set(of: int, **columns: str | int | None) -> Statement:
    """Return the change of some columns of a row whose content is there."""
    names = ", ".join(f"{name} = ?" for name in columns)
    statement = f"UPDATE decision SET {names} WHERE seq = ? AND {_LIVING}"  # noqa: S608
    return statement, (*columns.values(), of)


def _decided(
    of: int, said: Mapping[str, Any], advised: Callable[[int], str | None]
) -> list[Statement]:
    content, actor, at = said["content"], said["actor"], said["at"]
    if not content["final"]:
        return [_set(of, status=SECOND_PERSON)]
    agrees, outcome = content["agrees"], str(content["outcome"])
    final = _set(
        of,
        status=FINAL,
        outcome=outcome,
        # Everybody may see the advice now. Whoever followed it says what it was.
        advised=outcome if agrees else None if agrees is None else advised(of),
        departed=None if agrees is None else int(not agrees),
        reason=content["reason"]["code"],
        holder=actor,
        decided=at,
    )
    return [final, (_DWELT, (at, of, actor))]


def _contested(of: int, said: Mapping[str, Any], _: object) -> list[Statement]:
    return [_set(of, status=CONTESTED, due=said["content"]["due"])]


def _reviewed(of: int, said: Mapping[str, Any], _: object) -> list[Statement]:
    return [_set(of, status=REVIEWED, outcome=said["content"]["outcome"], due=None)]


def _taken(of: int, said: Mapping[str, Any], _: object) -> list[Statement]:
    return [_set(of, holder=said["actor"])]


def _released(of: int, _said: object, _: object) -> list[Statement]:
    return [_set(of, holder=None)]


def _corrects(of: int, said: Mapping[str, Any], _: object) -> list[Statement]:
    return [_set(of, corrects=said["content"]["decision"], holder=said["actor"])]


def _corrected(of: int, said: Mapping[str, Any], _: object) -> list[Statement]:
    return [_set(of, status=WAS_CORRECTED, corrected_as=said["content"]["decision"])]


_STEPS: Mapping[
    str, Callable[[int, Mapping[str, Any], Callable[[int], str | None]], list[Statement]]
] = {
    CASEWORKER_DECISION: _decided,
    CONTEST: _contested,
    REVIEW: _reviewed,
    TAKEN: _taken,
    RELEASED: _released,
    CORRECTS: _corrects,
    CORRECTED: _corrected,
}
