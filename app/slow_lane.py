"""Where explanations that run the model many times are made: threads of their own, few and bounded.

On the engine's thread one such case would hold up every other decision.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.errors import OverloadedError

Result = TypeVar("Result")


class SlowLane:
    """A bounded pool of threads. Use from the event loop's thread."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="slow")
        self._waiting = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns. Raises OverloadedError when too much is waiting."""
        if self._waiting >= self._limit:
            raise OverloadedError(limit=self._limit)
        loop = asyncio.get_running_loop()
        self._waiting += 1
        future = self._pool.submit(work)
        # Not when the caller stops waiting: a thread cannot be stopped, and its place is taken.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)

    def _leave(self) -> None:
        self._waiting -= 1
