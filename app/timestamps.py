"""An hourly timestamp (RFC 3161) over the newest checkpoint, verified and kept as an entry.

Asked for in the background: no decision waits for it. The token is in the log like everything
else, so the next checkpoint covers it and every evidence pack can carry it.
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import httpx
import orjson
import structlog
from cryptography import x509

from app.domain import Clock, NewId
from app.engine import Engine
from app.errors import AppError
from app.metrics import Metrics
from app.outside import ask
from app.work import Prepared
from audit.checkpoint import unverified_checkpoint
from audit.errors import AuditError, DamagedLogError, TimestampError
from audit.leaf import format_timestamp
from audit.rare import RareEntries
from audit.reader import LogReader
from audit.records import Idempotency, NewRecord

TIMESTAMP = "timestamp"
TIMEOUT_SECONDS = 10.0
INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 300.0
"""How long after the authority gave none it is asked again: meanwhile the alarm stands."""

_log = structlog.get_logger("grounds.timestamps")


@dataclass(frozen=True, slots=True)
class StoredTimestamp:
    """A token and the checkpoint it is over."""

    size: int
    checkpoint: bytes
    response: bytes
    """TimeStampResp, DER."""


@dataclass(frozen=True, slots=True)
class _TimestampWork:
    """A verified token that waits for its record."""

    note: bytes
    size: int
    response: bytes
    stated: datetime
    new_id: NewId

    @property
    def idempotency(self) -> Idempotency | None:
        """Each timestamp is an event of its own."""
        return None

    def recorded(self, prepared: Prepared) -> None:
        """Nothing is counted."""

    def prepare(self) -> Prepared:
        """Return the record of this timestamp."""
        answer = orjson.dumps(
            {"checkpoint": self.note.decode(), "response": b64encode(self.response).decode()}
        )
        return Prepared(
            record=NewRecord(
                type=TIMESTAMP,
                id=self.new_id(),
                facts={
                    "size": self.size,
                    "sha256": sha256(self.response).hexdigest(),
                    "stated": format_timestamp(self.stated),
                },
                payload=answer,
            ),
            answer=answer,
            result=TIMESTAMP,
        )


class Timestamps:
    """Asks one authority about one log's checkpoints."""

    def __init__(
        self,
        log: LogReader,
        *,
        url: str,
        roots: Sequence[x509.Certificate],
        client: httpx.AsyncClient,
        engine: Engine,
        metrics: Metrics,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        """``client`` is closed by whoever made it."""
        self._log = log
        self._url = url
        self._seconds = TIMEOUT_SECONDS
        self._roots = roots
        self._client = client
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._new_id = new_id
        self._covered = 0
        self._due: datetime | None = None
        self._fault: str | None = None

    @property
    def alarms(self) -> list[str]:
        """Return what is wrong at present."""
        return [] if self._fault is None else [f"no timestamp over the log: {self._fault}"]

    async def stamp_if_due(self, note: bytes) -> None:
        """Have ``note`` stamped when it is time again and the log has grown; never raises."""
        now = self._clock()
        size = unverified_checkpoint(note, origin=self._log.origin).size
        pause = INTERVAL_SECONDS if self._fault is None else RETRY_SECONDS
        # Less than nothing has passed when the clock was set back.
        if self._due is not None and 0 <= (now - self._due).total_seconds() < pause:
            return
        if size <= self._covered:
            return
        self._due = now
        try:
            response, stated = await self._ask(note)
            await self._engine.submit(_TimestampWork(note, size, response, stated, self._new_id))
        except (AuditError, AppError, TimeoutError, httpx.HTTPError, httpx.InvalidURL) as err:
            self._fault = str(err) or type(err).__name__
            self._metrics.timestamp_failures.inc()
            _log.error("timestamp", reason=self._fault)
            return
        self._fault = None
        # The entry itself makes the log one longer; that alone is no reason for another.
        self._covered = size + 1
        self._metrics.timestamp_time.set(stated.timestamp())

    async def _ask(self, note: bytes) -> tuple[bytes, datetime]:
        # Here and not above: the module needs an extra that only this needs.
        from audit.timestamp import (
            MAX_RESPONSE_BYTES,
            REQUEST_TYPE,
            request_for,
            verify_timestamp,
        )

        request = request_for(note)
        # In all, not for each piece: signing and publishing wait for this.
        async with asyncio.timeout(self._seconds):
            answer = await ask(
                self._client,
                "POST",
                self._url,
                most=MAX_RESPONSE_BYTES,
                content=request.content,
                headers={"Content-Type": REQUEST_TYPE},
            )
        if answer.status_code != httpx.codes.OK:
            raise TimestampError(f"the authority answered {answer.status_code}")
        content = answer.content
        return content, verify_timestamp(content, note, roots=self._roots, nonce=request.nonce)


def read_root_file(path: Path) -> list[x509.Certificate]:
    """Return the authority's root certificates. Raises TimestampError."""
    from audit.timestamp import read_roots  # needs the extra

    try:
        return read_roots(path.read_bytes())
    except OSError as err:
        raise TimestampError(f"cannot read {path}: {err.strerror}") from err


def first_timestamp_after(
    log: LogReader, entries: RareEntries, index: int
) -> StoredTimestamp | None:
    """Return the earliest recorded timestamp over a checkpoint that covers entry ``index``."""
    for at, leaf in entries.entries():
        size = leaf.facts.get("size")
        if leaf.type == TIMESTAMP and isinstance(size, int) and size > index:
            payload = log.read_index(at).payload
            if payload is None:
                raise DamagedLogError(f"the timestamp of entry {at} has no content")
            content = orjson.loads(payload)
            return StoredTimestamp(
                size, content["checkpoint"].encode(), b64decode(content["response"])
            )
    return None
