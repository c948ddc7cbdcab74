"""Follows the log, keeps the figures of each model's active version and of its canary, finds limits broken.

Everything is read from the log, in its order: a restart, or another replica's decisions, change no
figure. What this process decided itself is handed over in memory, so that it need not be decrypted
again. Runs on a thread of its own, once a second; nothing of it is on a decision's path but
``stance``, one look into a dictionary.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import NamedTuple

from app.domain import Arm
from app.lineup import Lineup, Serving
from app.metrics import Metrics
from app.monitoring.attributes import AttributeStore, AttributeStoreError, Reported
from app.monitoring.decided import Decided
from app.monitoring.entries import BREAKER, OUTCOME
from app.monitoring.limits import Action, Watched
from app.monitoring.recorded import Recorded, RecordedDecision
from app.monitoring.report import Breach, Report, report
from app.monitoring.streams import Brief, Made, Stream
from app.monitoring.tripped import Tripped, TrippedLimits
from app.records import RECOMMENDATION
from app.served import ServedModel
from audit.leaf import Facts, Leaf, parse_leaf
from audit.rare import RareEntries
from audit.reader import LogReader
from audit.records import ERASURE

BATCH = 1000
"""Entries read at a time."""
FOLLOWED = (RECOMMENDATION, OUTCOME, BREAKER)


class Watch(NamedTuple):
    """Whose figures: those of a model's active version, or of its canary. At most two a model."""

    model: str
    arm: Arm


