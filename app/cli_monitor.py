"""``grounds monitor``: follow a log from outside, from a machine that its operator does not control."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import httpx
import typer

from app.client import KEY_VARIABLE, auth_header
from app.ids import timestamp, utc_now
from app.terminal import complain, progress, say
from audit.errors import AuditError
from audit.files import WriterLock
from audit.monitor import PROOFS, Monitor, Observation
from audit.note import VerifierKey
from audit.published_log import MAX_RESOURCE_BYTES, DirectorySource, Source, SourceError
from audit.trust import parse_policy

FOUND = 1
_SECONDS = 20.0
_LONGEST_SECONDS = 300.0
"""For one resource: the largest has 16 MB, and most have some kilobytes."""


class HttpSource:
    """A log published over HTTP: any web server's, or the service's own under ``/log``."""

    def __init__(
        self,
        address: str,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._client = httpx.Client(
            base_url=address.rstrip("/") + "/",
            headers=auth_header(address),
            timeout=_SECONDS,
            transport=transport,
        )

    def get(self, path: str) -> bytes | None:
        """Return a resource, None when there is none. Raises SourceError."""
        end = self._clock() + _LONGEST_SECONDS
        try:
            with self._client.stream("GET", path) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                    raise SourceError(
                        f"{path}: the log answers {answer.status_code}: it wants a key with the role "
                        f"auditor in {KEY_VARIABLE}, or GROUNDS_LOG_PUBLIC at the service"
                    )
                if answer.status_code != httpx.codes.OK:
                    raise SourceError(f"{path}: the log answers {answer.status_code}")
                content = bytearray()
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > MAX_RESOURCE_BYTES:
                        raise SourceError(f"{path} is larger than anything a log publishes")
                    # The client's own limit is for each piece: a log that sends one now and then
                    # would keep a monitor from ever telling of anything.
                    if self._clock() > end:
                        raise SourceError(f"{path} took more than {_LONGEST_SECONDS:g} s")
                return bytes(content)
        except httpx.HTTPError as error:
            address = self._client.base_url.copy_with(userinfo=b"")  # no password
            raise SourceError(f"{address}{path}: {str(error) or type(error).__name__}") from error

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def monitor(
    log: Annotated[
        str, typer.Argument(help="Where the log is published: https://.../log, or a directory.")
    ],
    state: Annotated[
        Path, typer.Option(help="Where the monitor keeps what it saw, and evidence.")
    ] = Path("var/monitor"),
    vkey: Annotated[
        list[str] | None,
        typer.Option(help="The log's verifier key, from outside the log; may be repeated."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A tlog-policy: the log, its witnesses and the quorum.")
    ] = None,
    held: Annotated[
        Path | None,
        typer.Option("--from", help="At the first look: a checkpoint that you trust already."),
    ] = None,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between looks.")] = 10,
    stale_after: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which a checkpoint is too old.")
    ] = None,
    *,
    once: Annotated[bool, typer.Option(help="Look once and end.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print each look as a line of JSON.")
    ] = False,
) -> None:
    """Follow a log from outside: verify each checkpoint, every entry, and that nothing is taken back."""
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        opened.callback(WriterLock(state / "lock").release)
        source: Source
        if log.startswith(("http://", "https://")):
            source = opened.enter_context(closing(HttpSource(log)))
        else:
            source = DirectorySource(Path(log))
        advance = opened.enter_context(progress("Reading entries"))
        following = Monitor(
            state,
            source,
            clock=utc_now,
            keys=[VerifierKey.parse(key) for key in vkey or ()],
            policy=None if policy is None else parse_policy(policy.read_bytes()),
            start=None if held is None else held.read_bytes(),
            stale_seconds=stale_after,
            progress=advance,
        )
        try:
            code = _follow(following, interval=interval, once=once, as_json=json_output)
        except KeyboardInterrupt:
            code = 0
    raise typer.Exit(code)


def _follow(following: Monitor, *, interval: float, once: bool, as_json: bool) -> int:
    """Look again and again; return the exit code. What two signed checkpoints prove ends it."""
    told: object = None
    while True:
        try:
            seen = following.look()
        except (AuditError, OSError) as error:
            if once or not isinstance(error, SourceError):
                raise
            if told != str(error):
                complain(f"{timestamp(utc_now())} cannot look: {error}")
            told = str(error)
        else:
            if once or seen.new or told != seen.findings:
                _tell(seen, as_json=as_json)
            told = seen.findings
            if once or any(each.kind in PROOFS for each in seen.findings):
                return 0 if seen.sound else FOUND
        time.sleep(interval)


def _tell(seen: Observation, *, as_json: bool) -> None:
    at = timestamp(utc_now())
    if as_json:
        told = {"at": at, "sound": seen.sound, **asdict(seen)}
        sys.stdout.write(json.dumps(told, default=str) + "\n")
        sys.stdout.flush()
        return
    state = "sound" if seen.sound else "FOUND"
    say(
        f"{at} {state}: {seen.origin} has {seen.size:,} entries, {seen.new:,} of them new; "
        f"{seen.verified:,} verified"
    )
    for each in seen.findings:
        evidence = "" if each.evidence is None else f"; evidence in {each.evidence}"
        say(f"  {each.kind}: {each.message}{evidence}")
