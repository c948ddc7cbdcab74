"""Threads for what nobody waits for: signing, publishing, following, watching.

They give way to the threads that answer, in this process and in the others beside it; so do the processes
that they start, as those of a verification. What a request waits for is not for them: see
``fastapi.concurrency.run_in_threadpool``.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

NICENESS = 10
"""Beyond the other threads': a tenth of a busy processor is still theirs. At 19 it would be a seventieth, and
who holds the interpreter's lock then would keep the others from it for long."""


def background_threads() -> ThreadPoolExecutor:
    """Return a pool for the event loop's ``asyncio.to_thread``."""
    return ThreadPoolExecutor(thread_name_prefix="background", initializer=_give_way)


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):
            me = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + NICENESS)
