"""The composition root: the one place that makes the parts and joins them.

``create_app(settings)`` is the production application, and the tests' too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

import httpx
import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import __version__, collector, keys, practice
from app.admission import Admission
from app.agreements import AgreementsError, load_agreements
from app.api import (
    batch,
    caseworker,
    contests,
    corrections,
    decision_list,
    decisions,
    erasure,
    evidence,
    explanation,
    health,
    log,
    models,
    monitoring,
    notices,
    problems,
    provenance,
    reliance,
    replays,
    taking,
    transparency,
    verifications,
    versions,
)
from app.api import (
    stops as stop_routes,
)
from app.api.batches import Batches
from app.api.bodies import Bodies
from app.api.documents import TAGS, completed
from app.api.guard import Guard
from app.api.heads import Heads
from app.api.parts import Parts
from app.api.shortcut import Shortcut
from app.background import background_threads
from app.bundle_store import store_of
from app.changing import Changing
from app.checkpointer import checkpointer_for, outside_client
from app.comparison import Comparisons
from app.contests import contest_entries
from app.domain import Clock, NewId
from app.engine import Engine
from app.environment import environment
from app.errors import PROBLEMS
from app.first_start import check_served, find_models, register_found
from app.ids import new_id, utc_now
from app.index import store as index_store
from app.index.follower import Follower
from app.index.store import IndexStore, IndexStoreError
from app.keeping import keeping_of
from app.keys import KeyStore, KeyStoreError, TurnKeys
from app.library import Library, recorded_policies
from app.lifecycle_refusals import BundleNotServableError, ObligationsUnmetError
from app.log_sampling import Sampler
from app.log_store import log_directory, may_change_log, write_log
from app.memory import let_go_of_starters
from app.metrics import Metrics
from app.monitoring import attributes, limits
from app.monitoring.attributes import AttributeStore, AttributeStoreError
from app.monitoring.breaker import Breaker
from app.monitoring.gauges import MonitorGauges
from app.monitoring.limits import Watched, load_monitoring, watched
from app.monitoring.log_gauges import LogGauges
from app.monitoring.monitor import Monitor
from app.notices.templates import TemplatesError
from app.notices.writer import NoticeWriter
from app.oidc import Provider, provider_of
from app.policy import PolicyError
from app.practice import PracticeCases, PracticeStore
from app.practice_error import PracticeError
from app.registry import Registry
from app.replay import VERDICTS
from app.replay_report import REPLAY_RUN
from app.retention import RetentionError
from app.served import ServedModel
from app.service import Service
from app.sessions import SessionStore, SessionStoreError, SignInError
from app.settings import Settings
from app.shadows import Shadows
from app.slow_lane import SlowLane
from app.startup import record_start
from app.stops import Stops
from app.training import AttestationsError, load_training
from app.verifications import Verifications
from app.web import (
    auditor,
    case,
    cases,
    contest,
    correction,
    letter,
    log_pages,
    owner,
    practising,
    public,
    relying,
    signin,
)
from app.web import transparency as transparency_pages
from app.web.assets import ADDRESS, AssetFiles, AssetsError, load_assets
from app.web.session import opened_sessions
from app.webhooks.delivery import open_webhooks
from app.webhooks.endpoints import WebhooksError
from app.working import working
from audit.errors import AuditError
from audit.log import Log
from audit.rare import RareEntries
from explainers.errors import ExplanationError
from models.errors import ModelError

if TYPE_CHECKING:
    from app.spans import Tracing

DESCRIPTION = """\
Explainable decision support for public bodies. One call answers with a recommendation from an ONNX
model, the exact SHAP reasons for it, and a receipt that the whole answer was durably written to an
append-only log before anyone saw it. A person decides.
"""

PAGES = (
    public.router,
    transparency_pages.router,
    signin.router,
    cases.router,
    case.router,
    correction.router,
    letter.router,
    contest.router,
    practising.router,
    relying.router,
    auditor.router,
    log_pages.router,
    owner.router,
)
"""One router for each area of the pages."""

ROUTERS = (
    decisions.hot,
    decisions.router,
    batch.router,
    decision_list.router,
    explanation.router,
    provenance.router,
    caseworker.router,
    taking.router,
    reliance.router,
    corrections.router,
    notices.router,
    contests.router,
    stop_routes.router,
    models.router,
    versions.router,
    transparency.router,
    log.router,
    replays.router,
    verifications.router,
    evidence.router,
    erasure.router,
    monitoring.router,
    health.router,
    *PAGES,
)

REFUSALS = (
    AgreementsError,
    AssetsError,
    AttestationsError,
    AttributeStoreError,
    AuditError,
    BundleNotServableError,
    ExplanationError,
    IndexStoreError,
    KeyStoreError,
    ModelError,
    ObligationsUnmetError,
    PolicyError,
    PracticeError,
    RetentionError,
    SessionStoreError,
    SignInError,
    TemplatesError,
    WebhooksError,
)
"""What a start is refused with: each says in one line what is wrong."""

ROUTE_PATHS = frozenset(
    route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)
)
"""What requests are counted by."""

_log = structlog.get_logger("grounds.start")


class StartRefusedError(Exception):
    """The service does not start, for a reason that has been logged."""


def create_app(settings: Settings, *, clock: Clock = utc_now, new_id: NewId = new_id) -> FastAPI:
    """Return the application; everything is opened when it starts and closed when it stops."""
    tracing = None if settings.otlp_endpoint is None else _tracing(settings.otlp_endpoint)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        started = False
        asyncio.get_running_loop().set_default_executor(background_threads())
        try:
            async with (
                outside_client(settings) as outside,
                provider_of(settings, clock=clock) as provider,
                _opened(
                    settings, clock=clock, new_id=new_id, outside=outside, provider=provider
                ) as parts,
            ):
                app.state.parts = parts
                collector.settle()
                let_go_of_starters()
                _log.info("ready", models=sorted(parts.served), log_entries=parts.log.size)
                started = True
                yield
        except REFUSALS as err:
            _log.error("cannot start", reason=str(err))
            raise StartRefusedError from err
        except OSError as err:
            if started:
                raise
            place = "" if err.filename is None else f"{err.filename}: "
            _log.error("cannot start", reason=f"{place}{err.strerror or err}")
            raise StartRefusedError from err
        finally:
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Grounds",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        servers=[{"url": "/", "description": "The service that you read this on."}],
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        # A redirect would send the key again, and without TLS where a proxy ends it.
        redirect_slashes=False,
        # The framework's own would export addresses, queries and the text of exceptions wherever an
        # environment variable says. Ours is app.spans.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in ROUTERS:
        app.include_router(router)
    app.mount(ADDRESS, AssetFiles(), name="static")
    routes = [route for router in ROUTERS for route in router.routes]
    problems.install(app, routes)
    (hot,) = (route for route in decisions.hot.routes if isinstance(route, APIRoute))
    # Innermost: the shortcut's requests do not pass these.
    app.add_middleware(Heads)
    app.add_middleware(Bodies)
    app.add_middleware(Shortcut, route=hot, handler=decisions.create_decision)
    app.add_middleware(
        Guard,
        max_body_bytes=settings.max_body_bytes,
        max_batch_bytes=settings.max_batch_bytes,
        new_id=new_id,
        on_error=problems.from_exception,
        tracing=tracing,
    )
    generate = app.openapi
    app.openapi = lambda: completed(generate(), routes)  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


def _tracing(endpoint: str) -> "Tracing":
    """Return where spans go. Raises StartRefusedError without the extra ``telemetry``."""
    try:
        from app.spans import otlp_tracing
    except ImportError as err:
        _log.error(
            "cannot start",
            reason="GROUNDS_OTLP_ENDPOINT is set, and the extra telemetry is not installed",
        )
        raise StartRefusedError from err
    return otlp_tracing(endpoint)


@asynccontextmanager
async def _opened(
    settings: Settings,
    *,
    clock: Clock,
    new_id: NewId,
    outside: httpx.AsyncClient | None,
    provider: Provider | None,
) -> AsyncIterator[Parts]:
    """Open everything in the order it is needed, and close it in the other order."""
    store = store_of(settings)
    found = find_models(settings, store)
    _log.info("starting", step="opening the log")  # seconds for a long one, more after an update
    with (
        closing(KeyStore(settings.data_dir / keys.FILE)) as access,
        closing(opened_sessions(settings, clock=clock)) as sessions,
        closing(AttributeStore(settings.data_dir / attributes.FILE)) as protected,
        closing(write_log(settings, clock=clock, create=True)) as log,
        closing(IndexStore(settings.data_dir / index_store.FILE)) as index,
        closing(PracticeStore(settings.data_dir / practice.STORE)) as practised,
    ):
        if may_change_log(settings):
            _log.warning(
                "the database lets the service change the log",
                want="a role that may read and add, as `grounds log migrate --role` makes it",
            )
        at_hand = {each.files.digest: each.files for each in found.values()}
        registry = Registry(
            log,
            store,
            settings,
            directories={name: each.directory for name, each in found.items()},
            at_hand=at_hand,
            progress=lambda step: _log.info("starting", step=step),
        )
        register_found(found, registry, settings, lambda record: log.append([record]), clock=clock)
        registry.open_wanted()
        # All that was read, and the rows parsed from it: no longer needed by anybody.
        found.clear()
        at_hand.clear()
        check_served(registry)
        parts = assemble(
            settings,
            log,
            access,
            registry,
            protected,
            sessions,
            index,
            practised,
            clock=clock,
            new_id=new_id,
            outside=outside,
            provider=provider,
        )
        registry.practise_with(partial(_prepare, parts))
        for model in parts.served.values():
            _log.info("starting", step=f"{model.name}: a first explanation, for practice")
            parts.service.warm_up(model)
        parts.engine.start()
        parts.shadows.start()
        try:
            await record_start(parts)
            async with working(
                checkpointer=parts.checkpointer.run,
                breaker=parts.breaker.run,
                stops=parts.stops.run,
                registry=parts.registry.run,
                index=parts.index.run,
                webhooks=parts.webhooks.run,
            ):
                yield parts
        finally:
            await parts.verifications.close()
            await asyncio.to_thread(parts.slow_lane.close)
            await asyncio.to_thread(parts.shadows.close)
            await parts.engine.stop()
            await parts.checkpointer.finish()
    _log.info("stopped")


def _prepare(parts: Parts, model: ServedModel) -> None:
    """Do once what a version needs before it may advise or look on.

    Raises BundleNotServableError.
    """
    try:
        _watched(model)
        parts.notices.prepare(model)
        parts.service.warm_up(model)
    except (TemplatesError, ModelError, ExplanationError, PolicyError) as err:
        raise BundleNotServableError(str(err)) from err


def _is_stopped(name: str, stops: Stops, monitor: Monitor) -> float:
    """Return 1 while nothing is advised of a model, by a person's stop or the circuit breaker's."""
    return float(stops.covers(name) or monitor.stance(name) == "stop")


def _watched(model: ServedModel) -> Watched:
    """Return what is watched of a version: the model's own directory says so."""
    said = load_monitoring(model.directory / limits.FILE)
    return watched(said, model.policy, model.bundle.card)


