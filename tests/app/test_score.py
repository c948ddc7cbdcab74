"""A file through the service: each row one decision, however often the file is sent."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.client import KEY_VARIABLE, ServiceRefusedError
from app.domain import Role
from app.score_rows import FileRefusedError, check_columns, open_rows
from app.scoring import Job, Scored, published_schema, score_file, service_client
from tests.app import tiny
from tests.started import Started

COLUMNS = ["answer", "person", "amount", "count", "note"]
ROWS = [
    ("yes", "p1", "12.5", "5", "x"),
    ("no", "p2", "1", "1", ""),
    ("yes", "p3", "twelve", "5", "a cell that is no number"),
    ("perhaps", "p4", "3.5", "2", "an unknown category, which this model takes"),
    ("no", "p5", "20", "9", 'with "quotes", and a comma'),
]
BAD = 3
"""The row whose amount is no number."""


class ThroughApp(httpx.BaseTransport):
    """Sends what a command would send over the network to the application in this process."""

    def __init__(self, service: Started) -> None:
        self._service = service
        self.batches = 0
        self.spoil: Callable[[httpx.Response], httpx.Response] = lambda answer: answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._service.client.request(
            request.method, request.url.path, headers=dict(request.headers), content=request.read()
        )
        sent = httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        if request.method == "POST":
            self.batches += 1
            return self.spoil(sent)
        return sent


@pytest.fixture
def through(service: Started) -> ThroughApp:
    return ThroughApp(service)


@pytest.fixture
def client(
    service: Started, through: ThroughApp, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    monkeypatch.setenv(KEY_VARIABLE, service.keys[Role.CALLER])
    with closing(service_client("http://127.0.0.1", transport=through)) as made:
        yield made


def write_csv(path: Path, tag: str) -> Path:
    """Write the rows; ``tag`` makes the file's bytes, and so its rows' keys, its own."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*COLUMNS, tag])
        lines.writerows([*row, ""] for row in ROWS)
    return path


def job(client: httpx.Client, path: Path, tag: str) -> Job:
    file = open_rows(path)
    schema = published_schema(client, tiny.NAME)
    check_columns(file, schema, subject="person", ignored=["note", tag])
    return Job(file, tiny.NAME, schema, {}, "person")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_row_is_a_decision_or_says_why_not(
    service: Started, client: httpx.Client, tmp_path: Path
) -> None:
    before = service.recommendations()
    asked = job(client, write_csv(tmp_path / "a.csv", "a"), "a")
    told: list[tuple[int, int]] = []
    scored = score_file(client, asked, tmp_path / "out", advance=lambda *done: told.append(done))
    assert scored == Scored(rows=5, decisions=4, problems=1, before=0)
    assert told == [(0, 5), (5, 5)]
    found = lines_of(tmp_path / "out")
    assert [each["row"] for each in found] == [1, 2, 3, 4, 5]
    assert found[BAD - 1]["problem"]["errors"][0]["field"] == "amount"
    assert found[0]["decision"]["recommendation"]["outcome"] == "yes"
    assert found[1]["decision"]["recommendation"]["outcome"] == "no"
    assert service.recommendations() == before + 4


