"""Runs of replays on record, as their leaves tell them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from audit.leaf import Fact
from audit.rare import RareEntries


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run, without opening its report."""

    id: str
    index: int
    recorded: str
    kind: str
    decisions: int
    verdicts: Mapping[str, int]
    """Those that there are."""
    results_sha256: str
    report_sha256: str

    def body(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return asdict(self)


def recorded_runs(entries: RareEntries, limit: int) -> list[RecordedRun]:
    """Return the latest ``limit`` runs, the latest first."""
    found = entries.entries()[-limit:]
    return [
        RecordedRun(
            id=leaf.id,
            index=index,
            recorded=leaf.timestamp,
            kind=str(leaf.facts["kind"]),
            decisions=_count(leaf.facts["decisions"]),
            verdicts=_counts(leaf.facts["verdicts"]),
            results_sha256=str(leaf.facts["results"]),
            report_sha256=str(leaf.facts["report"]),
        )
        for index, leaf in reversed(found)
    ]


def _counts(told: Fact) -> dict[str, int]:
    return (
        {name: _count(count) for name, count in told.items()} if isinstance(told, Mapping) else {}
    )


def _count(told: Fact) -> int:
    return told if isinstance(told, int) else 0
