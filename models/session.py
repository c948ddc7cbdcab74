"""Running a graph: the only file that imports onnxruntime.

onnxruntime's scores of a batch and of its rows one by one differ in their last bits, and so do
those of several threads. A replay must give the same bits, so every row is scored alone, on one
thread, in sequential mode.
"""

import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

# onnxruntime's Linux builds report their use to their maker, and keep an identifier of the machine
# in the home directory, unless told not to before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _errors

from models.card import ClassLabel
from models.errors import GraphRefusedError, ScoringError
from models.outputs import OutputMap

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]
"""Graph input name -> rows, shape (N, width), or (N,) where the graph declares one dimension."""
Scores = NDArray[np.float32 | np.float64]
"""What the graph said, in its own type: a number per class in the card's order, or one number."""

MOST_APART = 1e-5
"""Of a row's scores in a batch and alone, of their size, or for probabilities of 1. Seen in sound graphs: 6e-7."""

_RUNTIME_ERRORS = (
    _errors.EPFail,
    _errors.EngineError,
    _errors.Fail,
    _errors.InvalidArgument,
    _errors.InvalidGraph,
    _errors.InvalidProtobuf,
    _errors.NoModel,
    _errors.NoSuchFile,
    _errors.NotImplemented,
    _errors.RuntimeException,
    RuntimeError,
    ValueError,
)
# The instruction sets that onnxruntime and numpy choose their kernels by.
_KERNEL_FEATURES = re.compile(
    r"\b(sse4_1|avx|avx2|f16c|fma|avx_vnni|avx512(f|bw|dq|vl|_vnni|_bf16)|amx_(int8|bf16)"
    r"|asimd(hp|dp)?|bf16|i8mm|sve2?)\b"
)


@dataclass(frozen=True, slots=True)
class Scored:
    """The graph's answer for one row.

    ``label`` is one of the card's classes, None for a regression; ``scores`` has shape (n_scores,);
    each tap has shape (1, width).
    """

    label: ClassLabel | None
    scores: Scores
    taps: tuple[Array, ...]


