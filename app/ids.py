"""Clock and identifiers: the two things the service takes from outside, in one place to replace them."""

from datetime import UTC, datetime

import uuid_utils


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one place that reads the clock


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562): time-ordered, so that the log's index on it stays fast."""
    return str(uuid_utils.uuid7())


def timestamp(moment: datetime) -> str:
    """Return ``moment`` in RFC 3339 with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
