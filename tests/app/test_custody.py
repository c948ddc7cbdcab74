"""Over HTTP: evidence packs, tiles, recorded reads, erasure, holds and retention."""

import asyncio
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from app.custody import TYPES, Custody
from app.domain import Caller, Role
from app.engine import Engine
from app.ids import new_id
from app.keeping_errors import TooEarlyError
from app.log_entries import READ
from app.retention import Period, Retention, RetentionError, load_retention
from app.settings import Settings
from audit import standalone_verify
from audit.checkpoint import parse_checkpoint
from audit.errors import LogFullError, UnderHoldError
from audit.leaf import parse_leaf
from audit.log import Log
from audit.merkle import leaf_hash, root_of
from audit.note import COSIGNATURE, SigningKey, encode_base64, parse_note
from audit.publish import publish
from audit.rare import RareEntries
from audit.records import NewRecord
from audit.tiles import bundle_path, decode_bundle, tile_path, tile_widths
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started, start

AUDITOR = Caller(key_id="k", role=Role.AUDITOR)


def asked(service: Started, subject: str | None = None) -> str:
    response = service.ask(tiny.NAME, tiny.CASE, subject=subject)
    assert response.status_code == 201
    identifier: str = response.headers["location"].rsplit("/", 1)[1]
    return identifier


def last_entries(service: Started, count: int) -> list[tuple[str, dict[str, object]]]:
    log = service.parts.log
    leaves = [parse_leaf(row.leaf) for row in log.entries(log.size - count, log.size)]
    return [(leaf.type, dict(leaf.facts)) for leaf in leaves]


