"""The log as static files that any web server can serve: C2SP tlog-tiles.

Order of writes: entry bundles, tiles, and the checkpoint last, each durable before the next. A crash
leaves files that no checkpoint speaks of yet; the next run writes the same bytes again. What was
published for an older checkpoint stays; ``prune`` removes the partial tiles whose full ones exist,
which clients then take instead: a partial tile is a full one's beginning.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import Checkpoint, unverified_checkpoint
from audit.errors import DamagedLogError, LogRolledBackError, ProofError
from audit.files import write_durably
from audit.reader import LogReader
from audit.tiles import CHECKPOINT, TILE_WIDTH, bundle_path, tile_path, tile_widths


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did."""

    size: int
    """Of the checkpoint that now stands in the directory."""
    files: int
    """How many tiles and bundles were written."""


def publish(log: LogReader, target: Path, note: bytes | None = None) -> Published:
    """Bring ``target`` up to ``note``, a checkpoint of ``log``: the newest stored one by default.

    Cosignatures on ``note`` are published with it. Raises ProofError when none is stored,
    LogRolledBackError when what stands in ``target`` is of a longer log or another history,
    DamagedLogError when a published file differs, OSError.
    """
    if note is None:
        note = log.stored_checkpoint()
    if note is None:
        raise ProofError("no checkpoint is signed yet, there is nothing to publish")
    new = unverified_checkpoint(note, origin=log.origin)
    old = _published(log, target)
    if old is not None:
        _check_continues(log, old, new)
    written = 0
    for path, content in _files(log, 0 if old is None else old.size, new.size):
        if _write_once(target / path, content):
            written += 1
    write_durably(target / CHECKPOINT, note)
    return Published(new.size, written)


def prune(target: Path) -> int:
    """Remove partial tiles and bundles whose full ones exist; return how many directories went."""
    gone = 0
    for partial in list((target / "tile").rglob("*.p")):
        if partial.with_suffix("").is_file():
            shutil.rmtree(partial)
            gone += 1
    return gone


def _published(log: LogReader, target: Path) -> Checkpoint | None:
    try:
        note = (target / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return None
    return unverified_checkpoint(note, origin=log.origin)


def _check_continues(log: LogReader, old: Checkpoint, new: Checkpoint) -> None:
    if old.size > new.size or log.root(old.size) != old.root:
        raise LogRolledBackError(
            f"published is size {old.size} with root {old.root.hex()}; the log, of size {new.size}, "
            "does not continue it"
        )


def _files(log: LogReader, old: int, new: int) -> Iterator[tuple[str, bytes]]:
    """Yield the resources that a log of ``new`` entries has and one of ``old`` had not."""
    before = tile_widths(old)
    for level, (full, partial) in enumerate(tile_widths(new)):
        done = before[level][0] if level < len(before) else 0
        pieces = [(position, TILE_WIDTH) for position in range(done, full)]
        if partial:
            pieces.append((full, partial))
        for position, width in pieces:
            if level == 0:
                yield bundle_path(position, width), log.bundle(position, width=width)
            yield tile_path(level, position, width), log.tile(level, position, width=width)


def _write_once(path: Path, content: bytes) -> bool:
    """Write a file that never changes; return whether it was new."""
    if path.exists():
        if path.read_bytes() != content:
            raise DamagedLogError(f"{path} was published with other content; run verify")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, content)
    return True
