"""The rules of a policy: CEL expressions, checked against the card's fields when they are loaded.

The one file that knows the CEL library. A rule can only ask for more care: a person, evidence, a
second person, or that no advice is given. It never turns one outcome into another. A rule that
cannot be evaluated (it read a missing value) withholds the advice: what cannot be checked is not
taken as met.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from cel_expr_python import cel

from app.domain import Requirement, RequirementKind, Rule
from models.card import Field, Value

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CASE = "case."
_AT_ONCE = 60
"""Rules in one evaluation: CEL's whole numbers have 64 bits."""

GENERAL = {
    "score": cel.Type.DOUBLE,
    "outcome": cel.Type.STRING,
    "adverse": cel.Type.BOOL,
    "near_threshold": cel.Type.BOOL,
    "unfamiliar": cel.Type.BOOL,
    "small_group": cel.Type.BOOL,
    "purpose": cel.Type.STRING,
    "missing": cel.Type.List(cel.Type.STRING),
    "unknown": cel.Type.List(cel.Type.STRING),
    "declared": cel.Type.List(cel.Type.STRING),
    "verified": cel.Type.List(cel.Type.STRING),
    "estimated": cel.Type.List(cel.Type.STRING),
    "imputed": cel.Type.List(cel.Type.STRING),
    "stale": cel.Type.List(cel.Type.STRING),
}
"""What a rule may read besides the case's fields."""
_OF_FIELD = {
    "number": cel.Type.DOUBLE,
    "integer": cel.Type.INT,
    "string": cel.Type.STRING,
    "boolean": cel.Type.BOOL,
}


class ConditionError(Exception):
    """A rule's expression that cannot be used, with the reason."""


class RuleText(Protocol):
    """A rule as the policy writes it."""

    @property
    def rule(self) -> str: ...  # noqa: D102
    @property
    def when(self) -> str: ...  # noqa: D102
    @property
    def requires(self) -> RequirementKind: ...  # noqa: D102
    @property
    def description(self) -> str: ...  # noqa: D102


class Conditions:
    """A policy's rules, compiled for the fields of one card."""

    def __init__(self, rules: Sequence[RuleText], fields: Sequence[Field]) -> None:
        """Raises ConditionError for the first rule that does not fit the fields."""
        named = {field.name: field for field in fields if _IDENTIFIER.fullmatch(field.name)}
        environment = cel.NewEnv(
            variables={
                **GENERAL,
                **{_CASE + name: _OF_FIELD[field.type] for name, field in named.items()},
            }
        )
        compiled = []
        for rule in rules:
            try:
                expression = environment.compile(rule.when)
            except RuntimeError as err:
                raise ConditionError(
                    f"rule {rule.rule}: {_first_line(err)}; "
                    f"want an expression over {_CASE}<field> or {', '.join(sorted(GENERAL))}"
                ) from err
            if expression.return_type() != cel.Type.BOOL:
                raise ConditionError(
                    f"rule {rule.rule}: gives {expression.return_type().name()}, want true or false"
                )
            compiled.append((_requirement(rule), expression))
        self._compiled = tuple(compiled)
        # One evaluation says which of many rules apply: a bit for each.
        self._together = tuple(
            (first, environment.compile(_bits(rules[first : first + _AT_ONCE])))
            for first in range(0, len(rules), _AT_ONCE)
        )
        text = " ".join(rule.when for rule in rules)
        self._fields = tuple(
            (name, _CASE + name, float if field.type == "number" else None)
            for name, field in named.items()
            if re.search(rf"\bcase\s*\.\s*{name}\b", text)
        )
        self._general = tuple(name for name in GENERAL if re.search(rf"\b{name}\b", text))
        self._general_set = frozenset(self._general)

    @property
    def are_general(self) -> bool:
        """Whether no rule reads the score or a value of the case."""
        return not self._fields and "score" not in self._general

    @property
    def general(self) -> frozenset[str]:
        """The general variables that some rule may read; others need not be worked out."""
        return self._general_set

    def judge(
        self, case: Mapping[str, Value], facts: Mapping[str, object]
    ) -> tuple[Requirement, ...]:
        """Return what the rules that apply ask for, in the policy's order.

        ``case`` is every field by name, ``facts`` every general variable by name.
        """
        if not self._compiled:
            return ()
        data: dict[str, object] = {name: facts[name] for name in self._general}
        for name, variable, convert in self._fields:
            value = case[name]
            if value is not None:
                data[variable] = value if convert is None else convert(value)
        found: list[Requirement] = []
        for first, together in self._together:
            compiled = self._compiled[first : first + _AT_ONCE]
            bits = together.eval(data=data).value()
            if type(bits) is not int:  # one of them cannot be evaluated: which, and the others?
                found += _one_by_one(compiled, data)
            elif bits:
                found += [
                    requirement
                    for place, (requirement, _) in enumerate(compiled)
                    if bits >> place & 1
                ]
        return tuple(found)


def _bits(rules: Sequence[RuleText]) -> str:
    """Return one expression that says as a number which of the rules apply."""
    # On a line of its own: an expression may end in a comment.
    return " + ".join(f"(({rule.when}\n) ? {1 << place} : 0)" for place, rule in enumerate(rules))


def _one_by_one(
    compiled: Sequence[tuple[Requirement, cel.Expression]], data: Mapping[str, object]
) -> list[Requirement]:
    found = []
    for requirement, expression in compiled:
        applies = expression.eval(data=data).value()
        if applies is True:
            found.append(requirement)
        elif applies is not False:
            found.append(
                Requirement(
                    "no_advice",
                    Rule(
                        requirement.rule.id,
                        "this rule could not be checked: it reads a value that is missing",
                    ),
                )
            )
    return found


def _requirement(rule: RuleText) -> Requirement:
    return Requirement(rule.requires, Rule(rule.rule, rule.description))


def _first_line(err: RuntimeError) -> str:
    """Return the compiler's first complaint without its own prefix and position marks."""
    line = str(err).splitlines()[0]
    return line.partition("<input>:")[2].partition(": ")[2] or line
