"""The composition root: the one place that makes the parts and joins them.

``create_app(settings)`` is the production application, and the tests' too.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing

import httpx
import structlog
from fastapi import FastAPI

from app import __version__
from app.api import decisions, erasure, evidence, health, log, models, problems
from app.api.documents import completed
from app.api.guard import Guard
from app.api.parts import Parts
from app.checkpointer import checkpointer_for, outside_client
from app.domain import Clock, NewId
from app.engine import Engine
from app.environment import environment
from app.ids import new_id, utc_now
from app.keeping import keeping_of
from app.keys import KeyStore, KeyStoreError
from app.metrics import Metrics
from app.policy import PolicyError
from app.retention import RetentionError
from app.served import ServedModel, open_all
from app.service import Service
from app.settings import Settings
from app.slow_lane import SlowLane
from app.startup import record_start
from app.web import pages
from audit.errors import AuditError
from audit.log import Log
from explainers.errors import ExplanationError
from models.errors import ModelError

DESCRIPTION = """\
Explainable decision support for public bodies. One call answers with a recommendation from an ONNX
model, the exact SHAP reasons for it, and a receipt that the whole answer was durably written to an
append-only log before anyone saw it. A person decides.
"""

ROUTERS = (
    decisions.hot, decisions.router, models.router, log.router, evidence.router, erasure.router, health.router, pages.router,
)  # fmt: skip

REFUSALS = (AuditError, ExplanationError, KeyStoreError, ModelError, PolicyError, RetentionError)
"""What a start is refused with: each says in one line what is wrong."""

_log = structlog.get_logger("grounds.start")


class StartRefusedError(Exception):
    """The service does not start, for a reason that has been logged."""


def create_app(settings: Settings, *, clock: Clock = utc_now, new_id: NewId = new_id) -> FastAPI:
    """Return the application; everything is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with (
                outside_client(settings) as outside,
                _opened(settings, clock=clock, new_id=new_id, outside=outside) as parts,
            ):
                app.state.parts = parts
                # What is loaded by now stays: keep the collector from walking it again and again.
                gc.collect()
                gc.freeze()
                _log.info("ready", models=sorted(parts.served), log_entries=parts.log.size)
                yield
        except REFUSALS as err:
            _log.error("cannot start", reason=str(err))
            raise StartRefusedError from err

    app = FastAPI(
        title="Grounds",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        # A redirect would send the key again, and without TLS where a proxy ends it.
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", pages.static_files(), name="static")
    problems.install(app)
    app.add_middleware(
        Guard,
        max_body_bytes=settings.max_body_bytes,
        new_id=new_id,
        on_error=problems.from_exception,
    )
    generate = app.openapi
    routes = [route for router in ROUTERS for route in router.routes]
    app.openapi = lambda: completed(generate(), routes)  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


@asynccontextmanager
async def _opened(
    settings: Settings, *, clock: Clock, new_id: NewId, outside: httpx.AsyncClient | None
) -> AsyncIterator[Parts]:
    """Open everything in the order it is needed, and close it in the other order."""
    served = open_all(settings, lambda step: _log.info("starting", step=step))
    with (
        closing(KeyStore(settings.data_dir / "access.sqlite3")) as keys,
        closing(
            Log.open(
                settings.data_dir / "log", origin=settings.log_origin, clock=clock, create=True
            )
        ) as log,
    ):
        parts = assemble(
            settings, log, keys, served, clock=clock, new_id=new_id, outside=outside
        )
        for model in served.values():
            _log.info("starting", step=f"{model.name}: a first explanation, for practice")
            parts.service.warm_up(model)
        parts.engine.start()
        try:
            await record_start(parts)
            checkpointer = asyncio.create_task(parts.checkpointer.run())
            yield parts
            checkpointer.cancel()
            await asyncio.wait([checkpointer])
        finally:
            await asyncio.to_thread(parts.slow_lane.close)
            await parts.engine.stop()
    _log.info("stopped")


def assemble(
    settings: Settings,
    log: Log,
    keys: KeyStore,
    served: Mapping[str, ServedModel],
    *,
    clock: Clock,
    new_id: NewId,
    outside: httpx.AsyncClient | None = None,
) -> Parts:
    """Join opened parts. Without ``outside`` no witness and no timestamp authority is asked."""
    metrics = Metrics(sorted(served))
    for model in served.values():
        metrics.model_info.labels(
            model.name, model.bundle.card.version, model.bundle.digest, model.explainer.method
        ).set(1)
    runtime = environment(settings)
    engine = Engine(
        log,
        queue_limit=settings.queue_limit,
        group_limit=settings.group_limit,
        on_group=metrics.observe_group,
    )
    kept = keeping_of(settings, log, served, clock=clock)
    return Parts(
        settings=settings,
        clock=clock,
        new_id=new_id,
        log=log,
        keys=keys,
        served=served,
        metrics=metrics,
        engine=engine,
        slow_lane=SlowLane(limit=settings.slow_limit),
        service=Service(clock=clock, metrics=metrics, runtime=runtime),
        custody=kept.custody,
        evidence=kept.evidence,
        checkpointer=checkpointer_for(
            settings, log, metrics, engine, outside, kept.custody, clock=clock, new_id=new_id
        ),
        runtime=runtime,
    )
