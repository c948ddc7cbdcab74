"""The parts that the composition root put together, as a handler reaches them."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from app.admission import Admission
from app.api.batches import Batches
from app.changing import Changing
from app.checkpointer import Checkpointer
from app.comparison import Comparisons
from app.custody import Custody
from app.domain import Clock, NewId
from app.engine import Engine
from app.evidence import EvidenceMaker
from app.index.follower import Follower
from app.keys import KeyStore, TurnKeys
from app.library import Library
from app.lineup import Lineup, Serving
from app.log_sampling import Sampler
from app.metrics import Metrics
from app.monitoring.attributes import AttributeStore
from app.monitoring.breaker import Breaker
from app.monitoring.monitor import Monitor
from app.notices.writer import NoticeWriter
from app.oidc import Provider
from app.practice import PracticeCases, PracticeStore
from app.registry import Registry
from app.served import ServedModel
from app.service import Service
from app.sessions import SessionStore
from app.settings import Settings
from app.shadows import Shadows
from app.slow_lane import SlowLane
from app.stops import Stops
from app.training import Training
from app.verifications import Verifications
from app.web.assets import Assets
from app.webhooks.delivery import Webhooks
from audit.log import Log
from audit.rare import RareEntries


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a handler may use."""

    settings: Settings
    clock: Clock
    new_id: NewId
    log: Log
    keys: KeyStore
    callers: TurnKeys
    served: Serving
    registry: Registry
    changing: Changing
    shadows: Shadows
    comparisons: Comparisons
    metrics: Metrics
    engine: Engine
    service: Service
    slow_lane: SlowLane
    batches: Batches
    checkpointer: Checkpointer
    custody: Custody
    evidence: EvidenceMaker
    library: Library
    """Models by digest, for replays: those served and those that were."""
    replay_runs: RareEntries
    runtime: Mapping[str, str]
    attributes: AttributeStore
    monitor: Monitor
    breaker: Breaker
    sampler: Sampler
    admission: Admission
    training: Training
    contests: RareEntries
    stops: Stops
    notices: NoticeWriter
    webhooks: Webhooks
    verifications: Verifications
    sessions: SessionStore
    provider: Provider | None
    assets: Assets
    index: Follower
    practice: PracticeStore
    practice_cases: PracticeCases

    def lineup(self, name: str) -> Lineup:
        """Return a model's versions in use. Raises UnknownModelError or NoLiveVersionError."""
        return self.served.lineup(name)

    def model(self, name: str) -> ServedModel:
        """Return a model's active version. Raises UnknownModelError or NoLiveVersionError."""
        return self.lineup(name).live


def parts_of(request: Request) -> Parts:
    """Return the application's parts."""
    parts: Parts = request.app.state.parts
    return parts
