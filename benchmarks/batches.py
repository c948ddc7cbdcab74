"""The batch endpoint: cases a second by size of batch, one client that sends the next when one is done."""

import http.client
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.environments import UnavailableError
from benchmarks.targets import Target

SIZES = (1, 10, 100, 1_000)
SECONDS = 2.0
"""How long one size is measured in one round."""


@dataclass(slots=True)
class BatchRun:
    """What one size gave, round by round."""

    size: int
    per_second: list[float]
    cases: int
    """All that were answered with a decision."""
    answer_bytes: int


def measure(target: Target, *, rounds: int) -> list[BatchRun]:
    """Send batches of each size in turn, over one connection. Raises UnavailableError."""
    runs = [BatchRun(size, [], 0, 0) for size in SIZES]
    address = urlsplit(f"{target.url}/batch")
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {**target.headers, "Content-Type": "application/x-ndjson"}
    try:
        for _ in range(rounds):
            for run in runs:
                lines = [target.bodies[n % len(target.bodies)] for n in range(run.size)]
                body = "\n".join(lines).encode()
                start = time.perf_counter()
                answered = 0
                while (elapsed := time.perf_counter() - start) < SECONDS:
                    connection.request("POST", address.path, body, headers)
                    answer = connection.getresponse().read()
                    answered += _decided(answer, run.size)
                    run.answer_bytes = len(answer)
                run.per_second.append(answered / elapsed)
                run.cases += answered
    finally:
        connection.close()
    return runs


def middle(runs: Sequence[BatchRun], size: int) -> float:
    """Return the median cases a second of one size."""
    (run,) = (each for each in runs if each.size == size)
    return statistics.median(run.per_second)


def _decided(answer: bytes, size: int) -> int:
    """Return the number of decisions, every one of which must be there."""
    decided = answer.count(b'"status":201,')
    if decided != size:
        raise UnavailableError(f"a batch of {size} gave {decided} decisions: {answer[-300:]!r}")
    json.loads(answer[answer.rstrip().rfind(b"\n") + 1 :])  # the last line came whole
    return decided
