"""Policy: the versioned rules that turn a model's score into an outcome.

A policy is a YAML file beside the bundle, not code: who may rely on a score, and how, is the public
body's to say. It is named by the digest of its canonical form, which goes into every record.
"""

import hashlib
from itertools import pairwise
from math import inf, isnan
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import orjson
import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from app.domain import Advice, Rule
from app.policy_terms import (
    CareRule,
    Name,
    NoticeTerms,
    ProvenanceTerms,
    Purpose,
    Reveal,
    ReviewTerms,
    SmallGroup,
    Strict,
    Words,
)

MAX_POLICY_BYTES = 256 * 1024


class PolicyError(Exception):
    """A policy that cannot be used, with what was wrong and what is wanted."""


def _lower_end(start: float) -> float:
    # Not a number compares with nothing, and JSON writes it and infinity alike: one digest for two.
    if isnan(start) or start == inf:
        raise ValueError("want a number, or -.inf for no lower end")
    return start


class Band(Strict):
    """Scores from ``at_least`` up to the next band's ``at_least`` lead to one outcome."""

    rule: Name
    at_least: Annotated[float, AfterValidator(_lower_end)]
    outcome: Name
    label: Annotated[str, Field(min_length=1, max_length=200)]
    supported_by: Literal["higher", "lower"]
    """Which scores speak for this outcome: decides what counts as a reason for it."""
    adverse: bool
    """Whether the outcome is to the disadvantage of the person concerned."""


