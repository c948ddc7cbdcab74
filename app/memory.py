"""Memory that a start used and nothing needs any more goes back to the system.

glibc raises the size from which it maps memory by itself with every large piece that is freed, up to
32 MiB. Opening a model frees large passing arrays, and from then on such pieces stay in the heap, in
holes: with tables of 24 MiB three models held 344 MiB so, and 256 MiB with the size fixed.
"""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

M_MMAP_THRESHOLD = -3
"""``mallopt``'s name for that size, from malloc.h."""
M_ARENA_MAX = -8
"""And for how many heaps threads may have."""
LARGE = 256 * 1024
ARENAS = 2
"""Threads that wait for the interpreter's lock in turn need no heap each: 13 MiB less under load."""
MADV_DONTNEED = 4
STARTERS = re.compile(r"/(libllvmlite|libarrow\w*|libparquet)\.so[\d.]*$")
"""Libraries that work while models are opened: numba's compiler, and what reads parquet."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p .*?(/.*)")

_libc = ctypes.CDLL(None)


def give_back_large_pieces() -> None:
    """Fix the size from which memory is mapped, and the number of heaps, where the C library can."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_ARENA_MAX, ARENAS)


def let_go_of_starters() -> None:
    """Let go of the libraries that only opening models runs; they are read again if need be.

    Their pages are as in their files, so the system may use the memory for something else at once,
    and not only when it has none left.
    """
    smaps = Path("/proc/self/smaps")
    if smaps.exists():
        for begin, end in _unchanged(smaps.read_text(errors="replace")):
            _libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_DONTNEED)


def _unchanged(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield where the starters lie in memory as they do in their files.

    Nothing that can be written, and nothing of which a page is a private copy: the copy would be lost.
    """
    mapping = None
    for line in smaps.splitlines():
        if not line[0].isupper():
            mapping = _MAPPING.fullmatch(line)
        elif (
            mapping
            and line.startswith("Anonymous:")
            and line.split()[1] == "0"
            and STARTERS.search(mapping[3])
        ):
            yield int(mapping[1], 16), int(mapping[2], 16)
