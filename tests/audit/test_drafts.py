"""Drafts made beforehand: whatever happens between drafting and appending, the log comes out right."""

import itertools

import pytest

from audit.errors import DuplicateIdError, RecordRejectedError
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


@on_both_stores
def test_drafts_that_come_while_others_are_waited_for_join_the_group(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    old = record(b"old", subject="old")
    log.append([old])
    log.close()
    log = open_log()  # which remembers no subject's key
    first, late = record(b"first", subject="s"), record(b"late", subject="s")
    more = [late, record(b"older", subject="old"), record(b"nobody's", subject=None)]
    receipts = log.append_drafts(log.draft([first]), lambda: log.draft(more))
    assert [receipt.index for receipt in receipts] == [2, 3, 4, 5]
    assert [log.read(each.id).payload for each in more] == [b"late", b"older", b"nobody's"]
    assert erased(log, "s") == (2, 3)
    assert erased(log, "old") == (1, 4)
    check_open_log(log)


def test_a_late_draft_that_is_refused_is_named_by_its_place_in_the_group(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    first, late = record(b"first"), record(b"late")
    with pytest.raises(DuplicateIdError) as caught:
        log.append_drafts(log.draft([first]), lambda: log.draft([late, first]))
    assert caught.value.position == 2
    assert log.size == 1


def test_drafting_names_the_record_at_fault_and_appends_nothing(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    with pytest.raises(RecordRejectedError) as caught:
        log.draft([record(b"a"), record(b"b", subject="\ud800")])
    assert caught.value.position == 1
    assert log.size == 1