def test_a_parquet_file_says_the_same(
    service: Started, client: httpx.Client, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "amount": [12.5, 1.0, 3.5],
            "count": pa.array([5.0, 1.0, 2.0]),  # what a whole number with gaps becomes
            "answer": ["yes", "no", "perhaps"],
            "person": ["p1", "p2", "p4"],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    file = open_rows(tmp_path / "rows.parquet")
    schema = published_schema(client, tiny.NAME)
    check_columns(file, schema, subject="person", ignored=[])
    score_file(client, Job(file, tiny.NAME, schema, {}, "person"), tmp_path / "out")
    scores = [each["decision"]["recommendation"]["score"] for each in lines_of(tmp_path / "out")]
    alone = [
        service.ask(tiny.NAME, {"amount": amount, "count": count, "answer": answer})
        for amount, count, answer in ((12.5, 5, "yes"), (1.0, 1, "no"), (3.5, 2, "perhaps"))
    ]
    assert scores == [each.json()["recommendation"]["score"] for each in alone]


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_a_run_that_was_cut_goes_on_and_makes_no_decision_twice(
    service: Started, client: httpx.Client, tmp_path: Path, kept: int
) -> None:
    asked = job(client, write_csv(tmp_path / "a.csv", f"cut{kept}"), f"cut{kept}")
    score_file(client, asked, tmp_path / "out")
    whole = lines_of(tmp_path / "out")
    recorded = service.recommendations()
    lines = (tmp_path / "out").read_text().splitlines(keepends=True)
    # The power went while the next line was being written.
    half = lines[kept][:20] if kept < len(lines) else ""
    (tmp_path / "out").write_text("".join(lines[:kept]) + half)
    again = score_file(client, asked, tmp_path / "out")
    assert again == Scored(rows=5, decisions=4, problems=1, before=kept)
    assert service.recommendations() == recorded
    found = lines_of(tmp_path / "out")
    assert [each.get("decision") for each in found] == [each.get("decision") for each in whole]
    assert [each.get("replayed") for each in found[kept:]] == [
        None if "problem" in each else True for each in whole[kept:]
    ]


def busy(answer: httpx.Response) -> httpx.Response:
    """Return an answer whose third line says that the service could not take it just then."""
    lines = answer.text.splitlines()
    problem = {"type": "/problems/overloaded", "detail": "busy", "status": 503}
    lines[2] = json.dumps({"line": 3, "status": 503, "problem": problem})
    return httpx.Response(200, headers={"content-type": "x"}, text="\n".join(lines) + "\n")


def test_a_row_that_the_service_could_not_take_is_tried_again(
    through: ThroughApp, client: httpx.Client, tmp_path: Path
) -> None:
    asked = job(client, write_csv(tmp_path / "a.csv", "busy"), "busy")
    pauses: list[float] = []

    def once(answer: httpx.Response) -> httpx.Response:
        through.spoil = lambda later: later
        return busy(answer)

    through.spoil = once
    scored = score_file(client, asked, tmp_path / "out", pause=pauses.append)
    assert (scored.decisions, scored.problems) == (4, 1)
    assert [each["row"] for each in lines_of(tmp_path / "out")] == [1, 2, 3, 4, 5]
    assert (through.batches, pauses) == (2, [1.0])


def test_a_service_that_stays_busy_ends_the_run_and_what_it_did_stays(
    through: ThroughApp, client: httpx.Client, tmp_path: Path
) -> None:
    asked = job(client, write_csv(tmp_path / "a.csv", "stuck"), "stuck")
    refusal = {"type": "/problems/batches-full", "detail": "full", "status": 503}
    through.spoil = lambda _: httpx.Response(503, json=refusal)
    with pytest.raises(ServiceRefusedError, match="row 1"):
        score_file(client, asked, tmp_path / "out", pause=lambda _: None)
    assert (tmp_path / "out").read_text() == ""
    stopped = {"type": "/problems/advice-stopped", "detail": "Decide by hand.", "status": 503}
    line = json.dumps({"line": 1, "status": 503, "problem": stopped})
    through.spoil = lambda _: httpx.Response(200, text=f"{line}\n")
    with pytest.raises(ServiceRefusedError, match="Decide by hand"):
        score_file(client, asked, tmp_path / "out")
    through.spoil = lambda _: httpx.Response(403, json={"detail": "not with this key"})
    with pytest.raises(ServiceRefusedError, match="403: not with this key"):
        score_file(client, asked, tmp_path / "out")


def test_a_file_that_is_none_of_results_is_not_overwritten(
    client: httpx.Client, tmp_path: Path
) -> None:
    asked = job(client, write_csv(tmp_path / "a.csv", "own"), "own")
    (tmp_path / "out").write_text("my notes\n")
    with pytest.raises(ServiceRefusedError, match="not a file of results"):
        score_file(client, asked, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "my notes\n"


def test_columns_and_lines_that_do_not_fit_stop_before_or_at_their_place(
    client: httpx.Client, tmp_path: Path
) -> None:
    schema = published_schema(client, tiny.NAME)
    path = tmp_path / "rows.csv"
    for text, why in (
        ("amount,count\n", "missing: answer"),
        ("amount,count,answer,more\n", "no fields of the model.*: more"),
        ("amount,count,answer,answer\n", "twice: answer"),
    ):
        path.write_text(text)
        with pytest.raises(FileRefusedError, match=why):
            check_columns(open_rows(path), schema, subject=None, ignored=[])
    path.write_text("amount,count,answer\n1,2,yes\n1,2\n")
    file = open_rows(path)
    with pytest.raises(FileRefusedError, match="line 3: got 2 cells, want 3"):
        score_file(client, Job(file, tiny.NAME, schema, {}, None), tmp_path / "out")
    for content in (b"a\xff,b\n", b'a,"b\n'):
        path.write_bytes(content)
        with pytest.raises(FileRefusedError, match=r"rows\.csv"):
            open_rows(path)
    with pytest.raises(FileRefusedError, match="No such file"):
        open_rows(tmp_path / "none.csv")
    (tmp_path / "none.parquet").write_bytes(b"no parquet")
    with pytest.raises(FileRefusedError, match=r"none\.parquet"):
        open_rows(tmp_path / "none.parquet")
    with pytest.raises(ServiceRefusedError, match="404"):
        published_schema(client, "none")


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ServiceRefusedError, match=KEY_VARIABLE):
        service_client("http://127.0.0.1:8080")
