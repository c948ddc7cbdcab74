"""What SQLite's write-ahead log shows of commits that were lost from it.

SQLite reads a write-ahead log up to the first frame whose checksum is wrong and forgets the rest.
That is right after a crash, when the last commit was under way, and it hides damage: a flipped byte
in the middle silently drops every commit after it. Commits are written one after the other, each
only once the one before is durable, so of several commits behind a broken frame all but the last
were acknowledged. https://sqlite.org/fileformat2.html#walformat
"""

import struct
from pathlib import Path

_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_MAGIC = (0x377F0682, 0x377F0683)


def lost_commits(path: Path, *, page_size: int) -> int:
    """Return how many whole commits lie behind the first broken frame, 0 unless at least two do.

    One may be what a crash left of a commit that nobody was told of. ``page_size`` is the
    database's. Raises OSError.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return 0
    with file:
        header = file.read(_HEADER.size)
        frame = file.read(_FRAME.size + page_size)
        if len(header) < _HEADER.size or len(frame) < _FRAME.size + page_size:
            return 0
        magic, _, stated_size, _, *salts, sum_1, sum_2 = _HEADER.unpack(header)
        order = ">" if magic & 1 else "<"
        sums = _checksum(header[:24], (0, 0), order)
        intact = magic in _MAGIC and stated_size == page_size and sums == (sum_1, sum_2)
        if not intact:  # then the frames must say themselves which of them belong together
            salts = list(_FRAME.unpack_from(frame)[2:4])
        lost = 0
        while len(frame) == _FRAME.size + page_size:
            _, size_after, *frame_salts, frame_1, frame_2 = _FRAME.unpack_from(frame)
            if frame_salts != salts:
                # Left from an earlier round, which the log has not come to again; or broken.
                intact = False
            else:
                if intact:
                    sums = _checksum(frame[:8], sums, order)
                    sums = _checksum(frame[_FRAME.size :], sums, order)
                    intact = sums == (frame_1, frame_2)
                if not intact and size_after:
                    lost += 1
            frame = file.read(_FRAME.size + page_size)
    return lost if lost > 1 else 0


def _checksum(content: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second
