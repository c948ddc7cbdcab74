"""Memory that was freed in large pieces goes back to the system."""

import subprocess
import sys

import pytest

HOLES = """
import sys
from pathlib import Path
if sys.argv[1] == "fixed":
    from app.memory import give_back_large_pieces
    give_back_large_pieces()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
# A large piece that is freed is what raises the size from which memory is mapped.
piece = bytearray(30 << 20)
del piece
before = resident()
kept = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
kept = kept[1::2]
print(resident() - before)
"""


def resident_after_holes(how: str) -> int:
    """Return the bytes that a process holds more after half of 100 MiB was freed, every other piece."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is what it is about")
def test_holes_between_pieces_in_use_are_given_back() -> None:
    assert resident_after_holes("fixed") < 60 << 20
    # What it is for: without it the holes stay.
    assert resident_after_holes("as it is") > 80 << 20
