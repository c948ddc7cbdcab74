"""Several cases along the same line of stages, in step.

A line is a generator that yields after every stage. Going one stage with all cases before the next
costs two thirds of going the whole line with each: a stage's code and tables are in the processor's
caches from the second case on (decision 0032).
"""

from collections.abc import Callable, Generator, Sequence
from time import perf_counter
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


def timed(line: Steps[Result], hear: Callable[[float], None]) -> Steps[Result]:
    """Go along a line, and tell how long it took in seconds: of its stages, and of no other line's."""
    spent = 0.0
    while True:
        start = perf_counter()
        try:
            next(line)
        except StopIteration as end:
            hear(spent + perf_counter() - start)
            result: Result = end.value
            return result
        spent += perf_counter() - start
        yield
