"""What goes on beside the requests: ended with the service, and told of when it fails."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog

_log = structlog.get_logger("grounds.working")


@asynccontextmanager
async def working(**works: Coroutine[object, object, object]) -> AsyncIterator[None]:
    """Let works go on meanwhile, by name, and end them.

    What one of them may meet it sees to itself. Should one fail all the same, the service's log says so
    at once: nobody waits for it, and nobody would notice.
    """
    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    for task in tasks:
        task.add_done_callback(_tell_of_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _tell_of_failure(task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("stopped working", work=task.get_name(), error=type(error).__name__)
