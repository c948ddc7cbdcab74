"""Many cases fed at once: the service feeds one, or rows of a file."""

from collections.abc import Mapping, Sequence

from models.schema import CaseSchema, stack
from models.session import Feeds


def feeds_of(schema: CaseSchema, rows: Sequence[Mapping[str, object]]) -> Feeds:
    """Return cases as one set of feeds of N rows, N at least 1."""
    return stack([schema.encode(row).feeds for row in rows])
