"""Follows the log, keeps each model's figures, and trips the circuit breaker.

Everything is read from the log, in its order: a restart, or another replica's decisions, change no
figure. What this process decided itself is handed over in memory, so that it need not be decrypted
again. Runs on a thread of its own, once a second; nothing of it is on a decision's path but
``stance``, one look into a dictionary.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import RLock

import numpy as np
import orjson
import structlog

from app.metrics import Metrics
from app.monitoring.attributes import AttributeStore
from app.monitoring.decided import Decided
from app.monitoring.entries import BREAKER, OUTCOME
from app.monitoring.limits import Action, LimitName, Watched
from app.monitoring.report import Breach, Report, report
from app.monitoring.streams import Brief, Made, Stream
from app.records import RECOMMENDATION, StoredRecommendation, parse_recommendation
from app.served import ServedModel
from audit.errors import AuditError
from audit.leaf import Leaf, parse_leaf
from audit.reader import LogReader
from audit.records import ERASURE

BATCH = 1000
"""Entries read at a time."""

_log = structlog.get_logger("grounds.monitor")


@dataclass(frozen=True, slots=True)
class Tripped:
    """A limit of a model that was broken and that no person has reset."""

    limit: LimitName
    subject: str
    action: Action


class Monitor:
    """All models' figures. Safe from any thread."""

    def __init__(
        self,
        log: LogReader,
        served: Mapping[str, ServedModel],
        watch: Callable[[ServedModel], Watched],
        attributes: AttributeStore,
        metrics: Metrics,
    ) -> None:
        """``served`` are the active versions at each moment; ``watch`` says what to watch of one."""
        self._log, self._attributes, self._metrics = log, attributes, metrics
        self._served, self._watch = served, watch
        self._streams: dict[str, Stream] = {}
        self._by_digest: dict[str, str] = {}
        self._next = 0
        self._recent: dict[str, Decided] = {}
        self._older: dict[str, Brief] = {}
        self._tripped: dict[str, dict[tuple[LimitName, str], Tripped]] = {}
        self._stances: dict[str, Action] = {}
        self._reports: dict[str, Report] = {}
        self._attributes_changed = True
        self._lock = RLock()
        self._follow()

    @property
    def behind(self) -> int:
        """Entries of the log that no figure knows yet."""
        return self._log.size - self._next

    @property
    def models(self) -> list[str]:
        """The names of the models that are watched."""
        return sorted(self._streams)

    def stance(self, model: str) -> Action | None:
        """Return the gravest action that a tripped limit of the model asks for, None without any."""
        return self._stances.get(model)

    def tripped(self, model: str) -> list[Tripped]:
        """Return the model's tripped limits."""
        with self._lock:
            return list(self._tripped[model].values())

    def served(self, model: str) -> ServedModel:
        """Return the served model of that name."""
        return self._streams[model].served

    def watched(self, model: str) -> Watched:
        """Return what is watched of a model."""
        return self._streams[model].watched

    def reports(self) -> dict[str, Report]:
        """Return the latest figures, by model, without making new ones."""
        return dict(self._reports)

    def attributes_changed(self) -> None:
        """Hear that the attribute store was written to."""
        self._attributes_changed = True

    def step(self) -> list[tuple[str, Breach]]:
        """Take in what is new; return the limits that are broken and have not tripped yet."""
        with self._lock:
            for decided in self._metrics.drain():
                self._recent[decided.id] = decided
            if self._follow():
                self._attributes_changed = True
            if not self._advance() and not self._attributes_changed:
                return []
            self._attributes_changed = False
            broken = []
            for name, stream in self._streams.items():
                self._reports[name] = self._report(name, stream)
                broken += [
                    (name, breach)
                    for breach in self._reports[name].breaches
                    if (breach.limit, breach.subject) not in self._tripped[name]
                ]
            return broken

    def report(self, model: str) -> Report:
        """Return the model's figures of this very moment."""
        self.step()
        with self._lock:
            found = self._reports.get(model)
            return self._report(model, self._streams[model]) if found is None else found

    def brief(self, model: str, decision: str) -> Brief | None:
        """Return what is kept of a decision, read from the log where it is older."""
        stream = self._streams[model]
        found = stream.known(decision) or self._older.get(decision)
        if found is None:
            made = self._read([decision]).get(decision)
            if made is None:
                return None
            found = self._older[decision] = stream.brief(made)
            while len(self._older) > stream.watched.monitoring.window:
                del self._older[next(iter(self._older))]
        return found

    def _report(self, name: str, stream: Stream) -> Report:
        reports = self._attributes.latest(name, stream.watched.monitoring.window)
        return report(
            stream,
            reports,
            self._attributes.count(name),
            lambda decision: self.brief(name, decision),
        )

    def _advance(self) -> bool:
        """Take in the log's growth; return whether there was any."""
        size, begun = self._log.size, self._next
        while self._next < size:
            for row in self._log.entries(self._next, min(size, self._next + BATCH)):
                decided = self._recent.pop(row.id, None)
                if decided is not None:
                    self._decide(decided)
                else:
                    self._take(parse_leaf(row.leaf))
                self._next = row.seq + 1
        # Whatever was handed over and is not in the log by now never came into it.
        if len(self._recent) > BATCH:
            self._recent.clear()
        for stream in self._streams.values():
            stream.settle(self._read(stream.unread()))
        return self._next > begun

    def _follow(self) -> bool:
        """Watch the versions that are active by now; return whether any is another than before."""
        changed = [
            served
            for name, served in self._served.items()
            if name not in self._streams or _is_other(self._streams[name].served, served)
        ]
        for served in changed:
            name = served.name
            self._streams[name] = Stream(served, self._watch(served))
            self._tripped[name] = {}
            self._by_digest = {d: n for d, n in self._by_digest.items() if n != name}
            self._by_digest[_hex(served)] = name
            self._catch_up(served)
            self._restance(name)
        return bool(changed)

    def _catch_up(self, served: ServedModel) -> None:
        """Take in what the log said of this bundle before: its figures are those of a restart."""
        digest = _hex(served).encode()
        for start in range(0, self._next, BATCH):
            for row in self._log.entries(start, min(start + BATCH, self._next)):
                if digest in row.leaf:
                    leaf = parse_leaf(row.leaf)
                    if leaf.type in (RECOMMENDATION, OUTCOME, BREAKER):
                        self._take(leaf)

    def _decide(self, decided: Decided) -> None:
        stream = self._streams.get(decided.served.name)
        # A canary's decisions are no figures of the active version.
        if stream is not None and stream.served.bundle.digest == decided.served.bundle.digest:
            stream.decide(decided.id, _made(decided))

    def _take(self, leaf: Leaf) -> None:
        if leaf.type == ERASURE:
            self._erase(leaf)
            return
        name = self._model_of(leaf)
        if name is None:
            return
        if leaf.type == RECOMMENDATION:
            self._streams[name].decide(leaf.id, None)
        elif leaf.type == OUTCOME:
            self._turn_out(name, leaf)
        elif leaf.type == BREAKER:
            self._remember(name, leaf)

    def _model_of(self, leaf: Leaf) -> str | None:
        """Return the served model that an entry is about; another bundle's figures are its own."""
        model = leaf.facts.get("model")
        digest = model.get("sha256") if isinstance(model, Mapping) else None
        return self._by_digest.get(digest) if isinstance(digest, str) else None

    def _turn_out(self, name: str, leaf: Leaf) -> None:
        stream = self._streams[name]
        # Decisions of this batch may still be unread, and this outcome may be of one of them.
        stream.settle(self._read(stream.unread()))
        try:
            payload = self._log.read(leaf.id).payload
        except AuditError as err:
            self._fault(err)
            return
        if payload is None:
            return  # erased
        content = orjson.loads(payload)
        brief = self.brief(name, content["decision"])
        if brief is not None:
            positive = content["outcome"] == stream.served.bundle.card.output.positive_class
            stream.turn_out(content["decision"], brief, positive=positive)

    def _remember(self, name: str, leaf: Leaf) -> None:
        """Take in what the breaker wrote."""
        facts, stream = leaf.facts, self._streams[name]
        limit, subject = facts.get("limit"), str(facts.get("subject"))
        if facts.get("state") == "tripped":
            for known in stream.watched.monitoring.limits:
                if known == limit:
                    now = stream.watched.monitoring.limits[known].action
                    self._tripped[name][known, subject] = Tripped(known, subject, now)
        else:
            self._tripped[name].clear()
            window = stream.watched.monitoring.window
            stream.decisions_period.begin_anew(stream.decided, window)
            stream.outcomes_period.begin_anew(stream.reported, window)
            reports = facts.get("attribute_reports")
            stream.attributes_period.begin_anew(reports if isinstance(reports, int) else 0, window)
        self._restance(name)

    def _restance(self, name: str) -> None:
        actions = {each.action for each in self._tripped[name].values()}
        gravest: Action | None = None
        for action in ("stop", "unaided"):
            if action in actions and gravest is None:
                gravest = action
        if gravest is None:
            self._stances.pop(name, None)
        else:
            self._stances[name] = gravest

    def _erase(self, leaf: Leaf) -> None:
        """Let go of what was said about decisions whose content was erased."""
        of = leaf.facts.get("of")
        indexes = [each for each in of if isinstance(each, int)] if isinstance(of, list) else []
        ids = [row.id for index in indexes for row in self._log.entries(index, index + 1)]
        self._attributes.forget(ids)
        for stream in self._streams.values():
            stream.forget(ids)
        for each in ids:
            self._older.pop(each, None)

    def _read(self, decisions: Iterable[str]) -> dict[str, Made]:
        made: dict[str, Made] = {}
        for decision in decisions:
            try:
                stored = self._log.read(decision)
            except AuditError as err:
                self._fault(err)
                continue
            if stored.type == RECOMMENDATION and stored.payload is not None:
                found = self._made(decision, parse_recommendation(stored.payload))
                if found is not None:
                    made[decision] = found
        return made

    def _made(self, decision: str, content: StoredRecommendation) -> Made | None:
        name = self._by_digest.get(content.model_digest.removeprefix("sha256:"))
        if name is None:
            return None
        bits = {item.name: item for item in content.bits}
        scores = np.frombuffer(
            bits["scores"].raw, dtype="<f4" if bits["scores"].type == "float32" else "<f8"
        )
        return Made(
            id=decision,
            values=content.case,  # type: ignore[arg-type]  # as the schema let them in
            score=float(scores[self._streams[name].served.target]),
            outcome=bits["outcome"].raw.decode().partition("\n")[0],
        )

    def _fault(self, error: AuditError) -> None:
        self._metrics.verify_failures.inc()
        _log.error("monitoring", error=type(error).__name__)


def _is_other(one: ServedModel, other: ServedModel) -> bool:
    return (one.bundle.digest, one.policy_digest) != (other.bundle.digest, other.policy_digest)


def _hex(served: ServedModel) -> str:
    return served.bundle.digest.removeprefix("sha256:")


def _made(decided: Decided) -> Made:
    advice = decided.assessment.advice
    return Made(decided.id, decided.case.values, advice.score, advice.outcome)
