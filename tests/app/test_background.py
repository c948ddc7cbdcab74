import asyncio
import os
import sys
import threading

import pytest

from app.background import NICENESS
from tests.started import Started


@pytest.mark.skipif(sys.platform != "linux", reason="only there has each thread its own")
def test_what_nobody_waits_for_gives_way_to_what_answers(service: Started) -> None:
    async def nicenesses() -> tuple[int, int]:
        return await asyncio.to_thread(_niceness), _niceness()

    portal = service.client.portal
    assert portal is not None

    background, answering = portal.call(nicenesses)

    assert background == min(_niceness() + NICENESS, 19)
    assert answering == _niceness()


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
