"""Handing work to the engine, and waiting for its record as long as a request may."""

import asyncio

from app.api.parts import Parts
from app.engine import Earlier, Recorded, Unfinished, Work
from app.errors import TimedOutError


async def recorded(parts: Parts, work: Work) -> Recorded | Earlier:
    """Return the durable outcome of ``work``. Raises TimedOutError, and what recording raises."""
    seconds = parts.settings.request_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            outcome = await parts.engine.submit(work)
            while isinstance(outcome, Unfinished):
                outcome = await parts.engine.submit(await parts.slow_lane.run(outcome.finish))
            return outcome
    except TimeoutError as err:
        raise TimedOutError(seconds=seconds) from err
