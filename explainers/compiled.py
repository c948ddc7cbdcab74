"""numba's ``njit``, loaded without what it looks for and nothing here uses.

Where scipy or coverage is installed, numba imports it, for linear algebra and for reports of compiled
code: a quarter of a second and 15 MB of every start. An image has neither; a developer's environment and
one with the demonstration's extra do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _as_if_without(*names: str) -> Iterator[None]:
    """Let imports of what is not loaded yet fail."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say: there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _as_if_without("scipy", "coverage"):
    import numba.np.arraymath  # what looks for scipy, when the first compiled code is loaded

njit = numba.njit
