"""Graphs of which nothing is known but how to run them: enumerated if affordable, else sampled.

Which of the two is decided once, when the background is known, from the most evaluations that a
case can need; the explainer's own method and reason say which it was.
"""

from __future__ import annotations

from explainers import exact, sampled
from explainers.errors import GameTooLargeError
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Plan, Question, Run, rows_of
from explainers.game import open_game

METHOD = "black box"
MAX_ENUMERATED = 1 << 19
"""Evaluations of one enumeration at most, 0.5 to 4 seconds; beyond it sampling is many times
faster. Fixed, so that the same bundle has the same method on every machine."""


def plan_black_box(question: Question) -> Plan:
    """Return the plan to explain the graph's scores by running it on hybrid rows."""
    fields = len(question.slots)

    def build(background: Feeds, run: Run, settings: ExplainerSettings) -> Explainer:
        rows = rows_of(background)
        try:
            exact.check_affordable(
                fields=fields,
                rows=rows,
                max_evaluations=min(settings.max_evaluations, MAX_ENUMERATED),
            )
        except GameTooLargeError as too_large:
            kept, phrase = sampled.thinned(background, rows=rows)
            game = open_game(kept, run, settings, slots=question.slots, targets=question.targets)
            return sampled.build(game, f"{too_large}; sampled against {phrase}")
        game = open_game(background, run, settings, slots=question.slots, targets=question.targets)
        return exact.build(
            game, f"{fields} fields against all {rows} background rows can be enumerated"
        )

    return Plan(
        method=METHOD,
        reason="the graph is run on hybrids of the case and the background: enumerated exactly if "
        "that is affordable, otherwise sampled",
        taps=(),
        unit="the graph's own score",
        build=build,
    )
