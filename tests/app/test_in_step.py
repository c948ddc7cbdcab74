"""Going along several lines in step: the order, and what one line's fault costs the others."""

from collections.abc import Generator
from time import perf_counter

from app.in_step import in_step, timed, to_the_end


def test_all_lines_take_a_stage_before_any_takes_the_next() -> None:
    seen: list[tuple[int, str]] = []

    def line(number: int) -> Generator[None, None, int]:
        for stage in "abc":
            seen.append((number, stage))
            yield
        return number * 10

    assert in_step([line(number) for number in range(3)]) == [0, 10, 20]
    assert seen == [(number, stage) for stage in "abc" for number in range(3)]


def test_a_line_that_ends_early_or_fails_leaves_the_others_alone() -> None:
    def line(stages: int, *, fails: bool = False) -> Generator[None, None, int]:
        for _ in range(stages):
            yield
        if fails:
            raise ZeroDivisionError
        return stages

    short, failed, long = in_step([line(0), line(1, fails=True), line(4)])
    assert (short, long) == (0, 4)
    assert isinstance(failed, ZeroDivisionError)
    assert in_step([]) == []


def test_a_line_alone_gives_the_same() -> None:
    def line() -> Generator[None, None, str]:
        yield
        return "done"

    assert to_the_end(line()) == "done"


def test_what_is_timed_is_a_line_s_own_stages_and_nothing_in_between() -> None:
    heard: list[float] = []

    def busy(seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            pass

    def line() -> Generator[None, None, str]:
        busy(0.002)
        yield
        busy(0.002)
        return "done"

    steps = timed(line(), heard.append)
    next(steps)
    busy(1.0)
    assert to_the_end(steps) == "done"
    assert len(heard) == 1
    assert 0.004 <= heard[0] < 1.0
