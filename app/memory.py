"""Large pieces of memory go back to the system when they are freed.

glibc raises the size from which it maps memory by itself with every large piece that is freed, up to
32 MiB. Opening a model frees hundreds of megabytes of passing arrays, and from then on such pieces
stay in the heap, in holes: three models of 100 trees held 344 MiB so, and hold 256 MiB with the size
fixed (measured at start; the time to open them is the same).
"""

import ctypes

M_MMAP_THRESHOLD = -3
"""``mallopt``'s name for that size, from malloc.h."""
LARGE = 256 * 1024


def give_back_large_pieces() -> None:
    """Fix the size from which memory is mapped. Where the C library has no such thing, do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
