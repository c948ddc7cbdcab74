"""What goes on beside the requests: ended with the service, and told of and begun again when it fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

PAUSE_SECONDS = 5.0
"""Before a work that failed begins again."""

_log = structlog.get_logger("grounds.working")


@asynccontextmanager
async def working(
    *, pause: float = PAUSE_SECONDS, **works: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """Let works go on meanwhile, by name, and end them.

    What one of them may meet it sees to itself. Should one fail all the same, the service's log says so
    at once and it begins again: nobody waits for it, and without it nothing is signed, or no limit
    trips, until somebody happens to restart the service.
    """
    tasks = [
        asyncio.create_task(_again_and_again(name, work, pause=pause))
        for name, work in works.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _again_and_again(
    name: str, work: Callable[[], Awaitable[object]], *, pause: float
) -> None:
    while True:
        try:
            await work()
        except Exception as err:  # noqa: BLE001  # whatever it is: there is nobody further out
            _log.error("stopped working", what=name, error=type(err).__name__, again_in=pause)
            await asyncio.sleep(pause)
        else:
            return
