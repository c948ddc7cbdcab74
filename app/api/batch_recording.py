"""Handing many pieces of work to the engine at once, and waiting for all their records."""

import asyncio
from collections.abc import Callable, Sequence

from app.api.parts import Parts
from app.errors import EngineStoppedError, OverloadedError, TimedOutError
from app.work import Earlier, Outcome, Recorded, Unfinished, Work

Settled = Recorded | Earlier | Exception
"""What came of one piece of work; an exception is what the one who waits for it would have got."""

PAUSE_SECONDS = 0.005
"""How long to wait for room in a full queue: a few commits. A batch waits where a request of its own
is refused, so that it gives way to those."""


async def recorded_all(parts: Parts, works: Sequence[Work]) -> list[Settled]:
    """Return the durable outcomes in order; what is not durable in time is a TimedOutError."""
    seconds = parts.settings.request_timeout_seconds
    late = TimedOutError(seconds=seconds)
    outcomes: list[Outcome | Exception] = [late] * len(works)
    try:
        async with asyncio.timeout(seconds):
            await _settle(parts, works, outcomes)
    except TimeoutError:
        pass  # whatever has no outcome by now is late
    return [late if isinstance(outcome, Unfinished) else outcome for outcome in outcomes]


async def _settle(parts: Parts, works: Sequence[Work], outcomes: list[Outcome | Exception]) -> None:
    todo = dict(enumerate(works))
    while todo:
        for place, outcome in zip(todo, await _submitted(parts, list(todo.values())), strict=True):
            outcomes[place] = outcome
        slow = {
            place: outcome.finish
            for place in todo
            if isinstance(outcome := outcomes[place], Unfinished)
        }
        finished = await asyncio.gather(
            *(_finished(parts, finish) for finish in slow.values()), return_exceptions=True
        )
        todo = {}
        for place, work in zip(slow, finished, strict=True):
            if isinstance(work, Exception):
                outcomes[place] = work
            elif isinstance(work, BaseException):
                raise work
            else:
                todo[place] = work


async def _submitted(parts: Parts, works: Sequence[Work]) -> Sequence[Outcome | Exception]:
    while True:
        try:
            submitted = parts.engine.submit_all(works)
        except OverloadedError:
            await asyncio.sleep(PAUSE_SECONDS)
        except EngineStoppedError as error:
            return [error] * len(works)
        else:
            return await submitted


async def _finished(parts: Parts, finish: Callable[[], Work]) -> Work:
    while True:
        try:
            return await parts.slow_lane.run(finish)
        except OverloadedError:
            await asyncio.sleep(PAUSE_SECONDS)
