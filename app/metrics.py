"""What Prometheus sees of the service.

Labels come from the bundles, the policies and the code, never from a caller, so that nobody outside
can add a series. ``docs/metrics.md`` lists each metric. On a decision's path values are only put
aside; they are counted once a second, and when somebody reads the metrics.
"""

from collections import Counter as Counted
from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from app import lifecycle
from app.answers import alternatives_status
from app.lifecycle import RegistryState
from app.lineup import Lineup
from app.monitoring.decided import Decided
from app.monitoring.histogram import LATENCY_BUCKETS, LazyHistogram

STAGES = ("parse", "infer", "explain", "alternatives", "encode", "append", "total")
"""Parse and check the case, run the model, explain it, look for what would have changed it, encode
the record, commit the group, and all of it as the caller waits for it."""

GROUP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RESIDUAL_BUCKETS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
ERROR_BUCKETS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
SHADOW_RESULTS = ("compared", "failed", "left_out")
FOLLOWED, OVERRODE = "followed", "overrode"
NO_ROUTE = "none"
"""The route of a request that leads nowhere, whatever its address says."""


class Metrics:
    """The service's own registry and every metric in it."""

    def __init__(
        self,
        models: Sequence[str],
        routes: Iterable[str] = (),
        *,
        problems: Iterable[str] = (),
        verdicts: Iterable[str] = (),
    ) -> None:
        """Bind the label values of the hot path once; ``problems`` and ``verdicts`` begin at 0.

        A series that begins with its first event has not increased, and no alert would tell of it.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        stage = LazyHistogram(
            "grounds_stage_seconds",
            "Time of one stage of a decision, in seconds.",
            label="stage",
            values=STAGES,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.stages = stage.series
        request = LazyHistogram(
            "grounds_request_seconds",
            "Time of one request, in seconds, by route.",
            label="route",
            values=sorted({*routes, NO_ROUTE}),
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.requests_by_route = request.series
        self.responses = Counter(
            "grounds_responses_total",
            "Requests answered, by route and class of status.",
            ["route", "status"],
            registry=self.registry,
        )
        self._bound_responses: dict[tuple[str, int], Counter] = {}
        self.in_flight = 0
        """Requests being answered; changed on the event loop's thread only."""
        self.requests_in_flight = Gauge(
            "grounds_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.requests_in_flight.set_function(lambda: self.in_flight)
        self.decisions = Counter(
            "grounds_decisions_total",
            "Recommendations given, each explained and recorded.",
            ["model", "outcome", "rule"],
            registry=self.registry,
        )
        self.unfamiliar = Counter(
            "grounds_unfamiliar_cases_total",
            "Recommendations on cases unlike the background.",
            ["model"],
            registry=self.registry,
        )
        self.incomplete = Counter(
            "grounds_incomplete_cases_total",
            "Recommendations on cases with a missing or unknown value.",
            ["model"],
            registry=self.registry,
        )
        self.alternatives = Counter(
            "grounds_alternatives_total",
            "Searches for what would have changed a recommendation, by what came of it.",
            ["model", "status"],
            registry=self.registry,
        )
        self.errors = Counter(
            "grounds_errors_total",
            "Problem answers by type.",
            ["type"],
            registry=self.registry,
        )
        for problem in problems:
            self.errors.labels(problem)
        self.replays = Counter(
            "grounds_replays_total", "Replays by verdict.", ["verdict"], registry=self.registry
        )
        for verdict in verdicts:
            self.replays.labels(verdict)
        self.group_size = LazyHistogram(
            "grounds_commit_group_size",
            "Records committed in one transaction.",
            buckets=GROUP_BUCKETS,
            registry=self.registry,
        )
        self._residual = LazyHistogram(
            "grounds_explanation_residual",
            "How far base value and contributions miss the model's own output.",
            label="model",
            buckets=RESIDUAL_BUCKETS,
            registry=self.registry,
        )
        self._standard_error = LazyHistogram(
            "grounds_explanation_standard_error",
            "The largest standard error of a contribution, where they are sampled.",
            label="model",
            buckets=ERROR_BUCKETS,
            registry=self.registry,
        )
        self._lazy = (stage, request, self.group_size, self._residual, self._standard_error)
        self._known: set[str] = set()
        self._decided: deque[Decided] = deque()
        self._lock = Lock()
        self.decided = self._decided.append
        """Takes one durable recommendation. Safe from any thread."""
        self.caseworker_decisions = Counter(
            "grounds_caseworker_decisions_total",
            "Decisions of caseworkers on cases with advice, by whether they followed it.",
            ["model", "arm", "agreement"],
            registry=self.registry,
        )
        self.stopped = Gauge(
            "grounds_model_stopped",
            "1 while advice of a model is stopped, else 0.",
            ["model"],
            registry=self.registry,
        )
        self.queue_limit = Gauge(
            "grounds_queue_limit",
            "Decisions waiting beyond this are refused.",
            registry=self.registry,
        )
        self.log_bytes = Gauge(
            "grounds_log_bytes", "Size of the log's files, in bytes.", registry=self.registry
        )
        self.checkpoint_age = Gauge(
            "grounds_checkpoint_age_seconds",
            "How long the log has held entries under no signed checkpoint: 0 is well.",
            registry=self.registry,
        )
        self.verify_failures = Counter(
            "grounds_verify_failures_total",
            "Times that what is stored contradicted what was recorded.",
            registry=self.registry,
        )
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
        self.index_behind = Gauge(
            "grounds_index_behind_entries",
            "Entries of the log that the index of decisions does not know yet.",
            registry=self.registry,
        )
        self.webhook_deliveries = Counter(
            "grounds_webhook_deliveries_total",
            "Attempts to send an event, by what came of it.",
            ["endpoint", "result"],
            registry=self.registry,
        )
        self.webhook_lag_entries = Gauge(
            "grounds_webhook_lag_entries",
            "Entries of the log that an endpoint's place has not passed.",
            ["endpoint"],
            registry=self.registry,
        )
        self.webhook_lag_seconds = Gauge(
            "grounds_webhook_lag_seconds",
            "How long ago the event was recorded that an endpoint is being sent: 0 where none is.",
            ["endpoint"],
            registry=self.registry,
        )
        self.model_info = Gauge(
            "grounds_model_info",
            "Served models: always 1.",
            ["model", "version", "digest", "method", "policy", "arm"],
            registry=self.registry,
        )
        self.versions = Gauge(
            "grounds_model_versions",
            "Registered versions of a model by stage.",
            ["model", "stage"],
            registry=self.registry,
        )
        self.arms = Counter(
            "grounds_arm_decisions_total",
            "Recommendations given, by whether the active version or the canary gave them.",
            ["model", "arm"],
            registry=self.registry,
        )
        self.shadows = Counter(
            "grounds_shadow_cases_total",
            "Cases that a shadow version was to look at, by what came of it.",
            ["model", "result"],
            registry=self.registry,
        )
        for name in models:
            self.know(name)

    def know(self, model: str) -> None:
        """Make a model's series, so that they are there before anything is counted."""
        if model in self._known:
            return
        self._known.add(model)
        self.unfamiliar.labels(model)
        self.incomplete.labels(model)
        self.stopped.labels(model).set(0)
        for agreement in (FOLLOWED, OVERRODE):
            self.caseworker_decisions.labels(model, "live", agreement)
        for result in SHADOW_RESULTS:
            self.shadows.labels(model, result)
        for histogram in (self._residual, self._standard_error):
            histogram.add(model)

    def registered(self, state: RegistryState, lineups: Iterable[Lineup]) -> None:
        """Say how many versions are in each stage, and which of them advise."""
        for name, model in state.models.items():
            stages = Counted(each.stage for each in model.versions.values())
            for stage in lifecycle.STAGES:
                self.versions.labels(name, stage).set(stages[stage])
        self.model_info.clear()
        for lineup in lineups:
            for served in (lineup.live, lineup.canary):
                if served is not None:
                    self.know(served.name)
                    self.arms.labels(served.name, served.arm)
                    for agreement in (FOLLOWED, OVERRODE):
                        self.caseworker_decisions.labels(served.name, served.arm, agreement)
                    self.model_info.labels(
                        served.name,
                        served.bundle.card.version,
                        served.bundle.digest,
                        served.explainer.method,
                        served.policy_digest,
                        served.arm,
                    ).set(1)

    def observe_group(self, size: int, seconds: float) -> None:
        """Observe one transaction: how many records it held and how long it took."""
        self.group_size.series[""].observe(size)
        self.stages["append"].observe(seconds)

    def observe_request(
        self, route: str, status: int, seconds: float, trace_id: str | None
    ) -> None:
        """Observe one request; a route that is not the application's own is counted as none."""
        series = self.requests_by_route.get(route)
        if series is None:
            route, series = NO_ROUTE, self.requests_by_route[NO_ROUTE]
        if trace_id is None:
            series.observe(seconds)
        else:
            series.observe_traced(seconds, trace_id)
        key = (route, status // 100)
        counter = self._bound_responses.get(key)
        if counter is None:
            counter = self._bound_responses[key] = self.responses.labels(route, f"{key[1]}xx")
        counter.inc()

    def drain(self) -> list[Decided]:
        """Count everything that was put aside, and return the recommendations among it."""
        with self._lock:
            decided = [self._decided.popleft() for _ in range(len(self._decided))]
            for each in decided:
                self._count(each)
        for histogram in self._lazy:
            histogram.drain()
        return decided

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their media type: OpenMetrics, with examples, when asked for."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    def _count(self, decided: Decided) -> None:
        model, assessment = decided.served.name, decided.assessment
        self.decisions.labels(model, decided.result, decided.rule).inc()
        self.arms.labels(model, decided.served.arm).inc()
        self._residual.series[model].observe(assessment.explanation.residual)
        errors = assessment.explanation.standard_errors
        if errors is not None:
            self._standard_error.series[model].observe(float(errors.max()))
        if assessment.familiarity.is_unfamiliar:
            self.unfamiliar.labels(model).inc()
        if decided.case.flags:
            self.incomplete.labels(model).inc()
        self.alternatives.labels(model, alternatives_status(assessment.alternatives)).inc()
