"""The steps by which a store's tables came to be what they are: plain SQL, numbered, in order.

To change the schema, add a file with an engine's next number, and nothing else: never edit a step
that was released, because stores out there were made by it. What changes tables changes them in
*both* engines; a function or an index may be one engine's alone. All steps that a store has not had
run in one transaction. A step must leave every signed root as it was; leaves are never
rewritten.
"""

from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the version that a store has once it has run."""

    number: int
    name: str
    sql: str


def steps(engine: str) -> tuple[Step, ...]:
    """Return the steps of an engine, ``sqlite`` or ``postgres``, in order."""
    found = []
    for path in sorted((_DIRECTORY / engine).glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Step(int(number), name, path.read_text(encoding="utf-8")))
    return tuple(found)
