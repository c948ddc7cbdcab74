"""Handing work to the engine, and waiting for its record as long as a request may."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from app.api.parts import Parts
from app.errors import ErasedDecisionError, TimedOutError
from app.work import Earlier, Outcome, Recorded, Unfinished, Work
from audit.errors import DuplicateIdError, FollowsErasedError

Made = TypeVar("Made")

ATTEMPTS = 5
"""How often a numbered entry is made again because another one came before it."""


async def recorded(parts: Parts, work: Work) -> Recorded | Earlier:
    """Return the durable outcome of ``work``. Raises TimedOutError, and what recording raises."""
    seconds = parts.settings.request_timeout_seconds
    submitted = parts.engine.submit(work)
    # A timer of the loop and a failed future: a third of the cost of ``asyncio.timeout``.
    timer = asyncio.get_running_loop().call_later(seconds, _expire, submitted, seconds)
    try:
        outcome = await submitted
    except FollowsErasedError as err:
        raise ErasedDecisionError("the decision was erased meanwhile") from err
    finally:
        timer.cancel()
    if not isinstance(outcome, Unfinished):
        return outcome
    try:
        async with asyncio.timeout_at(timer.when()):
            while isinstance(outcome, Unfinished):
                outcome = await parts.engine.submit(await parts.slow_lane.run(outcome.finish))
            return outcome
    except TimeoutError as err:
        raise TimedOutError(seconds=seconds) from err


async def recorded_once(parts: Parts, work: Work) -> Recorded:
    """As ``recorded``, of work without an Idempotency-Key, which cannot have been done before."""
    outcome = await recorded(parts, work)
    if isinstance(outcome, Earlier):
        raise TypeError("work without an Idempotency-Key was answered from an earlier record")
    return outcome


async def until_numbered(attempt: Callable[[], Awaitable[Made]]) -> Made:
    """Return what ``attempt`` returns, which records an entry that has the next number of its kind.

    Where another entry took that number first, it is made again from what is recorded by then. Raises
    DuplicateIdError when that goes on.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(DuplicateIdError):
            return await attempt()
    return await attempt()


def _expire(submitted: asyncio.Future[Outcome], seconds: float) -> None:
    if not submitted.done():
        submitted.set_exception(TimedOutError(seconds=seconds))
