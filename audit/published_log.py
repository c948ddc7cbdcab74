"""A log as it publishes itself, read from outside: its checkpoint, tiles and bundles of entries.

Nothing here is verified but that a resource is one: who reads compares. C2SP tlog-tiles.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from audit.errors import AuditError, ProofError
from audit.tiles import (
    CHECKPOINT,
    TILE_HEIGHT,
    TILE_WIDTH,
    ReadHashes,
    bundle_path,
    decode_bundle,
    split_hashes,
    tile_path,
)

MAX_RESOURCE_BYTES = TILE_WIDTH * (2 + 65_535)
"""Of the largest resource that there is: a bundle of 256 entries."""


class SourceError(AuditError):
    """The log could not be read: it does not answer, or has not what it says it has."""


class BundleError(AuditError):
    """A bundle is not what a log of that size publishes."""


class Source(Protocol):
    """Where a log publishes."""

    def get(self, path: str) -> bytes | None:
        """Return a resource, None when there is none. Raises SourceError."""
        ...


class DirectorySource:
    """A log published as files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, path: str) -> bytes | None:
        """Return a file's content, None when there is none. Raises SourceError."""
        try:
            with (self._directory / path).open("rb") as file:
                return file.read(MAX_RESOURCE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise SourceError(f"cannot read {path}: {err.strerror}") from err


class PublishedLog:
    """What a log publishes, by what it is."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint's note. Raises SourceError, also when there is none."""
        note = self._source.get(CHECKPOINT)
        if note is None:
            raise SourceError("the log publishes no checkpoint")
        return note

    def entries(
        self, first: int, size: int, progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the entries ``first <= index < size`` with their indexes, reading a bundle at a time.

        ``progress`` hears after each bundle how many of how many are read. Raises SourceError,
        BundleError.
        """
        for position in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
            start = position * TILE_WIDTH
            width = min(TILE_WIDTH, size - start)
            path = bundle_path(position, width)
            try:
                entries = decode_bundle(self._resource(path, bundle_path(position)))
            except ProofError as err:
                raise BundleError(f"{path}: {err}") from err
            # In the place of a partial one that is gone the full one is read.
            if len(entries) not in (width, TILE_WIDTH):
                raise BundleError(f"{path} has {len(entries)} entries, want {width}")
            for index in range(max(first, start), start + width):
                yield index, entries[index - start]
            progress(start + width - first, size - first)

    def hashes(self, size: int) -> ReadHashes:
        """Return a reader of the hashes that the log publishes for a tree of this size."""

        def read(level: int, first: int, count: int) -> list[bytes]:
            position, offset = divmod(first, TILE_WIDTH)
            width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - position * TILE_WIDTH)
            path = tile_path(level, position, width)
            hashes = split_hashes(self._resource(path, tile_path(level, position)))
            return hashes[offset : offset + count]

        return read

    def _resource(self, path: str, full: str) -> bytes:
        """Return a resource; a partial one that is gone is the beginning of the full one.

        Raises SourceError, ProofError when it is larger than any can be.
        """
        content = self._source.get(path)
        if content is None and full != path:
            content = self._source.get(full)
        if content is None:
            raise SourceError(f"the log does not publish {path}")
        if len(content) > MAX_RESOURCE_BYTES:
            raise ProofError(f"{path} has more than {MAX_RESOURCE_BYTES:,} bytes")
        return content
