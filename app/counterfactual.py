"""The same recorded cases through another bundle or policy: what would have been said instead.

Each case is scored alone, as in service, and judged as of the day it was made. Nothing is explained,
recorded as a decision or shown to anybody: the result is a comparison for ``app.impact`` to sum.
"""

from datetime import datetime
from math import inf
from pathlib import Path

import orjson

from app.domain import Advice
from app.impact import NO_ADVICE, Comparison, Judgement
from app.library import NOBODY, Library
from app.policy import PolicyError, load_policy
from app.reading import StoredDecision
from app.served import ServedModel, highest_score, join, lowest_score
from app.service import advise
from app.settings import Settings
from models.bundle import read
from models.errors import CaseRejectedError

_WHOLE_CASE = "(the case as a whole)"


class Otherwise:
    """Another bundle, another policy, or both, ready to judge recorded cases."""

    def __init__(
        self, settings: Settings, library: Library, *, bundle: Path | None, policy: Path | None
    ) -> None:
        """A bundle without a policy is tried under the ``policy.yaml`` beside it.

        Raises ModelError, ExplanationError or PolicyError with what was wrong.
        """
        self._library = library
        self._other: ServedModel | None = None
        if bundle is not None:
            files = read(bundle)
            path = policy or bundle.parent / "policy.yaml"
            self._policy = load_policy(
                path, lowest_score=lowest_score(files.card), highest_score=highest_score(files.card)
            )
            if self._policy.model != files.card.name:
                raise PolicyError(
                    f"{path} is for the model {self._policy.model}, want {files.card.name}"
                )
            self._other = join(
                files, self._policy, settings, vouched_for=NOBODY, directory=bundle.parent
            )
        elif policy is not None:
            self._policy = load_policy(policy, lowest_score=inf)
        else:
            raise PolicyError("neither another bundle nor another policy was named")

    @property
    def model_name(self) -> str:
        """The model whose decisions it can be compared with."""
        return self._policy.model

    @property
    def bundle_digest(self) -> str | None:
        """The other bundle's; None where each case goes through the one it was made with."""
        return None if self._other is None else self._other.bundle.digest

    @property
    def policy_digest(self) -> str:
        """The other policy's."""
        return self._policy.digest

    def compare(self, stored: StoredDecision) -> Comparison:
        """Return what was said of a case, and what would be said instead.

        Raises MissingModelError when a policy is tried and the bundle that the record names is not
        there; ScoringError, ExplanationError or PolicyError when it cannot be judged.
        """
        content = stored.content
        other = self._other
        if other is None:
            other = self._library.under(content.model_digest, self._policy)
        said = orjson.loads(content.answer)
        model = said["model"]
        try:
            case = other.bundle.schema.encode(content.case)
        except CaseRejectedError as err:
            fields = tuple(dict.fromkeys(fault.field or _WHOLE_CASE for fault in err.faults))
            return Comparison(
                stored.id, model["name"], model["version"], _recorded(stored, said), None, fields
            )
        advice = advise(
            other,
            case,
            other.bundle.session.run_row(case.feeds),
            other.sureness.familiarity.check(case.values),
            content.circumstances,
            created=datetime.fromisoformat(said["created"]),
        )
        return Comparison(
            stored.id, model["name"], model["version"], _recorded(stored, said), _judged(advice)
        )


def _recorded(stored: StoredDecision, said: dict[str, object]) -> Judgement:
    content = stored.content
    requires = said.get("requirements", [])
    kinds = tuple(each["requires"] for each in requires) if isinstance(requires, list) else ()
    recommended = said.get("recommendation")
    bits = {item.name: item.raw for item in content.bits}
    outcome, _, rule = bits["outcome"].decode().partition("\n")
    if not isinstance(recommended, dict):
        return Judgement(NO_ADVICE, None, None, rule, kinds)
    return Judgement(
        outcome, content.terms.outcomes.get(outcome), recommended["score"], rule, kinds
    )


def _judged(advice: Advice) -> Judgement:
    kinds = tuple(each.kind for each in advice.requires)
    if advice.is_withheld:
        return Judgement(NO_ADVICE, None, None, advice.rule.id, kinds)
    return Judgement(advice.outcome, advice.adverse, advice.score, advice.rule.id, kinds)
