"""``kill -9`` under load: whatever was acknowledged is in the log afterwards, and the log is sound."""

import os
from pathlib import Path

import pytest

from tests.kill import kill_postgres, kill_sqlite
from tests.postgres import PostgresMissingError

ROUNDS = int(os.environ.get("GROUNDS_KILL_ROUNDS", "15"))


def test_no_acknowledged_decision_is_lost_when_the_service_is_killed(tmp_path: Path) -> None:
    kill_sqlite(tmp_path, ROUNDS, print)


def test_none_is_lost_when_services_and_the_database_server_are_killed(tmp_path: Path) -> None:
    try:
        kill_postgres(tmp_path, max(ROUNDS // 3, 4), print)
    except PostgresMissingError as err:
        pytest.skip(f"NOTHING OF THE POSTGRESQL STORE IS TESTED: {err}")
