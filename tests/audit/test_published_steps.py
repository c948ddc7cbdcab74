"""Both verifiers check what entries say of each other, not only that they are in the log."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit import standalone_verify
from audit.leaf import Fact
from audit.log import Log
from audit.merkle import leaf_hash
from audit.note import encode_base64
from audit.publish import publish
from audit.records import NewRecord
from audit.standalone_verify import Key, Wrong, earlier, rotated
from audit.verify import verify

ORIGIN = "steps.example/log"
Verdict = Callable[..., tuple[int, list[tuple[int | None, str]]]]
"""Of rows: the exit code of ``verify.py log``, and the entries that ``verify`` names with why."""


def opened(place: Path) -> Log:
    return Log.open(
        place / "log", origin=ORIGIN, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC), create=True
    )


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    """Return what both say of a log with two recommendations and these entries."""

    def judge(
        *rows: tuple[str, str, int | None, int],
    ) -> tuple[int, list[tuple[int | None, str]]]:
        log, public = opened(tmp_path), tmp_path / "public"
        public.mkdir()
        log.append([NewRecord("recommendation", name, {}) for name in ("d1", "d2")])
        for record_type, record_id, of, leaf_of in rows:
            facts: dict[str, Fact] = {}
            if of is not None:
                digest = leaf_hash(log.entries(leaf_of, leaf_of + 1)[0].leaf)
                facts = {"of": of, "leaf": encode_base64(digest)}
            log.append([NewRecord(record_type, record_id, facts)])
        log.checkpoint()
        publish(log, public)
        log.close()
        told = [(fault.index, fault.message) for fault in verify(tmp_path / "log").faults]
        return standalone_verify.main(["log", str(public)]), told

    return judge


def test_steps_and_numbers_as_the_service_writes_them_are_right(verdict: Verdict) -> None:
    assert verdict(
        ("taken", "d1.1", 1, 1),
        ("model_registered", "registry.1", None, 0),
        ("taken", "d2.1", 2, 2),
        ("shadow", "d1.shadow.1", 1, 1),
        ("stopped", "control.1", None, 0),
        ("caseworker_decision", "d1.2", 1, 1),
        ("stage_changed", "registry.2", None, 0),
        ("resumed", "control.2", None, 0),
        ("something_new", "d1.new.7", 1, 1),
        ("read", "n", None, 0),
        ("step_of_a_later_version", "d1.3", 1, 1),
        ("released", "d1.4", 1, 1),
    ) == (0, [])  # fmt: skip


@pytest.mark.parametrize(
    ("row", "told", "ours"),
    [
        (("taken", "d1.1", 1, 2), "follows entry 1, which has another leaf", ""),
        (("shadow", "d2.shadow.1", 2, 1), "follows entry 2, which has another leaf", ""),
        (("something_new", "d2.new.7", 2, 1), "follows entry 2, which has another leaf", ""),
        (("taken", "d1.1", 3, 1), "follows what is not before it", ""),
        (("taken", "d1.1", 2**53 - 1, 1), "follows what is not before it", ""),
        (("taken", "d1.1", -1, 1), "follows what is not before it", ""),
        (
            ("taken", "d1.2", 1, 1),
            "has the id d1.2, want d1.1",
            "no entry before it has the id d1.1",
        ),
        (("taken", "d2.1", 1, 1), "follows entry 1, whose id does not begin its own", ""),
        (("shadow", "s1", 1, 1), "follows entry 1, whose id does not begin its own", ""),
        (
            ("taken", "d1.x", 1, 1),
            "has the id d1.x, want d1.1",
            "has the id d1.x, which ends in no number",
        ),
        (
            ("something_new", "d1.2", 1, 1),
            "has the id d1.2, want d1.1",
            "no entry before it has the id d1.1",
        ),
        (
            ("stopped", "control.2", None, 0),
            "has the id control.2, want control.1",
            "no entry before it has the id control.1",
        ),
        (
            ("stopped", "control.01", None, 0),
            "has the id control.01, want control.1",
            "has the id control.01, which ends in no number",
        ),
    ],
)
def test_what_follows_another_leaf_or_leaves_a_gap_is_named(
    verdict: Verdict,
    capsys: pytest.CaptureFixture[str],
    row: tuple[str, str, int | None, int],
    told: str,
    ours: str,
) -> None:
    code, faults = verdict(row)
    assert code == 1
    assert f"FAILED  the entries are those of one log: entry 3 {told}\n" in capsys.readouterr().out
    assert faults == [(3, ours or told)]


def test_a_type_that_is_numbered_with_others_has_an_id_of_theirs(
    verdict: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(("policy_changed", "p", None, 0)) == (1, [])  # ours takes types as they are
    assert "entry 3 has the id p, want registry.1" in capsys.readouterr().out


def test_a_number_that_comes_before_its_own_is_named(verdict: Verdict) -> None:
    """Later entries have the number before, and it stands in another tile."""
    rows: list[tuple[str, str, int | None, int]]
    rows = [("taken", "d1.2", 1, 1), ("taken", "d1.1", 1, 1)]
    rows += [("event", f"e{at}", None, 0) for at in range(300)]
    rows += [("taken", "d1.3", 1, 1), ("taken", "d1.5", 1, 1)]
    code, faults = verdict(*rows)
    assert code == 1
    assert faults == [
        (3, "no entry before it has the id d1.1"),
        (306, "no entry before it has the id d1.4"),
    ]


def test_a_change_of_keys_has_its_number_and_an_erasure_1_to_40_entries(tmp_path: Path) -> None:
    log = opened(tmp_path)
    first = Key(log.verifier_key)
    log.rotate_key()
    leaf = log.entries(1, 2)[0].leaf
    assert rotated(first, leaf, 1).text == log.verifier_key
    with pytest.raises(Wrong, match="change of keys number 2 has the id key-rotated-1"):
        rotated(first, leaf, 2)
    log.close()
    assert len(earlier(list(range(1, 41)), 50)) == 40
    for of in ([], list(range(1, 42))):
        with pytest.raises(Wrong, match="does not erase 1 to 40 entries"):
            earlier(of, 50)