@dataclass(frozen=True, slots=True)
class Broken:
    """A limit that is broken and upon which nothing has been done yet."""

    watch: Watch
    breach: Breach


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary under way, and its figures."""

    served: ServedModel
    percent: int
    begun: int
    """The entry of the log that made it a canary."""
    watched: Watched
    report: Report


class Monitor:
    """All figures. Safe from any thread."""

    def __init__(
        self,
        log: LogReader,
        serving: Serving,
        watch: Callable[[ServedModel], Watched],
        attributes: AttributeStore,
        metrics: Metrics,
        *,
        refresh: Callable[[], object],
    ) -> None:
        """``serving`` has the versions in use at each moment; ``watch`` says what to watch of one.

        ``refresh`` takes in what the log says by now of the versions.
        """
        self._log, self._attributes, self._metrics = log, attributes, metrics
        self._serving, self._watch, self._refresh = serving, watch, refresh
        self._recorded = Recorded(log, metrics)
        self._streams: dict[Watch, Stream] = {}
        self._lineups: dict[str, Lineup] = {}
        self._next = 0
        self._recent: dict[str, Decided] = {}
        self._older: dict[str, tuple[Watch, Brief] | None] = {}
        self._tripped = TrippedLimits()
        self._breaks = RareEntries(log, (BREAKER,))
        self._recalled: dict[str, int] = {}
        """Of each model, the entries up to which ``_tripped`` was told by ``_recall``."""
        self._reports: dict[Watch, Report] = {}
        self._changed = True
        self._lock = RLock()
        self._follow()

    @property
    def behind(self) -> int:
        """Entries of the log that no figure knows yet."""
        return self._log.size - self._next

    @property
    def models(self) -> list[str]:
        """The names of the models that are watched."""
        return sorted({watch.model for watch in list(self._streams)})

    def stance(self, model: str) -> Action | None:
        """Return the gravest action that a tripped limit of the model asks for, None without any."""
        return self._tripped.stance(model)

    def tripped(self, model: str) -> list[Tripped]:
        """Return the tripped limits of the model's active version. A canary that breaks one ends."""
        with self._lock:
            return self._tripped.of(model)

    def served(self, model: str) -> ServedModel:
        """Return the active version of that name."""
        return self._streams[Watch(model, "live")].served

    def watched(self, model: str) -> Watched:
        """Return what is watched of a model's active version."""
        return self._streams[Watch(model, "live")].watched

    def watched_canary(self, model: str) -> Watched | None:
        """Return what is watched of a model's canary, None where none is watched yet."""
        stream = self._streams.get(Watch(model, "canary"))
        return None if stream is None else stream.watched

    def reports(self) -> dict[Watch, Report]:
        """Return the latest figures without making new ones."""
        return dict(self._reports)

    def attributes_changed(self) -> None:
        """Hear that the attribute store was written to."""
        self._changed = True

    def step(self) -> list[Broken]:
        """Take in what is new; return the limits that are broken and upon which nothing is done yet."""
        with self._lock:
            for decided in self._metrics.drain():
                self._recent[decided.id] = decided
            # In this order every change of versions among the entries is known when they are taken in,
            # so it is the log alone that says whose figures a decision belongs to.
            size = self._log.size
            self._refresh()
            if self._follow():
                self._changed = True
            if self._advance(size):
                self._changed = True
            if self._changed:
                self._changed = False  # before: what is written meanwhile is looked at next time
                try:
                    self._reports = {watch: self._report(watch) for watch in self._streams}
                except AttributeStoreError:
                    self._changed = True
                    raise
            return [
                Broken(watch, breach)
                for watch, made in self._reports.items()
                for breach in made.breaches
                if watch.arm == "canary"
                or not self._tripped.has(watch.model, breach.limit, breach.subject)
            ]

    def report(self, model: str) -> Report:
        """Return the figures of the model's active version at this very moment."""
        with self._lock:
            self.step()
            return self._reports[Watch(model, "live")]

    def canary(self, model: str) -> Canary | None:
        """Return the model's canary with its figures of this very moment, None without a canary."""
        with self._lock:
            self.step()
            found = self._reports.get(Watch(model, "canary"))
            if found is None:
                return None
            lineup, stream = self._lineups[model], self._streams[Watch(model, "canary")]
            return Canary(stream.served, lineup.percent, lineup.canary_from, stream.watched, found)

    def _report(self, watch: Watch) -> Report:
        stream = self._streams[watch]
        reports, ever = self._reported(watch, stream.watched.monitoring.window)
        return report(stream, reports, ever, lambda decision: self._brief(watch, decision))

    def _reported(self, watch: Watch, most: int) -> tuple[list[Reported], int]:
        """Return the latest reports on people, and how many there have ever been."""
        canary = None if watch.arm == "live" else self._lineups[watch.model].canary_from
        return (
            self._attributes.latest(watch.model, most, canary=canary),
            self._attributes.count(watch.model, canary=canary),
        )

    def _brief(self, watch: Watch, decision: str) -> Brief | None:
        """Return what is kept of a decision if it belongs to these figures."""
        found = self._found(watch.model, decision)
        return found[1] if found is not None and found[0] == watch else None

    def _found(self, model: str, decision: str) -> tuple[Watch, Brief] | None:
        """Return whose figures a decision belongs to and what is kept of it, None for nobody's.

        Read from the log where it is older.
        """
        for watch in (Watch(model, "live"), Watch(model, "canary")):
            stream = self._streams.get(watch)
            if stream is not None and (brief := stream.known(decision)) is not None:
                return watch, brief
        if decision not in self._older:
            recorded = self._recorded.decision(decision)
            if recorded is None:
                return None
            made = self._made(model, recorded)
            self._older[decision] = (
                None if made is None else (made[0], self._streams[made[0]].brief(made[1]))
            )
            most = sum(each.watched.monitoring.window for each in self._streams.values())
            while len(self._older) > most:
                del self._older[next(iter(self._older))]
        return self._older.get(decision)

    def _advance(self, size: int) -> bool:
        """Take in the log's growth up to ``size``; return whether there was any."""
        begun = self._next
        while self._next < size:
            for row in self._log.entries(self._next, min(size, self._next + BATCH)):
                decided = self._recent.pop(row.id, None)
                if decided is not None:
                    self._decide(decided, row.seq)
                else:
                    self._take(parse_leaf(row.leaf), row.seq)
                self._next = row.seq + 1
        # Whatever was handed over and is not in the log by now never came into it.
        if len(self._recent) > BATCH:
            self._recent.clear()
        for watch in self._streams:
            self._settle(watch)
        return self._next > begun

    def _follow(self) -> bool:
        """Watch the versions in use by now; return whether any is another than before."""
        lineups = {lineup.live.name: lineup for lineup in self._serving.lineups}
        self._lineups |= lineups
        gone = [
            watch
            for watch in self._streams
            if watch.arm == "canary"
            and (watch.model not in lineups or lineups[watch.model].canary is None)
        ]
        for watch in gone:
            del self._streams[watch]
        begun = [
            (watch, served, first)
            for lineup in lineups.values()
            for watch, served, first in _watches(lineup)
            if watch not in self._streams or _is_other(self._streams[watch], served, first)
        ]
        if gone or begun:
            self._older.clear()
        for watch, served, first in begun:
            self._streams[watch] = Stream(served, self._watch(served), first)
            if watch.arm == "live":
                self._recall(watch.model)
            self._catch_up(watch)
        return bool(gone or begun)

    def _recall(self, model: str) -> None:
        """Know what tripped of the active version at once: its figures take longer to be made again."""
        self._tripped.clear(model)
        size = self._log.size
        for index, leaf in self._breaks.entries():
            if index < size and self._is_of_live(model, leaf):
                self._tripped.hear(model, leaf.facts, self.watched(model).monitoring.limits)
        self._recalled[model] = size

    def _catch_up(self, watch: Watch) -> None:
        """Take in what the log said of this version before: its figures are those of a restart."""
        stream = self._streams[watch]
        digest = _hex(stream.served).encode()
        for start in range(stream.first, self._next, BATCH):
            for row in self._log.entries(start, min(start + BATCH, self._next)):
                if digest in row.leaf:
                    leaf = parse_leaf(row.leaf)
                    if leaf.type in FOLLOWED:
                        self._take(leaf, row.seq, only=watch)

    def _decide(self, decided: Decided, index: int) -> None:
        served = decided.served
        digest = served.bundle.digest
        watch = self._watch_of(served.name, digest, served.policy_digest, index)
        if watch is not None:
            self._streams[watch].decide(decided.id, _made(decided))

    def _take(self, leaf: Leaf, index: int, *, only: Watch | None = None) -> None:
        """Take in an entry; ``only`` for these figures, where the others know it already."""
        if leaf.type == ERASURE:
            self._erase(leaf)
            return
        model = leaf.facts.get("model")
        name = model.get("name") if isinstance(model, Mapping) else None
        bundle = _digest(leaf.facts, "model")
        if leaf.type not in FOLLOWED or not isinstance(name, str):
            return
        if leaf.type == RECOMMENDATION:
            watch = self._watch_of(name, bundle, _digest(leaf.facts, "policy"), index)
            if watch is not None and only in (None, watch):
                self._streams[watch].decide(leaf.id, None)
        elif leaf.type == OUTCOME and any(
            watch.model == name and stream.served.bundle.digest == bundle
            for watch, stream in self._streams.items()
        ):
            self._turn_out(name, leaf, only)
        elif (
            leaf.type == BREAKER
            and only in (None, Watch(name, "live"))
            and self._is_of_live(name, leaf)
        ):
            self._remember(name, leaf, index)

    def _watch_of(self, model: str, bundle: str, policy: str, index: int) -> Watch | None:
        lineup = self._lineups.get(model)
        arm = None if lineup is None else lineup.arm_of(bundle, policy, index)
        watch = None if arm is None else Watch(model, arm)
        return watch if watch in self._streams else None

    def _turn_out(self, model: str, leaf: Leaf, only: Watch | None) -> None:
        # Decisions of this batch may still be unread, and this outcome may be of one of them.
        for watch in self._streams:
            if watch.model == model:
                self._settle(watch)
        said = self._recorded.outcome(leaf.id)
        found = None if said is None else self._found(model, said.decision)
        if said is not None and found is not None and only in (None, found[0]):
            stream = self._streams[found[0]]
            positive = said.outcome == stream.served.bundle.card.output.positive_class
            stream.turn_out(said.decision, found[1], positive=positive)

    def _is_of_live(self, model: str, leaf: Leaf) -> bool:
        stream, facts = self._streams.get(Watch(model, "live")), leaf.facts
        of = facts.get("model")
        return (
            stream is not None
            and isinstance(of, Mapping)
            and of.get("name") == model
            and _digest(facts, "model") == stream.served.bundle.digest
        )

    def _remember(self, name: str, leaf: Leaf, index: int) -> None:
        """Take in what the breaker wrote of an active version."""
        if index >= self._recalled[name]:
            self._tripped.hear(name, leaf.facts, self.watched(name).monitoring.limits)
        if leaf.facts.get("state") != "tripped":
            stream = self._streams[Watch(name, "live")]
            window = stream.watched.monitoring.window
            stream.decisions_period.begin_anew(stream.decided, window)
            stream.outcomes_period.begin_anew(stream.reported, window)
            reports = leaf.facts.get("attribute_reports")
            stream.attributes_period.begin_anew(reports if isinstance(reports, int) else 0, window)

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

    def _settle(self, watch: Watch) -> None:
        """Read the fresh decisions that were not handed over, and put all into their bins."""
        stream, read = self._streams[watch], {}
        for decision in stream.unread():
            recorded = self._recorded.decision(decision)
            made = None if recorded is None else self._made(watch.model, recorded)
            if made is not None:
                read[decision] = made[1]
        stream.settle(read)

    def _made(self, model: str, decision: RecordedDecision) -> tuple[Watch, Made] | None:
        content = decision.content
        watch = self._watch_of(model, content.model_digest, content.policy_digest, decision.index)
        if watch is None:
            return None
        return watch, decision.made(self._streams[watch].served.target)


def _watches(lineup: Lineup) -> Iterable[tuple[Watch, ServedModel, int]]:
    """Return what is watched of a model, and from which entry of the log on."""
    yield Watch(lineup.live.name, "live"), lineup.live, 0
    if lineup.canary is not None:
        yield Watch(lineup.live.name, "canary"), lineup.canary, lineup.canary_from


def _is_other(stream: Stream, served: ServedModel, first: int) -> bool:
    return (stream.served.bundle.digest, stream.served.policy_digest, stream.first) != (
        served.bundle.digest,
        served.policy_digest,
        first,
    )


def _hex(served: ServedModel) -> str:
    return served.bundle.digest.removeprefix("sha256:")


def _digest(facts: Facts, of: str) -> str:
    """Return a digest that a leaf's facts name, as records write it; of nothing where it names none."""
    named = facts.get(of)
    return f"sha256:{named.get('sha256')}" if isinstance(named, Mapping) else ""


def _made(decided: Decided) -> Made:
    advice = decided.assessment.advice
    return Made(decided.id, decided.case.values, advice.score, advice.outcome)
