"""What is compared: Grounds, the floors and the peers, each with how to start and how to ask it."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import httpx

from benchmarks.environments import UnavailableError, environment, installed, prepare
from benchmarks.grounds_service import MODEL, Prepared, grounds_environment
from benchmarks.peers.estimator import FIELDS

PEERS = Path(__file__).parent / "peers"
HOST = "127.0.0.1"
AGREEMENT = 1e-5
"""How far another server's probability may be from ours before it is not the same model."""

Said = tuple[float, int]
"""A probability and a number of contributions, as read from an answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server."""

    name: str
    told: str
    """What it is, in a line of a table."""
    command: Sequence[str | Path]
    ready: str
    url: str
    bodies: Sequence[str]
    read: Callable[[bytes], Said] | None
    """Reads an answer; None where there is nothing to read."""
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def ask(self, body: str) -> bytes:
        """Return the answer to one body. Raises UnavailableError for anything but a success."""
        headers = {"Content-Type": "application/json", **self.headers}
        answer = httpx.post(self.url, content=body, headers=headers, timeout=60)
        if not answer.is_success:
            raise UnavailableError(f"answered {answer.status_code}: {answer.text[:200]}")
        return answer.content

    def check(self, told: Sequence[float]) -> None:
        """Compare what it says of the first cases with ``told``. Raises UnavailableError."""
        if self.read is None:
            return
        for body, expected in zip(self.bodies, told, strict=False):
            probability, contributions = self.read(self.ask(body))
            if contributions != len(FIELDS):
                raise UnavailableError(f"gave {contributions} contributions, want {len(FIELDS)}")
            if abs(probability - expected) > AGREEMENT:
                raise UnavailableError(f"said {probability}, Grounds {expected}: another model")


Case = Mapping[str, float]


def grounds(prepared: Prepared, cases: Sequence[Case], port: int, model: str = MODEL) -> Target:
    """Grounds as ``grounds serve`` starts it."""
    return Target(
        name="grounds" if model == MODEL else "grounds-change",
        told="Grounds" if model == MODEL else "Grounds, with what would have changed it",
        command=[sys.executable, "-m", "app", "serve"],
        ready=f"http://{HOST}:{port}/health/ready",
        url=f"http://{HOST}:{port}/v1/models/{model}/decisions",
        bodies=[json.dumps({"case": case}) for case in cases],
        read=_read_grounds,
        headers={"Authorization": f"Bearer {prepared.key}"},
        environment=grounds_environment(prepared.settings, port),
    )


def floor(cases: Sequence[Case], port: int, *, size: int, typed: bool) -> Target:
    """FastAPI on uvicorn, sending back a JSON of the size of our answer."""
    app = "typed" if typed else "app"
    return Target(
        name="floor-typed" if typed else "floor",
        told="FastAPI echo, response_model" if typed else "FastAPI echo, its own Response",
        command=[
            *(sys.executable, "-m", "uvicorn", f"benchmarks.floor:{app}", "--port", str(port)),
            *("--no-access-log", "--log-level", "warning"),
        ],
        ready=f"http://{HOST}:{port}/docs",
        url=f"http://{HOST}:{port}/",
        bodies=[json.dumps({"case": case}) for case in cases],
        read=None,
        environment={"FLOOR_BYTES": str(size)},
    )


def naive(cases: Sequence[Case], rows: Path, place: Path, port: int) -> Target:
    """What one writes from the tutorials of FastAPI and shap."""
    prepare("naive", rows, place)
    return Target(
        name="naive",
        told=f"FastAPI {installed('naive', 'fastapi')} + shap {installed('naive', 'shap')}, naive",
        command=[
            *(environment("naive") / "bin" / "python", "-m", "uvicorn", "naive:app"),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
        ],
        ready=f"http://{HOST}:{port}/docs",
        url=f"http://{HOST}:{port}/predict",
        bodies=[json.dumps(case) for case in cases],
        read=_read_plain,
        environment={"MODEL_FOLDER": str(place)},
        folder=PEERS,
    )


