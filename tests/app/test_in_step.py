"""Going along several lines in step: the order, and what one line's fault costs the others."""

from collections.abc import Generator

from app.in_step import in_step, to_the_end


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
