"""What custody and evidence refuse. Apart from them, because the table of problems needs it."""

from datetime import datetime

from app.problem_type import AppError


class TooEarlyError(AppError):
    """A record must be kept for longer than this."""

    def __init__(self, *, until: datetime) -> None:
        super().__init__(f"what is to be erased must be kept until {until:%Y-%m-%d}")
        self.until = until


class OwnStateError(TooEarlyError):
    """An entry that tells what is stopped or in use: kept as long as the log."""

    def __init__(self, *, record_id: str) -> None:
        AppError.__init__(self, f"{record_id} tells what is stopped or in use: it stays in the log")


class UnknownHoldError(AppError):
    """No such hold is in force."""

    def __init__(self) -> None:
        super().__init__("no such hold is in force")


class NotCoveredError(AppError):
    """The decision is newer than the newest checkpoint there is evidence for."""

    def __init__(self) -> None:
        super().__init__("no checkpoint with its quorum of witnesses covers the decision yet")


class CheckpointConflictError(AppError):
    """The log does not continue a checkpoint that the reader kept."""


class HeldCheckpointError(AppError):
    """What the reader kept is no checkpoint of this log."""
