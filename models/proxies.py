"""How well the fields stand in for attributes that are no fields: the strength of proxies.

For each protected attribute of an evaluation set: how well all fields together tell a person's group
(the area under the ROC curve, cross-validated, of gradient boosting), and how much each field tells
by itself (the uncertainty coefficient, Theil's U). 0.5 and 0 mean nothing; 1 and 1 mean that the
attribute is as good as a field. It is computed where a bundle is made or accepted, because it needs
scikit-learn, and kept in the bundle for the service to show.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import ValidationError

from models.card import Card, Field
from models.card_sections import Part, Text
from models.errors import FilesRefusedError, TrainingLibraryMissingError
from models.evaluation import Evaluated

FILE = "proxies.json"
FOLDS = 5
FEWEST_OF_A_GROUP = 30
"""Smaller groups are left out: with fewer, folds of six, the figure would be noise."""
MOST_ROWS = 5_000
_BINS = 10
_SEED = 20_261_124

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
_Codes = NDArray[np.int64]


class FieldStrength(Part):
    """How much one field tells of an attribute."""

    field: Text
    association: Share
    """Theil's U: the share of the attribute's entropy that knowing the field takes away."""


class ProxyStrength(Part):
    """How well an attribute can be told from the fields."""

    attribute: Text
    groups: dict[str, int]
    """The cases of each group that was compared."""
    left_out: dict[str, int]
    """Groups too small to compare."""
    auc: Share | None
    """Of all fields together, mean over groups of one against the rest; None with fewer than two
    groups."""
    fields: tuple[FieldStrength, ...]
    """The strongest first."""


class Proxies(Part):
    """What was found about an evaluation set."""

    method: Text
    rows: int
    attributes: tuple[ProxyStrength, ...]


def measure_proxies(rows: Sequence[Evaluated], card: Card) -> Proxies:
    """Return how well the card's fields tell each protected attribute of ``rows``.

    Raises TrainingLibraryMissingError without scikit-learn.
    """
    try:
        import sklearn
    except ImportError as err:
        raise TrainingLibraryMissingError("measuring proxies") from err
    chosen = [rows[place] for place in _spaced(len(rows))]
    table = np.stack([_numbers([row.case[f.name] for row in chosen]) for f in card.fields], axis=1)
    attributes = sorted({name for row in chosen for name in row.groups})
    return Proxies(
        method=f"gradient boosting of scikit-learn {sklearn.__version__}, {FOLDS} folds; Theil's U "
        f"over at most {_BINS} bins",
        rows=len(chosen),
        attributes=tuple(
            _strength(name, [row.groups.get(name) for row in chosen], table, card.fields)
            for name in attributes
        ),
    )


def parse_proxies(content: bytes) -> Proxies:
    """Return what the file says. Raises FilesRefusedError."""
    try:
        return Proxies.model_validate_json(content)
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        raise FilesRefusedError(
            FILE, got=f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", want="measured proxies"
        ) from err


def write_proxies(proxies: Proxies) -> bytes:
    """Return the file that ``parse_proxies`` reads back equal."""
    return (proxies.model_dump_json(indent=1) + "\n").encode()


def _strength(
    attribute: str,
    groups: Sequence[str | None],
    table: NDArray[np.float64],
    fields: Sequence[Field],
) -> ProxyStrength:
    counts = Counter(group for group in groups if group is not None)
    kept = {group: count for group, count in counts.items() if count >= FEWEST_OF_A_GROUP}
    left_out = {group: count for group, count in counts.items() if group not in kept}
    if len(kept) < 2:
        return ProxyStrength(
            attribute=attribute, groups=kept, left_out=left_out, auc=None, fields=()
        )
    places = [place for place, group in enumerate(groups) if group in kept]
    names = sorted(kept)
    target = np.array([names.index(str(groups[place])) for place in places])
    known = table[places]
    strengths = [
        FieldStrength(field=field.name, association=_uncertainty(_binned(column, field), target))
        for field, column in zip(fields, known.T, strict=True)
    ]
    return ProxyStrength(
        attribute=attribute,
        groups=dict(sorted(kept.items())),
        left_out=dict(sorted(left_out.items())),
        auc=_auc(known, target),
        fields=tuple(sorted(strengths, key=lambda each: (-each.association, each.field))),
    )


def _auc(table: NDArray[np.float64], target: _Codes) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    told = cross_val_predict(
        HistGradientBoostingClassifier(
            max_iter=30, max_leaf_nodes=8, early_stopping=False, random_state=_SEED
        ),
        table,
        target,
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=_SEED),
        method="predict_proba",
    )
    classes = range(told.shape[1])
    return float(np.mean([roc_auc_score(target == k, told[:, k]) for k in classes]))


def _uncertainty(values: _Codes, target: _Codes) -> float:
    """Return Theil's U of ``target`` given ``values``, less what chance would give.

    Miller and Madow: mutual information of n unrelated pairs is on average (r - 1)(c - 1) / 2n.
    """
    joint = np.zeros((values.max() + 1, target.max() + 1))
    np.add.at(joint, (values, target), 1)
    joint = joint[joint.sum(axis=1) > 0]
    share = joint / joint.sum()
    rows, columns = share.sum(axis=1, keepdims=True), share.sum(axis=0, keepdims=True)
    seen = share > 0
    shared = float(np.sum(share[seen] * np.log(share[seen] / (rows * columns)[seen])))
    chance = (joint.shape[0] - 1) * (joint.shape[1] - 1) / (2 * len(target))
    entropy = -float(np.sum(columns[columns > 0] * np.log(columns[columns > 0])))
    return float(np.clip((shared - chance) / (entropy - min(chance, entropy / 2)), 0.0, 1.0))


def _numbers(values: Sequence[object]) -> NDArray[np.float64]:
    """Return a column as numbers: texts by their order, missing as NaN."""
    texts = sorted({value for value in values if isinstance(value, str)})
    codes = {text: float(place) for place, text in enumerate(texts)}
    return np.array(
        [
            np.nan if value is None else codes[value] if isinstance(value, str) else float(value)  # type: ignore[arg-type]  # what is no text is a number
            for value in values
        ]
    )


def _binned(column: NDArray[np.float64], field: Field) -> _Codes:
    """Return a column in bins of about equal size; a category each, and missing, its own."""
    known = ~np.isnan(column)
    bins = np.zeros(len(column), np.int64)
    distinct = np.unique(column[known])
    if field.type in {"string", "boolean"} or len(distinct) <= _BINS:
        bins[known] = 1 + np.searchsorted(distinct, column[known])
    else:
        edges = np.unique(np.quantile(column[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins[known] = 1 + np.searchsorted(edges, column[known], side="right")
    return bins


def _spaced(rows: int) -> NDArray[np.int64]:
    count = min(rows, MOST_ROWS)
    return np.arange(count, dtype=np.int64) * rows // count