def assemble(
    settings: Settings,
    log: Log,
    access: KeyStore,
    registry: Registry,
    protected: AttributeStore,
    sessions: SessionStore,
    index: IndexStore,
    practised: PracticeStore,
    *,
    clock: Clock,
    new_id: NewId,
    outside: httpx.AsyncClient | None = None,
    provider: Provider | None = None,
) -> Parts:
    """Join opened parts.

    Without ``outside`` no witness and no timestamp authority is asked; without ``provider`` nobody
    signs in.
    """
    served = registry.serving
    metrics = Metrics(
        sorted(served),
        ROUTE_PATHS,
        problems={kind.slug for kind in PROBLEMS.values()},
        verdicts=VERDICTS,
    )
    monitor = Monitor(log, served, _watched, protected, metrics, refresh=registry.refresh)
    metrics.registry.register(MonitorGauges(monitor, registry))
    runtime = environment(settings)
    stops = Stops(log)

    def registered() -> None:
        metrics.registered(registry.state, served.lineups)
        for name in served:
            metrics.stopped.labels(name).set_function(partial(_is_stopped, name, stops, monitor))

    registered()
    registry.on_change(registered)
    service = Service(clock=clock, metrics=metrics, runtime=runtime, stops=stops)
    engine = Engine(
        log,
        queue_limit=settings.queue_limit,
        group_limit=settings.group_limit,
        on_group=metrics.observe_group,
        prepare=service.prepare,
        stops=stops,
    )
    practice_cases = PracticeCases()
    for model in served.values():
        practice_cases.of(model)  # what does not fit its model is found at the start
    follower = Follower(log, index, busy=lambda: engine.waiting > 0)
    metrics.index_behind.set_function(lambda: follower.behind)
    kept = keeping_of(settings, log, served, clock=clock)
    return Parts(
        settings=settings,
        clock=clock,
        new_id=new_id,
        log=log,
        keys=access,
        callers=TurnKeys(access),
        served=served,
        registry=registry,
        changing=Changing(registry, settings, clock),
        shadows=Shadows(log, engine, metrics, clock=clock),
        comparisons=Comparisons(log),
        metrics=metrics,
        engine=engine,
        slow_lane=SlowLane(limit=settings.slow_limit),
        batches=Batches(limit=settings.batch_limit),
        service=service,
        stops=stops,
        sessions=sessions,
        provider=provider,
        assets=load_assets(),
        custody=kept.custody,
        evidence=kept.evidence,
        library=Library(settings, served=served.values(), policies=partial(recorded_policies, log)),
        replay_runs=RareEntries(log, (REPLAY_RUN,)),
        checkpointer=checkpointer_for(
            settings, log, metrics, engine, outside, kept.custody, clock=clock, new_id=new_id
        ),
        runtime=runtime,
        attributes=protected,
        monitor=monitor,
        sampler=Sampler(),
        breaker=Breaker(
            monitor,
            engine,
            protected,
            registry,
            clock=clock,
            new_id=new_id,
            log_gauges=LogGauges(log, log_directory(settings), metrics),
        ),
        training=load_training(settings.attestations_file),
        contests=contest_entries(log),
        verifications=Verifications(settings, log, engine, clock=clock, new_id=new_id),
        notices=NoticeWriter.open(settings.notices_dir, served.values()),
        webhooks=open_webhooks(settings, log, metrics, clock=clock),
        index=follower,
        practice=practised,
        practice_cases=practice_cases,
        admission=Admission(
            None if settings.agreements_file is None else load_agreements(settings.agreements_file)
        ),
    )
