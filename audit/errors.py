"""What can go wrong in the log: one base, one leaf per thing a caller handles differently."""


class AuditError(Exception):
    """Base of every error this package raises on purpose."""


class ProofError(AuditError):
    """A Merkle proof, or the numbers that go with it, cannot be right."""


class RootMismatchError(ProofError):
    """A well-formed proof leads to another root than the one claimed."""

    def __init__(self, *, got: bytes, want: bytes) -> None:
        super().__init__(f"the proof leads to root {got.hex()}, want {want.hex()}")
        self.got = got
        self.want = want


class NoteError(AuditError):
    """Bytes are not a well-formed signed note, key, checkpoint or proof file."""


class SignatureError(NoteError):
    """A well-formed note is not signed as it must be."""


class UntrustedNoteError(SignatureError):
    """No known key has signed the note."""


class TrustPolicyError(NoteError):
    """A file of known logs and witnesses is not a tlog-policy."""


class QuorumError(SignatureError):
    """Too few witnesses have cosigned a checkpoint."""

    def __init__(self, *, have: list[str], want: str) -> None:
        super().__init__(
            f"cosigned by {', '.join(have) or 'no known witness'}, want the quorum {want}"
        )
        self.have = have
        self.want = want


class WitnessStateError(AuditError):
    """A witness' directory cannot be used as it stands."""


class TimestampError(AuditError):
    """A timestamp (RFC 3161) was not given, or does not say what it should."""


class UnderHoldError(AuditError):
    """What is to be erased is under a legal hold."""

    def __init__(self, *, holds: list[str]) -> None:
        super().__init__(f"under legal hold: {', '.join(holds)}; lift it first")
        self.holds = holds


class LeafError(AuditError):
    """Facts cannot become a leaf: a float, a key that is not ASCII, too large."""


class EnvelopeError(AuditError):
    """An envelope or a wrapped key does not open, or opens to something else than committed."""


class KeyFileError(AuditError):
    """A key file is missing, malformed, readable by others, or belongs to another log."""


class ForeignKeyError(KeyFileError):
    """A signing key is of a log of another name."""


class LogStateError(AuditError):
    """The log cannot be opened or used as it stands."""


class LogMissingError(LogStateError):
    """The directory holds no log."""


class LogLockedError(LogStateError):
    """Another process has the log open for writing."""


class LogBrokenError(LogStateError):
    """A write failed in a way that leaves the disk's state unknown; reopen the log to go on."""


class LogUnavailableError(LogStateError):
    """The database cannot be reached, or does not answer in time.

    Nothing was acknowledged, and appending goes on when it is back. What was on its way may be
    stored or not.
    """


class LogRolledBackError(LogStateError):
    """The database is older than, or differs from, what this log has already signed."""


class LogFullError(LogStateError):
    """The disk is full. The group was rolled back; appending may go on once there is room."""


class TooManyFilesError(LogFullError):
    """No file can be opened, since as many are open as may be. Nothing was begun; it may pass."""


class SchemaVersionError(LogStateError):
    """The database was written by another version of the schema."""

    def __init__(self, *, got: int, want: int) -> None:
        super().__init__(
            f"the database has schema version {got}, this program knows version {want}; "
            "use the program that wrote it, or migrate it"
        )
        self.got = got
        self.want = want


class DamagedLogError(LogStateError):
    """Stored bytes contradict each other. Run ``verify`` to learn which entries are concerned."""


class OvertakenError(AuditError):
    """Another process has appended the entry without which a group was to be appended; it was not."""


class RecordRejectedError(AuditError):
    """One record of a group cannot be appended; nothing of the group was."""

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(f"record {position} of the group: {message}")
        self.position = position


class FollowsErasedError(RecordRejectedError):
    """The record would say more about an entry whose content has been erased."""

    def __init__(self, *, position: int, index: int) -> None:
        super().__init__(f"entry {index}, which it follows, is erased", position=position)


class DuplicateIdError(RecordRejectedError):
    """The record's id is taken, in the log or earlier in the same group."""

    def __init__(self, *, position: int, record_id: str) -> None:
        super().__init__(f"id {record_id} is already in the log", position=position)
        self.record_id = record_id


class DuplicateIdempotencyError(RecordRejectedError):
    """The idempotency key is taken, in the log or earlier in the same group."""

    def __init__(self, *, position: int, scope: str, index: int | None) -> None:
        where = "earlier in the same group" if index is None else f"by entry {index}"
        super().__init__(f"its idempotency key is already used {where}", position=position)
        self.scope = scope
        self.index = index


class UnknownRecordError(AuditError):
    """No record has this id or index."""
