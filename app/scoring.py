"""Scoring a file through a running service: in batches, with a results file that can be gone on with.

Each row has an Idempotency-Key made of the file's digest and its number. So whatever is sent twice
after a cut connection or a stop is one decision, and going on means sending the rest again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import orjson

from app.client import ServiceRefusedError, needed_auth_header
from app.errors import ALL_PROBLEM_TYPES
from app.score_rows import RowFile, case_of

ROWS = 1_000
"""Rows that are sent in one request."""
SECONDS = 60.0
TRIES = 5
"""How often a row is tried that the service cannot take at present."""
PASSING = {f"/problems/{kind.slug}" for kind in ALL_PROBLEM_TYPES if kind.retry_after_seconds}
"""Problems that trying again may solve."""
START = b'{"row":1,'
"""How every file of results begins: no other is ever overwritten."""
STOPPED = "/problems/advice-stopped"

Progress = Callable[[int, int], None]
Pause = Callable[[float], None]


@dataclass(slots=True)
class Scored:
    """What came of a file."""

    rows: int
    decisions: int = 0
    problems: int = 0
    before: int = 0
    """Rows that an earlier run had done."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to score, and what to say around each case."""

    file: RowFile
    model: str
    schema: Mapping[str, Any]
    around: Mapping[str, str]
    """Members of every request, as ``purpose``."""
    subject: str | None
    """The column with the person's opaque name."""


def service_client(address: str, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return a client of the service at an address. Raises ServiceRefusedError without a key."""
    headers = needed_auth_header(address, role="caller, caseworker or admin")
    return httpx.Client(base_url=address, headers=headers, timeout=SECONDS, transport=transport)


def published_schema(client: httpx.Client, model: str) -> Mapping[str, Any]:
    """Return what a model takes. Raises ServiceRefusedError."""
    try:
        answer = client.get(f"/v1/models/{model}")
        body = answer.json()
    except (httpx.HTTPError, ValueError) as err:
        raise ServiceRefusedError(
            f"{client.base_url} does not answer: {type(err).__name__}"
        ) from err
    if not answer.is_success:
        raise ServiceRefusedError(f"the service says {answer.status_code}: {body.get('detail')}")
    schema: Mapping[str, Any] = body["case_schema"]
    return schema


def score_file(
    client: httpx.Client,
    job: Job,
    results: Path,
    *,
    advance: Progress = lambda _done, _rows: None,
    pause: Pause = time.sleep,
) -> Scored:
    """Send every row that ``results`` does not answer yet, and write what came of each.

    Raises ServiceRefusedError, and FileRefusedError for a line that is none: what was written by then
    stays, and the next run goes on after it.
    """
    scored = Scored(job.file.rows)
    scored.before = _resumed(results, scored)
    rows = islice(enumerate(job.file.records(), 1), scored.before, None)
    done = scored.before
    advance(done, scored.rows)
    with results.open("ab") as sink:
        while lines := [_line(job, number, record) for number, record in islice(rows, ROWS)]:
            first, tries = 0, 0
            while first < len(lines):
                taken = _send(client, job, lines[first:], done + 1, sink, scored)
                tries = 1 if taken else tries + 1
                if tries > TRIES:
                    raise ServiceRefusedError(
                        f"the service cannot take row {done + 1} at present; the same command goes on"
                    )
                first, done = first + taken, done + taken
                advance(done, scored.rows)
                if first < len(lines):
                    pause(float(tries))
    return scored


def _line(job: Job, number: int, record: Mapping[str, Any]) -> bytes:
    body: dict[str, object] = {"case": case_of(record, job.schema), **job.around}
    if job.subject is not None:
        body["subject"] = record[job.subject]
    body["idempotency_key"] = f"{job.file.digest[:32]}-{number}"
    return orjson.dumps(body)


def _send(
    client: httpx.Client,
    job: Job,
    lines: Sequence[bytes],
    row: int,
    sink: BinaryIO,
    scored: Scored,
) -> int:
    """Send rows from ``row`` on; return how many of them are settled and written."""
    taken = 0
    try:
        with client.stream(
            "POST",
            f"/v1/models/{job.model}/decisions/batch",
            content=b"\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        ) as answer:
            if not answer.is_success:
                return _refused(answer)
            for result in _results(answer):
                if _is_passing(result):
                    break
                sink.write(orjson.dumps({"row": row + taken, **result}) + b"\n")
                scored.decisions += "decision" in result
                scored.problems += "problem" in result
                taken += 1
    except httpx.HTTPError as err:
        if not taken:
            raise ServiceRefusedError(
                f"the connection broke at row {row} ({type(err).__name__}); the same command goes on"
            ) from err
    sink.flush()
    return taken


def _results(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        result = orjson.loads(line)
        result.pop("line")
        yield result


def _is_passing(result: Mapping[str, Any]) -> bool:
    kind = result["problem"]["type"] if "problem" in result else None
    if kind == STOPPED:
        raise ServiceRefusedError(f"{result['problem']['detail']}; the same command goes on later")
    return kind in PASSING


def _refused(answer: httpx.Response) -> int:
    """Return that nothing was taken, where trying again may help; raise where it may not."""
    answer.read()
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if problem.get("type") in PASSING:
        return 0
    told = problem.get("detail") or problem.get("title")
    raise ServiceRefusedError(f"the service says {answer.status_code}: {told}")


def _resumed(results: Path, scored: Scored) -> int:
    """Return how many rows an earlier run settled; a line cut in the middle is cut off."""
    if not results.exists():
        return 0
    whole, rows = 0, 0
    with results.open("r+b") as file:
        for line in file:
            try:
                result = orjson.loads(line) if line.endswith(b"\n") else None
            except orjson.JSONDecodeError:
                result = None
            if not isinstance(result, dict) or result.get("row") != rows + 1:
                break
            rows += 1
            whole += len(line)
            scored.decisions += "decision" in result
            scored.problems += "problem" in result
        file.seek(0)
        if not START.startswith(file.read(len(START))) and rows == 0:
            raise ServiceRefusedError(f"{results}: this is not a file of results; name another")
        file.truncate(whole)
    return rows
