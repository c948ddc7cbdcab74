"""Histograms whose observations cost 50 ns: they are kept as they come and counted when read.

The client library's own ``observe`` searches the buckets one by one under a lock, 2 us each and
seven times a decision. Here a value is appended to a queue, and whoever reads the metrics counts
the queue with numpy. ``drain`` is called once a second too, so that the queue stays short.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar

LATENCY_BUCKETS = (
    50e-6, 75e-6, 100e-6, 150e-6, 200e-6, 300e-6, 500e-6, 750e-6,
    1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7.5e-3, 10e-3, 15e-3, 20e-3, 30e-3, 50e-3, 75e-3,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds: six a decade from 50 us to 1 s, so that a quantile is off by a third of
itself at most."""


class Series:
    """The observations of one label value."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds)
        self._pending: deque[float] = deque()
        self._traced: deque[tuple[float, str]] = deque(maxlen=64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self._lock = Lock()
        self.observe: Callable[[float], None] = self._pending.append
        """Takes one observation. Safe from any thread."""

    def observe_traced(self, value: float, trace_id: str) -> None:
        """Take one observation, and the trace it belongs to as the example of its bucket."""
        self._traced.append((value, trace_id))
        self._pending.append(value)

    def drain(self) -> None:
        """Count what has been observed since the last time."""
        with self._lock:
            values = np.array([self._pending.popleft() for _ in range(len(self._pending))])
            if values.size:
                places = np.searchsorted(self._bounds, values, side="left")
                self._counts += np.bincount(places, minlength=len(self._counts))
                self._sum += float(values.sum())
            for _ in range(len(self._traced)):
                value, trace_id = self._traced.popleft()
                place = int(np.searchsorted(self._bounds, value, side="left"))
                self._exemplars[place] = Exemplar({"trace_id": trace_id}, value)

    def buckets(self) -> list[tuple[str, float, Exemplar | None]]:
        """Return (upper bound, observations up to it, example) for each bucket, and the last."""
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        counts = np.cumsum(self._counts).astype(float).tolist()
        return list(zip(bounds, counts, self._exemplars, strict=True))

    @property
    def sum(self) -> float:
        """The sum of all observations."""
        return self._sum


class LazyHistogram(Collector):
    """One histogram, by values of one label that are made known beforehand, or without a label."""

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
        label: str | None = None,
        values: Iterable[str] = (),
    ) -> None:
        self.name, self.documentation = name, documentation
        self.labels = () if label is None else (label,)
        self._buckets = buckets
        self.series = {value: Series(buckets) for value in (values if label is not None else ("",))}
        registry.register(self)

    def add(self, value: str) -> None:
        """Begin to observe under one more value of the label."""
        # Replaced whole: somebody may be reading it.
        self.series = {**self.series, value: Series(self._buckets)}

    def drain(self) -> None:
        """Count what has been observed since the last time."""
        for series in self.series.values():
            series.drain()

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its values."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the metric as it stands."""
        self.drain()
        family = self._family()
        for value, series in self.series.items():
            labels = [value] if self.labels else []
            # The library's type leaves out that an example may be None.
            family.add_metric(labels, series.buckets(), series.sum)  # type: ignore[arg-type]
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
