"""The cost of an explanation against scoring, shap and other explainers, in one table.

``python -m benchmarks.explain [--rows N] [--models a,b]`` trains nine models in an environment of
their own, serves each as ONNX, and times onnxruntime, this library and the peers one after the
other, each in its own process, on one thread; figures are medians of one run. The peers' Python
comes from ``GROUNDS_BENCH_PYTHON`` (and ``GROUNDS_FAST_PYTHON`` for fasttreeshap, which needs
another shap) or is installed into a temporary environment; a peer that cannot be is named.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.explain_peers import BOOSTERS, COLUMNS, FIRST_ROW, MODELS, TREES, file_name
from explainers.choose import choose
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Run, Slot
from explainers.explanation import AFTER_FIELDS
from explainers.tree import TreeExplainer
from explainers.tree_kernel import explain_rows

PEERS = Path(__file__).parent / "explain_peers.py"
REQUIREMENTS = (
    "lightgbm", "xgboost", "onnxmltools", "skl2onnx", "scikit-learn", "shap>=0.51",
    "woodelf-explainer", "pandas", "protobuf<7",
)  # fmt: skip
FAST_REQUIREMENTS = ("fasttreeshap", "scikit-learn", "lightgbm", "xgboost")
BACKGROUND = 1_000
BATCH = 64
TARGETS = {
    "GBC 100x3": 0.5, "GBC 100x6": 2.5, "HistGB 100x6": 2.5, "LightGBM 300x31": 4.0,
    "XGBoost 300x6": 4.0,
}  # fmt: skip
"""Most times onnxruntime's own time for one row."""
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def microseconds(call: Callable[[int], object], rows: Sequence[int]) -> NDArray[np.float64]:
    """Return the time of ``call(row)`` for each row."""
    times = np.empty(len(rows))
    for i, row in enumerate(rows):
        begin = time.perf_counter_ns()
        call(row)
        times[i] = time.perf_counter_ns() - begin
    return times / 1e3


class Served:
    """One model behind onnxruntime and its explainer, with the rows and their scores."""

    def __init__(self, folder: Path, name: str, background_rows: int = BACKGROUND) -> None:
        model = (folder / f"{file_name(name)}.onnx").read_bytes()
        graph = onnx.load_model_from_string(model).graph
        self.input, self.output = graph.input[0].name, graph.output[-1].name
        self.x = np.load(folder / "rows.npy")
        plan = choose(
            model,
            slots=tuple(Slot(self.input, column) for column in range(COLUMNS)),
            score_outputs=(self.output,),
            targets=(1,),
            n_scores=2,
        )
        self.run = self._run(model, plan.taps)
        background = {self.input: self.x[:background_rows]}
        begin = time.perf_counter()
        self.explainer: Explainer = plan.build(background, self.run, ExplainerSettings())
        self.build_seconds = time.perf_counter() - begin
        self._scored: dict[int, tuple[Feeds, Any, Any]] = {}

    def _run(self, model: bytes, taps: Sequence[str]) -> Run:
        proto = onnx.load_model_from_string(model)
        proto.graph.output.extend(onnx.ValueInfoProto(name=tap) for tap in taps)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
        names = [self.output, *taps]

        def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
            scores, *tapped = self.session.run(names, dict(feeds))
            return scores, tuple(tapped)

        return run

    def scored(self, row: int) -> tuple[Feeds, Any, Any]:
        """Return a row as feeds, with its scores and taps, which are computed once."""
        if row not in self._scored:
            feeds = {self.input: self.x[row : row + 1]}
            scores, taps = self.run(feeds)
            self._scored[row] = feeds, scores[0], taps
        return self._scored[row]

    def score(self, row: int) -> object:
        """Run the graph on one row, as the service does."""
        return self.session.run([self.output], self.scored(row)[0])

    def explain(self, row: int) -> object:
        """Explain one row through the public call, residual check and result included."""
        return self.explainer.explain(*self.scored(row), b"benchmark")


