"""What a comparison found, for the report to print."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.batches import BatchRun
from benchmarks.machine import Costs
from benchmarks.open_loop import Latency
from benchmarks.processes import Running
from benchmarks.targets import Target
from benchmarks.wrk import Load, Run

CONNECTIONS = (1, 16, 64)
"""How many requests wrk keeps in flight."""


@dataclass(slots=True)
class Measured:
    """A server that runs, and what was measured of it."""

    target: Target
    running: Running
    load: Load
    runs: dict[int, list[Run]] = field(default_factory=dict)
    """By connections."""
    cpu_us: list[float] = field(default_factory=list)
    """Processor time for each answer at the most connections, in microseconds."""
    open: list[Latency] = field(default_factory=list)
    memory_mib: float = 0.0
    processes: int = 0
    counted: int = 0
    """Every success that the harness saw."""
    unawaited: int = 0
    """Requests that may have been recorded after nobody waited for them: a run's end cuts them."""

    def run(self, connections: int, seconds: int) -> Run:
        """Load it once, counting."""
        run = self.load.run(connections, seconds)
        self.counted += run.answered - run.refused
        self.unawaited += connections
        return run

    def middle(self, connections: int, name: str) -> float:
        """Return the median over the runs of what ``Run`` calls ``name``."""
        return median(getattr(run, name) for run in self.runs[connections])

    def failed(self) -> int:
        """Return how many requests were refused or broke, over all runs."""
        closed = sum(run.refused + run.broken for runs in self.runs.values() for run in runs)
        return closed + sum(latency.failed for latency in self.open)


@dataclass(frozen=True, slots=True)
class Replicas:
    """Answers a second of one process on PostgreSQL and of two, round by round."""

    one: Sequence[float]
    two: Sequence[float]


@dataclass(frozen=True, slots=True)
class Start:
    """Starting with three models."""

    ready_seconds: Sequence[float]
    memory_mib: float


@dataclass(slots=True)
class Findings:
    """Everything that one run found."""

    costs: Costs
    answer_bytes: int = 0
    measured: list[Measured] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Servers that could not be measured, and why."""
    counted: int = 0
    unawaited: int = 0
    recorded: int = 0
    batches: Sequence[BatchRun] = ()
    replicas: Replicas | None = None
    start: Start | None = None

    def named(self, name: str) -> Measured | None:
        """Return what was measured of one server."""
        return next((each for each in self.measured if each.target.name == name), None)