def pack_of(service: Started, decision: str, role: Role, query: str = "") -> bytes:
    response = service.client.get(
        f"/v1/decisions/{decision}/evidence{query}", headers=service.key(role)
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    content: bytes = response.content
    return content


def names_in(pack: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return set(archive.namelist())


def verifies(pack: bytes, tmp_path: Path, *options: str) -> bool:
    path = tmp_path / "pack.zip"
    path.write_bytes(pack)
    return standalone_verify.main(["pack", str(path), *options]) == 0


def test_an_auditors_pack_verifies_and_holds_the_content(service: Started, tmp_path: Path) -> None:
    decision = asked(service)
    held = service.client.get("/v1/audit/checkpoint", headers=service.key(Role.AUDITOR))
    for _ in range(3):
        asked(service)
    pack = pack_of(service, decision, Role.AUDITOR, f"?from={quote(held.text)}")
    vkey = held.headers["log-verifier-key"]
    (tmp_path / "held").write_bytes(held.content)
    assert verifies(pack, tmp_path, "--vkey", vkey, "--checkpoint", str(tmp_path / "held"))
    assert {"payload.json", "disclosure.json", "card.json", "policy.json"} <= names_in(pack)
    stranger = SigningKey.from_seed(service.parts.log.origin, bytes(32)).verifier.format()
    assert not verifies(pack, tmp_path, "--vkey", stranger)


def test_only_entitled_roles_get_the_content(service: Started, tmp_path: Path) -> None:
    decision = asked(service)
    for role, query, disclosed in (
        (Role.CALLER, "", False),
        (Role.AUDITOR, "?disclose=false", False),
        (Role.CASEWORKER, "", True),
        (Role.ADMIN, "", True),
    ):
        pack = pack_of(service, decision, role, query)
        assert ("payload.json" in names_in(pack)) is disclosed
        assert ("disclosure.json" in names_in(pack)) is disclosed
        assert verifies(pack, tmp_path)


def test_the_same_pack_twice_under_one_checkpoint(service: Started) -> None:
    decision = asked(service)
    note = service.parts.log.checkpoint()
    packs = {
        service.parts.evidence.pack(decision, note=note, reader=AUDITOR, disclose=True)
        for _ in range(2)
    }
    assert len(packs) == 1


def test_a_checkpoint_of_another_history_is_told_to_be_evidence(service: Started) -> None:
    decision = asked(service)
    log = service.parts.log
    origin, size, _, _ = parse_note(log.checkpoint()).text.split("\n")
    root = encode_base64(bytes(32))
    text = f"{origin}\n{size}\n{root}\n"
    forked = text + "\n" + log._signer.keys[0].sign(text).line()
    for held, slug, status in (
        (forked, "checkpoint-conflict", 409),
        ("nonsense", "not-a-checkpoint", 422),
        (forked.replace(origin, "example.com/other", 1), "not-a-checkpoint", 422),
    ):
        response = service.client.get(
            f"/v1/decisions/{decision}/evidence?from={quote(held)}",
            headers=service.key(Role.AUDITOR),
        )
        assert_problem(response, slug=slug, status=status)


@pytest.mark.parametrize("what", ["decision", "page", "evidence"])
def test_whoever_reads_a_personal_record_is_in_the_log(service: Started, what: str) -> None:
    decision = asked(service)
    index = service.parts.log.receipt(decision).index
    path = {
        "decision": f"/v1/decisions/{decision}",
        "page": f"/decisions/{decision}",
        "evidence": f"/v1/decisions/{decision}/evidence",
    }[what]
    for role in (Role.AUDITOR, Role.ADMIN, Role.CASEWORKER):
        if what == "page":
            response = service.client.get(path, headers=service.session(role))
        else:
            response = service.client.get(path, headers=service.key(role))
        assert response.status_code == 200
        ((kind, facts),) = last_entries(service, 1)
        assert kind == READ
        assert (facts["of"], facts["what"], facts["role"]) == (index, what, role.value)
    size = service.parts.log.size
    if what != "page":
        service.client.get(path, headers=service.key(Role.CALLER))
    assert service.parts.log.size == size


def test_what_cannot_be_recorded_is_not_shown(service: Started) -> None:
    decision = asked(service)
    own = service.parts.engine
    idle = Engine(service.parts.log, queue_limit=1, group_limit=1, on_group=own._on_group)
    with service.replaced(engine=idle):
        response = service.client.get(
            f"/v1/decisions/{decision}", headers=service.key(Role.AUDITOR)
        )
    assert_problem(response, slug="not-ready", status=503)


def test_tiles_over_http_are_the_published_files(service: Started, tmp_path: Path) -> None:
    asked(service)
    key = service.key(Role.AUDITOR)
    log = service.parts.log
    log.checkpoint()
    publish(log, tmp_path)
    checkpoint = parse_checkpoint(parse_note((tmp_path / "checkpoint").read_bytes()).text)
    size = checkpoint.size
    for level, (full, partial) in enumerate(tile_widths(size)):
        widths = [256] * full + ([partial] if partial else [])
        for position, width in enumerate(widths):
            for path in (
                tile_path(level, position, width),
                *([bundle_path(position, width)] if level == 0 else []),
            ):
                response = service.client.get(f"/log/{path}", headers=key)
                assert response.content == (tmp_path / path).read_bytes()
                assert response.headers["content-type"] == "application/octet-stream"
                assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    leaves = decode_bundle((tmp_path / bundle_path(0, min(size, 256))).read_bytes())
    assert size > 256 or root_of(map(leaf_hash, leaves)) == checkpoint.root
    shown = service.client.get("/log/checkpoint", headers=key)
    assert shown.headers["cache-control"] == "no-cache"
    assert parse_checkpoint(parse_note(shown.content).text).origin == checkpoint.origin


@pytest.mark.parametrize(
    "path",
    [
        "0/999", "1/000", "0/000.p/0", "0/000.p/256", "0/000.p/01", "00/000", "0/00",
        "0/x000/000", "entries/999", "entries/0", "64/000", "0/000.p/255",
        "0/x999/x999/x999/x999/x999/x999/999", "../../keys/log.key", "0/-01", "",
        "0/\u0660\u0660\u0660",
    ],
)  # fmt: skip
def test_no_other_address_is_a_tile(service: Started, path: str) -> None:
    response = service.client.get(f"/log/tile/{quote(path)}", headers=service.key(Role.AUDITOR))
    assert response.status_code in {404, 422}


def test_the_log_is_for_auditors_unless_it_is_public(service: Started) -> None:
    for path in ("/log/checkpoint", "/log/tile/entries/000.p/1"):
        assert service.client.get(path).status_code == 401
        assert service.client.get(path, headers=service.key(Role.CALLER)).status_code == 403
        assert service.client.get(path, headers=service.key(Role.AUDITOR)).status_code == 200
    public = service.parts.settings.model_copy(update={"log_public": True})
    with service.replaced(settings=public):
        response = service.client.get("/log/tile/entries/000.p/1")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_subject_is_erased_with_a_receipt_for_it(service: Started, tmp_path: Path) -> None:
    mine, other = asked(service, "s-1"), asked(service, "s-2")
    response = service.client.post(
        "/v1/subjects/erasure",
        json={"subject": "s-1", "basis": "GDPR Art. 17"},
        headers=service.key(Role.ADMIN),
    )
    index = service.parts.log.receipt(mine).index
    body = response.json()
    assert (response.status_code, body["erased"], body["backups_kept_days"]) == (200, [index], None)
    ((kind, facts),) = last_entries(service, 1)
    assert (kind, facts["of"], facts["basis"]) == ("erasure", [index], "GDPR Art. 17")
    key = service.key(Role.AUDITOR)
    assert_problem(
        service.client.get(f"/v1/decisions/{mine}", headers=key), slug="erased", status=410
    )
    assert service.client.get(f"/v1/decisions/{other}", headers=key).status_code == 200
    pack = pack_of(service, mine, Role.AUDITOR)
    assert {"erasure-leaf.json", "erasure.tlog-proof"} <= names_in(pack)
    assert verifies(pack, tmp_path)


def test_only_an_administrator_erases(service: Started) -> None:
    for role in Role:
        if role is not Role.ADMIN:
            response = service.client.post(
                "/v1/subjects/erasure",
                json={"subject": "x", "basis": "b"},
                headers=service.key(role),
            )
            assert_problem(response, slug="forbidden", status=403)


@pytest.mark.parametrize("on", ["subject", "decision"])
def test_a_hold_forbids_erasing_until_it_is_lifted(service: Started, on: str) -> None:
    subject = f"held-by-{on}"
    decision = asked(service, subject)
    asked(service, subject)
    key = service.key(Role.ADMIN)
    path = "/v1/subjects/hold" if on == "subject" else f"/v1/decisions/{decision}/hold"
    what = {"subject": subject} if on == "subject" else {}
    made = service.client.post(path, json={"basis": "Appeal 1", **what}, headers=key)
    assert made.status_code == 201
    hold = made.json()["id"]
    shown = service.client.get("/v1/holds", headers=service.key(Role.AUDITOR)).json()["holds"]
    assert [(each["id"], each["basis"], each["on"]) for each in shown] == [(hold, "Appeal 1", on)]
    size = service.parts.log.size
    by_subject = ("/v1/subjects/erasure", {"subject": subject, "basis": "b"})
    by_decision = (f"/v1/decisions/{decision}/erasure", {"basis": "b"})
    for path, body in (by_subject, by_decision):
        refused = service.client.post(path, json=body, headers=key)
        assert_problem(refused, slug="under-hold", status=409)
        assert hold in refused.json()["detail"]
    assert service.parts.log.size == size
    lifted = service.client.post(f"/v1/holds/{hold}/lift", json={"basis": "over"}, headers=key)
    assert lifted.status_code == 200
    again = service.client.post(f"/v1/holds/{hold}/lift", json={"basis": "over"}, headers=key)
    assert_problem(again, slug="unknown-hold", status=404)
    assert service.client.get("/v1/holds", headers=key).json() == {"holds": []}
    done = service.client.post(by_subject[0], json=by_subject[1], headers=key).json()
    # A hold on the subject was itself an entry of theirs, and goes with the rest.
    assert len(done["erased"]) == (3 if on == "subject" else 2)


def test_a_hold_on_no_decision_is_refused_and_on_an_unknown_subject_waits(
    service: Started,
) -> None:
    key = service.key(Role.ADMIN)
    missing = "019a9f3e-5c1d-7000-8000-000000000000"
    for path in (f"/v1/decisions/{missing}/hold", f"/v1/decisions/{missing}/erasure"):
        response = service.client.post(path, json={"basis": "b"}, headers=key)
        assert_problem(response, slug="unknown-decision", status=404)
    held = service.client.post(
        "/v1/subjects/hold", json={"basis": "b", "subject": "to-come"}, headers=key
    )
    asked(service, "to-come")
    body = {"basis": "b", "subject": "to-come"}
    refused = service.client.post("/v1/subjects/erasure", json=body, headers=key)
    assert_problem(refused, slug="under-hold", status=409)
    lift = f"/v1/holds/{held.json()['id']}/lift"
    assert service.client.post(lift, json={"basis": "b"}, headers=key).status_code == 200


def test_what_must_be_kept_is_not_erased(service: Started) -> None:
    asked(service, "kept")
    parts = service.parts
    period = Period(keep_days=10, erase_after_days=None, basis="b")
    custody = Custody(
        parts.log,
        RareEntries(parts.log, TYPES),
        retention=Retention(models={tiny.NAME: period}),
        clock=parts.clock,
    )
    with service.replaced(custody=custody):
        response = service.client.post(
            "/v1/subjects/erasure",
            json={"subject": "kept", "basis": "b"},
            headers=service.key(Role.ADMIN),
        )
    assert_problem(response, slug="must-be-kept", status=409)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[Log]:
    opened = Log.open(tmp_path / "log", origin="example.com/log", clock=clock, create=True)
    yield opened
    opened.close()


def recommendation(log: Log, model: str, subject: str | None = None) -> tuple[str, int]:
    made = new_id()
    record = NewRecord("recommendation", made, {"model": {"name": model}}, b"payload", subject)
    return made, log.append([record])[0].index


def custody_of(log: Log, clock: Clock, **models: Period) -> Custody:
    rare = RareEntries(log, TYPES)
    return Custody(log, rare, retention=Retention(models=models), clock=clock)


def test_retention_erases_past_the_ceiling_never_below_and_never_what_is_held(
    log: Log, clock: Clock
) -> None:
    custody = custody_of(
        log,
        clock,
        short=Period(keep_days=10, erase_after_days=30, basis="b"),
        long=Period(keep_days=10, erase_after_days=None, basis="b"),
    )
    _, old = recommendation(log, "short")
    held_id, _ = recommendation(log, "short")
    recommendation(log, "long")
    recommendation(log, "unnamed")
    log.append([custody.hold_record(hold_id="h1", basis="b", actor="a", record_id=held_id)])
    clock.now += timedelta(days=25)
    _, young = recommendation(log, "short")
    clock.now += timedelta(days=5, seconds=-1)
    assert custody.expire(log, actor="a", new_id=new_id).erased == ()
    clock.now += timedelta(seconds=1)
    done = custody.expire(log, actor="a", new_id=new_id)
    assert (done.erased, done.held) == ((old,), 1)
    assert custody.expire(log, actor="a", new_id=new_id).erased == ()
    with pytest.raises(UnderHoldError, match="h1"):
        custody.erase(log, basis="b", actor="a", new_id=new_id, record_ids=[held_id])
    clock.now += timedelta(days=25)
    lifting = custody.lifting_record(new_id=new_id, hold_id="h1", basis="b", actor="a")
    log.append([lifting])
    assert custody.expire(log, actor="a", new_id=new_id).erased == (old + 1, young)


def test_nothing_is_erased_below_the_floor(log: Log, clock: Clock) -> None:
    custody = custody_of(log, clock, m=Period(keep_days=10, erase_after_days=30, basis="b"))
    recommendation(log, "m", "s")
    clock.now += timedelta(days=5)
    recommendation(log, "m", "s")
    clock.now += timedelta(days=6)
    size = log.size
    with pytest.raises(TooEarlyError, match="2026-01-16"):
        custody.erase(log, basis="b", actor="a", new_id=new_id, subject="s")
    assert log.size == size
    clock.now += timedelta(days=4)
    done = custody.erase(log, basis="b", actor="a", new_id=new_id, subject="s")
    assert len(done.indexes) == 2


@pytest.mark.parametrize(
    "text",
    [
        "models: {m: {keep_days: 5, erase_after_days: 4, basis: b}}",
        "models: {m: {keep_days: -1, erase_after_days: 4, basis: b}}",
        "models: {m: {keep_days: 1, basis: b}}",
        "models: {m: {keep_days: 1, erase_after_days: 4, basis: ''}}",
        "modells: {}",
        "[",
        "- a",
    ],
)
def test_a_file_of_periods_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(text)
    with pytest.raises(RetentionError):
        load_retention(path)


def test_a_file_of_periods_is_read(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text(
        "backups_kept_days: 30\nmodels:\n  m: {keep_days: 1, erase_after_days: 4, basis: law}\n"
    )
    retention = load_retention(path)
    period = retention.of("m")
    assert period is not None
    assert (period.keep_days, retention.backups_kept_days, retention.of("n")) == (1, 30, None)
    with pytest.raises(RetentionError):
        load_retention(tmp_path / "none")


def test_a_stopped_service_has_signed_and_published_all_that_it_recorded(
    tiny_models: Path, tmp_path: Path
) -> None:
    """What no checkpoint covers could be taken from its database unnoticed."""
    public = tmp_path / "public"
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data", publish_dir=public)
    for _ in range(2):
        with start(settings) as service:
            for _ in range(3):
                asked(service)
            size = service.parts.log.size
        for note in (public / "checkpoint", tmp_path / "data" / "log" / "checkpoint"):
            assert parse_checkpoint(parse_note(note.read_bytes()).text).size == size


def test_the_service_publishes_shows_witnesses_and_starts_with_them_down(
    tiny_models: Path, tmp_path: Path
) -> None:
    """No witness answers: decisions go on, and the alarm says so."""
    witness = SigningKey.from_seed("w", bytes(32), COSIGNATURE).verifier.format()
    policy = tmp_path / "policy"
    settings = Settings(
        models_dir=tiny_models, data_dir=tmp_path / "data", publish_dir=tmp_path / "public"
    )
    with start(settings) as plain:
        asked(plain)
        vkey = plain.parts.log.verifier_key
    policy.write_text(f"log {vkey}\nwitness w {witness} http://127.0.0.1:9\nquorum w\n")
    with start(settings.model_copy(update={"witness_policy": policy})) as service:
        portal = service.client.portal
        assert portal is not None
        decision = asked(service)
        portal.call(service.parts.checkpointer.step)
        ready = service.client.get("/health/ready").json()
        assert ready["status"] == "ready"
        assert "lacks its quorum" in ready["alarms"][0]
        metrics = service.client.get("/metrics").text
        assert 'grounds_witness_failures_total{kind="unreachable",witness="w"}' in metrics
        assert "grounds_log_alarms 1.0" in metrics
        assert standalone_verify.main(["log", str(tmp_path / "public"), "--vkey", vkey]) == 0
        response = service.client.get(
            f"/v1/decisions/{decision}/evidence", headers=service.key(Role.AUDITOR)
        )
        assert_problem(response, slug="not-covered", status=503)


class Slow:
    """An engine whose disk takes five seconds, and then is full."""

    def submit(self, _work: object) -> asyncio.Future[object]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        loop.call_later(5, self._refuse, future)
        return future

    def _refuse(self, future: asyncio.Future[object]) -> None:
        if not future.done():
            future.set_exception(LogFullError("full"))


def test_the_record_of_a_read_is_waited_for_no_longer_than_a_request_may_take(
    service: Started,
) -> None:
    decision = asked(service)
    hasty = service.parts.settings.model_copy(update={"request_timeout_seconds": 0.01})
    with service.replaced(settings=hasty, engine=Slow()):
        read = service.client.get(
            f"/v1/decisions/{decision}/history", headers=service.key(Role.AUDITOR)
        )
    assert_problem(read, slug="timed-out", status=503)


class Full(Slow):
    """An engine whose log is full."""

    def submit(self, _work: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._refuse(future)
        return future


def test_a_page_says_that_nothing_was_recorded_where_that_is_so(service: Started) -> None:
    session = service.session(Role.CASEWORKER)
    hasty = service.parts.settings.model_copy(update={"request_timeout_seconds": 0.01})
    path = f"/decisions/{asked(service)}"
    told = {}
    for engine in (Slow(), Full()):
        with service.replaced(settings=hasty, engine=engine):
            page = service.client.post(
                f"{path}/take",
                headers={**session, "Accept": "text/html"},
                data=service.form(session),
            )
        assert page.status_code == 503
        told[type(engine)] = page.text
    assert "It may have been recorded all the same." in told[Slow]
    assert "nothing was recorded" not in told[Slow]
    assert "nothing was recorded" in told[Full]


class Broken(Slow):
    """An engine with a fault."""

    def submit(self, _work: object) -> asyncio.Future[object]:
        raise RuntimeError("a fault")


def test_a_page_does_not_leave_open_whether_a_form_was_recorded(service: Started) -> None:
    session = service.session(Role.CASEWORKER)
    path = f"/decisions/{asked(service)}"
    form = {
        **service.form(session),
        "outcome": "yes",
        "reason_code": "other",
        "reason_text": "Both papers say so.",
    }
    own = {**session, "Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    with service.replaced(engine=Broken()):
        page = service.client.post(f"{path}/decision", headers=own, data=form)
    assert page.status_code == 500
    assert "It may have been recorded all the same." in page.text
    assert "Both papers say so.</p>" in page.text


def test_a_hold_is_waited_for_no_longer_than_a_request_may_take(service: Started) -> None:
    decision = asked(service)
    hasty = service.parts.settings.model_copy(update={"request_timeout_seconds": 0.01})
    with service.replaced(settings=hasty, engine=Slow()):
        placed = service.client.post(
            f"/v1/decisions/{decision}/hold",
            json={"basis": "Appeal 1"},
            headers=service.key(Role.ADMIN),
        )
    assert_problem(placed, slug="timed-out", status=503)
