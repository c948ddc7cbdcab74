"""Whether a bundle's explanations are right, found out before it serves: its cross-check.

Up to 100 rows, the samples and then background rows, are explained as they would be served and
compared, field by field, with ``shap_answers``. With few fields every coalition of them is run.
With more, it is every coalition of a few fields at a time, while the others keep the values of one
row in case and background alike; so every kind of field is met, and the answer stays exact.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from app.served import is_black_box
from app.shap_answers import (
    FINE,
    REPEATS,
    STANDARD_ERRORS,
    Answer,
    FieldGame,
    NotComparableError,
    Numbers,
    check_installed,
    enumerated,
    permuted,
)
from explainers.errors import ExplanationError
from explainers.explainer import Explainer
from explainers.explanation import Explanation
from explainers.game import open_game
from models.acceptance import Acceptance
from models.bundle import Bundle
from models.graph import count_trees
from models.schema import stack
from models.session import Feeds

Advance = Callable[[int, int], None]
"""Hears how much of how much is done."""
Make = Callable[[Feeds, tuple[int, ...]], Explainer]
"""Makes the bundle's explainer again, by the same plan, against a background and for targets."""

MOST_ROWS = 100
MOST_ENUMERATED = 10
"""Fields of which every coalition is run for every row."""
GROUP = 8
"""Fields of which every coalition is run at a time, where there are more."""
FEWEST_GROUPS = 5
GROUP_BACKGROUND = 16
"""Background rows of a group."""
MOST_EVALUATIONS = 1_000_000
"""Rows run through the model: seconds for most models, minutes for the slowest."""
FEWEST_BACKGROUND_ROWS = 8


class AcceptanceRefusedError(ExplanationError):
    """The explanations are not what an independent answer says; the bundle is refused."""

    def __init__(self, *, row: int, field: str, got: float, want: float, allowed: float) -> None:
        super().__init__(
            f"cross-check, row {row}, field {field}: got a contribution of {got:.9g}, want "
            f"{want:.9g} within {allowed:.2g}"
        )
        self.row = row
        self.field = field
        self.got = got
        self.want = want


@dataclass(frozen=True, slots=True)
class _Contest:
    """Rows, one game for all of them, and who answers for either side."""

    explainer: Explainer
    game: FieldGame
    rows: tuple[int, ...]
    """The rows' numbers, as a refusal names them."""
    cases: tuple[Feeds, ...]
    answer: Callable[[FieldGame, Feeds], Answer | None]


@dataclass(frozen=True, slots=True)
class _Compared:
    """One row's contributions, by field: ours, the independent ones, and how far apart they may be."""

    row: int
    got: Numbers
    want: Numbers
    allowed: Numbers


@dataclass(frozen=True, slots=True)
class _Met:
    """What came of contests."""

    told: tuple[_Compared, ...]
    """The rows with an independent answer, finely told unless none is."""
    residual: float


def cross_check(
    bundle: Bundle,
    explainer: Explainer,
    make: Make,
    advance: Advance = lambda _done, _total: None,
) -> Acceptance:
    """Return what comparing the served ``explainer`` with an independent answer has shown.

    Raises AcceptanceRefusedError at the first row with a value too far off, NotComparableError
    when no row can be compared, CrossCheckMissingError without shap.
    """
    check_installed()
    cases = _cases(bundle)
    targets = _targets(bundle, explainer)
    place = targets.index(bundle.positive_score)
    contests, how = _contests(bundle, explainer, make, cases, targets)
    met = _meet(bundle, contests, place, advance)
    if not met.told:
        contests, how = _pairs(bundle, explainer, make, cases, targets)
        met = _meet(bundle, contests, place, advance)
    told = met.told
    if not told:
        raise NotComparableError(
            f"cross-check: got {len(cases)} rows whose scores are all too near 0 or 1 to tell "
            f"{explainer.unit} in float32; want at least one that is not, among samples or background"
        )
    rows = len({each.row for each in told})
    left_out = len(cases) - rows
    return Acceptance(
        method=explainer.method,
        against=how
        + ("; contributions less their mean over classes" if len(targets) > 1 else "")
        + (f"; {left_out} rows with scores too near 0 or 1 left out" if left_out else ""),
        rows=rows,
        largest_difference=max(float(np.abs(each.got - each.want).max()) for each in told),
        allowed_difference=max(float(each.allowed.max()) for each in told),
        unit=explainer.unit,
        largest_residual=met.residual,
    )


