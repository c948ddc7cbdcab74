"""Access keys: shown once, kept only as a hash, in a file that only its owner reads."""

import asyncio
import hashlib
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from fastapi.testclient import TestClient

from app.api.parts import Parts
from app.domain import Caller, Role
from app.keys import KeyStore, KeyStoreError, TurnKeys
from tests.problems import assert_problem


def clock() -> datetime:
    return datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "access.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    opened = KeyStore(path)
    yield opened
    opened.close()


def test_a_key_is_who_it_was_made_for(store: KeyStore) -> None:
    text = store.create(name="Case system", role=Role.CASEWORKER, clock=clock)
    prefix, key_id, secret = text.split("_", 2)
    assert prefix == "grounds"
    assert len(secret) >= 43  # 256 bits in base64
    assert store.authenticate(text) == Caller(key_id=key_id, role=Role.CASEWORKER)
    (entry,) = store.entries()
    assert (entry.id, entry.name, entry.role) == (key_id, "Case system", Role.CASEWORKER)
    assert (entry.created, entry.revoked) == ("2026-11-23T10:15:30.123Z", None)


def test_what_cannot_be_read_or_written_is_said_and_no_fault_of_the_database(
    path: Path, store: KeyStore
) -> None:
    with closing(apsw.Connection(str(path))) as other:
        other.execute("DROP TABLE access_key")
    with pytest.raises(KeyStoreError, match="cannot be written"):
        store.create(name="x", role=Role.CALLER, clock=clock)
    with pytest.raises(KeyStoreError, match="cannot be written"):
        store.revoke("0123", clock=clock)
    with pytest.raises(KeyStoreError, match="cannot be read"):
        store.entries()


def test_no_two_keys_are_the_same(store: KeyStore) -> None:
    made = {store.create(name="x", role=Role.CALLER, clock=clock) for _ in range(50)}
    assert len({text.split("_", 2)[1] for text in made}) == 50
    assert len({text.split("_", 2)[2] for text in made}) == 50


def test_the_secret_is_nowhere_in_the_files(path: Path, store: KeyStore) -> None:
    text = store.create(name="x", role=Role.CALLER, clock=clock)
    key_id, secret = text.split("_", 2)[1:]
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in stored
    assert text.encode() not in stored
    assert key_id.encode() in stored
    assert hashlib.sha256(secret.encode()).digest() in stored  # so the search does find things


def test_only_the_owner_reads_the_files(path: Path, store: KeyStore) -> None:
    store.create(name="x", role=Role.CALLER, clock=clock)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_text_that_is_nearly_a_key_is_not_one(store: KeyStore) -> None:
    text = store.create(name="x", role=Role.CALLER, clock=clock)
    other = store.create(name="y", role=Role.ADMIN, clock=clock)
    prefix, key_id, secret = text.split("_", 2)
    for wrong in (
        "",
        "_",
        "__",
        prefix,
        f"{prefix}_{key_id}",
        f"{prefix}_{key_id}_",
        f"{prefix}__{secret}",
        f"{prefix}_{key_id}_{secret[:-1]}",
        f"{prefix}_{key_id}_{secret}x",
        f"{prefix}_{key_id}_{secret} ",
        f"{prefix}_{key_id}_{secret.swapcase()}",
        f"{prefix}_{key_id.upper()}_{secret}" if key_id.upper() != key_id else "x",
        f"{prefix}_{other.split('_')[1]}_{secret}",
        f"Grounds_{key_id}_{secret}",
        f"{prefix}_%_{secret}",
        f"{prefix}_' OR 1=1 --_{secret}",
    ):
        assert store.authenticate(wrong) is None, wrong
    assert store.authenticate(text) is not None


def test_a_revoked_key_is_nobodys_and_stays_in_the_list(store: KeyStore) -> None:
    kept = store.create(name="kept", role=Role.CALLER, clock=clock)
    gone = store.create(name="gone", role=Role.CALLER, clock=clock)
    store.revoke(gone.split("_")[1], clock=clock)
    assert store.authenticate(gone) is None
    assert store.authenticate(kept) is not None
    assert {entry.name: entry.revoked for entry in store.entries()} == {
        "kept": None,
        "gone": "2026-11-23T10:15:30.123Z",
    }


def test_a_key_is_revoked_once_and_by_its_own_id(store: KeyStore) -> None:
    key_id = store.create(name="x", role=Role.CALLER, clock=clock).split("_")[1]
    store.revoke(key_id, clock=clock)
    for wrong in (key_id, "00000000", "%"):
        with pytest.raises(KeyStoreError, match="no key in use has the id"):
            store.revoke(wrong, clock=clock)


def test_another_process_sees_a_key_at_once(path: Path, store: KeyStore) -> None:
    other = KeyStore(path)
    text = other.create(name="x", role=Role.AUDITOR, clock=clock)
    assert store.authenticate(text) is not None
    other.revoke(text.split("_")[1], clock=clock)
    assert store.authenticate(text) is None
    other.close()


def test_a_copy_of_the_file_has_every_key_while_a_service_has_it_open(
    path: Path, store: KeyStore, tmp_path: Path
) -> None:
    with closing(KeyStore(path)) as command:
        kept, ended = (
            command.create(name=name, role=Role.CALLER, clock=clock) for name in ("kept", "ended")
        )
        command.revoke(ended.split("_")[1], clock=clock)
    assert store.authenticate(kept) is not None
    copy = tmp_path / "copy.sqlite3"
    shutil.copy(path, copy)
    with closing(KeyStore(copy)) as other:
        assert other.authenticate(kept) == store.authenticate(kept)
        assert other.authenticate(ended) is None


def test_those_who_come_in_one_turn_are_looked_up_once(store: KeyStore) -> None:
    text = store.create(name="x", role=Role.CALLER, clock=clock)

    async def turns() -> None:
        keys = TurnKeys(store)
        assert keys.authenticate(text) == store.authenticate(text)
        store.revoke(text.split("_")[1], clock=clock)
        assert keys.authenticate(text) is not None  # the same moment, to the loop
        await asyncio.sleep(0)
        assert keys.authenticate(text) is None

    asyncio.run(turns())


def test_a_wrong_key_in_the_same_turn_neither_lends_nor_takes_anything(store: KeyStore) -> None:
    text = store.create(name="x", role=Role.CALLER, clock=clock)

    async def turn() -> None:
        keys = TurnKeys(store)
        for _ in range(2):
            assert keys.authenticate(f"{text}x") is None
            assert keys.authenticate(text) is not None

    asyncio.run(turn())


def test_a_file_that_is_no_store_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "access.sqlite3"
    path.write_bytes(b"not a database at all, though long enough to be looked at" * 20)
    with pytest.raises(KeyStoreError, match=r"cannot open the access keys in .*access\.sqlite3"):
        KeyStore(path)


def test_keys_that_cannot_be_read_are_a_problem_of_the_service(client: TestClient) -> None:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # any ASGI application to it
    parts.keys._connection.execute("DROP TABLE access_key")
    response = client.get("/v1/models", headers={"Authorization": "Bearer grounds_00000000_x"})
    assert_problem(response, slug="keys-unavailable", status=503)
