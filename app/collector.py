"""The garbage collector of a process that serves."""

import gc

NEW_OBJECTS = 50_000
"""How many more there are before the new ones are looked through. At Python's own 700 that is several
times a request, and what it finds are the requests under way: a twentieth of the processor's time."""


def settle() -> None:
    """Take what is loaded by now for what stays, and look through the rest more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    gc.enable()
