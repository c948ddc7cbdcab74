"""What pages show of advice that stands still: stops by people, and limits that are broken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from app.monitoring.monitor import Monitor
from app.stops import Stop, Stops
from app.web.case_words import moment
from app.web.language import Texts


@dataclass(frozen=True, slots=True)
class StopLine:
    """A stop in force."""

    number: int
    is_of_all: bool
    since: str
    actor: str
    reason: str
    asked_by: str


@dataclass(frozen=True, slots=True)
class StopView:
    """Whether a model's advice shall stop, or go on."""

    template: ClassVar[str] = "owner/stop.html"

    name: str
    title: str
    back: str
    """Where its reader goes afterwards: to a page of the model that their role may see."""
    resuming: StopLine | None
    """The stop to end; None where advice is to be stopped."""
    in_force: list[StopLine]
    """The stops that the model stands under already, where advice is to be stopped."""
    reason: str
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ResetView:
    """Whether all tests of a model whose limits are broken shall begin anew."""

    template: ClassVar[str] = "owner/reset.html"

    name: str
    title: str
    tripped: list[str]
    reason: str
    errors: Mapping[str, str]


def tripped_lines(model: str, monitor: Monitor) -> list[str]:
    """Return what pages say of each broken limit of a model."""
    return [f"{each.limit}: {each.subject}".replace("_", " ") for each in monitor.tripped(model)]


def stops_of(model: str, stops: Stops) -> list[Stop]:
    """Return the stops in force of a model, those of all models with them."""
    return [stop for stop in stops.state.stops.values() if stop.model in (None, model)]


def stop_line(stop: Stop, texts: Texts) -> StopLine:
    """Return what pages say of a stop in force."""
    return StopLine(
        number=stop.number,
        is_of_all=stop.model is None,
        since=moment(stop.since, texts),
        actor=stop.actor,
        reason=stop.reason,
        asked_by=stop.resume_asked_by or "",
    )
