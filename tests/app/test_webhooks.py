"""Events reach a real receiver: signed, in order, at least once, whatever fails, and nothing of anybody."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain import Role
from app.main import StartRefusedError
from app.settings import Settings
from app.webhooks import delivery
from app.webhooks.delivery import Place
from app.webhooks.endpoints import WebhooksError, load_endpoints
from app.webhooks.events import KINDS
from app.webhooks.network import is_public
from audit.leaf import parse_leaf
from tests.app import tiny
from tests.app.versions import Owner
from tests.service import ServiceProcess
from tests.started import Started, make_keys, start

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
PATIENCE_SECONDS = 60
SUBJECT = "person-4711"


class Receiver:
    """A web server of its own that acknowledges, refuses or hangs up, as told."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        """What was acknowledged: headers and body."""
        self.refused = 0
        self.plan: list[int] = []
        """Answers to give before acknowledging; 0 hangs up, -1 goes on and on without a status."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.plan.pop(0) if receiver.plan else 204
                if status == 0:
                    receiver.refused += 1
                    self.close_connection = True
                    return
                if status == -1:
                    receiver.refused += 1
                    self.close_connection = True
                    with suppress(OSError):
                        while True:
                            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                            time.sleep(0.01)
                    return
                if status < 300:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.taken.append((headers, body))
                else:
                    receiver.refused += 1
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.taken]

    @property
    def indices(self) -> list[int]:
        return [event["data"]["index"] for event in self.events]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.taken) < count:
            assert time.monotonic() < deadline, f"{len(self.taken)} of {count} came"
            time.sleep(0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def configured(directory: Path, url: str, secret: str = SECRET, **more: object) -> Path:
    (directory / "secret").write_text(secret)
    path = directory / "webhooks.yaml"
    endpoint = {
        "name": "cms", "url": url, "secret_file": str(directory / "secret"), "private": True,
        "events": ["recommendation", "decision", "stage", "stop"], **more,
    }  # fmt: skip
    path.write_text(yaml.safe_dump([endpoint]))
    return path


@contextmanager
def running(tiny_models: Path, directory: Path, url: str, **more: object) -> Iterator[Started]:
    path = configured(directory, url, **more)  # type: ignore[arg-type]
    with start(
        Settings(models_dir=tiny_models, data_dir=directory / "data", webhooks_file=path)
    ) as started:
        yield started


def told(started: Started) -> list[int]:
    """Return the indices of the entries that have to be told of."""
    log = started.parts.log
    # What was in the log at the start comes to no endpoint that is new: the first version's entry.
    begun = log.receipt("registry.1").index
    leaves = ((row.seq, parse_leaf(row.leaf)) for row in log.entries(begun + 1, log.size))
    return [index for index, leaf in leaves if leaf.type in KINDS]


def test_every_kind_of_event_comes_signed_in_order_and_as_the_standards_say(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    with running(tiny_models, tmp_path, receiver.url) as started:
        decision = started.ask(tiny.NAME, tiny.CASE, subject=SUBJECT).json()["id"]
        reason = {"code": "other", "text": "Private words."}
        steps: tuple[tuple[Role, str, dict[str, object]], ...] = (
            (Role.CASEWORKER, "caseworker-decision", {"outcome": "yes", "reason": reason}),
            (Role.CALLER, "contest", {"text": "Private words."}),
            (Role.REVIEWER, "review", {"outcome": "no", "reason": reason}),
        )
        for role, step, said in steps:
            path = f"/v1/decisions/{decision}/{step}"
            answer = started.client.post(path, json=said, headers=started.key(role))
            assert answer.status_code == 201, answer.text
        started.client.post(
            "/v1/stop", json={"model": tiny.NAME, "reason": "Why."}, headers=started.key(Role.ADMIN)
        )
        started.resume_all()
        owner = Owner(started.settings, started.client, tiny.NAME)
        told_ = tiny.card().model_copy(update={"version": "2"})
        tiny.write(tmp_path / "second", told=told_)
        version = owner.submit(tmp_path / "second")
        owner.bring(version, "accepted", "shadow", "live")
        policy = owner.submit_policy(tmp_path, {**tiny.policy(), "version": "2"})
        assert owner.post("policy", {"policy": policy, "reason": "Why."}).status_code == 200
        assert owner.post("rollback", {"reason": "Why."}).status_code == 200
        receiver.wait_for(12)
        assert receiver.indices == told(started)
        answer = started.client.get(f"/v1/decisions/{decision}", headers=started.key(Role.CALLER))
        receipt = answer.json()["receipt"]
    assert [event["type"] for event in receiver.events] == [
        "grounds.decision.recommended.v1", "grounds.decision.decided.v1",
        "grounds.decision.reviewed.v1", "grounds.advice.stopped.v1",
        "grounds.advice.resume-asked.v1", "grounds.advice.resumed.v1",
        "grounds.model.registered.v1", *["grounds.model.stage-changed.v1"] * 3,
        "grounds.model.policy-changed.v1", "grounds.model.stage-changed.v1",
    ]  # fmt: skip
    assert {event["type"] for event in receiver.events} == {
        f"grounds.{kind.type}" for kind in KINDS.values()
    }
    first = receiver.events[0]
    assert first["data"]["decision"] == decision
    assert (first["data"]["index"], first["data"]["leaf_hash"]) == (
        receipt["index"], receipt["leaf_hash"],
    )  # fmt: skip
    assert receiver.events[1]["data"]["final"] is True
    changes = [event["data"] for event in receiver.events[6:]]
    assert [(each.get("stage"), each.get("rollback", False)) for each in changes] == [
        ("submitted", False), ("accepted", False), ("shadow", False), ("live", False),
        (None, False), ("live", True),
    ]  # fmt: skip
    assert [f"sha256:{each['model']['sha256']}" for each in changes] == [version.bundle] * 6
    assert [f"sha256:{each['policy']['sha256']}" for each in changes] == [
        *[version.policy] * 4, policy, version.policy,
    ]  # fmt: skip
    for headers, body in receiver.taken:
        assert Webhook(SECRET).verify(body, headers) == json.loads(body)
        event = from_http_event(HTTPMessage(headers, body))
        assert event.get_id() == headers["webhook-id"] == str(json.loads(body)["data"]["index"])
        assert event.get_source() == "//localhost/grounds"
        assert event.get_specversion() == "1.0"
        for word in (SUBJECT, "Private", "Why", owner.name, "caseworker"):
            assert word.encode() not in body, word
    sequences = [event["sequence"] for event in receiver.events]
    assert sequences == sorted(sequences)


def test_a_signature_holds_for_these_bytes_this_moment_and_this_secret_only(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    secrets = f"{NEXT_SECRET}\n{SECRET}\n"
    with running(tiny_models, tmp_path, receiver.url, secret=secrets) as started:
        started.ask(tiny.NAME, tiny.CASE)
        receiver.wait_for(1)
    headers, body = receiver.taken[0]
    for secret in (SECRET, NEXT_SECRET):  # both hold while receivers change over
        Webhook(secret).verify(body, headers)
    stranger = "whsec_" + base64.b64encode(bytes(32)).decode()
    near_misses: list[tuple[str, bytes, Mapping[str, str]]] = [
        (stranger, body, headers),
        (SECRET, body.replace(b"tiny", b"tinx"), headers),
        (SECRET, body, {**headers, "webhook-id": headers["webhook-id"] + "0"}),
        (
            SECRET,
            body,
            {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
        ),
    ]
    for secret, content, sent in near_misses:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(content, dict(sent))


def test_nothing_of_a_person_a_case_or_an_outcome_is_in_an_event(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    with running(tiny_models, tmp_path, receiver.url) as started:
        asked = started.ask(
            tiny.NAME, {**tiny.CASE, "amount": 98765.5, "answer": "Zebedee"}, subject=SUBJECT
        )
        outcome = asked.json()["recommendation"]["outcome"]
        started.client.post(
            f"/v1/decisions/{asked.json()['id']}/caseworker-decision",
            json={"outcome": outcome, "reason": {"code": "other", "text": "Private words."}},
            headers=started.key(Role.CASEWORKER),
        )
        receiver.wait_for(2)
        keys = [entry.id for entry in started.parts.keys.entries()]
    for headers, body in receiver.taken:
        sent = body + json.dumps(headers).encode()
        for word in (SUBJECT, "98765", "Zebedee", f'"{outcome}"', "Private", "caseworker", *keys):
            assert word.encode() not in sent, word


def test_what_a_receiver_refuses_is_sent_again_and_nothing_overtakes_it(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.plan = [500, 0, 302]
    with running(tiny_models, tmp_path, receiver.url) as started:
        for _ in range(4):
            started.ask(tiny.NAME, tiny.CASE)
        receiver.wait_for(4)
        assert receiver.refused == 3
        assert receiver.indices == told(started)
        value = started.parts.metrics.registry.get_sample_value
        failed = value("grounds_webhook_deliveries_total", {"endpoint": "cms", "result": "failed"})
        assert failed == 3
        deadline = time.monotonic() + PATIENCE_SECONDS
        while value("grounds_webhook_lag_entries", {"endpoint": "cms"}) != 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert value("grounds_webhook_lag_seconds", {"endpoint": "cms"}) == 0


def test_a_receiver_that_never_comes_to_an_answer_is_left_and_asked_again(
    tiny_models: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.5)
    receiver.plan = [-1]
    with running(tiny_models, tmp_path, receiver.url) as started:
        started.ask(tiny.NAME, tiny.CASE)
        receiver.wait_for(1)
        assert receiver.refused == 1
        assert receiver.indices == told(started)


def test_an_event_that_waits_is_lag(tiny_models: Path, tmp_path: Path, receiver: Receiver) -> None:
    receiver.plan = [500] * 100
    with running(tiny_models, tmp_path, receiver.url) as started:
        started.ask(tiny.NAME, tiny.CASE)
        started.ask(tiny.NAME, tiny.CASE)
        value = started.parts.metrics.registry.get_sample_value
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (value("grounds_webhook_lag_entries", {"endpoint": "cms"}) or 0) < 2 or not (
            value("grounds_webhook_lag_seconds", {"endpoint": "cms"})
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_only_the_groups_that_are_asked_for_are_sent(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    with running(tiny_models, tmp_path, receiver.url, events=["stop"]) as started:
        started.ask(tiny.NAME, tiny.CASE)
        started.client.post(
            "/v1/stop", json={"model": None, "reason": "Why."}, headers=started.key(Role.ADMIN)
        )
        receiver.wait_for(1)
    assert [event["type"] for event in receiver.events] == ["grounds.advice.stopped.v1"]


def test_killed_again_and_again_every_event_comes_and_none_overtakes(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    settings = Settings(
        models_dir=tiny_models,
        data_dir=tmp_path / "data",
        webhooks_file=configured(tmp_path, receiver.url),
    )
    key = make_keys(settings)[Role.CALLER]
    asked: list[int] = []
    for answers in ([500], [0], []):
        receiver.plan = answers
        with ServiceProcess(settings) as service:
            for _ in range(8):
                answer = httpx.post(
                    f"{service.address}/v1/models/{tiny.NAME}/decisions",
                    json={"case": tiny.CASE},
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=60,
                )
                asked.append(answer.json()["receipt"]["index"])
            if answers:
                service.kill()
            else:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while asked[-1] not in receiver.indices:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
    first_seen = list(dict.fromkeys(receiver.indices))
    assert first_seen == asked
    bodies = {
        event["data"]["index"]: body
        for event, (_, body) in zip(receiver.events, receiver.taken, strict=True)
    }
    for event, (headers, body) in zip(receiver.events, receiver.taken, strict=True):
        # Sent twice, it is the same event, so that a receiver can tell.
        assert body == bodies[event["data"]["index"]]
        Webhook(SECRET).verify(body, headers)


def test_a_new_endpoint_begins_with_what_happens_from_now_on(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as started:
        started.ask(tiny.NAME, tiny.CASE)
    with running(tiny_models, tmp_path, receiver.url) as started:
        index = started.ask(tiny.NAME, tiny.CASE).json()["receipt"]["index"]
        receiver.wait_for(1)
    assert receiver.indices == [index]


def test_a_log_that_is_shorter_than_what_was_told_refuses_the_start(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    (tmp_path / "data" / "webhooks").mkdir(parents=True)
    (tmp_path / "data" / "webhooks" / "cms.next").write_text("1000\n")
    with pytest.raises(StartRefusedError), running(tiny_models, tmp_path, receiver.url):
        pass


def test_a_private_address_is_not_reached_unless_it_is_meant(
    tiny_models: Path, tmp_path: Path, receiver: Receiver
) -> None:
    # https, so that the file is taken; the name leads to this very machine.
    url = receiver.url.replace("http://127.0.0.1", "https://localhost")
    with running(tiny_models, tmp_path, url, private=False) as started:
        started.ask(tiny.NAME, tiny.CASE)
        value = started.parts.metrics.registry.get_sample_value
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not value(
            "grounds_webhook_deliveries_total", {"endpoint": "cms", "result": "failed"}
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert receiver.taken == []
    assert receiver.refused == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.1", False), ("224.0.0.1", False),
        ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False), ("::127.0.0.1", False), ("::ffff:0:169.254.169.254", False),
        ("fec0::1", False), ("5f00::1", False), ("3fff::1", False), ("2001:0:7f00:1::", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"url": "http://example.org/x"}, "want https"),
        ({"url": "http://127.0.0.1/x", "private": False}, "want https"),
        ({"url": "http://10.0.0.1/x"}, "want https"),
        ({"url": "https://user:pass@example.org/"}, "no user"),
        ({"url": "ftp://example.org/"}, "want https"),
        ({"url": "https:///x"}, "want https://host/path"),
        ({"url": "https://example.org:99999/"}, "want https://host/path"),
        ({"events": []}, "events"),
        ({"events": ["everything"]}, "events"),
        ({"name": "../../etc"}, "name"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused(
    tmp_path: Path, change: dict[str, object], fault: str
) -> None:
    path = configured(tmp_path, **{"url": "https://example.org/events", **change})  # type: ignore[arg-type]
    if "secret" not in change:
        with pytest.raises(WebhooksError, match=fault):
            load_endpoints(path)
        return
    (endpoint,) = load_endpoints(path)
    with pytest.raises(WebhooksError, match=fault) as refused:
        endpoint.secrets()
    assert "whsec_x" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", SECRET.removeprefix("whsec_"), "whsec_!!!!", "whsec_" + "QUFB" * 5,
               "\n".join([SECRET] * 3)],
)  # fmt: skip
def test_a_secret_that_is_none_is_refused(tmp_path: Path, secret: str) -> None:
    (endpoint,) = load_endpoints(configured(tmp_path, "https://example.org/", secret=secret))
    with pytest.raises(WebhooksError, match="secret"):
        endpoint.secrets()


@pytest.mark.parametrize("content", ["a: b", "- {name: x}", "[", "- 3"])
def test_a_file_that_is_no_list_of_endpoints_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "webhooks.yaml").write_text(content)
    with pytest.raises(WebhooksError):
        load_endpoints(tmp_path / "webhooks.yaml")


def test_a_place_is_kept_and_a_damaged_one_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "places" / "cms.next"
    assert Place(path, newest=7).next == 7
    Place(path, newest=9).advance(8)
    assert Place(path, newest=9).next == 8
    path.write_text("eight")
    with pytest.raises(WebhooksError):
        Place(path, newest=9)
