"""Printing what a comparison found: tables in Markdown, and each target as met or missed."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.batches import SIZES, middle
from benchmarks.findings import CONNECTIONS, Findings, Measured

MOST = CONNECTIONS[-1]
LARGEST = SIZES[-1]
MANY_FOR_P999 = 5_000
PEER_TARGETS = (
    ("naive", "naive FastAPI + shap", 64, 10),
    ("mlserver", "MLServer + alibi", 16, 6),
    ("bentoml", "BentoML + shap", 16, 10),
    ("mlflow", "MLflow + shap", 16, 10),
)


def show(found: Findings) -> None:
    """Print everything."""
    if any(each.runs for each in found.measured):
        _closed(found)
    if any(each.open for each in found.measured):
        _open(found)
    if found.batches:
        _batches(found)
    if found.recorded:
        _records(found)
    if found.replicas is not None:
        one, two = median(found.replicas.one), median(found.replicas.two)
        print(
            f"\nPostgreSQL, 64 connections: one process {one:,.0f}/s, two {two:,.0f}/s: "
            f"{two / one:.2f} times"
        )
    if found.start is not None:
        times = ", ".join(f"{seconds:.2f}" for seconds in found.start.ready_seconds)
        print(
            f"\nThree models, warm: ready after {times} s; "
            f"{found.start.memory_mib:.0f} MiB after load on each"
        )
    for name, reason in found.missing.items():
        print(f"\n{name} was not measured: {reason}")
    print("\nTargets of this run")
    for line in _targets(found):
        print(f"- {line}")


def _closed(found: Findings) -> None:
    rounds = max(len(runs) for each in found.measured for runs in each.runs.values())
    print(f"\nClosed loop (wrk), medians of {rounds} interleaved rounds")
    print(f"(our answer has {found.answer_bytes:,} bytes; answers a second, times in ms)\n")
    heads = ["served by"]
    for connections in CONNECTIONS:
        heads += [f"{connections}: /s", "p50", "p99"]
    heads += ["CPU us an answer", "MiB", "processes", "ready s", "failed"]
    rows = []
    for each in found.measured:
        cells = [each.target.told]
        for connections in CONNECTIONS:
            cells.append(f"{each.middle(connections, 'per_second'):,.0f}")
            cells += [f"{each.middle(connections, name):.2f}" for name in ("p50", "p99")]
        cells += [
            f"{median(each.cpu_us):,.0f}" if each.cpu_us else "-",
            f"{each.memory_mib:.0f}",
            str(each.processes),
            f"{each.running.ready_seconds:.1f}",
            str(each.failed()),
        ]
        rows.append(cells)
    _table(heads, rows)
    ours = found.named("grounds")
    if ours is None:
        return
    print("\nGrounds against each: answers a second, ours over theirs\n")
    rows = [
        [
            each.target.told,
            *(f"{_ratio(ours, each, connections):.2f}" for connections in CONNECTIONS),
        ]
        for each in found.measured
        if each is not ours
    ]
    _table(["served by", *(f"{connections} connections" for connections in CONNECTIONS)], rows)


def _open(found: Findings) -> None:
    print("\nOpen loop (Poisson, 256 connections, counted from the intended moment), times in ms\n")
    heads = ["served by", "sent a second", "p50", "p99", "p99.9", "failed", "generator late p99"]
    rows = []
    for each in found.measured:
        for run in each.open:
            slow = f"{run.p999:.2f}" if run.sent >= MANY_FOR_P999 else f"({run.sent} sent)"
            rows.append(
                [
                    each.target.told,
                    f"{run.rate:,.0f}",
                    f"{run.p50:.2f}",
                    f"{run.p99:.2f}",
                    slow,
                    str(run.failed),
                    f"{run.late_p99:.2f}",
                ]
            )
    _table(heads, rows)


def _batches(found: Findings) -> None:
    print("\nBatches of Grounds: one client that sends the next when one is done, medians\n")
    rows = [
        [f"{run.size:,}", f"{median(run.per_second):,.0f}", f"{run.answer_bytes:,}"]
        for run in found.batches
    ]
    _table(["cases in a batch", "cases a second", "bytes of the answer"], rows)


def _records(found: Findings) -> None:
    most = found.counted + found.unawaited
    is_whole = found.counted <= found.recorded <= most
    print(
        f"\nDurable records: {found.counted:,} answers counted, {found.recorded:,} recommendations "
        f"in the log; at most {found.unawaited:,} were cut when a run ended: "
        f"{'every answer has its record' if is_whole else 'THEY DO NOT FIT'}"
    )


def _targets(found: Findings) -> Iterator[str]:
    ours, floor = found.named("grounds"), found.named("floor")
    if ours is not None and ours.runs and floor is not None:
        ratio = _ratio(ours, floor, MOST)
        yield _said(f"{ratio:.2f} of the floor at 64 connections", "0.75", is_met=ratio >= 0.75)
        most = floor.middle(1, "p50") + found.costs.commit + 0.150
        p50 = ours.middle(1, "p50")
        wanted = f"{most:.2f}: the floor's {floor.middle(1, 'p50'):.2f} + a commit + 0.15"
        yield _said(f"p50 at 1 connection {p50:.2f} ms", wanted, is_met=p50 <= most)
        p99 = ours.middle(16, "p99")
        wanted = f"10 where fsync is 0.2 ms; here it is {found.costs.fsync:.2f}"
        yield _said(f"p99 at 16 connections {p99:.2f} ms", wanted, is_met=p99 <= 10)
    if ours is not None and ours.runs:
        for name, told, connections, least in PEER_TARGETS:
            peers = [
                each for each in found.measured if each.target.name.startswith(name) and each.runs
            ]
            if peers:
                ratio = min(_ratio(ours, each, connections) for each in peers)
                what = f"{ratio:.1f} times {told} at {connections} connections"
                yield _said(what, str(least), is_met=ratio >= least)
    if found.batches:
        rate = middle(found.batches, LARGEST)
        yield _said(
            f"batch of {LARGEST:,}: {rate:,.0f} cases a second", "15,000", is_met=rate >= 15_000
        )
    if found.replicas is not None:
        ratio = median(found.replicas.two) / median(found.replicas.one)
        yield _said(f"two processes {ratio:.2f} times one", "1.5", is_met=ratio >= 1.5)
    if found.start is not None:
        memory, ready = found.start.memory_mib, median(found.start.ready_seconds)
        yield _said(f"{memory:.0f} MiB with three models", "under 300", is_met=memory < 300)
        yield _said(f"ready after {ready:.2f} s", "under 3", is_met=ready < 3)


def _said(what: str, wanted: str, *, is_met: bool) -> str:
    return f"{'met' if is_met else 'MISSED'}: {what} (want {wanted})"


def _ratio(ours: Measured, theirs: Measured, connections: int) -> float:
    return ours.middle(connections, "per_second") / theirs.middle(connections, "per_second")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
