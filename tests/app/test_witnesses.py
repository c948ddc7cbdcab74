"""The service and its witnesses: cosignatures, quorums, alarms, and a log that was set back."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from app.api.witness import create_witness_app
from app.metrics import Metrics
from app.witnesses import COSIGNED_FILE, Witnesses, load_policy_file
from audit.errors import TrustPolicyError
from audit.log import Log
from audit.note import VerifierKey, open_note
from audit.records import NewRecord
from audit.witness import MAX_BODY_BYTES, Witness, add_log
from tests.running import running

ORIGIN = "example.com/log"


def clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # a witness states real times


class Setting:
    """A log, two witnesses and a policy that wants both or one of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.numbers = iter(range(1000))
        self.log = self.open_log()
        self.witnesses = [
            Witness.open(directory / name, clock=clock, name=f"{name}.example") for name in ("a", "b")
        ]  # fmt: skip
        for name in ("a", "b"):
            add_log(directory / name, self.log.verifier_key)
        self.apps: dict[str, httpx.ASGITransport] = {
            name: httpx.ASGITransport(create_witness_app(witness))
            for name, witness in zip(("a", "b"), self.witnesses, strict=True)
        }
        self.metrics = Metrics([])

    def open_log(self) -> Log:
        return Log.open(self.directory / "log", origin=ORIGIN, clock=clock, create=True)

    def grow(self, count: int = 1) -> bytes:
        self.log.append([NewRecord("event", f"e{next(self.numbers)}", {}) for _ in range(count)])
        return self.log.checkpoint()

    def policy(self, quorum: str = "group q all a b\nquorum q\n") -> Path:
        lines = [f"log {self.log.verifier_key}\n"]
        lines += [
            f"witness {name} {witness.vkey} http://{name}.example\n"
            for name, witness in zip(("a", "b"), self.witnesses, strict=True)
        ]
        path = self.directory / "policy"
        path.write_text("".join(lines) + quorum)
        return path

    def run(self, work: Callable[[Witnesses], Awaitable[None]], quorum: str | None = None) -> None:
        """Run ``work`` with the service's own collector, whose requests reach the witnesses."""
        path = self.policy() if quorum is None else self.policy(quorum)

        async def main() -> None:
            mounts: dict[str, httpx.AsyncBaseTransport | None] = {
                f"all://{name}.example": app for name, app in self.apps.items()
            }
            async with httpx.AsyncClient(mounts=mounts, trust_env=False) as client:
                policy = load_policy_file(path, origin=ORIGIN)
                await work(Witnesses(self.log, policy, metrics=self.metrics, client=client))

        asyncio.run(main())

    def failures(self, name: str, kind: str) -> float:
        count: float = self.metrics.witness_failures.labels(name, kind)._value.get()
        return count


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.log.close()
    for witness in made.witnesses:
        witness.close()


def test_a_witness_that_never_cosigns_is_on_the_metrics(setting: Setting) -> None:
    setting.apps["b"] = httpx.ASGITransport(Starlette(routes=[]))

    async def work(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow())

    setting.run(work, "group q any a b\nquorum q\n")
    times = {
        sample.labels["witness"]: sample.value
        for family in setting.metrics.witness_time.collect()
        for sample in family.samples
    }
    assert times["a"] > 0
    assert times["b"] == 0


def test_every_checkpoint_gets_its_cosignatures(setting: Setting) -> None:
    async def work(witnesses: Witnesses) -> None:
        for count in (1, 1, 300, 1):
            note = setting.grow(count)
            full = await witnesses.collect(note)
            keys = [VerifierKey.parse(witness.vkey) for witness in setting.witnesses]
            assert open_note(full, keys)[1] == tuple(keys)
            assert full.startswith(note)
            assert witnesses.cosigned == full
            assert witnesses.alarms == []
            assert witnesses.is_complete
            assert (setting.log.directory / COSIGNED_FILE).read_bytes() == full
            assert {state.size for state in witnesses.states} == {setting.log.size}
            # the same again: a witness that is asked twice answers twice
            assert await witnesses.collect(note)

    setting.run(work)
    assert setting.metrics.quorum_size._value.get() == setting.log.size

    async def restarted(witnesses: Witnesses) -> None:
        assert witnesses.cosigned is not None
        await witnesses.collect(setting.grow())
        assert witnesses.alarms == []

    setting.run(restarted)


def test_a_missing_witness_is_an_alarm_and_the_last_quorum_is_kept(setting: Setting) -> None:
    async def work(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow())

    setting.run(work)
    kept = (setting.log.directory / COSIGNED_FILE).read_bytes()
    setting.apps["b"] = httpx.ASGITransport(Starlette(routes=[]))

    async def alone(witnesses: Witnesses) -> None:
        note = setting.grow()
        partly = await witnesses.collect(note)
        assert partly != note
        assert witnesses.cosigned == kept
        assert witnesses.alarms == ["the log's newest checkpoint lacks its quorum of witnesses"]
        assert not witnesses.is_complete
        assert "does not know this log" in witnesses.states[1].detail

    setting.run(alone)
    assert setting.failures("b", "refused") == 1

    async def one_is_enough(witnesses: Witnesses) -> None:
        note = await witnesses.collect(setting.grow())
        assert witnesses.cosigned == note
        assert witnesses.alarms == []

    setting.run(one_is_enough, "group q any a b\nquorum q\n")


def set_back(setting: Setting, work: Callable[[], None]) -> None:
    """Do ``work``, then put the whole directory back as it was: an administrator's rollback."""
    setting.log.close()
    before = setting.directory / "before"
    shutil.copytree(setting.directory / "log", before)
    setting.log = setting.open_log()
    work()
    setting.log.close()
    shutil.rmtree(setting.directory / "log")
    before.rename(setting.directory / "log")
    setting.log = setting.open_log()


