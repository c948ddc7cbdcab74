"""What a run of replays found, as frozen values and as the JSON that is kept and shown.

The report names decisions by index and identifier and says where they differ. It holds nothing of a
case, so that it can be given to whoever wants to see it.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from app.domain import NewId
from app.errors import InvalidRequestError
from app.impact import ImpactReport, Tally
from app.replay import VERDICTS, VerdictName, difference_body, verdict_name
from app.selection import Selection
from audit.reader import LogReader
from audit.records import NewRecord
from audit.replay import Difference, Differs, NotReplayable, Verdict

REPLAY_RUN = "replay_run"
VERSION = 1

MAX_EXCEPTIONS = 1_000
"""Named in a report; ``results_sha256`` commits to all."""

ModelKey = tuple[str, str, str]
"""Name, version and digest."""


@dataclass(frozen=True, slots=True)
class LogPoint:
    """The log as it was when the run began."""

    origin: str
    size: int
    root: str
    """Hexadecimal."""


@dataclass(frozen=True, slots=True)
class RunException:
    """One decision that did not come out identical."""

    index: int
    decision: str
    verdict: VerdictName
    reason: str | None
    max_ulps: int | None
    differences: tuple[Difference, ...]

    @property
    def told_differences(self) -> list[dict[str, object]]:
        """What differs, as the API says it."""
        return [difference_body(each) for each in self.differences]

    def body(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "index": self.index,
            "decision": self.decision,
            "verdict": self.verdict,
            "reason": self.reason,
            "max_ulps": self.max_ulps,
            "differences": self.told_differences,
        }


@dataclass(slots=True)
class Sums:
    """What one range of the log, or several in a row, came to."""

    verdicts: Counter[VerdictName] = field(default_factory=Counter)
    models: Counter[tuple[ModelKey, VerdictName]] = field(default_factory=Counter)
    environment: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    """(what, recorded, current) -> decisions that were not identical and had it otherwise."""
    max_ulps: int | None = None
    """The largest distance among those within ULPs."""
    exceptions: list[RunException] = field(default_factory=list)
    impact: Tally | None = None
    lines: list[bytes] = field(default_factory=list)
    """One for each decision: index, leaf hash and verdict."""

    @property
    def decisions(self) -> int:
        """How many there were."""
        return self.verdicts.total()

    def add(
        self, index: int, decision: str, leaf_hash: bytes, model: ModelKey, verdict: Verdict, *, max_ulps: int
    ) -> None:  # fmt: skip
        """Take one replay in."""
        name = verdict_name(verdict, max_ulps=max_ulps)
        self.count(index, leaf_hash, model, name)
        if name == "identical":
            return
        differs = verdict if isinstance(verdict, Differs) else None
        if differs is not None:
            for each in differs.environment:
                self.environment[each.name, each.recorded, each.current] += 1
            if name == "within_ulps" and differs.max_ulps is not None:
                self.max_ulps = max(self.max_ulps or 0, differs.max_ulps)
        self.note(
            RunException(
                index,
                decision,
                name,
                verdict.detail if isinstance(verdict, NotReplayable) else None,
                None if differs is None else differs.max_ulps,
                () if differs is None else differs.differences,
            )
        )

    def count(self, index: int, leaf_hash: bytes, model: ModelKey, name: VerdictName) -> None:
        """Take one decision's verdict in."""
        self.verdicts[name] += 1
        self.models[model, name] += 1
        self.lines.append(f"{index} {leaf_hash.hex()} {name}\n".encode())

    def note(self, exception: RunException) -> None:
        """Name one decision, as far as there is room."""
        if len(self.exceptions) < MAX_EXCEPTIONS:
            self.exceptions.append(exception)

    def merge(self, other: "Sums") -> None:
        """Take in a range that comes after; its lines are the caller's to hash."""
        self.verdicts.update(other.verdicts)
        self.models.update(other.models)
        self.environment.update(other.environment)
        if other.max_ulps is not None:
            self.max_ulps = max(self.max_ulps or 0, other.max_ulps)
        for exception in other.exceptions:
            self.note(exception)
        if other.impact is not None:
            self.impact = self.impact or Tally()
            self.impact.merge(other.impact)


