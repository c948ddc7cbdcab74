"""Load on the whole service with wrk: every answer explained and durably recorded.

``python -m benchmarks.load [--rounds N] [--seconds S]`` starts the service on the demonstration
model and an empty log, and beside it a FastAPI floor that only echoes; the two are measured in
turn at 1, 16 and 64 connections, so that the ratio holds when the machine's speed drifts. What wrk
counts as answered is compared with what the log holds.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import yaml

from app.demo.asking import request_body
from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from audit.reader import LogReader
from models.demo.build import build_demo, demo_applications
from models.signing import make_key, sign_bundle

CONNECTIONS = (1, 16, 64)
BODIES = 500
MODEL = "housing-support"
POLICY = Path(__file__).parent.parent / "app" / "demo" / "policy.yaml"
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}

SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local n = 0
request = function()
  n = n % #bodies + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json",
    ["Authorization"] = os.getenv("AUTH")}, bodies[n])
end
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk says of one run."""

    answered: int
    refused: int
    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Run the measurement and print its table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument(
        "--what-would-change",
        choices=("adverse_or_near_threshold", "never"),
        default="adverse_or_near_threshold",
        help="for which outcomes the policy asks what would have changed them",
    )
    chosen = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as place:
        _measure(
            Path(place), chosen.what_would_change, rounds=chosen.rounds, seconds=chosen.seconds
        )


def _measure(place: Path, asked: str, *, rounds: int, seconds: int) -> None:
    settings, key = _prepare(place, asked)
    bodies = place / "bodies"
    cases = demo_applications().cases[:BODIES]
    bodies.write_text("".join(json.dumps(request_body(case)) + "\n" for case in cases))
    script = place / "wrk.lua"
    script.write_text(SCRIPT)
    environment = {**os.environ, "BODIES": str(bodies), "AUTH": f"Bearer {key}"}
    ours: dict[int, list[Run]] = {count: [] for count in CONNECTIONS}
    floor: dict[int, list[Run]] = {count: [] for count in CONNECTIONS}
    with _service(settings, place) as address:
        size = len(_ask(address, key, cases[0]))
        with _floor(place, size) as floor_address:
            for _ in range(rounds):
                for count in CONNECTIONS:
                    target = f"{address}/v1/models/{MODEL}/decisions"
                    ours[count].append(_wrk(target, count, seconds, script, environment))
                    floor[count].append(_wrk(floor_address, count, seconds, script, environment))
    with closing(
        LogReader.open_readonly(settings.data_dir / "log", origin=settings.log_origin)
    ) as log:
        recorded = log.size
    print(f"the policy asks what would have changed the recommendation: {asked}")
    _print(ours, floor, size=size, recorded=recorded)


def _prepare(place: Path, asked: str) -> tuple[Settings, str]:
    settings = Settings(
        models_dir=place / "models", data_dir=place / "data", suppliers_dir=place / "suppliers"
    )
    bundle = settings.models_dir / MODEL / "bundle"
    build_demo(bundle)
    key, _ = make_key(settings.suppliers_dir, "load")
    sign_bundle(bundle, key=key)
    policy = {**yaml.safe_load(POLICY.read_text()), "what_would_change": asked}
    (settings.models_dir / MODEL / "policy.yaml").write_text(yaml.safe_dump(policy))
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        return settings, store.create(name="load", role=Role.CALLER, clock=utc_now)


@contextmanager
def _service(settings: Settings, place: Path) -> Iterator[str]:
    environment = {
        **os.environ,
        "GROUNDS_DATA_DIR": str(settings.data_dir),
        "GROUNDS_MODELS_DIR": str(settings.models_dir),
        "GROUNDS_SUPPLIERS_DIR": str(settings.suppliers_dir),
        "GROUNDS_PORT": "8181",
    }
    address = "http://127.0.0.1:8181"
    with _process([sys.executable, "-m", "app", "serve"], environment, place / "service.log"):
        _wait(f"{address}/health/ready")
        yield address


@contextmanager
def _floor(place: Path, size: int) -> Iterator[str]:
    command = [sys.executable, "-m", "uvicorn", "benchmarks.floor:app", "--port", "8182"]
    command += ["--no-access-log", "--log-level", "warning"]
    environment = {**os.environ, "FLOOR_BYTES": str(size)}
    with _process(command, environment, place / "floor.log"):
        _wait("http://127.0.0.1:8182/docs")
        yield "http://127.0.0.1:8182/"


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _wait(url: str) -> None:
    for _ in range(1200):
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"{url} did not answer")


def _ask(address: str, key: str, case: Mapping[str, object]) -> bytes:
    answer = httpx.post(
        f"{address}/v1/models/{MODEL}/decisions",
        json=request_body(case),
        headers={"Authorization": f"Bearer {key}"},
    )
    answer.raise_for_status()
    return answer.content


def _wrk(
    url: str, connections: int, seconds: int, script: Path, environment: dict[str, str]
) -> Run:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    text = subprocess.run(
        [*command, url], env=environment, capture_output=True, text=True, check=True
    ).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Run(
        answered=int(_found(r"(\d+) requests in", text)),
        refused=int(refused[1]) if refused else 0,
        per_second=float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        p50_ms=_milliseconds(_found(r"\n\s+50%\s+(\S+)", text)),
        p99_ms=_milliseconds(_found(r"\n\s+99%\s+(\S+)", text)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk printed nothing like {pattern}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]  # wrk's own format
    return float(number) * UNITS[unit]


def _print(
    ours: dict[int, list[Run]], floor: dict[int, list[Run]], *, size: int, recorded: int
) -> None:
    answered = sum(run.answered - run.refused for runs in ours.values() for run in runs)
    refused = sum(run.refused for runs in ours.values() for run in runs)
    libraries = ("fastapi", "uvicorn", "onnxruntime", "apsw", "numba")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in libraries))
    print(f"answers of {size:,} bytes; medians of {len(ours[1])} rounds\n")
    print("connections | Grounds/s | p50 ms | p99 ms | floor/s | p50 ms | p99 ms | Grounds/floor")
    for count in CONNECTIONS:
        us, them = ours[count], floor[count]
        ratio = _median(us, "per_second") / _median(them, "per_second")
        print(
            f"{count:11} | {_median(us, 'per_second'):9,.0f} | {_median(us, 'p50_ms'):6.2f} "
            f"| {_median(us, 'p99_ms'):6.2f} | {_median(them, 'per_second'):7,.0f} "
            f"| {_median(them, 'p50_ms'):6.2f} | {_median(them, 'p99_ms'):6.2f} | {ratio:.2f}"
        )
    print(f"\n{answered:,} answered, {refused:,} refused, {recorded:,} entries in the log")


def _median(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


if __name__ == "__main__":
    main()
