"""``grounds demo``: train, serve, ask, and tell a newcomer what came back and what to try."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from app.demo.asking import request_body
from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import FILE, KeyStore
from models.demo.build import build_demo
from models.demo.cases import DEMO_CASES
from models.signing import make_key, sign_bundle

POLICY = Path(__file__).parent / "policy.yaml"
PRACTICE = POLICY.with_name("practice.yaml")
MODEL = "housing-support"
KEY_NAME = "demonstration"
SUPPLIER = "northmoor"
START_TIMEOUT_SECONDS = 300
COULD_NOT_START = 3


def run_demo(directory: Path, *, port: int, console: Console) -> int:
    """Run the demonstration until Ctrl-C; return the exit code."""
    model_dir = directory / "models" / MODEL
    console.print("Training the demonstration model (made-up data, a few seconds) ...")
    build_demo(model_dir / "bundle")
    _sign(directory, model_dir / "bundle")
    for path in (POLICY, PRACTICE):
        (model_dir / path.name).write_bytes(path.read_bytes())
    key = _new_key(directory / "data")
    port = _free_port(port, console)
    console.print("Starting the service (the first time it compiles, which takes a minute) ...")
    log_path = directory / "service.log"
    with log_path.open("wb") as log:
        service = subprocess.Popen(  # this very program
            [sys.executable, "-m", "app", "serve"],
            env=_environment(directory, port),
            stdout=log,
            stderr=log,
            # Ctrl-C reaches this process only, which then stops the service once and gently.
            start_new_session=True,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return _show(service, f"http://127.0.0.1:{port}", key, log_path, console)
        except KeyboardInterrupt:
            console.print("\nStopping ...")
            return 0
        finally:
            if service.poll() is None:
                service.send_signal(signal.SIGINT)
            service.wait()
            console.print("Stopped. Run it again to find the same log, grown by another start.")


def _show(
    service: "subprocess.Popen[bytes]", address: str, key: str, log_path: Path, console: Console
) -> int:
    if not _becomes_ready(service, address):
        console.print(f"The service did not start. Its log, {log_path}, ends with:", style="bold")
        console.print("\n".join(log_path.read_text().splitlines()[-5:]), highlight=False)
        return COULD_NOT_START
    answers = {
        name: _post(f"{address}/v1/models/{MODEL}/decisions", key, request_body(case))
        for name, case in DEMO_CASES.items()
    }
    # The first is told here; all of them are in the caseworkers' list.
    name, case = next(iter(DEMO_CASES.items()))
    answer = answers[name]
    console.print(_story(name, answer), highlight=False, soft_wrap=True, markup=False)
    console.print(_invitation(answer, address, key, case, log_path.parent / "data"), highlight=False,
                  soft_wrap=True, markup=False)  # fmt: skip
    return service.wait()


def _story(name: str, answer: dict[str, Any]) -> str:
    explanation, receipt = answer["explanation"], answer["receipt"]
    lines = [
        "",
        f"Case: {name}",
        explanation["summary"],
        "",
        "The three strongest reasons:",
        *(
            f"  {place}. {text}"
            for place, text in enumerate(explanation["strongest_reasons"], start=1)
        ),
        "",
        f"Receipt: entry {receipt['index']} of the log {receipt['log']}, recorded durably",
        "before you saw this.",
    ]
    return "\n".join(lines)


def _invitation(
    answer: dict[str, Any], address: str, key: str, case: dict[str, Any], data: Path
) -> str:
    command = " \\\n    ".join(
        (
            f"curl -s {address}/v1/models/{MODEL}/decisions",
            f"-H 'Authorization: Bearer {key}'",
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(request_body(case)))}",
        )
    )
    own = shlex.quote(os.path.relpath(Path(sys.executable).with_name("grounds")))
    return "\n".join(
        (
            "",
            "See it as a page (sign in as anyone; this is possible in the demonstration only):",
            f"  {address}/decisions/{answer['id']}",
            "Key, with the role caseworker, made for this run:",
            f"  {key}",
            "Try it yourself:",
            f"  {command}",
            "",
            f"Reference: {address}/docs   Metrics: {address}/metrics",
            f"Check the whole log: {own} verify --data-dir {shlex.quote(str(data))}",
            "Ctrl-C stops the service.",
        )
    )


def _new_key(data: Path) -> str:
    with closing(KeyStore(data / FILE)) as store:
        for entry in store.entries():
            if entry.name == KEY_NAME and entry.revoked is None:
                store.revoke(entry.id, clock=utc_now)
        return store.create(
            name=KEY_NAME,
            role=Role.CASEWORKER,
            clock=utc_now,
            kind=Kind.HUMAN,
            actor="demonstration",
        )


def _sign(directory: Path, bundle: Path) -> None:
    """Sign the bundle as its supplier would, with a key made for this machine, and trust that key."""
    private = directory / "supplier" / f"{SUPPLIER}.key"
    trusted = directory / "suppliers" / f"{SUPPLIER}.pem"
    if not private.exists():
        private, public = make_key(directory / "supplier", SUPPLIER)
        trusted.parent.mkdir(parents=True, exist_ok=True)
        trusted.write_bytes(public.read_bytes())
    sign_bundle(bundle, key=private)


def _free_port(wanted: int, console: Console) -> int:
    """Return the wanted port, or a free one, saying so, when it is taken."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            console.print(f"Port {wanted} is taken; using another one.", highlight=False)
        else:
            return int(probe.getsockname()[1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(directory: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "GROUNDS_DATA_DIR": str(directory / "data"),
        "GROUNDS_MODELS_DIR": str(directory / "models"),
        "GROUNDS_SUPPLIERS_DIR": str(directory / "suppliers"),
        "GROUNDS_HOST": "127.0.0.1",
        "GROUNDS_DEMO_SIGN_IN": "true",
        "GROUNDS_PORT": str(port),
    }


def _becomes_ready(service: "subprocess.Popen[bytes]", address: str) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=2):  # noqa: S310  # our own
                return True
        except OSError:
            time.sleep(0.1)
    return False


def _post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  # our own address
        url,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # our own address
        answer: dict[str, Any] = json.load(response)
    return answer
