"""Grounds beside the floor of its framework and the systems one would pick instead, in one run.

``python -m benchmarks.compare`` (``make bench``) starts everything on one model, one machine, and
measures in turn, round after round, so that a machine whose speed drifts drifts for all. What a
peer cannot do here is said with the reason. ``--only floor,grounds --rounds 2 --seconds 2`` and
``--parts closed`` run a piece of it.
"""

import argparse
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import batches, machine, open_loop, report, targets
from benchmarks.environments import UnavailableError
from benchmarks.findings import CONNECTIONS, Findings, Measured, Replicas, Start
from benchmarks.grounds_service import (
    MODEL,
    WITH_CHANGE,
    Prepared,
    on_postgres,
    prepare_grounds,
    recorded,
    replica,
)
from benchmarks.processes import end_in_order, free_port, free_ports, server
from benchmarks.shared_model import cases as made_cases
from benchmarks.shared_model import write_rows
from benchmarks.targets import Target
from benchmarks.wrk import Load, finished

NAMES = (
    "floor", "floor-typed", "grounds", "grounds-change", "naive", "mlserver-0", "mlserver-2",
    "bentoml", "mlflow",
)  # fmt: skip
PARTS = ("closed", "open", "batch", "replicas", "start")
CHECKED = 20
"""How many cases every server is compared on before it is measured."""
COMMON_RATE = 1_000.0
OPEN_SECONDS = 10.0
WARM_SECONDS = 1


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3, help="of one run of wrk")
    options.add_argument("--only", type=_names(NAMES), default=NAMES, help=",".join(NAMES))
    options.add_argument("--parts", type=_names(PARTS), default=PARTS, help=",".join(PARTS))
    chosen = options.parse_args()
    end_in_order()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grounds-bench-") as folder:
        place = Path(folder)
        print("\n".join(machine.described()))
        costs = machine.Costs(machine.fsync_ms(place), machine.commit_ms(place))
        print(
            f"one fdatasync of 16 KiB {costs.fsync:.2f} ms, one commit in SQLite {costs.commit:.2f} ms"
        )
        rows = place / "rows.npz"
        write_rows(rows)
        prepared = prepare_grounds(place, rows, names=(MODEL, WITH_CHANGE, "gbc-third"))
        found = Findings(costs=costs)
        if {"closed", "open", "batch"} & set(chosen.parts):
            _servers(place, rows, prepared, chosen, found)
        if "replicas" in chosen.parts:
            with _noting(found, "PostgreSQL"):
                found.replicas = _replicas(place, rows, prepared, chosen)
        if "start" in chosen.parts:
            with _noting(found, "the start with three models"):
                found.start = _start(place, rows, prepared)
    report.show(found)
    print(f"\nthe whole run took {(time.monotonic() - begin) / 60:.1f} minutes")


def _servers(
    place: Path, rows: Path, prepared: Prepared, chosen: argparse.Namespace, found: Findings
) -> None:
    """Start every server, measure them in turn, and compare Grounds' answers with its log."""
    with ExitStack() as stack:
        measured = _started(stack, place, rows, prepared, chosen.only, found)
        if "closed" in chosen.parts:
            _closed_rounds(measured, chosen)
        if "open" in chosen.parts:
            _say("open loop")
            for each in measured:
                with _noting(found, f"{each.target.name} in an open loop"):
                    _open(each)
        if "batch" in chosen.parts:
            _batches(measured, chosen.rounds, found)
        found.measured = measured
    counted = [each for each in measured if each.target.name.startswith("grounds")]
    if counted:
        found.recorded = recorded(prepared.settings)
        found.counted = sum(each.counted for each in counted)
        found.unawaited = sum(each.unawaited for each in counted)


def _batches(measured: Sequence[Measured], rounds: int, found: Findings) -> None:
    for each in measured:
        if each.target.name == "grounds":
            _say("batches")
            with _noting(found, "batches"):
                found.batches = batches.measure(each.target, rounds=rounds)
                each.counted += sum(run.cases for run in found.batches)


def _started(
    stack: ExitStack,
    place: Path,
    rows: Path,
    prepared: Prepared,
    only: Sequence[str],
    found: Findings,
) -> list[Measured]:
    cases = made_cases(rows)
    measured: list[Measured] = []
    grounds_port = free_port()
    ours = targets.grounds(prepared, cases, grounds_port)
    # One service serves both policies; without it there is nothing to compare with.
    _say("starting grounds")
    running = stack.enter_context(
        server(
            ours.command,
            ready=ours.ready,
            log=place / "grounds.log",
            environment=ours.environment,
        )
    )
    size = len(ours.ask(ours.bodies[0]))
    told = [ours.read(ours.ask(body))[0] for body in ours.bodies[:CHECKED]] if ours.read else []
    asked = 1 + len(told)
    change = targets.grounds(prepared, cases, grounds_port, WITH_CHANGE)
    makers: dict[str, Callable[[], Target]] = {
        "floor": lambda: targets.floor(cases, free_port(), size=size, typed=False),
        "floor-typed": lambda: targets.floor(cases, free_port(), size=size, typed=True),
        "naive": lambda: targets.naive(cases, rows, place / "naive", free_port()),
        "mlserver-0": lambda: targets.mlserver(cases, rows, place / "ml0", free_ports(3), 0),
        "mlserver-2": lambda: targets.mlserver(cases, rows, place / "ml2", free_ports(3), 2),
        "bentoml": lambda: targets.bentoml(cases, rows, place / "bentoml", free_port()),
        "mlflow": lambda: targets.mlflow(cases, rows, place / "mlflow", free_port()),
    }
    for name in only:
        if name == "grounds":
            measured.append(Measured(ours, running, _load(place, ours), counted=asked))
            continue
        if name == "grounds-change":
            measured.append(Measured(change, running, _load(place, change)))
            continue
        _say(f"starting {name}")
        try:
            target = makers[name]()
            each = stack.enter_context(
                server(
                    target.command,
                    ready=target.ready,
                    log=place / f"{name}.log",
                    environment=target.environment,
                    folder=target.folder,
                )
            )
            target.check(told)
        except UnavailableError as error:
            found.missing[name] = str(error)
            continue
        measured.append(Measured(target, each, _load(place, target)))
    found.answer_bytes = size
    if "grounds" not in only and "grounds-change" in only:
        measured[0].counted += asked
    return measured