def _meet(bundle: Bundle, contests: Sequence[_Contest], place: int, advance: Advance) -> _Met:
    """Return what came of all rows. Raises AcceptanceRefusedError at the first that is too far off."""
    fine: list[_Compared] = []
    coarse: list[_Compared] = []
    seen, residual, total = 0, 0.0, sum(len(contest.rows) for contest in contests)
    for contest in contests:
        players = list(contest.game.players)
        for number, case in zip(contest.rows, contest.cases, strict=True):
            advance(seen, total)
            seen += 1
            scored = bundle.session.run_row(case)
            explanation = contest.explainer.explain(
                case, scored.scores, scored.taps, f"cross-check {number}".encode()
            )
            residual = max(residual, explanation.residual)
            got, error = _comparable(explanation, place)
            answer = contest.answer(contest.game, case)
            if answer is None:
                continue
            # Fields that do not play have no part in it.
            want = np.zeros(len(got))
            want[players] = answer.values
            allowed = np.full(len(got), answer.uncertainty.min())
            allowed[players] = answer.uncertainty
            allowed += STANDARD_ERRORS * error
            compared = _Compared(number, got, want, allowed)
            if answer.is_fine:
                _check(bundle, compared)
            (fine if answer.is_fine else coarse).append(compared)
    advance(total, total)
    for compared in () if fine else coarse:
        _check(bundle, compared)
    return _Met(tuple(fine or coarse), residual)


def check_repeated(recorded: Acceptance, repeated: Acceptance) -> None:
    """Raise NotComparableError unless a repeated cross-check bears out the recorded one."""
    for name in ("method", "unit"):
        got, want = getattr(repeated, name), getattr(recorded, name)
        if got != want:
            raise NotComparableError(
                f"cross-check repeated, {name}: got {got}, want {want}, as acceptance.json says; "
                "build the bundle again"
            )
    if repeated.largest_difference > recorded.allowed_difference:
        raise NotComparableError(
            f"cross-check repeated: got a difference of {repeated.largest_difference:.3g}, want "
            f"at most {recorded.allowed_difference:.3g}, as acceptance.json says"
        )


def _check(bundle: Bundle, compared: _Compared) -> None:
    apart = np.abs(compared.got - compared.want)
    # Not turned round: NaN must be refused.
    wrong = np.flatnonzero(~(apart <= compared.allowed))
    if len(wrong):
        field = int(wrong[np.argmax(apart[wrong])])
        raise AcceptanceRefusedError(
            row=compared.row,
            field=bundle.card.fields[field].name,
            got=float(compared.got[field]),
            want=float(compared.want[field]),
            allowed=float(compared.allowed[field]),
        )


def _cases(bundle: Bundle) -> list[Feeds]:
    rows = [sample.case for sample in bundle.samples[:MOST_ROWS]]
    values = bundle.background.values
    more = min(MOST_ROWS - len(rows), bundle.background.rows)
    rows += [{name: column[row] for name, column in values.items()} for row in range(more)]
    return [bundle.schema.encode(row).feeds for row in rows]


def _targets(bundle: Bundle, explainer: Explainer) -> tuple[int, ...]:
    """Return the scores whose margins are compared.

    A softmax only tells differences between the classes' margins, so there it is all of them.
    """
    if explainer.link.startswith("softmax"):
        return tuple(range(bundle.session.n_scores))
    return (bundle.positive_score,)


def _comparable(explanation: Explanation, place: int) -> tuple[Numbers, Numbers]:
    """Return the values to compare, by field, and their standard errors."""
    values = explanation.contributions
    nothing = np.zeros(values.shape[1])
    if len(values) > 1:
        return values[place] - values.mean(axis=0), nothing
    errors = explanation.standard_errors
    return values[0], nothing if errors is None else errors[0]


def _contests(
    bundle: Bundle,
    explainer: Explainer,
    make: Make,
    cases: list[Feeds],
    targets: tuple[int, ...],
) -> tuple[list[_Contest], str]:
    """Return who meets whom, and what is said of it."""
    fields = len(bundle.slots)
    if fields > MOST_ENUMERATED:
        contests = list(_groups(bundle, explainer, make, cases, targets))
        if all(_is_alike(contest.explainer, explainer) for contest in contests):
            return contests, (
                f"shap's Exact explainer through onnxruntime, {GROUP} fields at a time with the "
                f"others held at one row's values, {len(contests)} groups, against "
                f"{GROUP_BACKGROUND} background rows each"
            )
    few = fields <= MOST_ENUMERATED
    coalitions = 1 << fields if few else REPEATS * (2 * fields + 1)
    affordable = MOST_EVALUATIONS // (len(cases) * coalitions)
    background = _spaced(bundle.background.feeds, max(affordable, FEWEST_BACKGROUND_ROWS), 0)
    kept = len(next(iter(background.values())))
    whole = kept == bundle.background.rows
    against = explainer
    if not whole or len(targets) > 1:
        against = _made(explainer, make, background, targets)
    if not _is_alike(against, explainer):
        raise NotComparableError(
            f"cross-check: got {against.method} against {kept} background rows, want "
            f"{explainer.method}, by which the bundle is served"
        )
    contest = _Contest(
        explainer=against,
        game=FieldGame(
            bundle, background, tuple(range(fields)), explainer.link, count_trees(bundle.model)
        ),
        rows=tuple(range(len(cases))),
        cases=tuple(cases),
        answer=enumerated if few else permuted,
    )
    how = (
        "shap's Exact explainer over every coalition of fields"
        if few
        else f"the mean of {REPEATS} runs of shap's Permutation explainer over fields, within "
        f"{STANDARD_ERRORS:g} of its standard errors,"
    )
    rows = f"all {kept}" if whole else f"{kept} evenly spaced of {bundle.background.rows}"
    return [contest], f"{how} through onnxruntime, against {rows} background rows"


