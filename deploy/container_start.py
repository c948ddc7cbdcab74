"""What the image starts: puts the compiled kernels where numba may write, then becomes ``grounds``.

numba takes a cache only from a folder that it can write to, and the image's own file system may be
read-only. Copying is safe where a lasting volume is not: numba does not notice that a function
which a cached one calls has changed, so the cache must come and go with the code it was made from.
"""

import os
import shutil
import sys
from pathlib import Path

MADE_WITH_THE_IMAGE = Path("/opt/compiled")


def main() -> None:
    """Never returns: the process becomes ``grounds`` with the same arguments and the same number."""
    cache = Path(os.environ["NUMBA_CACHE_DIR"])
    if not any(cache.glob("*/*.nbi")):
        shutil.copytree(MADE_WITH_THE_IMAGE, cache, dirs_exist_ok=True)
    os.execvp("grounds", ["grounds", *sys.argv[1:]])  # noqa: S606, S607  # no shell; the image's own PATH


if __name__ == "__main__":
    main()