def mlflow(cases: Sequence[Case], rows: Path, place: Path, port: int) -> Target:
    """MLflow serving a pyfunc that returns shap values."""
    prepare("mlflow", rows, place)
    programs = environment("mlflow") / "bin"
    return Target(
        name="mlflow",
        told=f"MLflow {installed('mlflow', 'mlflow')} pyfunc + shap",
        command=[
            *(programs / "mlflow", "models", "serve", "-m", place / "pyfunc"),
            *("-h", HOST, "-p", str(port), "--env-manager", "local", "--workers", "1"),
        ],
        ready=f"http://{HOST}:{port}/ping",
        url=f"http://{HOST}:{port}/invocations",
        bodies=[json.dumps({"dataframe_records": [case]}) for case in cases],
        read=_read_mlflow,
        environment={"PATH": _path(programs), "MLFLOW_TRACKING_URI": (place / "runs").as_uri()},
        folder=place,
    )


def bentoml(cases: Sequence[Case], rows: Path, place: Path, port: int) -> Target:
    """BentoML with shap."""
    prepare("bentoml", rows, place)
    programs = environment("bentoml") / "bin"
    return Target(
        name="bentoml",
        told=f"BentoML {installed('bentoml', 'bentoml')} + shap",
        command=[
            *(programs / "bentoml", "serve", "bentoml_service:Explained"),
            *("--host", HOST, "--port", str(port)),
        ],
        ready=f"http://{HOST}:{port}/readyz",
        url=f"http://{HOST}:{port}/predict",
        bodies=[json.dumps({"case": case}) for case in cases],
        read=_read_plain,
        environment={
            "PATH": _path(programs),
            "MODEL_FOLDER": str(place),
            "BENTOML_HOME": str(place / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        folder=PEERS,
    )


def mlserver(
    cases: Sequence[Case], rows: Path, place: Path, ports: Sequence[int], workers: int
) -> Target:
    """MLServer with its scikit-learn and alibi-explain runtimes; only the latter is asked."""
    prepare("mlserver", rows, place)
    programs = environment("mlserver") / "bin"
    http, grpc, metrics = ports
    settings = {
        "host": HOST,
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": workers,
        "debug": False,
    }
    (place / "settings.json").write_text(json.dumps(settings))
    tensor = {"name": "x", "shape": [1, len(FIELDS)], "datatype": "FP64"}
    return Target(
        name=f"mlserver-{workers}",
        told=f"MLServer {installed('mlserver', 'mlserver')} + alibi {installed('mlserver', 'alibi')}"
        f" TreeShap, {workers} workers",
        command=[programs / "mlserver", "start", place],
        ready=f"http://{HOST}:{http}/v2/health/ready",
        url=f"http://{HOST}:{http}/v2/models/gbc-explainer/infer",
        bodies=[
            json.dumps({"inputs": [{**tensor, "data": list(case.values())}]}) for case in cases
        ],
        read=_read_mlserver,
        environment={"PATH": _path(programs), "TF_CPP_MIN_LOG_LEVEL": "3"},
        folder=place,
    )


def _path(programs: Path) -> str:
    return f"{programs}:/usr/local/bin:/usr/bin:/bin"


def _read_grounds(answer: bytes) -> Said:
    told = json.loads(answer)
    return told["recommendation"]["score"], len(told["explanation"]["contributions"])


def _read_plain(answer: bytes) -> Said:
    told = json.loads(answer)
    return told["probability"], len(told["contributions"])


def _read_mlflow(answer: bytes) -> Said:
    (row,) = json.loads(answer)["predictions"]
    return row["probability"], len(row) - 1


def _read_mlserver(answer: bytes) -> Said:
    (output,) = json.loads(answer)["outputs"]
    told = json.loads(output["data"][0])["data"]
    margin = told["raw"]["raw_prediction"]
    return 1 / (1 + exp(-margin)), len(told["shap_values"][0][0])