def _load(place: Path, target: Target) -> Load:
    return Load(place, target.name, url=target.url, headers=target.headers, bodies=target.bodies)


def _closed_rounds(measured: Sequence[Measured], chosen: argparse.Namespace) -> None:
    _say("closed loop")
    for each in measured:
        each.run(CONNECTIONS[-1], WARM_SECONDS)
    for _ in range(chosen.rounds):
        for connections in CONNECTIONS:
            for each in measured:
                _closed(each, connections, chosen.seconds)
    for each in measured:
        each.memory_mib = each.running.memory_mib()
        each.processes = each.running.processes()


def _closed(each: Measured, connections: int, seconds: int) -> None:
    before = each.running.cpu_seconds()
    run = each.run(connections, seconds)
    each.runs.setdefault(connections, []).append(run)
    answered = run.answered - run.refused
    if connections == CONNECTIONS[-1] and answered:
        each.cpu_us.append((each.running.cpu_seconds() - before) / answered * 1e6)


def _open(each: Measured) -> None:
    """Measure at half of what it can do, and at a common rate where it can do that."""
    if CONNECTIONS[-1] in each.runs:
        capacity = statistics.median(run.per_second for run in each.runs[CONNECTIONS[-1]])
    else:
        capacity = each.run(CONNECTIONS[-1], 2).per_second
    rates = [capacity / 2]
    if capacity > 1.5 * COMMON_RATE:
        rates.append(COMMON_RATE)
    for rate in rates:
        latency = open_loop.measure(
            each.target.url,
            headers=each.target.headers,
            bodies=each.target.bodies,
            rate=rate,
            seconds=OPEN_SECONDS,
        )
        each.counted += latency.sent - latency.failed
        each.unawaited += latency.failed
        each.open.append(latency)


def _replicas(place: Path, rows: Path, prepared: Prepared, chosen: argparse.Namespace) -> Replicas:
    """Measure one process on PostgreSQL against two, in turn."""
    _say("PostgreSQL, one process and two")
    cases = made_cases(rows)
    with on_postgres(prepared, place) as first, ExitStack() as stack:
        loads = []
        for number, make in enumerate((lambda: first, lambda: replica(first, place))):
            target = targets.grounds(make(), cases, free_port())
            stack.enter_context(
                server(
                    target.command,
                    ready=target.ready,
                    log=place / f"postgres-{number}.log",
                    environment=target.environment,
                )
            )
            load = Load(
                place,
                f"postgres-{number}",
                url=target.url,
                headers=target.headers,
                bodies=target.bodies,
            )
            load.run(16, WARM_SECONDS)
            loads.append(load)
        one: list[float] = []
        two: list[float] = []
        for _ in range(chosen.rounds):
            one.append(loads[0].run(64, chosen.seconds).per_second)
            both = [load.start(32, chosen.seconds) for load in loads]
            two.append(sum(finished(each).per_second for each in both))
        return Replicas(one, two)


def _start(place: Path, rows: Path, prepared: Prepared) -> Start:
    """Start the service on three models again and again; then ask each and look at its memory."""
    _say("starting with three models")
    cases = made_cases(rows)
    ready: list[float] = []
    memory = 0.0
    for _ in range(3):
        port = free_port()
        target = targets.grounds(prepared, cases, port)
        with server(
            target.command,
            ready=target.ready,
            log=place / "start.log",
            environment=target.environment,
        ) as running:
            ready.append(running.ready_seconds)
            for model in (MODEL, WITH_CHANGE, "gbc-third"):
                asked = targets.grounds(prepared, cases, port, model)
                _load(place, asked).run(16, 2)
            memory = running.memory_mib()
    return Start(ready, memory)


@contextmanager
def _noting(found: Findings, what: str) -> Iterator[None]:
    """Let one measurement fail alone: what is found already must not be lost with it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it was, it is told
        traceback.print_exc()
        found.missing[what] = f"{type(error).__name__}: {error}"


def _names(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        given = tuple(text.split(","))
        unknown = sorted(set(given) - set(allowed))
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: want some of {', '.join(allowed)}")
        return given

    return parse


def _say(text: str) -> None:
    print(f"  {text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
