"""Pages of the index among many rows: each row once, in order, and at a cost that stays."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import TypeAlias

import pytest

from app.index.query import COLUMNS, MOST_EXAMINED, Filters, Order, Row, page
from app.index.store import IndexStore, Position

ROWS = 1_000_000 if environ.get("GROUNDS_LONG") else 100_000


def made_up(seq: int, total: int, rng: random.Random) -> Row:
    status = rng.choices(("open", "final", "contested", "reviewed", "erased"), (50, 45, 2, 2, 1))[0]
    decided = status in ("final", "contested", "reviewed")
    gone = status == "erased"
    day = 1 + seq * 27 // total
    return Row(
        seq=seq,
        id=f"id-{seq}",
        created=f"2026-11-{day:02}T00:00:00.000Z",
        model=f"model-{rng.randrange(3)}",
        version=str(rng.randrange(3)),
        policy=None if gone else "p",
        policy_version=None if gone else str(rng.randrange(3)),
        caller=None if gone else f"caller-{rng.randrange(4)}",
        status=status,
        advised=None if gone else rng.choice(("yes", "no")),
        outcome=rng.choice(("yes", "no")) if decided else None,
        departed=int(rng.random() < 0.1) if decided else None,
        reason="other" if decided else None,
        holder=f"person-{rng.randrange(20)}"
        if decided or (rng.random() < 0.2 and not gone)
        else None,
        decided=f"2026-11-{day:02}T00:00:01.000Z" if decided else None,
        due=f"2026-12-{rng.randrange(1, 29):02}" if status == "contested" else None,
        dwell_ms=None,
        corrects=None,
        corrected_as=None,
    )


Filled: TypeAlias = tuple[IndexStore, list[Row]]


def filled(path: Path, count: int) -> Filled:
    store = IndexStore(path)
    rng = random.Random(count)  # noqa: S311
    rows = [made_up(seq, count, rng) for seq in range(count)]
    marks = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT INTO decision({', '.join(COLUMNS)}) VALUES({marks})"
    store.write(
        [(insert, [getattr(row, name) for name in COLUMNS]) for row in rows],
        old=store.position(),
        new=Position(count, bytes(32), complete=True),
    )
    return store, rows


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Filled]]:
    """The same kind of rows, few, more and many."""
    directory = tmp_path_factory.mktemp("many")
    made = [filled(directory / str(count), count) for count in (ROWS // 10, ROWS)]
    yield made
    for store, _ in made:
        store.close()


@pytest.fixture(scope="module")
def few(stores: Sequence[Filled]) -> Filled:
    return stores[0]


@pytest.fixture(scope="module")
def many(stores: Sequence[Filled]) -> Filled:
    return stores[1]


LISTS: Sequence[tuple[Filters, Order]] = (
    (Filters(), "newest"),
    (Filters(), "oldest"),
    (Filters(), "due"),
    (Filters(with_erased=True, status="erased"), "newest"),
    (Filters(status="open", unheld=True), "oldest"),
    (Filters(status="open", unheld=True, model="model-1"), "newest"),
    (Filters(holder="person-3"), "newest"),
    (Filters(holder="person-3", status="open"), "oldest"),
    (Filters(caller="caller-1"), "newest"),
    (Filters(caller="caller-1", status="open"), "newest"),
    (Filters(model="model-1"), "newest"),
    (Filters(model="model-1", version="2", policy_version="1"), "newest"),
    (Filters(policy="p", policy_version="1"), "newest"),
    (Filters(outcome="yes"), "newest"),
    (Filters(advised="yes"), "newest"),
    (Filters(departed=True), "newest"),
    (Filters(departed=True, advised="yes", outcome="no", model="model-0"), "newest"),
    (Filters(departed=False, status="reviewed"), "oldest"),
    (Filters(created_from=datetime(2026, 11, 9, tzinfo=UTC), created_to=datetime(2026, 11, 12, tzinfo=UTC)), "newest"),
    (Filters(created_to=datetime(2026, 11, 3, tzinfo=UTC), status="final", outcome="no"), "oldest"),
    (Filters(model="nobody's"), "newest"),
    (Filters(status="open", outcome="yes"), "newest"),
)  # fmt: skip


def fits(row: Row, filters: Filters) -> bool:
    """Whether a row belongs in a list: said plainly, as an oracle."""
    wanted = {
        name: getattr(filters, name)
        for name in ("caller", "holder", "status", "model", "version", "policy", "policy_version",
                     "outcome", "advised")
    }  # fmt: skip
    created = datetime.fromisoformat(row.created)
    return (
        all(value is None or getattr(row, name) == value for name, value in wanted.items())
        and (filters.departed is None or row.departed == int(filters.departed))
        and (not filters.unheld or row.holder is None)
        and (filters.with_erased or row.status != "erased")
        and (filters.created_from is None or created >= filters.created_from)
        and (filters.created_to is None or created < filters.created_to)
    )


@pytest.mark.parametrize(("filters", "order"), LISTS)
def test_paging_gives_each_row_once_and_in_order(
    few: Filled, filters: Filters, order: Order
) -> None:
    store, rows = few
    found: list[Row] = []
    cursor = None
    while True:
        got = page(store, filters, order=order, cursor=cursor, limit=150)
        assert len(got.rows) <= 150
        found += got.rows
        cursor = got.next
        if cursor is None:
            break
    expected = [row for row in rows if fits(row, filters)]
    if order == "due":
        expected = sorted(
            (row for row in expected if row.due is not None), key=lambda row: (row.due, row.seq)
        )
    elif order == "newest":
        expected.reverse()
    assert found == expected


DEAREST = MOST_EXAMINED * 40 / 100


class Steps:
    """Counts what SQLite executes, in hundreds of instructions."""

    def __init__(self, store: IndexStore) -> None:
        self._connection = store._reader
        self.hundreds = 0

    def __enter__(self) -> "Steps":
        def count() -> bool:
            self.hundreds += 1
            return False

        self._connection.set_progress_handler(count, 100)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.set_progress_handler(None)


@pytest.mark.parametrize(("filters", "order"), LISTS)
def test_every_list_is_read_along_an_index(many: Filled, filters: Filters, order: Order) -> None:
    store, _ = many
    statements: list[tuple[str, object]] = []

    def keep(_: object, sql: str, values: object) -> bool:
        statements.append((sql, values))
        return True

    store._reader.set_exec_trace(keep)
    try:
        first = page(store, filters, order=order, cursor=None, limit=50)
        if first.next is not None:
            page(store, filters, order=order, cursor=first.next, limit=50)
    finally:
        store._reader.set_exec_trace(None)
    with store.reading() as query:
        for sql, values in statements:
            if not sql.startswith("SELECT") or "FROM position" in sql:
                continue
            for *_, step in query(f"EXPLAIN QUERY PLAN {sql}", values or ()):  # type: ignore[arg-type]
                assert "SCAN decision" not in str(step), (sql, step)
                assert "TEMP B-TREE" not in str(step), (sql, step)


@pytest.mark.parametrize(("filters", "order"), LISTS)
def test_a_page_costs_the_same_among_few_rows_and_among_many(
    few: Filled, many: Filled, filters: Filters, order: Order
) -> None:
    cost = []
    for store, _ in (few, many):
        with Steps(store) as steps:
            page(store, filters, order=order, cursor=None, limit=50)
        cost.append(steps.hundreds)
    # A page that looks at as many rows as it may is the dearest there is, at any size.
    assert cost[1] <= max(1.3 * cost[0] + 3, DEAREST)


def test_the_count_of_instructions_would_tell_a_scan(many: Filled) -> None:
    """The near miss: the same list read without its index."""
    store, _ = many
    with Steps(store) as steps, store.reading() as query:
        query("SELECT * FROM decision NOT INDEXED WHERE holder = 'nobody' LIMIT 50")
    assert steps.hundreds > DEAREST
