"""The limits of active versions that were broken and that no person has reset, and what they ask for."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.monitoring.limits import Action, Limit, LimitName
from audit.leaf import Facts


@dataclass(frozen=True, slots=True)
class Tripped:
    """A limit of a model that was broken and that no person has reset."""

    limit: LimitName
    subject: str
    action: Action


class TrippedLimits:
    """By model. Reading a stance is one look into a dictionary: it is on a decision's path."""

    def __init__(self) -> None:
        self._tripped: dict[str, dict[tuple[LimitName, str], Tripped]] = {}
        self._stances: dict[str, Action] = {}

    def stance(self, model: str) -> Action | None:
        """Return the gravest action that a tripped limit of the model asks for, None without any."""
        return self._stances.get(model)

    def of(self, model: str) -> list[Tripped]:
        """Return the model's tripped limits."""
        return list(self._tripped.get(model, {}).values())

    def has(self, model: str, limit: LimitName, subject: str) -> bool:
        """Return whether this very limit has tripped."""
        return (limit, subject) in self._tripped.get(model, {})

    def hear(self, model: str, facts: Facts, limits: Mapping[LimitName, Limit]) -> None:
        """Take in what a breaker's entry says: a limit that tripped, or a person's reset.

        ``limits`` are those of the model's policy: they say what is to be done.
        """
        if facts.get("state") != "tripped":
            self.clear(model)
            return
        limit, subject = facts.get("limit"), str(facts.get("subject"))
        for known, asked in limits.items():
            if known == limit:
                tripped = Tripped(known, subject, asked.action)
                self._tripped.setdefault(model, {})[known, subject] = tripped
                self._restance(model)

    def clear(self, model: str) -> None:
        """Forget what tripped: a person has reset it, or another version is active."""
        self._tripped[model] = {}
        self._restance(model)

    def _restance(self, model: str) -> None:
        actions = {each.action for each in self._tripped[model].values()}
        gravest: Action | None = None
        for action in ("stop", "unaided"):
            if action in actions and gravest is None:
                gravest = action
        if gravest is None:
            self._stances.pop(model, None)
        else:
            self._stances[model] = gravest
