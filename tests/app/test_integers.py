"""A whole number is the same case however JSON writes it: recorded, told and recomputed as one."""

import json

import pytest

from app.domain import Role
from tests.app import tiny
from tests.started import Started


@pytest.mark.parametrize("written", ["5.0", "5e0", "50e-1"])
def test_an_integer_written_as_a_fraction_is_told_and_recomputed_as_one(
    service: Started, written: str
) -> None:
    plain = service.ask(tiny.NAME, tiny.CASE).json()
    text = json.dumps({"case": tiny.CASE}).replace('"count": 5', f'"count": {written}')
    answer = service.client.post(
        f"/v1/models/{tiny.NAME}/decisions",
        content=text,
        headers={**service.key(Role.CALLER), "Content-Type": "application/json"},
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    for part in ("recommendation", "explanation", "familiarity", "flags"):
        assert json.dumps(made[part]) == json.dumps(plain[part]), part
    replay = service.client.post(
        f"/v1/decisions/{made['id']}/replay", headers=service.key(Role.AUDITOR)
    )
    assert replay.json()["verdict"] == "identical"
