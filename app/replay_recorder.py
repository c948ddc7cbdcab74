"""Putting what replays found on record: in the log itself, or through the service that has it open."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from app.client import ServiceRefusedError, needed_auth_header
from app.domain import OPERATOR, Clock, NewId
from app.environment import environment
from app.errors import ErasedDecisionError
from app.ids import timestamp
from app.library import Library, recorded_policies
from app.log_store import read_log, write_log
from app.reading import read_decision
from app.replay import replay, replay_record
from app.replay_report import RunReport, run_record
from app.replay_run import Run
from audit.log import Log
from audit.reader import LogReader
from audit.replay import NotReplayable, Verdict

_SECONDS = 60.0


@contextmanager
def writable(run: Run, *, clock: Clock) -> Iterator[Log]:
    """Open the log for writing, and keep it. Raises LogLockedError while a service has it."""
    with closing(write_log(run.settings, clock=clock)) as log:
        yield log


def record_here(log: Log, report: RunReport, *, clock: Clock, new_id: NewId) -> str:
    """Append a run to the log and return its identifier."""
    record = run_record(
        report.encode(),
        report.body(),
        actor=OPERATOR.name,
        at=timestamp(clock()),
        new_id=new_id,
    )
    log.append([record])
    return record.id


def replay_one(run: Run, decision: str, *, log: Log | None, clock: Clock, new_id: NewId) -> Verdict:
    """Replay one decision, and record that in ``log`` if there is one.

    An erased decision leaves nothing to record. Raises UnknownDecisionError, AuditError.
    """
    reader: LogReader = log or read_log(run.settings)
    try:
        stored = read_decision(reader, decision, reader=OPERATOR)
        library = Library(
            run.settings,
            directories=run.directories,
            policies=lambda: recorded_policies(reader),
        )
        verdict = replay(stored, library, environment(run.settings))
        if log is not None:
            prepared = replay_record(
                stored, verdict, actor=OPERATOR.key_id, clock=clock, new_id=new_id
            )
            log.append([prepared.record])
    except ErasedDecisionError:
        return NotReplayable("erased", "its content was erased")
    finally:
        if log is None:
            reader.close()
    return verdict


class Service:
    """A running service, asked with an auditor's key from the environment."""

    def __init__(self, address: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Raises ServiceRefusedError without a key, or for an address that it must not go to."""
        self._client = httpx.Client(
            base_url=address,
            headers=needed_auth_header(address, role="auditor or admin"),
            timeout=_SECONDS,
            transport=transport,
        )

    def record(self, report: RunReport) -> str:
        """Put a run on record and return its identifier. Raises ServiceRefusedError."""
        told = self._post("/v1/replays", report.encode())
        return str(told["id"])

    def replay(self, decision: str) -> dict[str, Any]:
        """Let the service replay and record one decision. Raises ServiceRefusedError."""
        return self._post(f"/v1/decisions/{decision}/replay", b"")

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _post(self, path: str, content: bytes) -> dict[str, Any]:
        try:
            answer = self._client.post(
                path, content=content, headers={"Content-Type": "application/json"}
            )
            body = answer.json()
        except (httpx.HTTPError, ValueError) as err:
            raise ServiceRefusedError(
                f"{self._client.base_url} does not answer: {type(err).__name__}"
            ) from err
        if answer.is_success:
            return dict(body)
        told = body.get("detail") or body.get("title") if isinstance(body, dict) else None
        raise ServiceRefusedError(f"the service says {answer.status_code}: {told}")
