"""``grounds evidence``, ``erase``, ``retention``, ``log``: what an operator does on the machine.

Whatever writes needs the log to itself where the log is a file: with the service running, use the
API for it.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.custody import BASIS, Custody
from app.domain import OPERATOR
from app.ids import new_id, utc_now
from app.keeping import Keeping, keeping_of
from app.keeping_errors import HeldCheckpointError, NotCoveredError
from app.log_store import read_log, refuse_while_others_use_it, write_log
from app.settings import Settings
from app.terminal import DataDir, complain, out, progress, say, settings_in
from app.visible import is_visible
from app.witnesses import COSIGNED_FILE, load_policy_file
from audit.errors import LogStateError, NoteError
from audit.fsck import check_published
from audit.log import Log
from audit.reader import LogReader

retention_app = typer.Typer(help="Erase what has been kept for long enough.", no_args_is_help=True)
log_app = typer.Typer(help="Look after the log's tables and signing key.", no_args_is_help=True)

NOTHING_ERASED = 1
UNPURGED = "still in files: a process reads them, or PostgreSQL must clean up (VACUUM FULL)"

Basis = Annotated[
    str, typer.Option(help="The ground in law. It stays in the log: nothing about a person.")
]


def evidence(
    decision: Annotated[str, typer.Argument(help="The decision's identifier.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="The zip file to write; default: ID.zip.")
    ] = None,
    held: Annotated[
        Path | None,
        typer.Option("--from", help="A checkpoint that the reader kept; the pack continues it."),
    ] = None,
    data_dir: DataDir = None,
    *,
    disclose: Annotated[
        bool, typer.Option(help="Whether content and key of this one record are in it.")
    ] = True,
) -> None:
    """Write a decision's evidence pack, under the newest checkpoint that witnesses cosigned."""
    settings = settings_in(data_dir)
    with closing(read_log(settings)) as log:
        pack = keeping_of(settings, log, {}, clock=utc_now).evidence.pack(
            decision,
            note=_best_note(settings, log),
            reader=OPERATOR,
            disclose=disclose,
            held=None if held is None else _content(held),
        )
    path = target or Path(f"{decision}.zip")
    path.write_bytes(pack)
    say(f"{path}: {len(pack):,} bytes")


