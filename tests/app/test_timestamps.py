"""An hourly timestamp by an authority of the tests' own: kept as an entry, carried by packs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.domain import Role
from app.ids import utc_now
from app.settings import Settings
from app.timestamps import RETRY_SECONDS, TIMESTAMP, first_timestamp_after
from audit import standalone_verify
from audit.leaf import parse_leaf
from audit.rare import RareEntries
from audit.timestamp import REQUEST_TYPE, RESPONSE_TYPE
from tests.app import tiny
from tests.authority import Authority
from tests.running import running
from tests.started import Started, start


class Served:
    """The authority behind HTTP, which can be made to lie."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.spoil = False
        self.endless: float | None = None
        """Seconds between the pieces of an answer that never ends."""
        self.asked = 0

    async def reply(self, request: Request) -> Response:
        assert request.headers["content-type"] == REQUEST_TYPE
        self.asked += 1
        if self.endless is not None:
            return StreamingResponse(self.pieces(self.endless), media_type=RESPONSE_TYPE)
        content = bytearray(await run_in_threadpool(self.authority.reply, await request.body()))
        if self.spoil:
            content[-1] ^= 1
        return Response(bytes(content), media_type=RESPONSE_TYPE)

    @staticmethod
    async def pieces(seconds: float) -> AsyncIterator[bytes]:
        while True:
            yield b"\0" * 1024
            await asyncio.sleep(seconds)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(Authority(tmp_path_factory.mktemp("authority")))


@pytest.fixture(scope="module")
def stamped(
    served: Served, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("stamped")
    roots = directory / "roots.pem"
    roots.write_bytes(served.authority.root)
    app = Starlette(routes=[Route("/", served.reply, methods=["POST"])])
    with running(app) as address:
        settings = Settings(
            models_dir=tiny_models,
            data_dir=directory / "data",
            timestamp_url=address,
            timestamp_roots=roots,
        )
        with start(settings) as service:
            yield service


def step(service: Started) -> None:
    """Do what the service does each second."""
    portal = service.client.portal
    assert portal is not None
    portal.call(service.parts.checkpointer.step)


def stamps(service: Started) -> int:
    log = service.parts.log
    return sum(parse_leaf(row.leaf).type == TIMESTAMP for row in log.entries(0, log.size))


def test_a_checkpoint_is_stamped_once_an_hour_and_the_pack_carries_it(
    stamped: Started, served: Served, tmp_path: Path
) -> None:
    answer = stamped.ask(tiny.NAME, tiny.CASE)
    decision = answer.json()["id"]
    timestamps = stamped.parts.checkpointer._timestamps
    assert timestamps is not None
    timestamps._due = None  # an hour has passed
    step(stamped)
    made = stamps(stamped)
    assert made >= 1
    step(stamped)
    assert stamps(stamped) == made
    timestamps._due = None  # another hour, in which nothing but the timestamp was recorded
    step(stamped)
    assert stamps(stamped) == made
    index = stamped.parts.log.receipt(decision).index
    found = first_timestamp_after(
        stamped.parts.log, RareEntries(stamped.parts.log, [TIMESTAMP]), index
    )
    assert found is not None
    assert served.authority.openssl_verifies(found.response, found.checkpoint)
    step(stamped)
    pack = stamped.client.get(
        f"/v1/decisions/{decision}/evidence", headers=stamped.key(Role.AUDITOR)
    )
    (tmp_path / "pack.zip").write_bytes(pack.content)
    (tmp_path / "root.pem").write_bytes(served.authority.root)
    command = ["pack", str(tmp_path / "pack.zip"), "--tsa-root", str(tmp_path / "root.pem")]
    assert standalone_verify.main(command) == 0
    assert stamped.client.get("/health/ready").json()["alarms"] == []


def test_a_timestamp_that_does_not_hold_is_not_kept_and_raises_the_alarm(
    stamped: Started, served: Served
) -> None:
    stamped.ask(tiny.NAME, tiny.CASE)
    timestamps = stamped.parts.checkpointer._timestamps
    assert timestamps is not None
    before = stamps(stamped)
    served.spoil, timestamps._due = True, None
    step(stamped)
    assert stamps(stamped) == before
    (alarm,) = stamped.client.get("/health/ready").json()["alarms"]
    assert alarm.startswith("no timestamp over the log")
    served.spoil, timestamps._due = False, None
    step(stamped)
    assert stamps(stamped) == before + 1
    assert stamped.client.get("/health/ready").json()["alarms"] == []


@pytest.mark.parametrize("again", [-RETRY_SECONDS, 3600.0 * 24])
def test_an_authority_that_failed_is_asked_again_soon_even_by_a_clock_that_was_set_back(
    stamped: Started, served: Served, again: float
) -> None:
    stamped.ask(tiny.NAME, tiny.CASE)
    timestamps = stamped.parts.checkpointer._timestamps
    assert timestamps is not None
    served.spoil, timestamps._due = True, None
    step(stamped)
    before = stamps(stamped)
    served.spoil = False
    step(stamped)
    assert stamps(stamped) == before
    timestamps._due = utc_now() + timedelta(seconds=again)
    step(stamped)
    assert stamps(stamped) == before + 1
    assert stamped.client.get("/health/ready").json()["alarms"] == []


def test_an_authority_that_cannot_be_reached_costs_no_decision(stamped: Started) -> None:
    timestamps = stamped.parts.checkpointer._timestamps
    assert timestamps is not None
    assert stamped.ask(tiny.NAME, tiny.CASE).status_code == 201
    url = timestamps._url
    timestamps._url, timestamps._due = "http://127.0.0.1:9", None
    step(stamped)
    assert stamped.client.get("/health/ready").json()["alarms"]
    assert stamped.ask(tiny.NAME, tiny.CASE).status_code == 201
    timestamps._url, timestamps._due = url, None
    step(stamped)
    assert stamped.client.get("/health/ready").json()["alarms"] == []


@pytest.mark.parametrize(
    ("between", "seconds", "alarm"), [(0, 10, "too long"), (0.02, 0.1, "TimeoutError")]
)
def test_an_authority_that_never_stops_answering_holds_up_no_checkpoint(
    stamped: Started, served: Served, between: float, seconds: float, alarm: str
) -> None:
    timestamps = stamped.parts.checkpointer._timestamps
    assert timestamps is not None
    assert stamped.ask(tiny.NAME, tiny.CASE).status_code == 201
    served.endless, timestamps._seconds, timestamps._due = between, seconds, None
    step(stamped)
    (told,) = stamped.client.get("/health/ready").json()["alarms"]
    assert alarm in told
    served.endless, timestamps._seconds, timestamps._due = None, 10.0, None
    step(stamped)
    assert stamped.client.get("/health/ready").json()["alarms"] == []