class Session:
    """One onnxruntime session over a graph, with some of its inner tensors as extra outputs.

    ``probe`` is one row that fits the graph: it settles how many scores there are. Raises
    GraphRefusedError when onnxruntime cannot load the graph or its answer does not fit ``output``.
    """

    def __init__(
        self,
        model: bytes,
        output: OutputMap,
        *,
        probe: Feeds,
        taps: Sequence[str] = (),
        alone_because: str = "",
        scale: float = 1.0,
    ) -> None:
        self.scale = scale
        """The size of scores, where they are no probabilities: see ``settle_batches``."""
        self._session = _load(_with_taps(model, taps) if taps else model)
        # Past the Python wrapper, which looks at every input again on every row (4 of 26 us with 2
        # inputs, 12 of 59 with 20) and on some errors quietly tries other settings.
        self._run = self._session._sess.run  # noqa: SLF001
        fixed = {
            entry.shape[0]
            for entry in self._session.get_inputs()
            if entry.shape and isinstance(entry.shape[0], int) and entry.shape[0] > 0
        }
        self.alone_because = "the graph has a fixed number of rows" if fixed else alone_because
        """Why rows are scored one by one even where many are asked of at once; empty if they are not."""
        self._fixed_rows = max(fixed, default=1)
        self._output = output
        self._taps = tuple(taps)
        self._first_score = 0 if output.label is None else 1
        self._first_tap = self._first_score + len(output.scores)
        self._names = [
            *([] if output.label is None else [output.label]),
            *output.scores,
            *taps,
        ]
        self._classes: dict[ClassLabel, ClassLabel] = {label: label for label in output.classes}
        self._keys: tuple[ClassLabel, ...] = ()
        self._key_set: frozenset[ClassLabel] = frozenset()
        self.score_columns: tuple[int, ...] | None = None
        """Score -> place in the graph's own order of classes, where a ZipMap has another."""
        self.n_scores = self._probe(probe)

    def run_row(self, feeds: Feeds) -> Scored:
        """Return the graph's answer for one row.

        Raises ScoringError when the graph fails, or answers with a score that is not finite or a
        label that is not one of the card's.
        """
        answers = self._answers(feeds)
        scores = self._scores(answers)
        values = scores.tolist()
        # A sum is finite only if every term is: half the cost of asking each.
        if len(values) != self.n_scores or not math.isfinite(sum(values)):
            raise ScoringError(f"scores: got {values!r}; want {self.n_scores} finite numbers")
        label = self._label(answers, values)
        if not self._taps:
            return Scored(label, scores, ())
        return Scored(label, scores, tuple([a.reshape(1, -1) for a in answers[self._first_tap :]]))

    def run_rows(self, feeds: Feeds) -> tuple[Scores, tuple[Array, ...]]:
        """Return the scores, shape (N, n_scores), and taps, each (N, width), of many rows.

        The rows are scored one by one: the same bits as ``run_row`` gives. Raises ScoringError.
        """
        scored = [self.run_row(row) for row in split_rows(feeds)]
        if not scored:
            raise ScoringError("rows: got none; want at least one")
        taps = tuple(
            np.concatenate(columns) for columns in zip(*(row.taps for row in scored), strict=True)
        )
        return np.stack([row.scores for row in scored]), taps

    def run_batch(self, feeds: Feeds) -> Scores:
        """Return the scores of many rows from one call, shape (N, n_scores).

        Faster, and not the bits that ``run_row`` gives: for hybrids and variations of a case. Where
        ``alone_because`` says why not, rows are scored one by one. One row is also scored alone, and
        must be told what it is told among the others. Raises ScoringError.
        """
        if self.alone_because:
            return self.run_rows(feeds)[0]
        scores = self._batch(feeds)
        middle = len(scores) // 2
        alone = self.run_row({name: array[middle : middle + 1] for name, array in feeds.items()})
        if not self._same(scores[middle], alone.scores):
            raise ScoringError(
                "scores of one row: got others among many rows than alone; want the same"
            )
        return scores

    def settle_batches(self, feeds: Feeds) -> Scores:
        """Have rows scored one by one from now on if the graph looks at the rows beside a row.

        It may do so without harm to a single row: numbers that are quantised by the range of all rows, a mean
        over rows, answers in another order. ``feeds`` are rows to find that out with, and how large the scores
        of a regression are; returns their scores, as ``run_rows`` does. Raises ScoringError.
        """
        alone, _ = self.run_rows(feeds)
        if not self._classes:
            self.scale = float(np.abs(alone).mean()) or 1.0
        if self.alone_because:
            return alone
        forwards = np.arange(len(alone))
        for places in (forwards, forwards[::-1], forwards[::2], np.repeat(forwards[:1], 3)):
            among = {name: array[places] for name, array in feeds.items()}
            try:
                same = self._same(self._batch(among), alone[places])
            except ScoringError:
                same = False
            if not same:
                self.alone_because = "the graph's answer for a row depends on the rows beside it"
                break
        return alone

    def _same(self, some: Scores, others: Scores) -> bool:
        """Return whether scores differ by no more than the last bits, as a batch's and a row's do."""
        size = max(self.scale, float(np.max(np.abs(others))))
        return bool(np.max(np.abs(some - others)) <= MOST_APART * size)

    def _batch(self, feeds: Feeds) -> Scores:
        answers = self._answers(feeds)
        parts = answers[self._first_score : self._first_tap]
        rows = len(next(iter(feeds.values())))
        try:
            if self._output.is_map:
                scores = np.array([[row[key] for key in self._keys] for row in parts[0]])
            elif len(parts) == 1:
                scores = parts[0].reshape(rows, -1)
            else:
                scores = np.stack([part.reshape(rows) for part in parts], axis=1)
        except ValueError as err:
            raise ScoringError(f"scores of {rows} rows: got {parts[0].size} numbers") from err
        scores = scores.astype(self._output.dtype, copy=False)
        if scores.shape != (rows, self.n_scores):
            raise ScoringError(
                f"scores of {rows} rows: got shape {scores.shape}; want ({rows}, {self.n_scores})"
            )
        finite = np.isfinite(scores).all(axis=1)
        if not finite.all():
            raise ScoringError(
                f"scores of {rows} rows: got {rows - int(finite.sum())} that are not finite; want "
                "finite numbers, for a case with some of another's values too, which explanations ask of"
            )
        return scores

    def _answers(self, feeds: Feeds) -> list[NDArray[np.generic]]:
        try:
            return self._ask(feeds)
        except _RUNTIME_ERRORS as err:
            # onnxruntime's message may quote the row, so it stays out of ours.
            raise ScoringError(f"onnxruntime failed on a row: {type(err).__name__}") from err

    def _ask(self, feeds: Feeds) -> list[NDArray[np.generic]]:
        """Return the graph's answers; a graph that wants N rows gets the one row N times."""
        count = self._fixed_rows
        if count == 1:
            answers: list[Array] = self._run(self._names, feeds, None)
            return answers
        repeated = {name: np.repeat(array, count, axis=0) for name, array in feeds.items()}
        return [answer[:1] for answer in self._run(self._names, repeated, None)]

    def _scores(self, answers: Sequence[Array]) -> Scores:
        parts = answers[self._first_score : self._first_tap]
        if self._output.is_map:
            (row,) = parts[0]
            if row.keys() != self._key_set:
                raise ScoringError(f"scores: got classes {list(row)}; want {list(self._keys)}")
            return np.array([row[key] for key in self._keys], dtype=self._output.dtype)
        if len(parts) == 1:
            return parts[0].reshape(-1)  # type: ignore[return-value]
        joined = np.concatenate([part.reshape(-1) for part in parts])
        return joined.astype(self._output.dtype, copy=False)

    def _label(self, answers: Sequence[Array], values: list[float]) -> ClassLabel | None:
        if not self._classes:
            return None
        if self._output.label is not None:
            label: ClassLabel = answers[0].item()
            if label not in self._classes:
                wanted = list(self._classes)
                spelt = {str(each) for each in wanted}
                hint = ": the card's classes have to be of the graph's type"
                raise ScoringError(
                    f"label: got {label!r}; want one of {wanted}{hint if str(label) in spelt else ''}"
                )
            return self._classes[label]
        if len(values) == 1:
            # One probability for two classes: it is the positive one's.
            positive = self._output.positive_index
            return self._output.classes[positive if values[0] > 0.5 else 1 - positive]
        return self._output.classes[values.index(max(values))]

    def _probe(self, probe: Feeds) -> int:
        try:
            answers = self._ask(probe)
        except _RUNTIME_ERRORS as err:
            raise GraphRefusedError(
                "running the graph on one row", got=_first_line(err), want="scores"
            ) from err
        if self._output.is_map:
            self._keys = self._map_keys(answers[self._first_score][0])
            self._key_set = frozenset(self._keys)
        count = len(self._scores(answers))
        classes = len(self._output.classes)
        wanted = {classes, 1} if classes == 2 else {classes or 1}
        number = self._output.number
        if number is not None and number < count:
            return count
        if count not in wanted or number is not None:
            raise GraphRefusedError(
                f"score output {', '.join(map(repr, self._output.scores))}",
                got=f"{count} numbers for one row",
                want=f"{classes}, one per class of the card, from the outputs that hold scores: "
                "output.score_outputs in the card can name them"
                if classes
                else "1, or the card's output.number saying which of them the model is about",
            )
        return count

    def _map_keys(self, row: Mapping[ClassLabel, float]) -> tuple[ClassLabel, ...]:
        keys = {key: key for key in row}
        if set(keys) != set(self._classes):
            raise GraphRefusedError(
                f"score output {self._output.scores[0]!r}",
                got=f"classes {list(keys)[:20]}",
                want=f"the card's {list(self._classes)[:20]}",
            )
        # The map itself comes sorted by its keys, whatever order they have in the graph.
        labels = self._output.map_labels
        order = list(labels if set(labels) == set(keys) else row)
        self.score_columns = tuple(order.index(keys[label]) for label in self._output.classes)
        return tuple(keys[label] for label in self._output.classes)


