"""Signs the log's growth every second, so that what others hold is never far behind."""

import asyncio

import structlog

from audit.errors import AuditError
from audit.log import Log

INTERVAL_SECONDS = 1.0

_log = structlog.get_logger("grounds.checkpointer")


async def keep_signing(log: Log) -> None:
    """Sign a checkpoint whenever the log has grown, until cancelled.

    A checkpoint that cannot be signed is an alarm and not a reason to lose decisions: appending
    goes on or stops by its own rules, and the next second tries again.
    """
    signed = 0
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        size = log.size
        if size == signed:
            continue
        try:
            await asyncio.to_thread(log.checkpoint)
        except AuditError as err:
            _log.error("checkpoint", error=type(err).__name__, reason=str(err))
        else:
            signed = size
