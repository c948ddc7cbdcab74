"""Sends each endpoint its events, in order, until each is acknowledged.

One task an endpoint. What counts as acknowledged is an answer of 2xx, and only then the place moves on:
a crash before that sends the event again. A receiver that is slow or away holds up nobody else, and no
decision waits for any of it.
"""

import asyncio
import hashlib
import hmac
import random
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

import httpcore
import structlog

from app import __version__
from app.domain import Clock
from app.metrics import Metrics
from app.settings import Settings
from app.webhooks.endpoints import Endpoint, WebhooksError, load_endpoints
from app.webhooks.events import MEDIA_TYPE, Event, event_of
from app.webhooks.network import DestinationError, pool_of
from audit.errors import AuditError
from audit.files import write_durably
from audit.reader import LogReader

INTERVAL_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
BATCH = 512

_log = structlog.get_logger("grounds.webhooks")


class DeliveryError(Exception):
    """An event was not acknowledged."""


UNACKNOWLEDGED = (
    DeliveryError,
    DestinationError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    OSError,  # TimeoutError too
)
"""What sends an event again."""


class Place:
    """How far an endpoint has got in the log: the next index, in a small durable file."""

    def __init__(self, path: Path, *, newest: int) -> None:
        """Read the place; an endpoint that is new begins with what happens from now on.

        Raises WebhooksError.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self.next = int(path.read_text())
            else:
                self.next = newest
                self.advance(newest)
        except (OSError, ValueError) as err:
            raise WebhooksError(f"cannot use {path}: want a file with one index") from err

    def advance(self, next_index: int) -> None:
        """Keep a place. Raises OSError."""
        write_durably(self._path, f"{next_index}\n".encode())
        self.next = next_index


class Delivery:
    """One endpoint's events."""

    def __init__(
        self, endpoint: Endpoint, log: LogReader, metrics: Metrics, *, clock: Clock, directory: Path
    ) -> None:
        """Raises WebhooksError."""
        self.endpoint = endpoint
        self._log, self._metrics, self._clock = log, metrics, clock
        self._secrets = endpoint.secrets()
        self._pool = pool_of(endpoint)
        size = log.size
        self._place = Place(directory / f"{endpoint.name}.next", newest=size)
        if self._place.next > size:
            raise WebhooksError(
                f"endpoint {endpoint.name} was told of {self._place.next} entries, and the log has "
                f"{size}: was it set back? Delete the file {endpoint.name}.next to begin anew"
            )
        self._since: datetime | None = None
        """When the event was recorded that is being sent."""
        metrics.webhook_lag_seconds.labels(endpoint.name).set_function(self._waiting_seconds)
        # Read when asked for, so that a sender that stands still shows it too.
        metrics.webhook_lag_entries.labels(endpoint.name).set_function(
            lambda: float(log.size - self._place.next)
        )

    async def run(self) -> None:
        """Send until cancelled."""
        async with self._pool:
            while True:
                try:
                    more = await self._step()
                except (AuditError, OSError) as err:  # the log or the place's disk, for now
                    _log.error("webhooks", endpoint=self.endpoint.name, error=type(err).__name__)
                    more = False
                if not more:
                    await asyncio.sleep(INTERVAL_SECONDS)

    async def _step(self) -> bool:
        """Send what the next entries tell; return whether there may be more already."""
        size = await asyncio.to_thread(lambda: self._log.size)
        start = self._place.next
        if start >= size:
            return False
        stop = min(size, start + BATCH)
        rows = await asyncio.to_thread(self._log.entries, start, stop)
        for row in rows:
            event = event_of(row, origin=self._log.origin)
            if event is not None and event.group in self.endpoint.events:
                self._since = event.recorded
                await self._until_acknowledged(event)
                await asyncio.to_thread(self._place.advance, row.seq + 1)
                self._since = None
        if self._place.next < stop:
            await asyncio.to_thread(self._place.advance, stop)
        return True

    async def _until_acknowledged(self, event: Event) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                await self._send(event)
            except UNACKNOWLEDGED as err:
                self._count("failed")
                _log.warning(
                    "webhook not acknowledged", endpoint=self.endpoint.name, index=event.index,
                    reason=type(err).__name__, detail=str(err)[:200], again_in=round(wait, 1),
                )  # fmt: skip
                # Spread out, so that many senders do not come back at once.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  no secret in it
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            else:
                self._count("acknowledged")
                return

    async def _send(self, event: Event) -> None:
        moment = int(self._clock().timestamp())
        headers: dict[bytes | str, bytes | str] = {
            "content-type": MEDIA_TYPE,
            "user-agent": f"grounds/{__version__}",
            "content-length": str(len(event.body)),
            "webhook-id": event.id,
            "webhook-timestamp": str(moment),
            "webhook-signature": signature(self._secrets, event.id, moment, event.body),
        }
        # Of the whole exchange: the library's own limits are of each read, and begin anew with every byte.
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            self._pool.stream(
                "POST", self.endpoint.url, headers=headers, content=event.body
            ) as answer,
        ):
            # Nothing of the answer but its status is read; a redirect leads nowhere.
            if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                raise DeliveryError(f"the receiver answered {answer.status}")

    def _count(self, result: str) -> None:
        self._metrics.webhook_deliveries.labels(self.endpoint.name, result).inc()

    def _waiting_seconds(self) -> float:
        """Return how long the event that is being sent has waited, 0 where none is."""
        if self._since is None:
            return 0.0
        return max(0.0, (self._clock() - self._since).total_seconds())


class Webhooks:
    """All endpoints."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries

    async def run(self) -> None:
        """Send to every endpoint until cancelled."""
        tasks = [asyncio.create_task(each.run()) for each in self._deliveries]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


def open_webhooks(
    settings: Settings, log: LogReader, metrics: Metrics, *, clock: Clock
) -> Webhooks:
    """Return the endpoints that the settings name. Raises WebhooksError."""
    directory = settings.data_dir / "webhooks"
    return Webhooks(
        [
            Delivery(endpoint, log, metrics, clock=clock, directory=directory)
            for endpoint in load_endpoints(settings.webhooks_file)
        ]
    )


def signature(secrets: Sequence[bytes], identifier: str, moment: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: Standard Webhooks, HMAC-SHA256, one a secret."""
    signed = f"{identifier}.{moment}.".encode() + body
    return " ".join(
        "v1," + b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        for secret in secrets
    )