@dataclass(frozen=True, slots=True)
class Instead:
    """What the cases were tried with."""

    bundle: str | None
    """Its digest; None where each case went through the one it was made with."""
    policy: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run found."""

    kind: Literal["replay", "counterfactual"]
    log: LogPoint
    selection: Selection
    started: str
    ended: str
    environment: Mapping[str, str]
    """Of the machine that recomputed."""
    allowed_ulps: int
    sums: Sums
    results_sha256: str
    """Over a line for each decision in order: index, leaf hash in hexadecimal and verdict, with
    single spaces and a newline. Whoever replays the same range gets the same."""
    instead: Instead | None

    @property
    def impact(self) -> ImpactReport | None:
        """What would change; None for a replay."""
        if self.instead is None:
            return None
        return (self.sums.impact or Tally()).report()

    @property
    def all_as_it_should_be(self) -> bool:
        """Return whether every decision came out the same or was lawfully erased."""
        return set(self.sums.verdicts) <= {"identical", "within_ulps", "erased"}

    def body(self) -> dict[str, object]:
        """Return the report as JSON has it."""
        sums = self.sums
        impact = self.impact
        return {
            "version": VERSION,
            "kind": self.kind,
            "log": {"origin": self.log.origin, "size": self.log.size, "root": self.log.root},
            "selection": self.selection.body(),
            "started": self.started,
            "ended": self.ended,
            "environment": dict(self.environment),
            "allowed_ulps": self.allowed_ulps,
            "decisions": sums.decisions,
            "verdicts": {name: sums.verdicts[name] for name in VERDICTS},
            "max_ulps": sums.max_ulps,
            "by_model": [
                {
                    "name": key[0],
                    "version": key[1],
                    "digest": key[2],
                    "verdicts": {name: sums.models[key, name] for name in VERDICTS},
                }
                for key in sorted({key for key, _ in sums.models})
            ],
            "environment_changed": [
                {"name": name, "recorded": recorded, "current": current, "decisions": count}
                for (name, recorded, current), count in sorted(
                    sums.environment.items(), key=lambda pair: tuple(map(str, pair[0]))
                )
            ],
            "results_sha256": self.results_sha256,
            "exceptions": [each.body() for each in sums.exceptions],
            "exceptions_omitted": sum(
                count for name, count in sums.verdicts.items() if name != "identical"
            )
            - len(sums.exceptions),
            "instead": (
                None
                if self.instead is None
                else {"bundle": self.instead.bundle, "policy": self.instead.policy}
            ),
            "impact": None if impact is None else impact.body(),
        }

    def encode(self) -> bytes:
        """Return the report's bytes: what the log commits to."""
        return orjson.dumps(self.body(), option=orjson.OPT_SORT_KEYS)


def check_report(log: LogReader, content: Mapping[str, Any]) -> None:
    """Raise InvalidRequestError unless a report is about this log, and its sums agree.

    ``content`` is of the documented form.
    """
    point = content["log"]
    if point["origin"] != log.origin:
        raise InvalidRequestError(f"log.origin: want {log.origin}, the log of this service")
    size = log.size
    if not 0 < point["size"] <= size:
        raise InvalidRequestError(f"log.size: want 1 to {size}, what this log has")
    if log.root(point["size"]).hex() != point["root"]:
        raise InvalidRequestError("log.root: this log had another root at that size")
    if not content["selection"]["start"] <= content["selection"]["stop"] <= point["size"]:
        raise InvalidRequestError("selection: want start, stop and log.size in rising order")
    counts = content["verdicts"]
    if sum(counts.values()) != content["decisions"] or any(
        counts[name] != sum(model["verdicts"][name] for model in content["by_model"])
        for name in VERDICTS
    ):
        raise InvalidRequestError("verdicts: the sums do not agree with decisions and by_model")
    named = len(content["exceptions"]) + content["exceptions_omitted"]
    if named != content["decisions"] - counts["identical"]:
        raise InvalidRequestError("exceptions: want one for each decision that is not identical")
    is_counterfactual = content["kind"] == "counterfactual"
    if (content["instead"] is not None, content["impact"] is not None) != (is_counterfactual,) * 2:
        raise InvalidRequestError("instead, impact: want both for a counterfactual run, or neither")


def run_record(
    report: bytes, content: Mapping[str, Any], *, actor: str, at: str, new_id: NewId
) -> NewRecord:
    """Return the log's entry of a run: the report whole, under commitments in the leaf.

    ``content`` is the same report, parsed. One entry for a run however long: the leaf commits to the
    verdict on every decision through ``results``, and to the report.
    """
    log = content["log"]
    return NewRecord(
        type=REPLAY_RUN,
        id=new_id(),
        facts={
            "kind": content["kind"],
            "decisions": content["decisions"],
            "verdicts": {name: count for name, count in content["verdicts"].items() if count},
            "results": content["results_sha256"],
            "report": hashlib.sha256(report).hexdigest(),
            "at": {"size": log["size"], "root": log["root"]},
        },
        payload=orjson.dumps({"v": 1, "actor": actor, "at": at, "report": orjson.Fragment(report)}),
    )
