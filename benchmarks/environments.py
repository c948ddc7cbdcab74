"""An environment of its own for each peer, made once from its pinned requirements.

They lie in ``.tools/bench/NAME``, which git ignores; ``python -m benchmarks.environments`` makes all. Requirements are pinned with hashes and without
any registry's address; an environment is made again when its requirements have changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
VARIABLE = "BENCH_ENVIRONMENTS"
"""Names another folder, such as that of a checkout which has them already."""
NAMES = ("naive", "bentoml", "mlflow", "mlserver")
UV_PLACES = (".uv/bin/uv",)


class UnavailableError(Exception):
    """A peer cannot be measured here; the message says why."""


def environment(name: str) -> Path:
    """Return the peer's environment, made if need be. Raises UnavailableError."""
    requirements = PEERS / f"{name}.txt"
    folder = Path(os.environ.get(VARIABLE, ".tools/bench"), name).absolute()
    stamp = folder / ".requirements-sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"  making the environment of {name} (once) ...", file=sys.stderr, flush=True)
    uv = shutil.which("uv") or next((place for place in UV_PLACES if Path(place).exists()), None)
    if uv is None:
        raise UnavailableError("uv was not found (make .venv/.installed fetches it)")
    commands = (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", str(requirements)],
    )
    for command in commands:
        done = subprocess.run(
            command,
            env={**os.environ, "VIRTUAL_ENV": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UnavailableError(f"cannot be installed: {_last_line(done.stderr)}")
    stamp.write_text(wanted)
    return folder


def prepare(name: str, rows: Path, folder: Path) -> None:
    """Train the model in the peer's environment and save it there. Raises UnavailableError."""
    done = subprocess.run(
        [environment(name) / "bin" / "python", PEERS / "prepare.py", name, rows, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UnavailableError(f"cannot save the model: {_last_line(done.stderr)}")


def installed(name: str, package: str) -> str:
    """Return the version of a package that the peer's requirements pin."""
    for line in (PEERS / f"{name}.txt").read_text().splitlines():
        found, _, version = line.partition("==")
        if found == package:
            return version.split()[0]
    raise KeyError(package)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def main() -> None:
    """Make every environment, and say which cannot be made."""
    for name in NAMES:
        try:
            print(f"{name}: {environment(name)}")
        except UnavailableError as error:
            print(f"{name} {error}")


if __name__ == "__main__":
    main()
