"""Proof at load that the graph is the trainer's model: it gives the trainer's own answers.

A conversion that succeeds can be wrong, columns can be in another order, classes can be swapped:
none of that shows in the file, all of it shows here.
"""

from collections.abc import Sequence

import numpy as np

from models.card import Card
from models.errors import RowsRefusedError
from models.outputs import OutputMap
from models.rows import Sample
from models.session import Feeds, Session


def check_samples(
    card: Card,
    output: OutputMap,
    session: Session,
    samples: Sequence[Sample],
    feeds: Sequence[Feeds],
) -> None:
    """Compare the graph with the trainer on every sample.

    Scores of a regression are compared by their size: a row's own, or the mean of all rows' where that
    is more, because a score near 0 is a sum of numbers far from it. Raises RowsRefusedError naming the
    row with the worst difference in scores when it is beyond the card's tolerance, or the first row
    with another label; the trainer's scores within the tolerance of a tie may go either way. Raises it
    too where the scores are another class's.
    """
    worst, worst_row = 0.0, 0
    wanted = np.array(
        [
            _comparable(sample, session.n_scores, output, number)
            for number, sample in enumerate(samples)
        ]
    )
    scale = np.ones(session.n_scores)
    if not output.classes:
        scale = np.abs(wanted).mean(axis=0)
        scale[scale == 0.0] = 1.0
    for number, (sample, row) in enumerate(zip(samples, feeds, strict=True)):
        scored = session.run_row(row)
        want = wanted[number]
        apart = np.abs(scored.scores.astype(np.float64) - want)
        difference = float(np.max(apart / np.maximum(scale, np.abs(want))))
        if difference > worst:
            worst, worst_row = difference, number
        if (
            scored.label is not None
            and scored.label != sample.prediction
            and difference <= card.sample_tolerance
            and not _is_tie(sample, card.sample_tolerance)
        ):
            raise RowsRefusedError(
                f"label of sample {number}",
                got=repr(scored.label),
                want=f"{sample.prediction!r}: are the card's classes in the graph's order?",
            )
    if not worst <= card.sample_tolerance:
        of_size = "" if output.classes else " of their size"
        raise RowsRefusedError(
            f"samples against the graph: worst is row {worst_row}",
            got=f"scores that differ by {worst:.3g}{of_size} from the trainer's",
            want=f"at most {card.sample_tolerance:.3g}",
        )
    _check_order(samples, output)


def _check_order(samples: Sequence[Sample], output: OutputMap) -> None:
    """Raise RowsRefusedError where a class's scores cannot be its own.

    Scores that come in the graph's order agree with the graph, whatever order the card has. But where a class
    was predicted its own score is on average the highest, or at least higher than elsewhere if labels
    are chosen by other lines than the highest score.
    """
    if not output.classes:
        return
    scores = np.array([_by_class(sample, output) for sample in samples])
    for column, name in enumerate(output.classes):
        predicted = np.array([sample.prediction == name for sample in samples])
        if predicted.all() or not predicted.any():
            continue
        there, elsewhere = scores[predicted].mean(axis=0), scores[~predicted].mean(axis=0)
        if there[column] < min(there.max(), elsewhere[column]):
            raise RowsRefusedError(
                f"scores of {name!r}",
                got=f"{there[column]:.3g} on average where it was predicted and {elsewhere[column]:.3g} elsewhere",
                want="more where it was predicted: are the card's classes in the graph's order?",
            )


def _by_class(sample: Sample, output: OutputMap) -> tuple[float, ...]:
    """Return a score for each class, also where the trainer gave the positive one's alone."""
    if len(sample.scores) == len(output.classes):
        return sample.scores
    (positive,) = sample.scores
    return (1 - positive, positive) if output.positive_index else (positive, 1 - positive)


def _comparable(sample: Sample, n_scores: int, output: OutputMap, number: int) -> tuple[float, ...]:
    """Return the trainer's scores that the graph's stand against.

    A graph with one probability for two classes is held to the positive one's.
    """
    if len(sample.scores) == n_scores:
        return sample.scores
    if n_scores == 1 and len(sample.scores) == len(output.classes) == 2:
        return (sample.scores[output.positive_index],)
    raise RowsRefusedError(
        f"scores of sample {number}",
        got=f"{len(sample.scores)} numbers",
        want=f"{n_scores}, as many as the graph returns",
    )


def _is_tie(sample: Sample, tolerance: float) -> bool:
    ranked = sorted(sample.scores, reverse=True)
    if len(ranked) == 1:
        return abs(ranked[0] - 0.5) <= tolerance
    return ranked[0] - ranked[1] <= 2 * tolerance
