"""Writing a bundle: all its files, proved fit to serve, then put in place in one step."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models.acceptance import Acceptance, write_acceptance
from models.bundle import (
    ACCEPTANCE,
    BACKGROUND,
    CALIBRATION,
    CARD,
    EVALUATION,
    MODEL,
    SAMPLES,
    SIGNATURE,
    BundleFiles,
    open_bundle,
    read,
)
from models.card import Card, write_card
from models.errors import BundleExistsError, BundleRefusedError
from models.evaluation import Evaluated, write_evaluation
from models.rows import (
    Labelled,
    Row,
    Sample,
    write_background,
    write_calibration,
    write_samples,
)


def write_bundle(
    target: Path,
    *,
    model: bytes,
    card: Card,
    background: Sequence[Row],
    samples: Sequence[Sample],
    calibration: Sequence[Labelled] = (),
    acceptance: Acceptance | None = None,
    evaluation: Sequence[Evaluated] = (),
    documents: Mapping[str, bytes] | None = None,
) -> BundleFiles:
    """Write a bundle at ``target`` and return it as read back from there.

    ``documents`` are other files of a bundle, by name, as they are. The bundle is opened before it
    takes its place, so a directory that exists is one that serves. Writing the same bundle again
    changes nothing. Raises BundleRefusedError when it would not open, BundleExistsError when
    something else is at ``target``.
    """
    contents = {
        MODEL: model,
        CARD: write_card(card),
        BACKGROUND: write_background(background, card.fields),
        SAMPLES: write_samples(samples),
    }
    if calibration:
        contents[CALIBRATION] = write_calibration(calibration, card)
    if evaluation:
        contents[EVALUATION] = write_evaluation(evaluation, card)
    contents |= documents or {}
    if acceptance is not None:
        contents[ACCEPTANCE] = write_acceptance(acceptance)
    return _write_whole(target, contents, prove=open_bundle)


def copy_bundle(files: BundleFiles, target: Path) -> BundleFiles:
    """Write a bundle that was read from elsewhere at ``target``, unopened; return it as read back.

    A signature that ``target`` does not have yet is added: the digest does not cover it. Raises
    BundleExistsError when something else is at ``target``.
    """
    copied = _write_whole(target, files.contents) if not target.is_dir() else read(target)
    if copied.digest != files.digest:
        raise BundleExistsError(f"{target}: got bundle {copied.digest}; want {files.digest}")
    signature = files.contents.get(SIGNATURE)
    if signature is None or copied.contents.get(SIGNATURE) == signature:
        return copied
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as directory:
        draft = Path(directory) / SIGNATURE
        _write_durably(draft, signature)
        draft.rename(target / SIGNATURE)
    _sync_directory(target)
    return read(target)


def _write_whole(
    target: Path,
    contents: Mapping[str, bytes],
    *,
    prove: Callable[[BundleFiles], object] = lambda _: None,
) -> BundleFiles:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in contents.items():
            _write_durably(draft / name, content)
        files = read(draft)
        prove(files)
        draft.chmod(0o755)
        _sync_directory(draft)
        _put_in_place(draft, target, files.digest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return read(target)


def _put_in_place(draft: Path, target: Path, digest: str) -> None:
    if target.exists() or target.is_symlink():
        try:
            found = read(target).digest
        except BundleRefusedError as err:
            raise BundleExistsError(
                f"{target}: got something else there; want no such path"
            ) from err
        if found != digest:
            raise BundleExistsError(f"{target}: got bundle {found} there; want no such path")
        return
    draft.rename(target)
    # Without this a power cut could take the new name back.
    _sync_directory(target.parent)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
