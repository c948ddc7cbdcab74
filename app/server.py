"""Running the service: uvicorn with one process, structured logs, and a clean stop."""

import logging
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import orjson
import structlog
import uvicorn

from app.client import KEY_VARIABLE
from app.log_sampling import sampled_faults
from app.log_stream import LogStream
from app.main import StartRefusedError, create_app
from app.memory import give_back_large_pieces
from app.settings import Settings, misspelt
from app.short_heads import ShortHeadsProtocol

STARTUP_FAILED = 3
"""uvicorn's own exit code for an application that did not start."""

ACCEPTED_A_TURN = 16
"""How many new connections the event loop takes in before it goes on with its work. libuv takes one
from each socket, and a turn can be some milliseconds long: from one socket, the last of 64 clients that
come at once would wait for a third of a second."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than a client or a load balancer keeps one for its next
request, 60 seconds with most. Whoever sends at the moment in which we close gets no answer."""

MOST_FILES = 65_536
"""As many files and connections as the process lets itself have, where the system allows it. Most
systems give 1,024 to begin with, and a crowd of idle connections would leave none for the log."""

_log = structlog.get_logger("grounds.server")


def run(settings: Settings) -> int:
    """Serve until stopped; return the process' exit code."""
    configure_logs()
    give_back_large_pieces()
    allow_many_files()
    stop_where_the_terminal_hangs_up()
    for variable, like in misspelt(os.environ, known=[KEY_VARIABLE]).items():
        # Not refused: another version of Grounds may know it. Its value may be a secret.
        _log.warning("there is no such setting", variable=variable, did_you_mean=like)
    try:
        sockets = bound(settings.host, settings.port)
    except OSError as err:
        _log.error("cannot listen", host=settings.host, port=settings.port, error=err.strerror)
        return STARTUP_FAILED
    try:
        application = create_app(settings)
    except StartRefusedError:
        return STARTUP_FAILED
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            http=ShortHeadsProtocol,
            # One line a request comes from our own guard, without addresses or query strings.
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=30,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has stopped
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILED


def allow_many_files() -> None:
    """Raise the limit of open files, as far as an unprivileged process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def stop_where_the_terminal_hangs_up() -> None:
    """Let SIGHUP stop as SIGTERM does: by itself it ends a process in the middle of its answers."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # `nohup` ignores it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def bound(host: str, port: int) -> list[socket.socket]:
    """Return one socket as often as it shall be accepted from. It is not listening yet.

    Raises OSError when the address is not to be had.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return [sock, *(sock.dup() for _ in range(1, ACCEPTED_A_TURN))]


def configure_logs() -> None:
    """Send every log line, ours and the libraries', to standard error as one JSON object."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    stream = cast("TextIO", LogStream(sys.stderr))
    structlog.configure(
        processors=[sampled_faults(), *shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every witness, every second
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def _json(event: structlog.typing.EventDict, **options: Any) -> str:
    """Return a log line's JSON, in a tenth of the time of the standard library's."""
    return orjson.dumps(event, default=options.get("default")).decode()


def _is_news(entry: logging.LogRecord) -> bool:
    """Return False for the traceback of a start that was refused: its reason was logged."""
    return StartRefusedError.__name__ not in entry.getMessage()
