"""What the machine is, and what its disk costs: without these no figure means anything."""

import os
import platform
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import apsw

LIBRARIES = ("fastapi", "uvicorn", "uvloop", "onnxruntime", "apsw", "numba", "orjson")
ROUNDS = 300
RECORD = 16 * 1024


def described() -> list[str]:
    """Return lines that say what the measurement ran on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    load = os.getloadavg()[0]
    return [
        f"{os.cpu_count()} cores ({processor}), {platform.platform()}",
        f"Python {platform.python_version()}; load before the run {load:.2f}",
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    ]


def fsync_ms(folder: Path) -> float:
    """Return the median time to append one record of 16 KiB to a file and fdatasync it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        content = os.urandom(RECORD)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            os.write(file.fileno(), content)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def commit_ms(folder: Path) -> float:
    """Return the median time of one durable commit of one record in SQLite, nothing of ours in it."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        closing(apsw.Connection(str(Path(place) / "one.sqlite3"))) as database,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE record (number INTEGER PRIMARY KEY, content BLOB)")
        times = []
        for number in range(ROUNDS):
            content = os.urandom(RECORD)
            start = time.perf_counter()
            database.execute("INSERT INTO record VALUES (?, ?)", (number, content))
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


@dataclass(frozen=True, slots=True)
class Costs:
    """What the disk costs, in milliseconds."""

    fsync: float
    commit: float
