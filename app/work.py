"""What the engine is given, and what it gives back: work that ends in one record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from audit.records import Idempotency, NewRecord, Receipt

if TYPE_CHECKING:
    from app.answers import Assessment


def _nothing() -> None:
    """Forbid nothing."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One piece of work, done but not yet recorded: nobody may see ``answer`` before it is."""

    record: NewRecord
    answer: bytes
    result: str
    """The outcome or verdict in one word of ours, for counting."""
    assessment: "Assessment | None" = None
    """What a recommendation was made of, for counting; not looked at here."""
    check: Callable[[], None] = _nothing
    """Raises what forbids the record by now; asked right before it is appended."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Work that needs something slow before it can be recorded.

    It goes back to the one who waits, who runs ``finish`` on another thread and submits what that
    returns: on the event loop's thread it would hold up everything.
    """

    finish: Callable[[], "Work"]


Made = Prepared | Unfinished | Exception
"""What preparing gave; an exception reaches the one who waits."""


class Work(Protocol):
    """Something that ends in one record."""

    @property
    def idempotency(self) -> Idempotency | None:
        """The caller's promise that the same key means the same request."""
        ...

    def prepare(self) -> Prepared | Unfinished:
        """Do the work, on the event loop's thread; what it raises reaches the one who waits."""
        ...

    def recorded(self, prepared: Prepared) -> None:
        """Hear, on the engine's thread, that the record is durable: the moment to count it."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """The work's answer, now durable."""

    answer: bytes
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Earlier:
    """The same request was answered before, by the record with this id."""

    id: str


Outcome = Recorded | Earlier | Unfinished


def alone(works: Sequence[Work]) -> list[Made]:
    """Prepare each piece of work by itself."""
    return [_made(work) for work in works]


def _made(work: Work) -> Made:
    try:
        return work.prepare()
    except Exception as error:  # noqa: BLE001  # reaches the one who waits
        return error
