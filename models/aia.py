"""The impact level by Canada's Algorithmic Impact Assessment, computed from its answers.

``aia.json`` is what the questionnaire exports. A level that it states is not looked at: the score is
added up again from the answers, as the questionnaire does it. What the numbers are and what each
level asks for is data (``profiles/aia.yaml``), because it changes when the directive does.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import pydantic
from pydantic import BaseModel, ConfigDict

from models.errors import CardRefusedError
from models.plain_yaml import parse_plain

FILE = "aia.json"
ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV"}

_CHOICE = re.compile(r"item\d+[A-Za-z]?-(\d+)")
"""A choice with its weight. What people typed can end in a hyphen and a number too, and counts 0."""
_MOST_ANSWERS = 1_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Area(_Part):
    """Questions that belong together, known by how their names begin."""

    name: str
    prefix: str
    kind: Literal["raw", "mitigation"]
    maximum: int


class Requirements(_Part):
    """What a level asks for."""

    level: int
    human_final_decision: bool
    """Whether only a person may take the final decision."""
    individual_explanation: bool
    """Whether every denial comes with an explanation of its own."""
    notice_names_explanation: bool
    peer_reviews: int
    """How many published reviews by experts there must be."""
    gender_analysis: bool
    training: Literal["general", "override"]
    """``override``: those who decide must have learnt how to depart from the advice."""
    training_recurs: bool
    """Whether training has to be repeated, so that an attestation expires."""
    approval: str
    """The least senior role that may approve its use."""


class Method(_Part):
    """How answers become a level."""

    as_of: str
    source: str
    raw_maximum: int
    mitigation_maximum: int
    mitigation_share: float
    deduction: float
    levels_at: tuple[float, float, float]
    phase_question: str
    phases: dict[str, str]
    areas: tuple[Area, ...]
    retired_answers: dict[str, tuple[str, ...]]
    levels: tuple[Requirements, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """What an assessment comes to."""

    raw: int
    mitigation: int
    total: int
    level: int
    """1 to 4."""
    areas: Mapping[str, int]
    """What each area scored, by name."""
    version: str
    """The questionnaire's version, as the file says."""

    @property
    def roman(self) -> str:
        """The level as people write it."""
        return ROMAN[self.level]


class _Answers(BaseModel):
    """An exported file; what else is in it is for people and for the questionnaire."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str = ""
    data: dict[str, object]


@cache
def method() -> Method:
    """Return the method's numbers."""
    content = (files("models") / "profiles" / "aia.yaml").read_bytes()
    return parse_plain(content, Method, what="aia.yaml", whole="method")


def requirements(level: int) -> Requirements:
    """Return what a level from 1 to 4 asks for. Raises KeyError for another."""
    return {each.level: each for each in method().levels}[level]


def total_and_level(raw: int, mitigation: int) -> tuple[int, int]:
    """Return the final score and the level, 1 to 4.

    Half a point is rounded up, as JavaScript's ``Math.round`` does; Python's would go to even.
    """
    how = method()
    total = raw
    if mitigation >= how.mitigation_share * how.mitigation_maximum / 2:
        total = math.floor((1 - how.deduction) * raw + 0.5)
    return total, 1 + sum(total > share * how.raw_maximum for share in how.levels_at)


def parse_aia(content: bytes) -> Impact:
    """Return what an exported assessment comes to, whatever level it states.

    Raises CardRefusedError when it is none, or scores more than the questionnaire can.
    """
    want = "the file that the questionnaire exports"
    try:
        answers = _Answers.model_validate_json(content)
    except pydantic.ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]["msg"]
        raise CardRefusedError(FILE, got=fault, want=want) from err
    if not 1 <= len(answers.data) <= _MOST_ANSWERS:
        raise CardRefusedError(FILE, got=f"{len(answers.data)} answers", want=want)
    how = method()
    scored = dict.fromkeys((area.name for area in how.areas), 0)
    phase = how.phases.get(str(answers.data.get(how.phase_question)).partition("-")[0])
    for question, answer in answers.data.items():
        area = _area_of(question, phase, how)
        if area is not None:
            scored[area.name] += _weight(answer, how.retired_answers.get(question, ()))
    for area in how.areas:
        # Without a stated phase both pages' answers count, as in the questionnaire.
        most = area.maximum * (2 if area.kind == "mitigation" and phase is None else 1)
        if scored[area.name] > most:
            raise CardRefusedError(
                f"{FILE}, {area.name}", got=f"{scored[area.name]} points", want=f"at most {most}"
            )
    raw = sum(scored[area.name] for area in how.areas if area.kind == "raw")
    mitigation = sum(scored[area.name] for area in how.areas if area.kind == "mitigation")
    total, level = total_and_level(raw, mitigation)
    return Impact(raw, mitigation, total, level, scored, answers.version)


def _area_of(question: str, phase: str | None, how: Method) -> Area | None:
    if question.endswith("-NS"):
        return None
    for area in how.areas:
        if re.match(rf"{area.prefix}(?![a-z])", question):
            other = set(how.phases.values()) - {phase} if phase is not None else set()
            if area.kind == "mitigation" and any(
                question.startswith(area.prefix + page) for page in other
            ):
                # A project answers one phase's page; what is left of the other does not count.
                return None
            return area
    return None


def _weight(answer: object, retired: tuple[str, ...]) -> int:
    if isinstance(answer, list):
        return sum(_weight(each, retired) for each in answer)
    if not isinstance(answer, str) or answer in retired:
        return 0
    choice = _CHOICE.fullmatch(answer)
    return 0 if choice is None else int(choice.group(1))
