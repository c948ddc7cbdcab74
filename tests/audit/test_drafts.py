"""Drafts made beforehand: whatever happens between drafting and appending, the log comes out right."""

import itertools

import pytest

from audit.errors import RecordRejectedError
from audit.log import Log
from tests.audit.check_log import check_open_log
from tests.audit.conftest import MakeRecord, OpenLog, on_both_stores

NUMBERS = itertools.count()


def erased(log: Log, subject: str) -> tuple[int, ...]:
    """Erase a subject and return which entries it was."""
    erasure = log.erase_subject(
        subject, basis="a test", actor="nobody", new_id=lambda: f"gone-{next(NUMBERS)}"
    )
    return erasure.indexes


@on_both_stores
def test_drafts_made_one_by_one_of_a_new_subject_share_its_key(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    records = [record(b"%d" % number, subject="s") for number in range(3)]
    drafts = [log.draft([each])[0] for each in records]
    log.append_drafts(drafts[:2])
    log.append_drafts(drafts[2:])  # drafted before the subject had a key
    assert [log.read(each.id).payload for each in records] == [b"0", b"1", b"2"]
    assert erased(log, "s") == (1, 2, 3)
    check_open_log(log)


@on_both_stores
def test_a_draft_from_before_an_erasure_brings_no_key_back(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    before, after = record(b"before", subject="s"), record(b"after", subject="s")
    log.append([before])
    drafts = log.draft([after])  # under the key that is about to go
    assert erased(log, "s") == (1,)
    log.append_drafts(drafts)
    assert log.read(before.id).erased
    assert log.read(after.id).payload == b"after"
    assert erased(log, "s") == (3,)
    check_open_log(log)


@on_both_stores
def test_a_subject_of_an_earlier_run_is_found_again(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    log.append([record(b"old", subject="s")])
    log.close()
    log = open_log()
    log.append([record(b"new", subject="s"), record(b"newer", subject="s")])
    assert erased(log, "s") == (1, 2, 3)
    check_open_log(log)


def test_drafting_names_the_record_at_fault_and_appends_nothing(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    with pytest.raises(RecordRejectedError) as caught:
        log.draft([record(b"a"), record(b"b", subject="\ud800")])
    assert caught.value.position == 1
    assert log.size == 1
