"""``grounds witness``: an independent witness that an auditor can run."""

import socket
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from app.ids import utc_now
from app.terminal import say
from audit.witness import Witness, add_log

witness_app = typer.Typer(
    help="Run a witness: it cosigns checkpoints of logs that only ever grow.",
    invoke_without_command=True,
)

Directory = Annotated[Path, typer.Option(help="Where the witness keeps its key and its memory.")]
DEFAULT_DIRECTORY = Path("var/witness")


@witness_app.callback()
def run_witness(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Option(
            help="A URL without a scheme that you control, such as witness.example.org/1; "
            "needed at the first start, which makes the key."
        ),
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")
    ] = 7380,
) -> None:
    """Run a witness until Ctrl-C or SIGTERM. Prints its verifier key first, then its address."""
    if context.invoked_subcommand is not None:
        return
    import uvicorn

    from app.api.witness import create_witness_app  # the other commands start faster without it
    from app.short_heads import ShortHeadsProtocol

    with (
        closing(Witness.open(directory, clock=utc_now, name=name)) as witness,
        closing(socket.create_server((host, port))) as listening,
    ):
        taken = listening.getsockname()[1]
        say(witness.vkey)
        say(f"http://{host}:{taken}")
        sys.stdout.flush()
        server = uvicorn.Server(
            uvicorn.Config(
                create_witness_app(witness),
                http=ShortHeadsProtocol,
                log_level="warning",
                access_log=False,
            )
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
            server.run(sockets=[listening])


@witness_app.command("add-log")
def witness_add_log(
    vkey: Annotated[str, typer.Argument(help="The log's verifier key, from whoever runs it.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Let the witness cosign for a log. A running witness heeds it at once."""
    key = add_log(directory, vkey)
    say(f"cosigning for {key.name} ({key.key_id.hex()})")