def time_ours(folder: Path, name: str, n_rows: int) -> dict[str, Any]:
    """Time one model in this process and return its figures, in microseconds."""
    Served(folder, name)  # compile, or load what was compiled
    served = Served(folder, name)
    rows = range(FIRST_ROW, FIRST_ROW + n_rows)
    begin = time.perf_counter()
    served.explain(FIRST_ROW)
    if time.perf_counter() - begin > 0.02:
        rows = rows[:20]
    for row in rows:
        served.scored(row)
    onnxruntime_times = microseconds(served.score, rows)
    ours = microseconds(served.explain, rows)
    onnxruntime_again = microseconds(served.score, rows)
    scale = min(float(np.median(onnxruntime_times)), float(np.median(onnxruntime_again)))
    figures: dict[str, Any] = {
        "onnxruntime": scale,
        "ours": float(np.median(ours)),
        "p99": float(np.percentile(ours, 99)),
        "method": served.explainer.method,
        "build": served.build_seconds,
        "cold": _cold(served, rows),
    }
    if isinstance(served.explainer, TreeExplainer):
        figures |= _tree_figures(served, served.explainer, rows)
    return figures


def _cold(served: Served, rows: Sequence[int]) -> float:
    """Return the median with the caches filled by something else before each row."""
    other = np.ones(8 << 20)

    def one(row: int) -> float:
        other.sum()
        begin = time.perf_counter_ns()
        served.explain(row)
        return (time.perf_counter_ns() - begin) / 1e3

    return float(np.median([one(row) for row in rows[:100]]))


def _tree_figures(served: Served, trees: TreeExplainer, rows: Sequence[int]) -> dict[str, Any]:
    together = np.ascontiguousarray(served.x[rows[0] : rows[0] + min(BATCH, len(rows))])
    feeds = {served.input: together}
    scores = np.stack([served.scored(row)[1] for row in rows[: len(together)]])
    batch = microseconds(lambda _: trees.explain_rows(feeds, scores, (together,)), range(15))
    figures: dict[str, Any] = {
        "batch": float(np.median(batch)) / len(together),
        "megabytes": trees.game.table_bytes / 2**20,
        "walked": trees.game.walked_leaves,
    }
    if not trees.game.walked_leaves:
        lookup = trees.lookup
        out = np.empty((1, COLUMNS + AFTER_FIELDS, 1))

        def compiled(row: int) -> None:
            encoded, own = served.scored(row)[0][served.input], served.scored(row)[1]
            explain_rows(encoded, own, out, *lookup)

        figures["compiled"] = float(np.median(microseconds(compiled, rows)))
    return figures


