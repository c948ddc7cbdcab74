"""What goes on beside the requests: ended with the service, and told of when it fails."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from app.working import working


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise ZeroDivisionError


async def at_an_end() -> None:
    pass


def test_a_work_that_fails_is_told_of_at_once_by_name() -> None:
    async def run() -> None:
        async with working(index=failing, webhooks=at_an_end, stops=for_ever):
            while not lines:  # noqa: ASYNC110  # whatever is told comes in a turn of the loop
                await asyncio.sleep(0)

    with capture_logs() as lines:
        asyncio.run(run())
    (told,) = lines
    assert told["event"] == "stopped working"
    assert (told["what"], told["error"]) == ("index", "ZeroDivisionError")


def test_a_work_that_failed_begins_again() -> None:
    begun: list[int] = []

    async def failing_twice() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise OSError
        await for_ever()

    async def run() -> None:
        async with working(pause=0.0, checkpointer=failing_twice):
            async with asyncio.timeout(10):
                while len(begun) < 3:  # noqa: ASYNC110  # each comes in a turn of the loop
                    await asyncio.sleep(0)

    with capture_logs() as lines:
        asyncio.run(run())
    assert [line["what"] for line in lines] == ["checkpointer"] * 2


def test_every_work_is_ended_also_where_what_it_went_on_beside_fails() -> None:
    ended = threading.Event()

    async def endless() -> None:
        try:
            await for_ever()
        finally:
            ended.set()

    async def run() -> None:
        async with working(index=endless):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert ended.is_set()
