"""Closed-loop load with wrk: as many requests as so many connections can keep in flight."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
local bodies, headers = {}, {}
for line in io.lines(os.getenv("BENCH_BODIES")) do bodies[#bodies + 1] = line end
for name, value in string.gmatch(os.getenv("BENCH_HEADERS"), "([^\\n:]+): ([^\\n]+)") do
  headers[name] = value
end
local n = 0
request = function()
  n = n % #bodies + 1
  return wrk.format("POST", nil, headers, bodies[n])
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"answered":%d,"refused":%d,"broken":%d,"seconds":%f,"p50":%f,"p99":%f,"p999":%f}\\n',
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3))
end
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave; times in milliseconds."""

    answered: int
    refused: int
    broken: int
    seconds: float
    p50: float
    p99: float
    p999: float

    @property
    def per_second(self) -> float:
        """Successful answers a second."""
        return (self.answered - self.refused) / self.seconds


class Load:
    """One address to load, with the bodies to cycle through."""

    def __init__(
        self, place: Path, name: str, *, url: str, headers: Mapping[str, str], bodies: Sequence[str]
    ) -> None:
        if shutil.which("wrk") is None:
            raise SystemExit("this needs wrk (Debian: apt-get install wrk)")
        self._url = url
        self._script = place / "wrk.lua"
        self._script.write_text(SCRIPT)
        written = place / f"{name}.bodies"
        written.write_text("".join(f"{body}\n" for body in bodies))
        lines = {"Content-Type": "application/json", **headers}
        self._environment = {
            **os.environ,
            "BENCH_BODIES": str(written),
            "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in lines.items()),
        }

    def start(self, connections: int, seconds: int) -> "subprocess.Popen[str]":
        """Start a run; ``finished`` gives what came of it."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
        return subprocess.Popen(
            [*command, "-s", str(self._script), self._url],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, connections: int, seconds: int) -> Run:
        """Load with so many connections for so long."""
        return finished(self.start(connections, seconds))


def finished(process: "subprocess.Popen[str]") -> Run:
    """Wait for a run and return what it gave."""
    text, _ = process.communicate()
    for line in text.splitlines():
        if line.startswith("RESULT "):
            return Run(**json.loads(line.removeprefix("RESULT ")))
    raise SystemExit(f"wrk failed:\n{text}")
