"""Faults that a verification collects."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    index: int | None
    """The first entry concerned; None when it is not about entries."""
    kind: str
    """What is concerned: "missing", "leaf", "id", "payload", "key", "subject-key", "idempotency",
    "erasure", "step", "tile", "head", "checkpoint", "checkpoint-file", "held-checkpoint", "rolled-back",
    "beyond", "genesis", "key-file", "key-rotation", "schema", "wal", "database", or the table of a row that no
    entry accounts for."""
    message: str
    count: int = 1
    """How many entries from ``index`` on."""

    def concerns(self, index: int) -> bool:
        """Return whether the fault is about this entry."""
        return self.index is not None and self.index <= index < self.index + self.count


@dataclass(slots=True)
class Faults:
    """A growing list of faults, in the order found."""

    found: list[Fault] = field(default_factory=list)

    def add(self, index: int | None, kind: str, message: str, *, count: int = 1) -> None:
        """Note a fault; missing entries in a row become one fault."""
        last = self.found[-1] if self.found else None
        if (
            last is not None
            and last.index is not None
            and (last.index + last.count, last.kind, last.message) == (index, kind, message)
        ):
            self.found[-1] = Fault(last.index, kind, message, last.count + count)
        else:
            self.found.append(Fault(index, kind, message, count))
