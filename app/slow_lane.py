"""Where explanations that run the model many times are made: threads of their own, few and bounded.

On the engine's thread one such case would hold up every other decision.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.errors import OverloadedError

WAITING_LIMIT = 64

Result = TypeVar("Result")


class SlowLane:
    """A bounded pool of threads. Use from the event loop's thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="slow")
        self._waiting = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what ``work`` returns. Raises OverloadedError when too much is waiting."""
        if self._waiting >= WAITING_LIMIT:
            raise OverloadedError(limit=WAITING_LIMIT)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(cancel_futures=True)
