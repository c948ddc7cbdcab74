"""Reading a personal record is itself an entry: who, what and when, before it is shown."""

from app.api.parts import Parts
from app.api.recording import recorded_once
from app.domain import Caller, Role
from app.log_entries import EntryWork, Reading, read_record


async def record_read(parts: Parts, decision_id: str, *, what: Reading, reader: Caller) -> None:
    """Append who reads a decision. A caller reading its own answer again is no news.

    Raises what recording raises: then nothing is shown.
    """
    if reader.role is Role.CALLER:
        return
    of = parts.log.receipt(decision_id)
    entry = read_record(of, what=what, reader=reader, new_id=parts.new_id)
    await recorded_once(parts, EntryWork(entry))
