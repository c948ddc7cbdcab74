"""The command ``grounds``. Exit codes: 0 all is well, 1 a check found faults, 2 it could not be done."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import ValidationError
from rich.table import Table

from app import (
    __version__,
    bundle_commands,
    cli_index,
    cli_log,
    cli_model,
    cli_monitor,
    cli_replay,
    cli_score,
    cli_witness,
    policy_commands,
)
from app.agreements import AgreementsError, load_agreements
from app.domain import Kind, Role
from app.errors import AppError
from app.ids import utc_now
from app.keys import FILE, KeyStore, KeyStoreError
from app.policy import PolicyError
from app.publish.commands import app as publish_app
from app.settings import Settings
from app.terminal import DataDir, complain, out, progress, say, settings_in
from audit.errors import AuditError
from explainers.errors import ExplanationError
from models.errors import ModelError, TrainingLibraryMissingError

REFUSALS = (
    AgreementsError,
    AppError,
    AuditError,
    ModelError,
    ExplanationError,
    PolicyError,
    KeyStoreError,
)

CANNOT = 2


app = typer.Typer(
    name="grounds",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="Make, check and read model bundles.", no_args_is_help=True)
key_app = typer.Typer(help="Make, list and revoke access keys.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
bundle_app.add_typer(bundle_commands.app)
bundle_app.command("submit")(cli_model.submit)
app.add_typer(cli_model.model_app, name="model")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(publish_app, name="publish")
app.add_typer(key_app, name="key")
app.add_typer(cli_witness.witness_app, name="witness")
app.add_typer(cli_log.retention_app, name="retention")
app.add_typer(cli_log.log_app, name="log")
app.add_typer(cli_index.index_app, name="index")
app.command()(cli_log.evidence)
app.command()(cli_log.erase)
app.command()(cli_replay.replay)
app.command()(cli_monitor.monitor)
app.command()(cli_log.fsck)
app.command()(cli_score.score)


def main() -> None:
    """Run the command; what can go wrong in daily use ends in one line, not in a traceback."""
    try:
        app()
    except REFUSALS as error:
        complain(f"grounds: {error}")
        sys.exit(CANNOT)
    except ValidationError as error:
        for fault in error.errors():
            name = "GROUNDS_" + "_".join(str(part) for part in fault["loc"]).upper()
            complain(f"grounds: {name}: {fault['msg']}")
        sys.exit(CANNOT)
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        complain(f"grounds: {place}{error.strerror or error}")
        sys.exit(CANNOT)
    except (RecursionError, UnicodeError) as error:
        # Of a file or an argument that is nested too deep, or is no text.
        complain(f"grounds: what was given cannot be read: {error}")
        sys.exit(CANNOT)


def _print_version(asked: bool) -> None:  # noqa: FBT001  # typer hands the value over
    if asked:
        say(f"grounds {__version__}")
        raise typer.Exit


@app.callback()
def before(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Explainable decision support with a log that others can verify."""


@app.command()
def serve() -> None:
    """Start the service with the settings in the environment (GROUNDS_...)."""
    gc.disable()  # until all that stays is loaded: the application turns it on again
    from app.server import run  # the other commands start faster without it

    gc.freeze()
    sys.exit(run(Settings()))


@app.command()
def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")
    ] = 8080,
    directory: Annotated[
        Path, typer.Option(help="Where the demonstration keeps its files.")
    ] = Path("var/demo"),
) -> None:
    """Train the demonstration model, start the service and show a decision with its reasons."""
    try:
        from app.demo.show import run_demo  # needs what only training needs
    except ModuleNotFoundError as missing:
        raise TrainingLibraryMissingError("the demonstration") from missing

    sys.exit(run_demo(directory, port=port, console=out))


@app.command()
def verify(
    data_dir: DataDir = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option(help="A verifier key to trust, from outside the log; may be repeated."),
    ] = None,
    *,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file with a signed checkpoint that you hold: the log must still continue it; may "
            "be repeated."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A file with a signed checkpoint that you hold: read only what came after it.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read; default: one for each core.")
    ] = None,
    keys: Annotated[
        bool, typer.Option(help="Whether payloads are decrypted too, with the log's keys.")
    ] = True,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Re-read and re-hash the log, and list every fault by index.

    The same check as `python -m audit verify`, which needs nothing else of Grounds.
    """
    from app.log_store import log_directory, log_source
    from audit.__main__ import main as audit

    settings = settings_in(data_dir)
    options = [f"--vkey={key}" for key in vkey or ()]
    options += [f"--checkpoint={path}" for path in checkpoint or ()]
    if start is not None:
        options.append(f"--from={start}")
    if workers is not None:
        options.append(f"--workers={workers}")
    if not keys:
        options.append("--no-keys")
    if json_output:
        options.append("--json")
    if settings.master_key_command is not None:
        words = settings.master_key_command.get_secret_value()
        options.append(f"--master-key-command={words}")
    arguments = ["verify", str(log_directory(settings)), *options]
    sys.exit(audit(arguments, source=log_source(settings)))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document as YAML."""
    from app.main import create_app

    document = create_app(Settings()).openapi()
    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100))


@bundle_app.command("check")
def bundle_check(path: Annotated[Path, typer.Argument(help="The bundle's directory.")]) -> None:
    """Open a bundle as the service would, repeat its cross-check, and list what could be better."""
    from app.checking import check_bundle

    with progress("Cross-checking") as advance:
        checked = check_bundle(path, advance)
    for line in checked.findings:
        say(line)
    for warning in checked.warnings:
        say(f"warning: {warning}")
    say(f"{path} can be served: {checked.digest}")


