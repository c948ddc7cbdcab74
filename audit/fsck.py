"""Checking what is published against the log itself: every tile, every bundle, and the checkpoint.

``verify`` reads the store; this reads the files that others follow the log by, and compares them with
what the store's own entries make. Nothing is repaired: ``publish`` writes what is missing.
"""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.errors import NoteError, ProofError
from audit.faults import Fault
from audit.files import UNFINISHED
from audit.reader import LogReader
from audit.tiles import (
    CHECKPOINT,
    TILE_HEIGHT,
    TILE_WIDTH,
    bundle_path,
    tile_path,
    tile_widths,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """What was found. Sound when ``faults`` is empty."""

    size: int
    """Of the published checkpoint."""
    files: int
    """How many tiles and bundles were compared."""
    faults: tuple[Fault, ...]
    others: tuple[str, ...]
    """Files and links in the directory that are no part of the log. No fault: a web server may want
    its own, but whoever reads the log can read these too."""

    @property
    def sound(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class _Resource:
    """A tile or bundle that a log of this size has."""

    path: str
    full: str
    """Where its content stands too, once the tile is full."""
    first: int
    """The first entry that it is about."""
    entries: int
    content: Callable[[], bytes]


def check_published(
    log: LogReader, target: Path, *, progress: Progress = lambda _done, _total: None
) -> PublishedReport:
    """Compare what is published in ``target`` with the log.

    Kinds of fault: "checkpoint" (none, not signed by this log, or of another history), "beyond" (of
    more entries than the log has), "missing", "differs", "stray". Raises AuditError, OSError.
    """
    faults: list[Fault] = []
    checkpoint = _checkpoint(log, target, faults)
    others = _others(target)
    if checkpoint is None:
        return PublishedReport(0, 0, tuple(faults), others)
    have = log.size
    if checkpoint.size > have:
        faults.append(
            Fault(have, "beyond", f"published is size {checkpoint.size}, the log has {have}",
                  checkpoint.size - have)
        )  # fmt: skip
    elif log.root(checkpoint.size) != checkpoint.root:
        faults.append(
            Fault(None, "checkpoint", f"at size {checkpoint.size} the log has another root")
        )
    size = min(checkpoint.size, have)
    wanted = [*_resources(log, size)]
    strays: list[Fault] = []
    wanted += _earlier(log, target, {resource.path for resource in wanted}, strays)
    for done, resource in enumerate(wanted):
        progress(done, len(wanted))
        fault = _compared(target, resource)
        if fault is not None:
            faults.append(fault)
    progress(len(wanted), len(wanted))
    faults += strays
    return PublishedReport(checkpoint.size, len(wanted), tuple(faults), others)


def _checkpoint(log: LogReader, target: Path, faults: list[Fault]) -> Checkpoint | None:
    keys = log.verifier_keys()
    try:
        note = (target / CHECKPOINT).read_bytes()
        return open_checkpoint(note, origin=log.origin, trusted=keys)
    except FileNotFoundError:
        faults.append(Fault(None, "checkpoint", "no checkpoint is published"))
    except OSError as err:
        faults.append(Fault(None, "checkpoint", f"cannot be read: {err.strerror}"))
    except NoteError as err:
        faults.append(Fault(None, "checkpoint", f"the published checkpoint: {err}"))
    return None


def _resources(log: LogReader, size: int) -> Iterator[_Resource]:
    for level, (full, partial) in enumerate(tile_widths(size)):
        for position in range(full + bool(partial)):
            width = TILE_WIDTH if position < full else partial
            yield _resource(log, level, position, width)
            if level == 0:
                yield _resource(log, None, position, width)


def _resource(log: LogReader, level: int | None, position: int, width: int) -> _Resource:
    """Return a tile, or without a level the bundle of entries."""
    span = 1 << (TILE_HEIGHT * (level or 0))

    def content() -> bytes:
        if level is None:
            return log.bundle(position, width=width)
        return log.tile(level, position, width=width)

    def path(width: int) -> str:
        return bundle_path(position, width) if level is None else tile_path(level, position, width)

    return _Resource(
        path(width), path(TILE_WIDTH), position * TILE_WIDTH * span, width * span, content
    )


def _compared(target: Path, resource: _Resource) -> Fault | None:
    want = resource.content()
    try:
        found = _read(target / resource.path)
        if found is None and resource.full != resource.path:
            found = _read(target / resource.full)
            found = None if found is None else found[: len(want)]
    except OSError as err:
        message = f"{resource.path} cannot be read: {err.strerror}"
        return Fault(resource.first, "missing", message, resource.entries)
    if found is None:
        return Fault(resource.first, "missing", resource.path, resource.entries)
    if found != want:
        return Fault(resource.first, "differs", resource.path, resource.entries)
    return None


def _others(target: Path) -> tuple[str, ...]:
    """Return what is beside ``tile`` and the checkpoint."""
    found = []
    for top in sorted(target.iterdir()) if target.is_dir() else ():
        if top.name not in {"tile", CHECKPOINT, f"{CHECKPOINT}{UNFINISHED}"}:
            inside = [top] if top.is_symlink() or not top.is_dir() else sorted(top.rglob("*"))
            found += [path for path in inside if path.is_symlink() or not path.is_dir()]
    return tuple(path.relative_to(target).as_posix() for path in found)


def _earlier(
    log: LogReader, target: Path, wanted: Set[str], strays: list[Fault]
) -> Iterator[_Resource]:
    """Yield the other files under ``tile`` that a log of this size has or once had.

    A partial tile stays until it is pruned, and whoever holds an older checkpoint reads it. What no
    log of this size ever had is added to ``strays``. The service may publish and prune meanwhile.
    """
    paths = sorted((target / "tile").rglob("*"))
    size = log.size  # after listing: what is published by then is in the log
    for path in paths:
        if not path.is_dir() and not path.name.endswith(UNFINISHED):
            name = path.relative_to(target).as_posix()
            if name not in wanted:
                found = _named(log, name, size) if path.is_file() else None
                if found is not None:
                    yield found
                elif path.is_symlink() or path.exists():
                    strays.append(Fault(None, "stray", name))


def _named(log: LogReader, name: str, size: int) -> _Resource | None:
    """Return the tile or bundle of this name in a log of this or a smaller size, None without one."""
    _, kind, *digits = name.split("/")
    width = TILE_WIDTH
    try:
        level = None if kind == "entries" else int(kind)
        if len(digits) > 1 and digits[-2].endswith(".p"):
            width = int(digits[-1])
            digits = [*digits[:-2], digits[-2].removesuffix(".p")]
        position = int("".join(digit.removeprefix("x") for digit in digits))
        full, partial = tile_widths(size)[level or 0]
        found = _resource(log, level, position, width)
    except (ValueError, IndexError, ProofError):
        return None
    was_ever = position < full or (position == full and width <= partial)
    return found if was_ever and found.path == name else None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
