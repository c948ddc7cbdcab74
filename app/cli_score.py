"""``grounds score``: a CSV or Parquet file of cases through a running service."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from app.client import HERE, KEY_VARIABLE
from app.terminal import progress, say

PROBLEMS_FOUND = 1


def score(
    file: Annotated[Path, typer.Argument(help="The cases: .csv or .parquet, a column a field.")],
    model: Annotated[str, typer.Option(help="The model's name, as the service has it.")],
    results: Annotated[
        Path, typer.Option(help="Where to write what came of each row, as lines of JSON.")
    ],
    service: Annotated[
        str, typer.Option(help=f"The running service's address; its key is in {KEY_VARIABLE}.")
    ] = HERE,
    purpose: Annotated[str | None, typer.Option(help="What the advice is for.")] = None,
    legal_basis: Annotated[str | None, typer.Option(help="The ground in law.")] = None,
    subject: Annotated[
        str | None, typer.Option(help="The column with your opaque reference for the person.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A column to leave out; may be repeated.")
    ] = None,
) -> None:
    """Ask for a decision on every row of a file; run it again to go on where it stopped."""
    from app.score_rows import check_columns, open_rows  # pyarrow takes time to load
    from app.scoring import Job, published_schema, score_file, service_client

    around = {"purpose": purpose, "legal_basis": legal_basis}
    with closing(service_client(service)) as client:
        rows = open_rows(file)
        schema = published_schema(client, model)
        check_columns(rows, schema, subject=subject, ignored=ignore or ())
        job = Job(
            file=rows,
            model=model,
            schema=schema,
            around={name: said for name, said in around.items() if said is not None},
            subject=subject,
        )
        with progress("Scoring") as advance:
            scored = score_file(client, job, results, advance=advance)
    again = f", {scored.before:,} of them before" if scored.before else ""
    say(
        f"{scored.rows:,} rows{again}: {scored.decisions:,} decisions, {scored.problems:,} problems; "
        f"see {results}"
    )
    if scored.problems:
        raise typer.Exit(PROBLEMS_FOUND)
