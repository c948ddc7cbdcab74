"""Practice: cases whose answer is known, advised on like live ones and kept out of everything live.

The cases are the model owner's choice, in ``practice.yaml`` beside the policy: made up, or cleared for
showing. Nothing of practising reaches the log, the metrics or the monitoring. What is kept is how
people relied on advice that was right and on advice that was wrong: without who, and without when.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import apsw
import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.answers import Assessment, answer_body
from app.domain import Circumstances, Clock
from app.practice_error import PracticeError
from app.private_file import open_private
from app.served import ServedModel
from app.service import advise, alternatives_for, explain
from models.errors import CaseRejectedError

FILE = "practice.yaml"
STORE = "practice.sqlite3"
MAX_FILE_BYTES = 1024 * 1024
MOST_CASES = 100

SCHEMA = """
CREATE TABLE IF NOT EXISTS tally(
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  advice_right INTEGER NOT NULL,
  own_right INTEGER NOT NULL,
  final_right INTEGER NOT NULL,
  followed INTEGER NOT NULL,
  times INTEGER NOT NULL,
  PRIMARY KEY(model, version, advice_right, own_right, final_right, followed)
) STRICT
"""


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PracticeCase(_Shape):
    """One case with its answer."""

    case: dict[str, float | int | str | bool | None]
    outcome: Annotated[str, Field(min_length=1, max_length=64)]
    """What is right."""
    why: Annotated[str, Field(min_length=1, max_length=2_000)]
    """What there is to see in it: told afterwards."""


class _Cases(_Shape):
    cases: Annotated[tuple[PracticeCase, ...], Field(min_length=1, max_length=MOST_CASES)]


class PracticeCases:
    """Each model's practice cases, read once for each version that is served. Safe from any thread."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str, str], tuple[PracticeCase, ...]] = {}

    def of(self, served: ServedModel) -> tuple[PracticeCase, ...]:
        """Return a model's practice cases, none where it has no file. Raises PracticeError."""
        version = (served.name, served.bundle.digest, served.policy_digest)
        if version not in self._read:
            self._read[version] = load_practice(served)
        return self._read[version]


@dataclass(frozen=True, slots=True)
class Reliance:
    """How people relied on advice in practice, by whether it was right."""

    right: int
    right_followed: int
    wrong: int
    wrong_followed: int
    switched_to_right: int
    """Times that somebody left a wrong view of their own for the right one after the advice."""
    switched_to_wrong: int


def load_practice(served: ServedModel) -> tuple[PracticeCase, ...]:
    """Return a model's practice cases, none where it has no file. Raises PracticeError."""
    path = served.directory / FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as err:
        raise PracticeError(f"cannot read {path}: {err.strerror}") from err
    if len(raw) > MAX_FILE_BYTES:
        raise PracticeError(f"{path} has {len(raw)} bytes, want at most {MAX_FILE_BYTES}")
    try:
        cases = _Cases.model_validate(yaml.safe_load(raw)).cases
        for number, each in enumerate(cases, start=1):
            served.bundle.schema.encode(each.case)
            if each.outcome not in served.terms.outcomes:
                raise PracticeError(f"{path}: case {number} has an outcome the policy has not")
    except (ValidationError, yaml.YAMLError, CaseRejectedError) as err:
        raise PracticeError(f"{path} has no practice cases that fit the model: {err}") from err
    return cases


def practice_answer(served: ServedModel, practice: PracticeCase, clock: Clock) -> Mapping[str, Any]:
    """Return what the model says of a practice case, as an answer. Nothing is recorded or counted.

    Raises what advising raises.
    """
    case = served.bundle.schema.encode(practice.case)
    scored = served.bundle.session.run_row(case.feeds)
    explanation = explain(served, case, scored, decision_id="practice")
    familiarity = served.sureness.familiarity.check(case.values)
    circumstances, created = Circumstances(), clock()
    advice = advise(served, case, scored, familiarity, circumstances, created=created)
    assessment = Assessment(scored, explanation, familiarity, advice, None, circumstances, created)
    assessment = replace(assessment, alternatives=alternatives_for(served, case, assessment))
    answer: Mapping[str, Any] = orjson.loads(
        answer_body(served, case, assessment, decision_id="practice")
    )
    return answer


class PracticeStore:
    """The tallies of practising: how often, by what was right. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the store. Raises PracticeError when it cannot be used."""
        self._lock = Lock()
        try:
            self._connection = open_private(path)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(SCHEMA)
        except (OSError, apsw.Error) as err:
            raise PracticeError(f"cannot open the practice tallies in {path}: {err}") from err

    def count(
        self, served: ServedModel, *, right: str, advised: str | None, own: str, final: str
    ) -> None:
        """Count one practised case by its outcomes. Raises PracticeError.

        One on which nothing was advised is not counted: there was nothing to rely on.
        """
        if advised is None:
            return
        key = (
            served.name,
            served.bundle.card.version,
            advised == right,
            own == right,
            final == right,
            final == advised,
        )
        self._run(
            lambda: self._connection.execute(
                "INSERT INTO tally VALUES(?, ?, ?, ?, ?, ?, 1)"
                " ON CONFLICT DO UPDATE SET times = times + 1",
                key,
            )
        )

    def reliance(self, served: ServedModel) -> Reliance:
        """Return how people relied on this version of a model. Raises PracticeError."""
        rows: list[tuple[Any, ...]] = []
        self._run(
            lambda: rows.extend(
                self._connection.execute(
                    "SELECT advice_right, own_right, final_right, followed, times FROM tally"
                    " WHERE model = ? AND version = ?",
                    (served.name, served.bundle.card.version),
                )
            )
        )

        return Reliance(
            right=sum(n for advice, _, _, _, n in rows if advice),
            right_followed=sum(n for advice, _, _, followed, n in rows if advice and followed),
            wrong=sum(n for advice, _, _, _, n in rows if not advice),
            wrong_followed=sum(n for advice, _, _, followed, n in rows if not advice and followed),
            switched_to_right=sum(n for _, own, final, _, n in rows if final and not own),
            switched_to_wrong=sum(n for _, own, final, _, n in rows if own and not final),
        )

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._connection.close()

    def _run(self, work: Callable[[], object]) -> None:
        with self._lock:
            try:
                work()
            except apsw.Error as err:
                raise PracticeError("the practice tallies cannot be read or written") from err
