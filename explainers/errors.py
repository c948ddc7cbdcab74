"""The errors of this library: one base, one leaf for each thing a caller handles differently."""

from __future__ import annotations

from math import isfinite


class ExplanationError(Exception):
    """Something about an explanation could not be done; no explanation was made."""


class GraphError(ExplanationError):
    """The ONNX graph breaks its own rules (bad identifiers, cycles, lengths that do not agree)."""

    def __init__(self, what: str, *, got: object, want: object) -> None:
        super().__init__(f"{what}: got {got}, want {want}")
        self.what = what
        self.got = got
        self.want = want


class MethodRefusedError(ExplanationError):
    """One method cannot explain this graph exactly; another method may.

    ``choose`` reads ``reason`` into the reason of the method it takes instead.
    """

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"{method} does not fit: {reason}")
        self.method = method
        self.reason = reason


class MixedColumnsError(MethodRefusedError):
    """Some encoded columns cannot be given to exactly one field each."""

    def __init__(self, method: str, reason: str, *, columns: tuple[int, ...]) -> None:
        super().__init__(method, reason)
        self.columns = columns


class BackgroundError(ExplanationError):
    """The background sample cannot serve as the reference of a game."""

    def __init__(self, what: str, *, got: object, want: object) -> None:
        super().__init__(f"background: {what}: got {got}, want {want}")
        self.got = got
        self.want = want


class AdditivityError(ExplanationError):
    """Base value and contributions do not add up to the model's own output."""

    def __init__(self, *, target: int, explained: float, output: float, tolerance: float) -> None:
        super().__init__(
            f"explanation of score {target} does not add up: link(base + contributions) is "
            f"{explained!r}, the model's own output is {output!r}, want a difference of at most "
            f"{tolerance:g}"
        )
        self.target = target
        self.explained = explained
        self.output = output
        self.tolerance = tolerance


class GameTooLargeError(ExplanationError):
    """The game has too many players, or too many evaluations, for exact enumeration."""

    def __init__(self, what: str, *, got: int, limit: int) -> None:
        super().__init__(f"{what}: got {got}, want at most {limit}")
        self.got = got
        self.limit = limit


class PrecisionError(ExplanationError):
    """A sampled explanation spent its evaluations before its standard error was small enough."""

    def __init__(self, *, standard_error: float, bound: float, evaluations: int) -> None:
        super().__init__(
            f"standard error {standard_error:g} after {evaluations} evaluations, "
            f"want at most {bound:g}"
            if isfinite(standard_error)
            else "sampled explanation: its first rounds over every background row alone take more "
            "evaluations than are allowed; want fewer background rows or fields"
        )
        self.standard_error = standard_error
        self.bound = bound
        self.evaluations = evaluations


class TimeBudgetError(ExplanationError):
    """An explanation did not finish within its time budget."""

    def __init__(self, *, elapsed_seconds: float, budget_seconds: float) -> None:
        super().__init__(
            f"explanation took {elapsed_seconds:.3f} s, want at most {budget_seconds:.3f} s"
        )
        self.elapsed_seconds = elapsed_seconds
        self.budget_seconds = budget_seconds