@bundle_app.command("show")
def bundle_show(path: Annotated[Path, typer.Argument(help="The bundle's directory.")]) -> None:
    """Print what a bundle's card says."""
    from models.bundle import read

    files = read(path)
    card = files.card
    found = files.acceptance
    say(f"{card.title} ({card.name} {card.version})")
    for name, text in (
        ("Digest", files.digest),
        ("Owner", card.owner),
        ("Purpose", card.purpose),
        ("Legal basis", card.legal_basis),
        ("Output", card.output.meaning),
        ("Calibration cases", f"{len(files.calibration):,}" if files.calibration else "none"),
        ("Cross-check", found.sentence if found else "none: it was not built by `bundle build`"),
    ):
        say(f"{name}: {text}")
    table = Table("Field", "Label", "Type", "Allowed", "Missing", "Person can change it")
    for field in card.fields:
        allowed = ", ".join(str(category) for category in field.categories)
        if field.minimum is not None or field.maximum is not None:
            low = "" if field.minimum is None else f"{field.minimum:g}"
            high = "" if field.maximum is None else f"{field.maximum:g}"
            allowed = f"{low} to {high} {field.unit or ''}".strip()
        table.add_row(
            field.name,
            field.label,
            field.type,
            allowed,
            "may be" if field.may_be_missing else "no",
            "yes" if field.actionable else "no",
        )
    out.print(table)


@bundle_app.command("build")
def bundle_build(
    target: Annotated[Path, typer.Argument(help="The directory to make.")],
    model: Annotated[Path, typer.Option(help="The ONNX file.")],
    card: Annotated[Path, typer.Option(help="card.yaml, written by the model's owner.")],
    background: Annotated[Path, typer.Option(help="Comparable cases: .parquet, or .csv.")],
    samples: Annotated[Path, typer.Option(help="samples.json: rows with the trainer's scores.")],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Cases with known answers, in a column `label`: .parquet, or .csv."),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="The same with a column for each protected attribute."),
    ] = None,
    document: Annotated[
        list[Path] | None, typer.Option(help="datasheet.yaml or aia.json; may be repeated.")
    ] = None,
) -> None:
    """Put a bundle together and cross-check it; keep it only if the service would serve it."""
    from app.checking import build_bundle

    with progress("Cross-checking") as advance:
        built = build_bundle(
            target,
            model=model,
            card=card,
            background=background,
            samples=samples,
            calibration=calibration,
            evaluation=evaluation,
            documents=document or (),
            advance=advance,
        )
    if built.acceptance is not None:
        say(f"cross-check: {built.acceptance.sentence}")
    say(f"{target}: {built.digest}")


@key_app.command("create")
def key_create(
    name: Annotated[str, typer.Option(help="Whose key it is, for the list of keys.")],
    role: Annotated[Role, typer.Option(help="What its holder may do.")],
    data_dir: DataDir = None,
    kind: Annotated[
        Kind, typer.Option(help="Whether its holder is a person: only people decide.")
    ] = Kind.MACHINE,
    actor: Annotated[
        str,
        typer.Option(help="Your opaque name for the person: the same on all of their keys."),
    ] = "",
    agreement: Annotated[
        str | None, typer.Option(help="The data-sharing agreement that it is made under.")
    ] = None,
) -> None:
    """Make a key. It is shown this once and kept only as a hash."""
    file = None if agreement is None else Settings().agreements_file
    if agreement is not None and agreement not in ({} if file is None else load_agreements(file)):
        complain(
            f"There is no agreement {agreement} in GROUNDS_AGREEMENTS_FILE: until there is, what this "
            "key asks is refused."
        )
    with _key_store(data_dir, create=True) as store:
        text = store.create(
            name=name, role=role, clock=utc_now, kind=kind, actor=actor, agreement=agreement
        )
    complain("This key is shown only now. Keep it safe:")
    sys.stdout.write(text + "\n")


@key_app.command("list")
def key_list(data_dir: DataDir = None) -> None:
    """List the keys, never their secrets."""
    table = Table()
    # Never cut short: `key revoke` wants the whole id, also from a narrow terminal.
    table.add_column("Id", no_wrap=True)
    for heading in ("Name", "Role", "Kind", "Actor", "Agreement", "Made", "Revoked"):
        table.add_column(heading, overflow="fold")
    with _key_store(data_dir) as store:
        for entry in store.entries():
            table.add_row(
                entry.id,
                entry.name,
                entry.role.value,
                entry.kind.value,
                entry.actor,
                entry.agreement or "",
                entry.created,
                entry.revoked or "",
            )
    out.print(table)


@key_app.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as in `grounds key list`.")],
    data_dir: DataDir = None,
) -> None:
    """End a key at once."""
    with _key_store(data_dir) as store:
        store.revoke(key_id, clock=utc_now)
    say(f"{key_id} is revoked")
    if Settings().log_url is not None:
        complain("Here alone: revoke it at every other service on this log too.")


@contextmanager
def _key_store(data_dir: Path | None, *, create: bool = False) -> Iterator[KeyStore]:
    path = (data_dir or Settings().data_dir) / FILE
    if not create and not path.exists():
        raise KeyStoreError(f"{path} does not exist: no key was ever made there")
    store = KeyStore(path)
    try:
        yield store
    finally:
        store.close()
