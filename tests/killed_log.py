"""``kill -9`` of a process that appends to a log, round after round: ``python -m tests.killed_log``.

The smallest form, for many rounds: the process only appends and signs, and is killed at a random
moment. ``tests.kill`` kills the whole service, and the database server, with callers that wait.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from audit.log import Log
from audit.records import NewRecord
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock
from tests.forked import forks

LONGEST_SECONDS = 0.08
"""Between a round's first acknowledgement and its end."""
PATIENCE_SECONDS = 120
CHECK_EVERY = 100


def kill_writers(directory: Path, rounds: int, say: Callable[[str], None]) -> None:
    """Kill a writer so often; raise AssertionError unless all that it acknowledged is kept."""
    rng = random.Random(20261126)  # noqa: S311 - when to kill is no secret
    said = directory.parent / "acknowledged"
    slowest = 0.0
    for number in range(1, rounds + 1):
        writer = forks.Process(target=write, args=(directory, said, number))
        before = said.stat().st_size if said.exists() else 0
        writer.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not said.exists() or said.stat().st_size == before:
            assert writer.is_alive(), "the writer gave up"
            assert time.monotonic() < deadline, "nothing is acknowledged"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, LONGEST_SECONDS))
        writer.kill()
        writer.join()
        writer.close()
        if number % CHECK_EVERY and number < rounds:
            continue
        begun = time.perf_counter()
        log = Log.open(directory, origin=ORIGIN, clock=Clock())
        opened = time.perf_counter() - begun
        slowest = max(slowest, opened)
        with closing(log):
            acknowledged = check(log, said)
            check_open_log(log)
            size = log.size
        check_log(directory)
        say(
            f"round {number}: {size} entries, {acknowledged} acknowledged, 0 lost, 0 duplicates, "
            f"opened in {opened:.3f} s, sound"
        )


def check(log: Log, said: Path) -> int:
    """Return how many records were acknowledged, each of which the log must hold, once."""
    entries = log.entries(0, log.size)
    assert [entry.seq for entry in entries] == list(range(log.size))
    assert len({entry.id for entry in entries}) == log.size, "an id is there twice"
    # A line cut off was not heard by anybody.
    lines = [line for line in said.read_text().splitlines(keepends=True) if line.endswith("\n")]
    told = {int(index): leaf for index, leaf in map(str.split, lines)}
    assert len(told) == len(lines), "one index, two answers"
    lost = [at for at, leaf in told.items() if entries[at].leaf_hash.hex() != leaf]
    assert not lost, lost[:5]
    return len(told)


def write(directory: Path, said: Path, number: int) -> None:
    """Append groups without end, and write down what is acknowledged."""
    log = Log.open(directory, origin=ORIGIN, clock=Clock(), create=True)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    made = 0
    while True:
        group = [
            NewRecord("event", f"{number:06d}-{made + at:06d}", {}, b"x" * 500, f"s{at}")
            for at in range(1 + made % 7)
        ]
        made += len(group)
        receipts = log.append(group)
        os.write(
            out, b"".join(b"%d %s\n" % (r.index, r.leaf_hash.hex().encode()) for r in receipts)
        )
        if made % 5 == 0:
            log.checkpoint()


def main() -> None:
    """Run the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="grounds-killed-") as place:
        kill_writers(Path(place) / "log", options.rounds, tell)


if __name__ == "__main__":
    main()