def _groups(
    bundle: Bundle,
    explainer: Explainer,
    make: Make,
    cases: list[Feeds],
    targets: tuple[int, ...],
) -> Iterator[_Contest]:
    """Return contests of GROUP fields each; every field is in at least one, in a drawn order."""
    fields, trees = len(bundle.slots), count_trees(bundle.model)
    groups = max(FEWEST_GROUPS, ceil(fields / GROUP))
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(fields) for _ in range(ceil(groups * GROUP / fields))])
    for group in range(groups):
        drawn = order[group * GROUP : (group + 1) * GROUP]
        players = tuple(sorted({int(field) for field in drawn}))
        numbers = tuple(range(group, len(cases), groups))
        if not numbers:
            return
        anchor = cases[numbers[0]]
        background = _spaced(bundle.background.feeds, GROUP_BACKGROUND, group)
        background = _held(bundle, background, anchor, players)
        yield _Contest(
            explainer=_made(explainer, make, background, targets),
            game=FieldGame(bundle, background, players, explainer.link, trees),
            rows=numbers,
            cases=tuple(_held(bundle, cases[number], anchor, players) for number in numbers),
            answer=enumerated,
        )


def _pairs(
    bundle: Bundle, explainer: Explainer, make: Make, cases: list[Feeds], targets: tuple[int, ...]
) -> tuple[list[_Contest], str]:
    """Return contests of two fields each, near the row whose scores tell most of its margins.

    Where float32 scores reach 0 or 1 on the way from many a row to another, as with classes that are all
    but apart, hybrids of whole rows tell nothing. Rows that differ in two fields may.
    """
    trees, every = count_trees(bundle.model), tuple(range(len(bundle.slots)))
    game = FieldGame(bundle, bundle.background.feeds, every, explainer.link, trees)
    all_cases = stack(cases)
    uncertain = game.uncertainty(all_cases)
    anchor = cases[int(uncertain.argmin())]
    limit = max(float(uncertain.min()), FINE / 2)
    order = np.random.default_rng(0).permutation(len(every))
    contests = []
    for first in range(0, len(every), 2):
        players = tuple(sorted({int(order[first]), int(order[first - 1])}))
        held = _held(bundle, all_cases, anchor, players)
        rows = np.flatnonzero(game.uncertainty(held) <= limit)
        others = _held(bundle, bundle.background.feeds, anchor, players)
        near = np.flatnonzero(game.uncertainty(others) <= limit)
        background = _spaced(_taken(others, near), GROUP_BACKGROUND, 0) if len(near) else anchor
        made = _made(explainer, make, background, targets)
        if not _is_alike(made, explainer):
            continue
        contests.append(
            _Contest(
                explainer=made,
                game=FieldGame(bundle, background, players, explainer.link, trees),
                rows=tuple(int(row) for row in rows),
                cases=tuple(_taken(held, rows[n : n + 1]) for n in range(len(rows))),
                answer=enumerated,
            )
        )
    return contests, (
        "shap's Exact explainer through onnxruntime, 2 fields at a time with the others held at the values "
        f"of the row whose scores tell most, {len(contests)} groups, against at most "
        f"{GROUP_BACKGROUND} background rows each"
    )


def _taken(rows: Feeds, chosen: NDArray[np.int64]) -> Feeds:
    return {name: column[chosen] for name, column in rows.items()}


def _held(bundle: Bundle, rows: Feeds, anchor: Feeds, players: tuple[int, ...]) -> Feeds:
    """Return the rows with the one row ``anchor``'s values in every field but the players."""
    count = len(next(iter(rows.values())))
    held = stack([anchor] * count)
    for field in players:
        slot = bundle.slots[field]
        if held[slot.input].ndim == 1:
            held[slot.input][:] = rows[slot.input]
        else:
            held[slot.input][:, slot.column] = rows[slot.input][:, slot.column]
    return held


def _spaced(background: Feeds, most: int, start: int) -> Feeds:
    """Return at most ``most`` evenly spaced rows, from the row ``start`` on."""
    rows = len(next(iter(background.values())))
    if rows <= most:
        return background
    return _taken(background, (np.arange(most) * rows // most + start) % rows)


def _made(
    explainer: Explainer, make: Make, background: Feeds, targets: tuple[int, ...]
) -> Explainer:
    if is_black_box(explainer):
        # Not by the plan: against fewer rows it would enumerate where it now samples.
        game = explainer.game
        other = open_game(
            background, game.run, game.settings, slots=game.slots, targets=game.targets
        )
        other = replace(other, unit=game.unit)
        return replace(explainer, game=other, terms=other.terms(explainer.method))
    return make(background, targets)


def _is_alike(made: Explainer, explainer: Explainer) -> bool:
    return (made.method, made.link) == (explainer.method, explainer.link)
