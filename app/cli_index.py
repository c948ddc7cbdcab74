"""``grounds index``: looking after what lists are made of."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from app.index import store as index_store
from app.index.follower import Follower
from app.index.store import IndexStore
from app.log_store import log_directory, log_store
from app.settings import Settings
from audit.reader import LogReader

out = Console(markup=False)
err = Console(stderr=True, markup=False)

index_app = typer.Typer(help="Look after the index of decisions.", no_args_is_help=True)


@index_app.callback()
def _index() -> None:
    """Look after the index of decisions, which is made from the log."""


@index_app.command()
def rebuild(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Default: GROUNDS_DATA_DIR or var/data.")
    ] = None,
) -> None:
    """Make the index of decisions anew from the log. May run beside the service.

    Lists are not available until it is whole; decisions can be read and taken meanwhile.
    """
    settings = Settings()
    settings = settings.model_copy(update={"data_dir": data_dir or settings.data_dir})
    with (
        closing(
            LogReader.open_readonly(
                log_directory(settings), origin=settings.log_origin, store=log_store(settings)
            )
        ) as log,
        closing(IndexStore(settings.data_dir / index_store.FILE)) as store,
        Progress(console=err, transient=True, disable=not err.is_terminal) as bar,
    ):
        task = bar.add_task("Reading the log")
        follower = Follower(log, store)
        follower.rebuild()
        follower.catch_up(lambda done, total: bar.update(task, completed=done, total=total))
        entries = log.size
    out.print(f"the index knows {entries:,} entries of the log", highlight=False)
