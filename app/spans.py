"""Spans for OpenTelemetry: the extra ``telemetry``, imported only where spans are to be exported.

A span says what a log line says of a request (method, route, status, time) and nothing more.
"""

from time import time_ns

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from app import __version__
from app.telemetry import Trace

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SERVER_ERRORS = 500


class Tracing:
    """Makes one span of each request and hands it to an exporter on a thread of its own."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            # Not Resource.create: that would add what it finds in the environment.
            resource=Resource({"service.name": "grounds", "service.version": __version__}),
            sampler=ParentBased(ALWAYS_ON),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("grounds")

    def record(
        self, method: str, route: str, status: int, seconds: float, trace: Trace | None
    ) -> None:
        """Hand over the span of a request that has ended. Call from the event loop's thread."""
        end = time_ns()
        self._ids.given = None if trace is None else int(trace.span, 16)
        known = method if method in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            f"{known} {route}",
            context=Context() if trace is None else _context(trace),
            kind=SpanKind.SERVER,
            start_time=end - int(seconds * 1e9),
            attributes={
                "http.request.method": known,
                "http.route": route,
                "http.response.status_code": status,
            },
        )
        if status >= _SERVER_ERRORS:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def otlp_tracing(endpoint: str) -> Tracing:
    """Return tracing to the traces address of an OpenTelemetry collector."""
    return Tracing(OTLPSpanExporter(endpoint=endpoint))


class _GivenIds(RandomIdGenerator):
    """Names our span as ``traceresponse`` has named it already."""

    given: int | None = None

    def generate_span_id(self) -> int:
        given, self.given = self.given, None
        return super().generate_span_id() if given is None else given


def _context(trace: Trace) -> Context:
    parent = SpanContext(
        trace_id=int(trace.id, 16),
        span_id=int(trace.parent, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(trace.flags, 16)),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())
