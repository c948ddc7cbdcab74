"""The entry of a start says which models are served, however many there are."""

import json
from hashlib import sha256
from pathlib import Path

import rfc8785

from app.settings import Settings
from audit.leaf import MAX_LEAF_BYTES, parse_leaf
from tests.app import tiny
from tests.started import start

NAMES = [f"{'support-with-housing-costs-of-families'}-{number:02d}" for number in range(9)]


def test_a_service_with_many_models_starts_and_says_which(tmp_path: Path) -> None:
    for name in NAMES:
        tiny.write(tmp_path / "models" / name, name=name)
    with start(Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")) as service:
        log = service.parts.log
        (row,) = [
            each for each in log.entries(0, log.size) if parse_leaf(each.leaf).type == "started"
        ]
        told = json.loads(log.read(row.id).payload or b"")["models"]
        assert service.ask(NAMES[-1], tiny.CASE).status_code == 201
    assert len(row.leaf) <= MAX_LEAF_BYTES
    # As docs/audit-log.md says it, from the payload alone and with a foreign library.
    models = {
        name: {
            "name": name,
            "version": of["version"],
            "sha256": of["digest"].removeprefix("sha256:"),
        }
        for name, of in told.items()
    }
    assert sorted(models) == NAMES
    digest = sha256(rfc8785.dumps(models)).hexdigest()
    assert parse_leaf(row.leaf).facts == {"models": {"count": len(NAMES), "sha256": digest}}
