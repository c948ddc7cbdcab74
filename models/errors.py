"""Every error of this package: one base, and one leaf per thing a caller handles differently."""

from dataclasses import dataclass


class ModelError(Exception):
    """The base of every error raised by ``models``."""


class BundleRefusedError(ModelError):
    """A bundle is not fit to be served. ``what`` is wrong, what was ``got``, what is ``want``ed."""

    def __init__(self, what: str, *, got: str, want: str) -> None:
        super().__init__(f"{what}: got {got}; want {want}")
        self.what = what
        self.got = got
        self.want = want


class FilesRefusedError(BundleRefusedError):
    """The directory does not hold exactly the files of a bundle, whole and of a safe size."""


class CardRefusedError(BundleRefusedError):
    """The card cannot be read, contradicts itself, or does not fit the graph beside it."""


class GraphRefusedError(BundleRefusedError):
    """The ONNX graph is unsafe, not deterministic, or of a form that cannot be served."""


class RowsRefusedError(BundleRefusedError):
    """Background or sample rows cannot be read, or the graph does not reproduce the samples."""


class SignatureRefusedError(BundleRefusedError):
    """A bundle is not signed, was edited since, or was signed by somebody who is not trusted."""


class SigningError(ModelError):
    """A bundle cannot be signed with this key, or a trusted supplier's file cannot be read."""


class ScoringError(ModelError):
    """The graph failed on a row, or returned scores that mean nothing (wrong shape, not finite)."""


class BundleExistsError(ModelError):
    """The place to write a bundle is taken by something else."""


class TrainingLibraryMissingError(ModelError):
    """Something needs the extra ``train``, which serving does not."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: got no scikit-learn; want the extra `train` installed")


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One thing wrong with one field of a case.

    ``message`` and ``allowed`` are for the stranger who sent it; they name what is allowed and
    never repeat the value, which is personal data.
    """

    field: str
    code: str
    message: str
    got_kind: str
    allowed: str


class CaseRejectedError(ModelError):
    """A case does not fit the schema; carries every fault, not only the first."""

    def __init__(self, faults: tuple[FieldFault, ...]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults
