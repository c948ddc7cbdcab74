"""Several cases along the same line of stages, in step.

A line is a generator that yields after every stage. Going one stage with all cases before the next
costs two thirds of going the whole line with each: a stage's code and tables are in the processor's
caches from the second case on (decision 0032).
"""

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]
"""Yields between the stages of a line, and returns what comes of it."""


def in_step(lines: Sequence[Steps[Result]]) -> list[Result | Exception]:
    """Go along several lines, one stage of all of them before the next; return what each gave."""
    made: dict[int, Result | Exception] = {}
    going = list(enumerate(lines))
    while going:
        left = []
        for place, line in going:
            try:
                next(line)
            except StopIteration as end:
                made[place] = end.value
            except Exception as error:  # noqa: BLE001  # for the one whose line it is
                made[place] = error
            else:
                left.append((place, line))
        going = left
    return [made[place] for place in range(len(lines))]


def to_the_end(line: Steps[Result]) -> Result:
    """Go along a line alone."""
    while True:
        try:
            next(line)
        except StopIteration as end:
            result: Result = end.value
            return result