def split_rows(feeds: Feeds) -> list[Feeds]:
    """Return the rows of ``feeds`` as feeds of one row each."""
    count = len(next(iter(feeds.values())))
    return [{name: array[i : i + 1] for name, array in feeds.items()} for i in range(count)]


def runtime_facts() -> dict[str, str]:
    """Return what the bits of a score depend on besides the graph and the row."""
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_features": _cpu_features(),
    }


def _cpu_features() -> str:
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return "not known on this system"
    for line in listing.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return " ".join(sorted({match[0] for match in _KERNEL_FEATURES.finditer(value)}))
    return "not known on this system"


def _load(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as err:
        raise GraphRefusedError(
            "model.onnx",
            got=_first_line(err),
            want=f"a graph that onnxruntime {onnxruntime.__version__} can load",
        ) from err


def _with_taps(model: bytes, taps: Sequence[str]) -> bytes:
    proto = onnx.load_model_from_string(model)
    made = {name for node in proto.graph.node for name in node.output}
    outputs = {info.name for info in proto.graph.output}
    for tap in taps:
        if tap not in made:
            raise GraphRefusedError("tap", got=repr(tap), want="a tensor that the graph computes")
        if tap not in outputs:
            proto.graph.output.append(onnx.ValueInfoProto(name=tap))
    tapped: bytes = proto.SerializeToString()
    return tapped


def _first_line(err: BaseException) -> str:
    return str(err).strip().split("\n", 1)[0][:500]
