"""What a start used goes back to the system, and what is needed after all comes back."""

import subprocess
import sys

import pytest

from app.memory import _unchanged

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


LETTING_GO = """
from pathlib import Path
from app.memory import let_go_of_starters
import numba
import pyarrow as pa
import pyarrow.parquet as pq
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
def work():
    numba.njit(lambda x: x + 1)(1)  # the compiler itself
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2]}), sink)
    assert pq.read_table(sink.getvalue())["a"].to_pylist() == [1, 2]
work()
before = resident()
let_go_of_starters()
after = resident()
work()
print(before - after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system must say what a process has mapped")
def test_what_only_opening_models_runs_is_let_go_and_still_works() -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LETTING_GO], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 40 << 20


def test_nothing_that_was_changed_or_can_be_is_let_go() -> None:
    """A page that differs from its file exists nowhere else."""

    def mapping(access: str, name: str, anonymous: int) -> str:
        return (
            f"1000-3000 {access} 00000000 08:01 42    {name}\nRss:  8 kB\n"
            f"Anonymous:  {anonymous} kB\nVmFlags: rd ex\n"
        )

    library = "/opt/venv/lib/llvmlite/binding/libllvmlite.so"
    for access in ("r-xp", "r--p"):
        assert list(_unchanged(mapping(access, library, 0))) == [(0x1000, 0x3000)]
        assert not list(_unchanged(mapping(access, library, 4)))
        assert not list(_unchanged(mapping(access, "/lib/libc.so.6", 0)))
        assert not list(_unchanged(mapping(access, "", 0)))
    for access in ("rw-p", "rwxp", "r--s", "---p"):
        assert not list(_unchanged(mapping(access, library, 0)))
