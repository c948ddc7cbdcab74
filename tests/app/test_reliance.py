"""The report on reliance: what it counts, what it keeps to itself, and practice files that are refused."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.index.store import IndexStore, Position
from app.main import StartRefusedError
from app.practice import FILE
from app.reliance import SMALLEST_CELL, _too_small, relied
from tests.app import tiny
from tests.app.governed import governed


def filled(path: Path, rows: Sequence[tuple[int, str | None, float | None]]) -> IndexStore:
    """Return an index of final decisions: departed, reason, seconds open."""
    store = IndexStore(path)
    statement = (
        "INSERT INTO decision(seq, id, created, model, version, status, departed, reason, decided,"
        " dwell_ms) VALUES(?, ?, '', 'm', '1', 'final', ?, ?, ?, ?)"
    )
    store.write(
        [
            (statement, (seq, f"d{seq}", departed, reason, f"{seq:06}",
                         None if seconds is None else int(seconds * 1000)))
            for seq, (departed, reason, seconds) in enumerate(rows)
        ],
        old=store.position(),
        new=Position(len(rows), b"", complete=True),
    )  # fmt: skip
    return store


def test_it_counts_departures_reasons_and_times(tmp_path: Path) -> None:
    rows = [
        (int(n % 4 == 0), "other" if n % 4 == 0 else "facts_support", float(n)) for n in range(40)
    ]
    with closing(filled(tmp_path / "index", rows)) as store:
        told = relied(store, "m", {})
        assert (told.decisions, told.departed) == (40, 10)
        assert told.reasons == {"facts_support": (30, 0), "other": (0, 10)}
        assert told.dwell is not None
        assert told.dwell.median == 19.5
        assert relied(store, "another", {}).decisions == 0


def test_few_times_and_reasons_are_not_told(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "a", [(0, "other", 5.0)] * (SMALLEST_CELL - 1))) as store:
        told = relied(store, "m", {})
        assert told.dwell is None
        assert told.reasons == {}
    with closing(filled(tmp_path / "b", [(0, "other", 5.0)] * SMALLEST_CELL)) as store:
        told = relied(store, "m", {})
        assert told.dwell is not None
        assert told.reasons == {"other": (SMALLEST_CELL, 0)}


def test_a_small_group_is_not_told_and_cannot_be_worked_out(tmp_path: Path) -> None:
    rows: list[tuple[int, str | None, float | None]] = [(n % 2, "other", None) for n in range(60)]
    groups = {f"d{n}": {"age": "old" if n < 3 else "mid" if n < 25 else "young"} for n in range(60)}
    with closing(filled(tmp_path / "index", rows)) as store:
        told = {each.group: each.decisions for each in relied(store, "m", groups).groups}
    assert told == {"old": None, "mid": None, "young": 35}


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 40), min_size=1))
def test_no_group_below_the_limit_is_ever_told(counts: dict[str, int]) -> None:
    hidden = _too_small(Counter(counts))
    assert all(count >= SMALLEST_CELL for group, count in counts.items() if group not in hidden)
    assert len(hidden) != 1 or len(counts) == 1


@pytest.mark.parametrize(
    "content",
    [
        "cases: []",
        "cases: 3",
        "- x",
        "cases: [{case: {amount: 1.0, count: 1, answer: 'yes'}, outcome: maybe, why: x}]",
        "cases: [{case: {amount: 1.0}, outcome: 'yes', why: x}]",
        "cases: [{case: {amount: 1.0, count: 1, answer: 'yes'}, outcome: 'yes'}]",
    ],
)
def test_practice_cases_that_do_not_fit_the_model_stop_the_start(
    tmp_path: Path, content: str
) -> None:
    directory = tmp_path / "models" / tiny.NAME
    directory.mkdir(parents=True)
    (directory / FILE).write_text(content)
    with pytest.raises(StartRefusedError), governed(tmp_path):
        pass
