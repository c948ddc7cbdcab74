"""pymerkle beside our log: run by ``benchmarks.log`` in an environment of its own.

Imports nothing of this project: pymerkle is GPL, and stays out of it.
"""

import json
import os
import sys
import time
from pathlib import Path

from pymerkle import SqliteTree

APPENDED, PROVED = 1_000, 50


def main() -> None:
    """Print the seconds of an append, and of a proof in a tree of ``argv[2]`` leaves."""
    place, size = Path(sys.argv[1]), int(sys.argv[2])
    payload = os.urandom(600)
    with SqliteTree(str(place / "single.sqlite3"), algorithm="sha256") as tree:
        start = time.perf_counter()
        for number in range(APPENDED):
            tree.append_entry(payload + number.to_bytes(8, "big"))
        append = (time.perf_counter() - start) / APPENDED
    with SqliteTree(str(place / "bulk.sqlite3"), algorithm="sha256") as tree:
        tree.append_entries([payload + number.to_bytes(8, "big") for number in range(size)])
        tree.get_state()  # the first root of a tree is slow, and not what is timed
        taken = []
        for number in range(PROVED):
            start = time.perf_counter()
            tree.prove_inclusion(1 + number * 7_919 % size, size)
            taken.append(time.perf_counter() - start)
    print(json.dumps({"append": append, "proof": sorted(taken)[PROVED // 2]}))


if __name__ == "__main__":
    main()
