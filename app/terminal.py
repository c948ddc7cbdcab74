"""The terminal as the commands use it: what they print, how far they are, and where the data are."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.settings import Settings

# No markup: what is printed comes from cards, rows, keys and paths, where a bracket is a bracket.
out = Console(markup=False)
if not out.is_terminal and not os.environ.get("COLUMNS"):
    out.width = 200  # for a table's words to be whole where a program reads them
err = Console(stderr=True, markup=False)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Default: GROUNDS_DATA_DIR or var/data.")
]
ModelsDir = Annotated[
    Path | None, typer.Option("--models-dir", help="Default: GROUNDS_MODELS_DIR or var/models.")
]


def settings_in(data_dir: Path | None, models_dir: Path | None = None) -> Settings:
    """Return the settings of the environment, with other directories where some are given."""
    settings = Settings()
    return settings.model_copy(
        update={
            "data_dir": data_dir or settings.data_dir,
            "models_dir": models_dir or settings.models_dir,
        }
    )


def say(text: str) -> None:
    """Print text as it is: neither coloured nor broken into lines."""
    out.print(_plain(text), highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    """As ``say``, on standard error."""
    err.print(_plain(text), highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Return text in which nothing moves a terminal's cursor: a file or a log that is checked may hold it."""
    return "".join(
        char if char.isprintable() or char in "\n\t\u00a0" else ascii(char)[1:-1] for char in text
    )


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, and nothing where the output is a file or a pipe."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
