"""What an error of the application is, and what a kind of problem says of it."""

from dataclasses import dataclass


class AppError(Exception):
    """Base of the application's own errors."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its HTTP status, its name in URLs and its meaning."""

    status: int
    slug: str
    title: str
    advice: str
    """What the one who gets it can do."""
    retry_after_seconds: int | None = None