class Policy(Strict):
    """The rules around one model's output.

    Bands cover every score: the first starts at the lowest possible score and each begins where
    the one before ends, so that every score leads to exactly one outcome.
    """

    policy: Name
    version: Annotated[str, Field(min_length=1, max_length=64)]
    model: str
    description: str
    bands: Annotated[tuple[Band, ...], Field(min_length=1)]
    near_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Scores closer than this to a line between two outcomes are flagged: small changes could turn
    them."""
    what_would_change: Literal["adverse_or_near_threshold", "never"]
    """For which outcomes the answer says what would have changed it."""
    rules: tuple[CareRule, ...] = ()
    """What is asked for beside the outcome, and when. A rule never changes an outcome."""
    outcomes_rise: tuple[Name, ...] = ()
    """Where given: all outcomes, in the order that a rising score may lead to them. A policy whose
    bands break the order is refused."""
    purposes: tuple[Purpose, ...] = ()
    """What the model may be used for. With any, a call must name one, and a ground in law."""
    provenance: ProvenanceTerms = ProvenanceTerms()
    small_group: SmallGroup | None = None
    reveal: Reveal = "concurrent"
    final_decision: Literal["human", "machine_where_favourable"] = "human"
    """Who may end a case. A machine never may where the advice or the outcome is adverse, where a
    rule asks for anything, or where the outcome is not the one advised."""
    manual_route: Words | None = None
    """How to decide without advice: shown when advice is stopped."""
    review: ReviewTerms = ReviewTerms()
    notice: NoticeTerms = NoticeTerms()

    @model_validator(mode="after")
    def _bands_rise(self) -> Self:
        starts = [band.at_least for band in self.bands]
        if starts != sorted(set(starts)):
            raise ValueError(f"bands must start at rising scores, got at_least {starts}")
        if len({band.rule for band in self.bands}) != len(self.bands):
            raise ValueError("each band needs a rule name of its own")
        return self

    @model_validator(mode="after")
    def _names_are_its_own(self) -> Self:
        rules = [band.rule for band in self.bands] + [rule.rule for rule in self.rules]
        if len(set(rules)) != len(rules):
            raise ValueError("each rule needs a name of its own, other than the bands'")
        if len({each.purpose for each in self.purposes}) != len(self.purposes):
            raise ValueError("a purpose appears twice")
        by_outcome = {(band.outcome, band.adverse) for band in self.bands}
        if len(by_outcome) != len({outcome for outcome, _ in by_outcome}):
            raise ValueError("one outcome is adverse in one band and not in another")
        return self

    @model_validator(mode="after")
    def _letters_say_every_outcome(self) -> Self:
        outcomes = {band.outcome for band in self.bands}
        for language, letter in self.notice.letters.items():
            if letter.outcomes.keys() != outcomes:
                raise ValueError(
                    f"notice.letters.{language}.outcomes: want one sentence for each of "
                    f"{', '.join(sorted(outcomes))}"
                )
        return self

    @model_validator(mode="after")
    def _outcomes_keep_their_order(self) -> Self:
        if not self.outcomes_rise:
            return self
        if sorted(self.outcomes_rise) != sorted({band.outcome for band in self.bands}):
            raise ValueError("outcomes_rise names each outcome of the bands once")
        places = [self.outcomes_rise.index(band.outcome) for band in self.bands]
        if places != sorted(places):
            raise ValueError("the bands' outcomes do not rise as outcomes_rise says")
        return self

    def canonical(self) -> bytes:
        """Return the bytes the digest names: sorted keys, no white space.

        Without what is as by default, so that a policy keeps its digest when policies learn to say
        more.
        """
        return orjson.dumps(
            self.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_SORT_KEYS
        )

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the canonical form."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def apply(self, score: float | np.float32 | np.float64, *, target: int) -> Advice:
        """Return the outcome for ``score``, the bundle's score number ``target``.

        Thresholds are compared in the score's own precision: a 32-bit 0.7 is not below 0.7.

        Raises PolicyError when no band covers the score.
        """
        found: int | None = None
        for place, band in enumerate(self.bands):
            if score >= type(score)(band.at_least):
                found = place
        if found is None:
            raise PolicyError(f"policy {self.policy} has no band for the score it was given")
        chosen, number = self.bands[found], float(score)
        return Advice(
            outcome=chosen.outcome,
            label=chosen.label,
            rule=Rule(id=chosen.rule, description=self._describe(found)),
            score=number,
            target=target,
            supported_by=1 if chosen.supported_by == "higher" else -1,
            near_threshold=any(
                abs(number - band.at_least) < self.near_threshold
                for before, band in pairwise(self.bands)
                # A line between two rules for one outcome turns nothing.
                if before.outcome != band.outcome
            ),
            adverse=chosen.adverse,
            within=self._ends(found),
        )

    def band(self, rule: str) -> Band | None:
        """Return the band of that rule, or None when the policy has no such band."""
        return next((band for band in self.bands if band.rule == rule), None)

    def ends(self, rule: str) -> tuple[float, float]:
        """Return the scores, from and below, that a band's rule is about; all, of no band's."""
        places = [place for place, band in enumerate(self.bands) if band.rule == rule]
        return self._ends(places[0]) if places else (-inf, inf)

    def _ends(self, place: int) -> tuple[float, float]:
        low = -inf if place == 0 else self.bands[place].at_least
        return low, inf if place == len(self.bands) - 1 else self.bands[place + 1].at_least

    def purpose(self, name: str) -> Purpose | None:
        """Return the purpose of that name, or None."""
        return next((each for each in self.purposes if each.purpose == name), None)

    def asks_what_would_change(self, advice: Advice) -> bool:
        """Return whether the answer must say what would have changed the recommendation."""
        return self.what_would_change != "never" and (advice.adverse or advice.near_threshold)

    def other_bands(self, advice: Advice) -> list[tuple[float, float]]:
        """Return the score ranges, each from and below, of other outcomes than ``advice``'s.

        For an adverse outcome only those that are not adverse: what would have helped.
        """
        return [
            (band.at_least, self._ends(place)[1])
            for place, band in enumerate(self.bands)
            if band.outcome != advice.outcome and not (advice.adverse and band.adverse)
        ]

    def _describe(self, place: int) -> str:
        low, high = self._ends(place)
        if low == -inf and high == inf:
            return "every score"
        if low == -inf:
            return f"the score is below {high!r}"
        if high == inf:
            return f"the score is {low!r} or more"
        return f"the score is {low!r} or more and below {high!r}"


def load_policy(
    path: Path, *, lowest_score: float, highest_score: float = inf, called: str | None = None
) -> Policy:
    """Return the policy in ``path``; the scores are the least and the greatest that the model can give.

    Raises PolicyError saying what is wrong in which field of the file, or of what it is ``called``.
    """
    called = called or str(path)
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise PolicyError(f"cannot read {called}: {err.strerror}") from err
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError(f"{called} has {len(raw)} bytes, want at most {MAX_POLICY_BYTES}")
    try:
        policy = Policy.model_validate(yaml.safe_load(raw))
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'policy'}: {fault['msg']}"
            for fault in err.errors()
        )
        raise PolicyError(f"{called} is not a policy: {faults}") from err
    except (yaml.YAMLError, ValueError) as err:  # ValueError: a date that no calendar has
        raise PolicyError(f"{called} is not YAML: {err}") from err
    if fault := misfit(policy, lowest_score=lowest_score, highest_score=highest_score):
        raise PolicyError(f"{called}: {fault}")
    return policy


def misfit(policy: Policy, *, lowest_score: float, highest_score: float) -> str | None:
    """Return why a policy's bands do not fit a model's scores; None when they do."""
    first, last = policy.bands[0].at_least, policy.bands[-1].at_least
    if first > lowest_score:
        return (
            f"the policy's first band starts at {first:g}, want {lowest_score:g} or less so that every "
            "score has an outcome"
        )
    if last > highest_score:
        return (
            f"the policy's last band starts at {last:g}, want {highest_score:g} or less: no score is "
            "above that, and nobody would meet it"
        )
    return None