def test_a_log_that_was_set_back_is_refused_and_raises_the_alarm(setting: Setting) -> None:
    """Database and the checkpoint file beside it: only somebody outside can remember."""
    setting.grow()

    async def collect(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow(5))
        assert witnesses.alarms == []

    set_back(setting, lambda: setting.run(collect))

    async def shorter(witnesses: Witnesses) -> None:
        note = setting.log.checkpoint()
        assert await witnesses.collect(note) == note
        assert len(witnesses.alarms) == 3
        assert "the database was set back" in witnesses.alarms[0]

    async def another_history(witnesses: Witnesses) -> None:
        note = setting.grow(50)
        assert await witnesses.collect(note) == note
        assert "has seen another history" in witnesses.alarms[0]
        assert setting.log.append([NewRecord("event", "still", {})])  # appending goes on

    setting.run(shorter)
    setting.run(another_history)
    assert setting.failures("a", "conflict") == setting.failures("b", "conflict") == 2


def test_a_witness_that_stays_in_conflict_is_told_of_once(setting: Setting) -> None:
    """The log grows meanwhile, and what is said of it with it."""
    setting.grow()

    async def collect(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow(20))

    set_back(setting, lambda: setting.run(collect))

    async def again(witnesses: Witnesses) -> None:
        with capture_logs() as lines:
            for _ in range(4):
                await witnesses.collect(setting.grow())
        told = [line["witness"] for line in lines if line["event"] == "witness"]
        assert sorted(told) == ["a", "b"]
        assert f"the log has {setting.log.size}" in witnesses.alarms[0]

    setting.run(again)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(b"", 200), "refused"),
        (Response(b"nonsense\n", 200), "refused"),
        (Response(b"\xff\n", 200), "refused"),
        (Response(b"x" * 20_000, 200), "refused"),
        (Response(b"", 500), "refused"),
        (Response(b"", 302, headers={"Location": "http://a.example"}), "refused"),
        (Response(b"no size", 409), "conflict"),
        (Response(b"1\n", 409), "conflict"),
        (Response(b"999\n", 409), "conflict"),
        (Response(b"3\n", 409), "conflict"),  # another root of this very size
        (Response(b"no\n", 422), "conflict"),
    ],
    ids=range(11),
)
def test_whatever_a_witness_answers_is_an_alarm_at_most(
    setting: Setting, answer: Response, kind: str
) -> None:
    async def handler(_request: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/add-checkpoint", handler, methods=["POST"])])
    setting.apps["b"] = httpx.ASGITransport(app)

    async def work(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow(3))
        assert [state.fault for state in witnesses.states] == [None, kind]
        assert witnesses.alarms

    setting.run(work)


def test_a_cosignature_of_another_checkpoint_or_key_does_not_count(setting: Setting) -> None:
    setting.grow()
    genuine = setting.witnesses[1].add_checkpoint(b"old 0\n\n" + setting.grow()).body
    setting.grow()

    async def handler(_request: Request) -> Response:
        return Response(genuine)

    app = Starlette(routes=[Route("/add-checkpoint", handler, methods=["POST"])])
    setting.apps["b"] = httpx.ASGITransport(app)

    async def work(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.log.checkpoint())
        assert witnesses.cosigned is None
        assert witnesses.states[1].detail == "its cosignature is wrong"

    setting.run(work)


def test_a_witness_that_does_not_answer_costs_a_second_and_an_alarm(setting: Setting) -> None:
    async def handler(_request: Request) -> Response:
        await asyncio.sleep(60)
        return Response(b"")

    app = Starlette(routes=[Route("/add-checkpoint", handler, methods=["POST"])])
    setting.apps["b"] = httpx.ASGITransport(app)

    async def work(witnesses: Witnesses) -> None:
        await witnesses.collect(setting.grow())
        assert [state.fault for state in witnesses.states] == [None, "unreachable"]

    setting.run(work)


def test_a_policy_of_another_log_or_no_policy_is_refused(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(TrustPolicyError, match="does not name this log"):
        load_policy_file(setting.policy(), origin="example.com/other")
    with pytest.raises(TrustPolicyError, match="cannot read"):
        load_policy_file(tmp_path / "none", origin=ORIGIN)


@contextmanager
def served(setting: Setting) -> Iterator[httpx.Client]:
    with (
        running(create_witness_app(setting.witnesses[0])) as address,
        closing(httpx.Client(base_url=address, trust_env=False)) as client,
    ):
        yield client


def test_the_witness_speaks_the_protocol_over_http(setting: Setting) -> None:
    digest = sha256(ORIGIN.encode()).hexdigest()
    with served(setting) as client:
        assert client.get(f"/{digest}/checkpoint").status_code == 404
        note = setting.grow()
        added = client.post("/add-checkpoint", content=b"old 0\n\n" + note)
        assert added.status_code == 200
        assert added.text.startswith("\u2014 a.example ")
        conflict = client.post("/add-checkpoint", content=b"old 1\n\n" + note)
        assert (conflict.status_code, conflict.headers["content-type"]) == (409, "text/x.tlog.size")
        assert conflict.text == f"{setting.log.size}\n"
        shown = client.get(f"/{digest}/checkpoint")
        assert shown.content == note + added.content
        too_large = client.post("/add-checkpoint", content=b"x" * (MAX_BODY_BYTES + 1))
        assert too_large.status_code == 413
        assert client.get("/add-checkpoint").status_code == 405
        for path in ("/../key", "/%2e%2e/checkpoint", "/key", f"/{digest}/vkeys"):
            assert client.get(path).status_code == 404
