"""A change of keys on a log that services share: only while none of them is connected."""

from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.ids import utc_now
from app.log_store import refuse_while_others_use_it, write_log
from app.settings import Settings
from audit.errors import LogLockedError
from tests.postgres import server_or_skip


def test_keys_do_not_change_under_a_service_that_would_sign_on_with_the_old_one(
    tmp_path: Path,
) -> None:
    with server_or_skip() as server, server.database() as database:
        settings = Settings(data_dir=tmp_path / "data", log_url=SecretStr(database.url))
        with (
            closing(write_log(settings, clock=utc_now, create=True)),
            pytest.raises(LogLockedError, match="stop every service"),
        ):
            refuse_while_others_use_it(settings)
        refuse_while_others_use_it(settings)


def test_a_log_in_a_file_has_a_lock_of_its_own(tmp_path: Path) -> None:
    refuse_while_others_use_it(Settings(data_dir=tmp_path / "data"))