def time_scaling(folder: Path, name: str) -> dict[str, float]:
    """Return how the cost changes with the background's size and with threads."""
    figures = {}
    served = Served(folder, name)
    for size in (100, 1_000, 10_000):
        served = Served(folder, name, size)
        rows = range(FIRST_ROW, FIRST_ROW + 1_000)
        for row in rows:
            served.scored(row)
        figures[f"{size:,} background rows, us a row"] = float(
            np.median(microseconds(served.explain, rows))
        )
    trees = served.explainer
    assert isinstance(trees, TreeExplainer)  # noqa: S101 - the benchmark's own choice of model
    together = np.tile(served.x[FIRST_ROW : FIRST_ROW + BATCH], (100, 1))
    scores = np.tile(np.stack([served.scored(FIRST_ROW + i)[1] for i in range(BATCH)]), (100, 1))

    def work() -> None:
        trees._explained(together, scores)  # noqa: SLF001 - the compiled part of explain_rows

    def elapsed(count: int) -> float:
        threads = [threading.Thread(target=work) for _ in range(count)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin

    alone = min(elapsed(1) for _ in range(5))
    figures["two threads, times one"] = 2 * alone / min(elapsed(2) for _ in range(5))
    return figures


def environment(folder: Path, variable: str, requirements: Sequence[str]) -> str | None:
    """Return the Python of the peers, installed into ``folder`` unless ``variable`` names one."""
    if variable in os.environ:
        return os.environ[variable]
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    make = [uv, "venv", "-q"] if uv else [sys.executable, "-m", "venv"]
    install = [uv, "pip", "install", "-q", "--python"] if uv else []
    try:
        subprocess.run([*make, str(folder)], check=True)
        into = [*install, str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*into, *requirements], check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        print(f"not installed: {', '.join(requirements)}: {err}", file=sys.stderr)
        return None
    return str(python)


def time_peers(
    python: str | None, folder: Path, name: str, peers: dict[str, str]
) -> dict[str, float]:
    """Return the medians in microseconds of the peers that work here; column -> peer in."""
    if python is None or not peers:
        return {}
    done = subprocess.run(
        [python, str(PEERS), "time", str(folder), name, *peers.values()],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | THREADS,
    )
    for line in done.stderr.strip().splitlines()[-len(peers) :]:
        print(line, file=sys.stderr)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    medians = {each["peer"]: float(each["median"]) * 1e6 for each in said}
    return {column: medians[peer] for column, peer in peers.items() if peer in medians}


def _in_own_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.explain", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | THREADS,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, name: str, n_rows: int, python: str, fast: str | None) -> dict[str, Any]:
    """Return all figures of one model."""
    figures = _in_own_process("--one", name, "--folder", str(folder), "--rows", str(n_rows))
    peers: dict[str, str] = {}
    if name in TREES or name.startswith("logistic"):
        peers |= {"shap 100": "interventional-100", "shap 1000": "interventional-1000"}
    if name in TREES:
        peers |= {"shap path": "path-dependent", "woodelf": "woodelf"}
    if name in BOOSTERS:
        peers["own"] = "own"
    figures |= time_peers(python, folder, name, peers)
    if name in TREES:
        figures |= time_peers(fast, folder, name, {"fasttreeshap": "fasttreeshap"})
    return figures


COLUMN_NAMES = (
    "onnxruntime", "ours", "p99", "cold", "compiled", "batch", "shap 100", "shap 1000",
    "shap path", "own", "woodelf", "fasttreeshap",
)  # fmt: skip


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """Print the figures of every model, then the ratios that the targets are about."""
    print(f"{'microseconds a row':20}", *(f"{name:>12}" for name in COLUMN_NAMES))
    for name, figures in found.items():
        cells = (figures.get(column) for column in COLUMN_NAMES)
        texts = ("-" if cell is None else f"{cell:,.1f}" for cell in cells)
        print(f"{name:20}", *(f"{text:>12}" for text in texts))
    print(f"\n{'':20} {'x onnxruntime':>14} {'shap 100 /':>11} {'shap 1000 /':>12} {'MB':>7} "
          f"{'build s':>8}  method")  # fmt: skip
    for name, figures in found.items():
        ours, target = figures["ours"], TARGETS.get(name)
        ratio = ours / figures["onnxruntime"]
        mark = "" if target is None else f" {'<=' if ratio <= target else '>'} {target:g}"
        shap = [figures.get(f"shap {rows}") for rows in (100, 1_000)]
        times = ["-" if other is None else f"{other / ours:,.0f}x" for other in shap]
        walked = f", {figures['walked']:,} leaves walked" if figures.get("walked") else ""
        print(f"{name:20} {f'{ratio:.2f}{mark}':>14} {times[0]:>11} {times[1]:>12} "
              f"{figures.get('megabytes', 0):7.1f} {figures['build']:8.2f}  "
              f"{figures['method']}{walked}")  # fmt: skip


def main() -> None:
    """Train, measure and print; or measure one model and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--scaling", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(time_ours(options.folder, options.one, options.rows)))
        return
    if options.scaling:
        print(json.dumps(time_scaling(options.folder, options.scaling)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        python = environment(Path(scratch) / "peers", "GROUNDS_BENCH_PYTHON", REQUIREMENTS)
        fast = environment(Path(scratch) / "fast", "GROUNDS_FAST_PYTHON", FAST_REQUIREMENTS)
        if python is None:
            raise SystemExit("the models cannot be trained without their libraries")
        if not (folder / "rows.npy").exists():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run([python, str(PEERS), "train", str(folder)], check=True)
        found = {}
        for name in options.models.split(","):
            print(f"measuring {name}", file=sys.stderr, flush=True)
            found[name] = measure(folder, name, options.rows, python, fast)
        scaling = _in_own_process("--scaling", TREES[1], "--folder", str(folder))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, onnxruntime "
        f"{onnxruntime.__version__}, {BACKGROUND:,} background rows on our side, one thread\n"
    )
    print_table(found)
    print()
    for what, figure in scaling.items():
        print(f"{TREES[1]}: {what}: {figure:,.2f}")


if __name__ == "__main__":
    main()
