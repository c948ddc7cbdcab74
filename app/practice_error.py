"""What can be wrong with practising."""

from app.problem_type import AppError


class PracticeError(AppError):
    """The practice cases, or the file of how people fared with them, cannot be used."""