def fsck(
    published: Annotated[
        Path | None, typer.Argument(help="The directory; default: GROUNDS_PUBLISH_DIR.")
    ] = None,
    data_dir: DataDir = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare the published files with the log: every tile, every bundle, the checkpoint."""
    settings = settings_in(data_dir)
    target = published or settings.publish_dir
    if target is None:
        raise typer.BadParameter("want a directory, or GROUNDS_PUBLISH_DIR")
    if not target.is_dir():
        raise typer.BadParameter(f"there is no directory {target}")
    with (
        closing(read_log(settings, with_keys=False)) as log,
        progress("Comparing files") as advance,
    ):
        report = check_published(log, target, progress=advance)
    if json_output:
        out.print_json(json.dumps({"sound": report.sound, **asdict(report)}))
    else:
        for fault in report.faults:
            where = (
                "" if fault.index is None else f"entries from {fault.index:,}, {fault.count:,}: "
            )
            say(f"FAULT {where}{fault.kind}: {fault.message}")
        for other in report.others:
            say(f"note: {other} is no part of the log, and public where the directory is")
        count = len(report.faults)
        told = f"{count:,} fault{'' if count == 1 else 's'}" if count else "sound"
        say(f"{report.size:,} entries published, {report.files:,} files compared: {told}")
    if not report.sound:
        raise typer.Exit(1)


def erase(
    basis: Basis,
    subject: Annotated[
        str | None, typer.Option(help="Whose content; - reads it from standard input.")
    ] = None,
    record: Annotated[list[str] | None, typer.Option(help="One decision; may be repeated.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Erase a subject, or single decisions with all that followed (the service must be stopped)."""
    if (subject is None) == (not record):
        raise typer.BadParameter("want either --subject or --record")
    if not is_visible(basis) or not re.fullmatch(BASIS, basis):
        raise typer.BadParameter("want --basis of 1 to 200 characters, on one line")
    if subject == "-":
        subject = typer.get_text_stream("stdin").readline().removesuffix("\n")
    with _opened(data_dir) as (log, kept):
        done = kept.custody.erase(
            log,
            basis=basis,
            actor=OPERATOR.name,
            new_id=new_id,
            subject=subject,
            record_ids=record or (),
        )
        if not done.indexes:
            if subject is None:
                out.print("Nothing was there to erase: it was erased before.")
                return
            # With an exit code of its own: a script must not take a misspelt name for an erasure.
            complain(
                "Nothing was there to erase. Is the name spelt as it was sent? Who was erased before "
                "cannot be found again either."
            )
            raise typer.Exit(NOTHING_ERASED)
        say(
            f"{len(done.indexes):,} records erased, "
            + ("gone from every file" if done.purged else UNPURGED)
            + _backups(kept.custody)
        )


@retention_app.command("run")
def retention_run(data_dir: DataDir = None) -> None:
    """Erase every decision past its model's ceiling and not under a hold, with all that followed it."""
    with _opened(data_dir) as (log, kept):
        done = kept.custody.expire(log, actor=OPERATOR.name, new_id=new_id)
        say(
            f"{len(done.erased):,} records erased, {done.held:,} kept by a hold"
            + ("" if done.purged else f"; {UNPURGED}")
            + _backups(kept.custody)
        )


@log_app.command("rotate-key")
def log_rotate_key(data_dir: DataDir = None) -> None:
    """Give the log a new signing key (the service must be stopped). Both sign from now on."""
    refuse_while_others_use_it(settings_in(data_dir))
    with _opened(data_dir) as (log, _):
        say(log.rotate_key())


@log_app.command("retire-key")
def log_retire_key(data_dir: DataDir = None) -> None:
    """Let the signing key before this one sign no more (the service must be stopped)."""
    refuse_while_others_use_it(settings_in(data_dir))
    with _opened(data_dir) as (log, _):
        found = log.retire_key()
    out.print("the earlier key signs no more" if found else "there is no earlier key that signs")


@log_app.command("migrate")
def log_migrate(
    role: Annotated[
        str | None,
        typer.Option(help="The role that serves: it is given what serving needs, and no more."),
    ] = None,
) -> None:
    """Make the log's tables in the PostgreSQL database of GROUNDS_LOG_URL, or bring them up to date.

    The address must be of a role that may create a schema, which should not be the one that serves.
    """
    url = Settings().log_url
    if url is None:
        raise LogStateError(
            "GROUNDS_LOG_URL is not set: a log in a file is brought up to date by opening it"
        )
    from audit.postgres_schema import migrate  # needs the extra `postgres`

    before, after = migrate(url.get_secret_value(), role=role)
    say(f"schema version {before} before, {after} now")


@contextmanager
def _opened(data_dir: Path | None) -> Iterator[tuple[Log, Keeping]]:
    settings = settings_in(data_dir)
    with closing(write_log(settings, clock=utc_now)) as log:
        yield log, keeping_of(settings, log, {}, clock=utc_now)


def _best_note(settings: Settings, log: LogReader) -> bytes:
    """Return the newest checkpoint that a quorum cosigned, or the newest where no policy is set."""
    if settings.witness_policy is None:
        note = log.stored_checkpoint()
        if note is None:
            raise NotCoveredError
        return note
    policy = load_policy_file(settings.witness_policy, origin=log.origin)
    try:
        note = (log.directory / COSIGNED_FILE).read_bytes()
        policy.open(note)
    except (OSError, NoteError) as err:
        raise NotCoveredError from err
    return note


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise HeldCheckpointError(f"cannot read {path}: {err.strerror}") from err


def _backups(custody: Custody) -> str:
    days = custody.backups_kept_days
    if days is None:
        return "; nobody has said how long backups keep it"
    return f"; backups keep it for up to {days} days more"
