"""A process that writes a log and ends, without a word, at the point it is told.

What is crashed around is given to the production code as its store, or stands where it calls the
operating system.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.digest_index import Digests
from audit.log import Log
from audit.publish import publish
from audit.records import NewRecord
from audit.rows import Group, Head, News
from audit.sqlite import SqliteStore
from audit.store import Connection, Store, Writer, open_store
from tests.audit.conftest import ORIGIN, Clock
from tests.audit.faulty_vfs import NAME, FaultyDisk

CRASHED = 77
GROUPS = 6
GROUP_SIZE = 90
"""So that groups end before, at and past the border of a tile."""

STORE_POINTS = (
    "before-commit",
    "after-commit",
    "before-signing",
    "signed-before-storing",
    "checkpoint-stored",
)
DISK_POINTS = ("wal-write", "wal-sync")
"""Within SQLite's COMMIT."""
FILE_POINTS = (
    "key-written",
    "key-renamed",
    "checkpoint-written",
    "checkpoint-renamed",
    "count-written",
    "count-renamed",
    "tile-written",
    "tile-renamed",
    "bundle-written",
    "bundle-renamed",
    "published-written",
    "published-renamed",
)
"""The file is there under its temporary name, its rename not done yet; and done, but not flushed."""


@dataclass
class Fate:
    """Ends the process when it has come to the point often enough."""

    point: str
    left: int

    def meet(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os._exit(CRASHED)


class CrashingWriter:
    def __init__(self, inner: Writer, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate

    @property
    def digests(self) -> Digests | None:
        return self._inner.digests

    def prepare_schema(self) -> None:
        self._inner.prepare_schema()

    def begin(
        self, known: int, subjects: Callable[[], Sequence[bytes]], sought: str | None
    ) -> News | None:
        return self._inner.begin(known, subjects, sought)

    def commit(self, group: Group, *, old: Head, new: Head) -> None:
        self._fate.meet("before-commit")
        self._inner.commit(group, old=old, new=new)
        self._fate.meet("after-commit")

    def roll_back(self) -> None:
        self._inner.roll_back()

    @contextmanager
    def signing(self) -> Iterator[None]:
        with self._inner.signing():
            self._fate.meet("before-signing")
            yield

    def insert_checkpoint(self, previous: int | None, size: int, note: bytes) -> None:
        self._fate.meet("signed-before-storing")
        self._inner.insert_checkpoint(previous, size, note)
        self._fate.meet("checkpoint-stored")

    def purge(self) -> bool:
        return self._inner.purge()

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class CrashingStore:
    inner: Store
    fate: Fate

    @property
    def name(self) -> str:
        return self.inner.name

    def exists(self) -> bool:
        return self.inner.exists()

    def connect(self) -> Connection:
        return self.inner.connect()

    def open_writer(self) -> Writer:
        return CrashingWriter(self.inner.open_writer(), self.fate)


class CrashingDisk(FaultyDisk):
    """SQLite's file layer: the process ends in the middle of writing or flushing the WAL."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def meet(self, operation: str) -> None:
        super().meet(operation)
        self._fate.meet(f"wal-{operation}")


def crashing_rename(fate: Fate, directory: Path) -> Callable[..., None]:
    """Return what stands for ``os.replace``."""
    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        path = Path(target)
        kind = "bundle" if "entries" in path.parts else "tile"
        if path.parent.name == "keys":
            kind = "key"
        if path.name == "checkpoint.count":
            kind = "count"
        if path.name == "checkpoint":
            kind = "checkpoint" if path.parent == directory else "published"
        fate.meet(f"{kind}-written")
        rename(source, target)
        fate.meet(f"{kind}-renamed")

    return replace


def write(directory: Path, url: str | None, point: str, nth: int, said: Path) -> None:
    """Write a log, and into ``said`` what was acknowledged.

    Ends the process with CRASHED at the nth time it comes to the point; returns if it never does.
    """
    fate = Fate(point, nth)
    store: Store = open_store(directory, url)
    if url is None:
        CrashingDisk(fate)
        store = SqliteStore(directory, vfs=NAME)
    os.replace = crashing_rename(fate, directory)
    log = Log.open(
        directory, origin=ORIGIN, clock=Clock(), store=CrashingStore(store, fate), create=True
    )
    first = log.size
    for group in range(GROUPS):
        records = [
            NewRecord("event", f"{first + group * GROUP_SIZE + at:08d}", {}, b"x" * 300, f"s{at}")
            for at in range(GROUP_SIZE)
        ]
        receipts = log.append(records)
        with said.open("a") as lines:
            lines.writelines(f"{each.index} {each.leaf_hash.hex()}\n" for each in receipts)
        publish(log, directory / "public", log.checkpoint())
    log.close()
