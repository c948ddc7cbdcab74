"""``grounds publish``: a model's published records, from its bundle and its deployment.

And the provenance of one decision, from the log.
"""

import json
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import DataDir, settings_in

if TYPE_CHECKING:
    from app.publish.subject import Subject

app = typer.Typer(
    help="Write a model's published records, or a decision's provenance.", no_args_is_help=True
)


class Format(StrEnum):
    """How a record is written."""

    JSON = "json"
    MD = "md"


BundlePath = Annotated[Path, typer.Argument(help="The bundle's directory.")]
DeploymentFile = Annotated[
    Path | None, typer.Option(help="Default: deployment.yaml beside the bundle, if there is one.")
]
LiveFile = Annotated[
    Path | None, typer.Option(help="Figures from the running service, with their window (JSON).")
]


@app.command("atrs")
def atrs(
    path: BundlePath,
    written: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.JSON,
    deployment: DeploymentFile = None,
    live: LiveFile = None,
) -> None:
    """Write the UK algorithmic transparency record, version 4.0, with the list of its gaps."""
    from app.publish.atrs import atrs_markdown, atrs_record

    record = atrs_record(_subject(path, deployment, live))
    typer.echo(atrs_markdown(record) if written is Format.MD else _json(record), nl=False)


@app.command("cyclonedx")
def cyclonedx(path: BundlePath) -> None:
    """Write a CycloneDX 1.7 bill of materials with the model card."""
    from app.publish.cyclonedx import cyclonedx_bom

    typer.echo(_json(cyclonedx_bom(_subject(path, None, None))), nl=False)


@app.command("huggingface")
def huggingface(path: BundlePath) -> None:
    """Write the card as Hugging Face has it: front matter and text."""
    from app.publish.huggingface import huggingface_card

    typer.echo(huggingface_card(_subject(path, None, None)), nl=False)


@app.command("register")
def register(path: BundlePath, deployment: DeploymentFile = None) -> None:
    """Write what a public body enters in the EU's database (Annex VIII, section C)."""
    from app.publish.register import eu_register_entry

    typer.echo(_json(eu_register_entry(_subject(path, deployment, None))), nl=False)


@app.command("prov")
def prov(
    decision: Annotated[str, typer.Argument(help="The decision's identifier.")],
    data_dir: DataDir = None,
) -> None:
    """Write a decision's provenance as W3C PROV-JSON, from the log alone."""
    from app.case_entries import following
    from app.domain import OPERATOR
    from app.log_store import read_log
    from app.publish.prov import prov_document
    from app.reading import check_visible

    with closing(read_log(settings_in(data_dir))) as log:
        check_visible(log, decision, reader=OPERATOR)
        made = log.read(decision)
        later = (log.read(row.id) for row in following(log, {made.index}))
        typer.echo(_json(prov_document(log, made, later)), nl=False)


def _subject(path: Path, deployment: Path | None, live: Path | None) -> "Subject":
    from app.publish.subject import FILE, Subject, read_deployment, read_live
    from models.bundle import read

    if deployment is not None and not deployment.exists():
        raise typer.BadParameter(f"{deployment} does not exist", param_hint="--deployment")
    return Subject(
        read(path),
        read_deployment(deployment or path.parent / FILE),
        None if live is None else read_live(live),
    )


def _json(record: object) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"
