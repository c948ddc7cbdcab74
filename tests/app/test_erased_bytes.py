"""After an erasure no piece of content, key or salt is in any file that the service writes."""

import os
from pathlib import Path

import apsw
import pytest

from app.domain import Role
from app.settings import Settings
from tests.app import tiny
from tests.started import Started, start

PIECE = 12


@pytest.fixture
def everything(tiny_models: Path, tmp_path: Path) -> Settings:
    """Data and published files under one directory, to be searched as a whole."""
    return Settings(
        models_dir=tiny_models,
        data_dir=tmp_path / "all/data",
        publish_dir=tmp_path / "all/public",
        # Cards and policies say the same words as an answer, and are nobody's.
        store_dir=tmp_path / "store",
    )


def secrets_of(service: Started, index: int) -> dict[str, bytes]:
    log = service.parts.log
    key = log.record_key(index)
    envelope, payload = log.envelope(index), log.read_index(index).payload
    assert envelope is not None
    assert payload is not None
    return {"key": key.key, "salt": key.salt, "envelope": envelope, "content": payload.rstrip()}


def pieces_of(service: Started, secrets: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Cut secrets up, without what is public: names and digests of model and policy, times."""
    log = service.parts.log
    public = b"".join(row.leaf for row in log.entries(0, log.size))
    return [
        (what, secret[at : at + PIECE])
        for what, secret in secrets.items()
        for at in range(0, len(secret) - PIECE, max(PIECE, len(secret) // 200))
        if secret[at : at + PIECE] not in public
    ]


def found_in(directory: Path, pieces: list[tuple[str, bytes]]) -> set[tuple[str, str]]:
    """Return (file, what) for each secret of which a file holds a piece."""
    files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert len(files) > 8
    return {
        (path.name, what)
        for path, content in files.items()
        for what, piece in pieces
        if piece in content
    }


def test_no_file_holds_a_piece_of_what_was_erased(everything: Settings, tmp_path: Path) -> None:
    with start(everything) as service:
        portal = service.client.portal
        assert portal is not None
        made = []
        for _ in range(6):
            made.append(service.ask(tiny.NAME, tiny.CASE, subject="gone").json())
            service.ask(tiny.NAME, tiny.CASE, subject="stays")
            portal.call(service.parts.checkpointer.step)
        index, decision = made[3]["receipt"]["index"], made[3]["id"]
        secrets = pieces_of(service, secrets_of(service, index))
        assert len({what for what, _ in secrets}) == 4
        service.client.get(f"/v1/decisions/{decision}/evidence", headers=service.key(Role.AUDITOR))
        # The envelope is there before, so that the search itself is known to find.
        found = found_in(tmp_path / "all", secrets)
        assert {what for _, what in found} == {"envelope"}, found
        done = service.client.post(
            "/v1/subjects/erasure",
            json={"subject": "gone", "basis": "b"},
            headers=service.key(Role.ADMIN),
        ).json()
        assert index in done["erased"]
        assert done["files_purged"]
        portal.call(service.parts.checkpointer.step)
        service.client.get(f"/v1/decisions/{decision}/evidence", headers=service.key(Role.AUDITOR))
        assert found_in(tmp_path / "all", secrets) == set()
    assert found_in(tmp_path / "all", secrets) == set()


def test_a_reader_in_the_way_is_told_and_the_bytes_go_when_it_ends(everything: Settings) -> None:
    with start(everything) as service:
        portal = service.client.portal
        assert portal is not None
        service.ask(tiny.NAME, tiny.CASE, subject="gone")
        path = os.fspath(service.parts.log.directory / "log.sqlite3")
        other = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM payload").fetchall()
        done = service.client.post(
            "/v1/subjects/erasure",
            json={"subject": "gone", "basis": "b"},
            headers=service.key(Role.ADMIN),
        ).json()
        assert not done["files_purged"]
        assert "erased bytes" in service.client.get("/health/ready").json()["alarms"][0]
        other.close()
        portal.call(service.parts.checkpointer.step)
        assert service.client.get("/health/ready").json()["alarms"] == []
