"""What another policy would change: the cases in the log under two policies, compared and summed.

Neither policy need be the one that was in force. Each case goes through the bundle that it was made
with, as of its own day.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from app.counterfactual import Otherwise
from app.domain import OPERATOR
from app.errors import ErasedDecisionError
from app.impact import Comparison, ImpactReport, Tally
from app.library import Library, MissingModelError, recorded_policies
from app.log_store import read_log
from app.policy import PolicyError
from app.reading import StoredDecision, read_decision
from app.selection import Selection, latest, recommendations
from app.settings import Settings
from audit.reader import LogReader


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What came of it."""

    impact: ImpactReport
    """``recorded`` in it is the first policy, ``instead`` the second."""
    left_out: int
    """Decisions that could not be compared: erased, or their bundle is not to be found."""


def policy_diff(
    settings: Settings,
    first: Path,
    second: Path,
    *,
    directories: tuple[Path, ...] = (),
    limit: int | None = None,
) -> PolicyDiff:
    """Return what the second policy would change against the first, over the log's decisions.

    ``limit`` takes the latest so many. Raises PolicyError for policies that are not of one model, or
    do not fit its bundle; AuditError for a log that cannot be read.
    """
    with closing(read_log(settings)) as log:
        policies = recorded_policies(log)
        library = Library(settings, directories=directories, policies=lambda: policies)
        sides = tuple(
            Otherwise(settings, library, bundle=None, policy=each) for each in (first, second)
        )
        if sides[0].model_name != sides[1].model_name:
            raise PolicyError(
                f"{first} is for the model {sides[0].model_name} and {second} for "
                f"{sides[1].model_name}: want two policies of one model"
            )
        selection = Selection(stop=log.size, model=sides[0].model_name)
        if limit is not None:
            selection = latest(log, selection, count=limit)
        tally, left_out = Tally(), 0
        for stored in _decisions(log, selection):
            try:
                found = None if stored is None else _compared(sides[0], sides[1], stored)
            except MissingModelError:
                found = None
            if found is None:
                left_out += 1
            else:
                tally.add(found)
        return PolicyDiff(tally.report(), left_out)


def _decisions(log: LogReader, selection: Selection) -> Iterator[StoredDecision | None]:
    """Yield each selected decision, None for one whose content was erased."""
    for row, leaf in recommendations(log, selection.start, selection.stop or 0):
        if selection.takes(leaf):
            try:
                yield read_decision(log, row.id, reader=OPERATOR)
            except ErasedDecisionError:
                yield None


def _compared(first: Otherwise, second: Otherwise, stored: StoredDecision) -> Comparison | None:
    before, after = first.compare(stored), second.compare(stored)
    # A bundle refuses a case whatever the policy: then there is nothing to compare.
    return None if before.instead is None else replace(after, recorded=before.instead)
