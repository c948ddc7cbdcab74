"""Scores of changed cases by the trees as read: those of the graph itself, and the same answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from explainers.changed_scores import MOST_KNOWN, ChangedScores, changed_scores
from explainers.choose import choose
from explainers.counterfactual import Change, Limits, Trial, find_counterfactuals, vary
from explainers.domains import numbers
from explainers.explainer import ExplainerSettings, Feeds, Run, Slot
from explainers.tree import TreeExplainer
from tests.explainers.ensembles import GRID, classifier, random_rows, random_trees, regressor
from tests.explainers.served import serve

COLUMNS = 6
FIELDS = tuple(f"f{column}" for column in range(COLUMNS))
SLOTS = {name: Slot("X", column) for column, name in enumerate(FIELDS)}
TOLERANCE = 1e-5


class Game:
    """A served ensemble, its scores by the trees, and those by the graph."""

    def __init__(self, model: bytes, target: int, n_scores: int, rng: np.random.Generator) -> None:
        self.run: Run = serve(model, ("scores",))
        plan = choose(
            model,
            slots=tuple(SLOTS.values()),
            score_outputs=("scores",),
            targets=(target,),
            n_scores=n_scores,
        )
        self.background = random_rows(rng, 100, COLUMNS)
        settings = ExplainerSettings(tolerance=TOLERANCE)
        self.explainer = plan.build({"X": self.background}, self.run, settings)
        assert isinstance(self.explainer, TreeExplainer)
        self.target = target
        found = changed_scores(
            self.explainer, lambda feeds: self.run(feeds)[1], SLOTS, target=target
        )
        assert found is not None
        self.scores: ChangedScores = found

    def by_graph(self, case: Feeds, trials: Sequence[Trial]) -> NDArray[Any]:
        return self.run(vary(case, SLOTS, trials))[0][:, self.target].astype(np.float64)


def game(kind: str, rng: np.random.Generator) -> Game:
    trees = random_trees(rng, columns=COLUMNS, trees=12, depth=4, targets=(0,))
    if kind == "regressor":
        return Game(regressor(trees), 0, 1, rng)
    return Game(classifier(trees, base=(0.25,)), 1, 2, rng)


def random_trials(rng: np.random.Generator, count: int) -> list[Trial]:
    trials: list[Trial] = [()]
    for _ in range(count):
        places = rng.choice(COLUMNS, size=int(rng.integers(1, 3)), replace=False)
        trials.append(
            tuple(
                Change(FIELDS[place], None, None if rng.random() < 0.1 else float(rng.choice(GRID)))
                for place in places
            )
        )
    return trials


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_a_changed_case_has_the_graphs_own_score(kind: str, rng: np.random.Generator) -> None:
    served = game(kind, rng)
    differing = 0
    for row in random_rows(rng, 20, COLUMNS):
        case = {"X": row[None]}
        trials = random_trials(rng, 60)
        read = served.scores.case(case, ())
        got = served.scores.of(read, trials)
        want = served.by_graph(case, trials)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        # Asked again, from what is known by now: the same, and the case is as it was.
        np.testing.assert_array_equal(served.scores.of(read, trials[::-1]), got[::-1])
        differing += int((np.abs(want[1:] - want[0]) > 1e-3).sum())
    assert differing > 100, "changes must matter, or the test shows nothing"


def test_a_score_of_another_change_would_be_noticed(rng: np.random.Generator) -> None:
    served = game("classifier", rng)
    case = {"X": np.zeros((1, COLUMNS), np.float32)}
    trials = random_trials(rng, 60)
    got = served.scores.of(served.scores.case(case, ()), trials)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            got[1:], served.by_graph(case, trials)[:-1], rtol=1e-5, atol=1e-5
        )


def test_the_search_finds_the_same_by_the_trees_as_by_the_graph(rng: np.random.Generator) -> None:
    answers = pairs = 0
    for _ in range(3):
        served = game("classifier", rng)
        domains = [
            numbers(name, served.background[:, column].tolist())
            for column, name in enumerate(FIELDS[:4])
        ]
        for row in random_rows(rng, 12, COLUMNS, missing=False):
            case = {"X": row[None]}
            values = dict(zip(FIELDS, row.astype(float).tolist(), strict=True))
            before = served.by_graph(case, [()])[0]
            line = before + 0.15
            read = served.scores.case(case, ())

            def by_trees(trials: Sequence[Trial], read: Any = read, line: float = line) -> Any:
                return served.scores.of(read, trials) - line  # noqa: B023 - asked at once

            def by_graph(trials: Sequence[Trial], case: Feeds = case, line: float = line) -> Any:
                return served.by_graph(case, trials) - line  # noqa: B023 - asked at once

            limits = Limits(max_evaluations=1_500, time_budget_seconds=60)
            got = find_counterfactuals(values, domains, by_trees, limits=limits)
            want = find_counterfactuals(values, domains, by_graph, limits=limits)
            assert got.evaluations == want.evaluations
            assert [each.changes for each in got.found] == [each.changes for each in want.found]
            answers += len(got.found)
            pairs += sum(len(each.changes) == 2 for each in got.found)
    assert answers > 20
    assert pairs > 0


def test_what_is_known_of_values_is_bounded(rng: np.random.Generator) -> None:
    served = game("regressor", rng)
    case = {"X": np.zeros((1, COLUMNS), np.float32)}
    trials = [(Change("f0", None, float(n)),) for n in range(MOST_KNOWN + 10)]
    served.scores.of(served.scores.case(case, ()), trials)
    assert len(served.scores._known["f0"]) <= MOST_KNOWN


def test_a_score_made_of_several_margins_is_left_to_the_graph(rng: np.random.Generator) -> None:
    trees = random_trees(rng, columns=COLUMNS, trees=6, depth=3, targets=(0, 1, 2))
    model = classifier(trees, classes=3, transform="SOFTMAX")
    plan = choose(
        model, slots=tuple(SLOTS.values()), score_outputs=("scores",), targets=(0, 1, 2), n_scores=3
    )
    explainer = plan.build(
        {"X": random_rows(rng, 20, COLUMNS)}, serve(model, ("scores",)), ExplainerSettings()
    )
    assert changed_scores(explainer, lambda _: (), SLOTS, target=0) is None
