"""What Prometheus sees of the hot path.

Labels come from the registry and the code, never from a caller, so that nobody outside can add a
series. ``docs/metrics.md`` lists each metric.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

STAGES = ("parse", "infer", "explain", "alternatives", "encode", "append", "total")
"""Parse and check the case, run the model, explain it, look for what would have changed it, encode
the record, commit the group, and all of it as the caller waits for it."""

LATENCY_BUCKETS = (
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
GROUP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The service's own registry and every metric in it."""

    def __init__(self, models: Sequence[str]) -> None:
        """Bind the label values of the hot path once."""
        self.registry = CollectorRegistry()
        stage = Histogram(
            "grounds_stage_seconds",
            "Time of one stage of a decision, in seconds.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.stages = {name: stage.labels(name) for name in STAGES}
        self.decisions = Counter(
            "grounds_decisions_total",
            "Recommendations given, each explained and recorded.",
            ["model", "outcome"],
            registry=self.registry,
        )
        self.errors = Counter(
            "grounds_errors_total",
            "Problem answers by type.",
            ["type"],
            registry=self.registry,
        )
        self.replays = Counter(
            "grounds_replays_total", "Replays by verdict.", ["verdict"], registry=self.registry
        )
        self.group_size = Histogram(
            "grounds_commit_group_size",
            "Records committed in one transaction.",
            buckets=GROUP_BUCKETS,
            registry=self.registry,
        )
        self.residual = Histogram(
            "grounds_explanation_residual",
            "How far base value and contributions miss the model's own output.",
            ["model"],
            buckets=(1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4),
            registry=self.registry,
        )
        self.residuals = {name: self.residual.labels(name) for name in models}
        self.log_entries = Gauge(
            "grounds_log_entries", "Entries in the log.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "grounds_queue_depth", "Decisions waiting for their record.", registry=self.registry
        )
        self.ready = Gauge(
            "grounds_ready", "1 when decisions can be recorded, else 0.", registry=self.registry
        )
        self.log_alarms = Gauge(
            "grounds_log_alarms",
            "What is wrong at present with what others hold of the log: 0 is well.",
            registry=self.registry,
        )
        self.quorum_size = Gauge(
            "grounds_quorum_checkpoint_size",
            "Entries under the newest checkpoint that its quorum of witnesses cosigned.",
            registry=self.registry,
        )
        self.witness_size = Gauge(
            "grounds_witness_checkpoint_size",
            "Entries under the last checkpoint that a witness cosigned.",
            ["witness"],
            registry=self.registry,
        )
        self.witness_time = Gauge(
            "grounds_witness_cosigned_timestamp_seconds",
            "When a witness last cosigned, by its own clock, in seconds since 1970.",
            ["witness"],
            registry=self.registry,
        )
        self.witness_failures = Counter(
            "grounds_witness_failures_total",
            "Times that a witness did not cosign.",
            ["witness", "kind"],
            registry=self.registry,
        )
        self.timestamp_time = Gauge(
            "grounds_timestamp_stated_seconds",
            "The time that the last timestamp over the log states, in seconds since 1970.",
            registry=self.registry,
        )
        self.timestamp_failures = Counter(
            "grounds_timestamp_failures_total",
            "Times that the timestamp authority gave no timestamp that holds.",
            registry=self.registry,
        )
        self.model_info = Gauge(
            "grounds_model_info",
            "Served models: always 1.",
            ["model", "version", "digest", "method"],
            registry=self.registry,
        )

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Observe how long the block takes as ``stage``."""
        start = perf_counter()
        yield
        self.stages[stage].observe(perf_counter() - start)

    def observe_group(self, size: int, seconds: float) -> None:
        """Observe one transaction: how many records it held and how long it took."""
        self.group_size.observe(size)
        self.stages["append"].observe(seconds)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
