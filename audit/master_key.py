"""A program that gives the log's master key, in place of a file: the hook for a key management service.

It asks the service to unwrap the key and prints it. Then the key is on no disk of this machine, and
who may open payloads is the service's to say.
"""

import os
import shlex
import subprocess
from functools import cache
from typing import TypeAlias

from audit.errors import KeyFileError, NoteError
from audit.note import decode_base64

Command: TypeAlias = tuple[str, ...]
"""A program and its arguments, run without a shell. Empty: the key is in a file."""

FROM_FILE: Command = ()
SECRET_BYTES = 32
SECONDS = 30.0
_MOST_BYTES = 1_024
"""Read of what a program prints: twenty times a key."""


def command_of(words: str) -> Command:
    """Return a program and its arguments from words as a shell would read them. Raises KeyFileError."""
    try:
        return tuple(shlex.split(words))
    except ValueError as err:
        raise KeyFileError(f"the program that gives the master key: {err}") from err


@cache
def printed_key(command: Command) -> bytes:
    """Return the key that a program prints, as base64 of 32 bytes. A process asks it once.

    What the program says on standard error is seen there. Raises KeyFileError, which repeats nothing that
    was printed.
    """
    name = f"the program {command[0]}, which gives the master key,"
    try:
        code, printed = _run(command)
    except subprocess.TimeoutExpired:
        raise KeyFileError(f"{name} did not end within {SECONDS:g} seconds") from None
    except (OSError, ValueError) as err:
        raise KeyFileError(f"{name} cannot be run: {err}") from err
    if code < 0:
        raise KeyFileError(f"{name} was ended by signal {-code}")
    if code:
        raise KeyFileError(f"{name} failed with exit code {code}")
    try:
        return parsed_secret(printed.decode("ascii").strip())
    except (NoteError, UnicodeDecodeError):
        # Not what it printed, not even in a cause: most of a key perhaps.
        raise KeyFileError(f"{name} printed no base64 of {SECRET_BYTES} bytes") from None


def _run(command: Command) -> tuple[int, bytes]:
    """Return a program's exit code and the beginning of what it printed."""
    with subprocess.Popen(  # noqa: S603 - the operator's own program
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as program:
        # Nothing is read while it runs: a key fits into the pipe, and who prints without end waits
        # there. Nor to the end: a process that it left running may hold the pipe open for long.
        try:
            code = program.wait(SECONDS)
        except BaseException:
            program.kill()
            raise
        if program.stdout is None:
            return code, b""
        os.set_blocking(program.stdout.fileno(), False)
        return code, program.stdout.read(_MOST_BYTES) or b""


def parsed_secret(text: str) -> bytes:
    """Return a key of 32 bytes that is written as base64. Raises NoteError."""
    secret = decode_base64(text)
    if len(secret) != SECRET_BYTES:
        raise NoteError(f"it holds {len(secret)} bytes, want {SECRET_BYTES}")
    return secret
