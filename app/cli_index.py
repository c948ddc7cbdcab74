"""``grounds index``: looking after what lists are made of."""

from contextlib import closing

import typer

from app.index import store as index_store
from app.index.follower import Follower
from app.index.store import IndexStore
from app.log_store import read_log
from app.terminal import DataDir, progress, say, settings_in

index_app = typer.Typer(help="Look after the index of decisions.", no_args_is_help=True)


@index_app.callback()
def _index() -> None:
    """Look after the index of decisions, which is made from the log."""


@index_app.command()
def rebuild(
    data_dir: DataDir = None,
) -> None:
    """Make the index of decisions anew from the log. May run beside the service.

    Lists are not available until it is whole; decisions can be read and taken meanwhile.
    """
    settings = settings_in(data_dir)
    with (
        closing(read_log(settings)) as log,
        closing(IndexStore(settings.data_dir / index_store.FILE)) as store,
        progress("Reading the log") as advance,
    ):
        follower = Follower(log, store)
        follower.rebuild()
        follower.catch_up(advance)
        entries = log.size
    say(f"the index knows {entries:,} entries of the log")
