"""The pages among many cases: what they cost with 1,000 cases in the log and with 1,000,000.

``python -m benchmarks.pages`` asks the service about the demonstration's cases, appends their records
again and again to two logs, each as a case of its own, and lets the index follow. Then it starts the
service on both and asks for pages in turn, one at a time, as the browsers of a caseworker and of an
auditor do. What is timed is the whole answer as a browser waits for it. Ends with 1 when a bound is
broken.
"""

import argparse
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import httpx

from app.case_events import TAKEN, event_record
from app.demo.asking import request_body
from app.demo.people import PEOPLE
from app.demo.show import POLICY
from app.domain import Caller, Kind, Role
from app.ids import new_id, timestamp, utc_now
from app.index.follower import Follower
from app.index.store import FILE, IndexStore
from app.keys import KeyStore
from app.log_store import log_directory
from app.reading import StoredDecision
from app.records import parse_recommendation
from app.settings import Settings
from audit.log import Log
from audit.reader import LogReader
from audit.records import NewRecord, Receipt, StoredRecord
from benchmarks import machine
from benchmarks.grounds_service import grounds_environment, wait_until_read
from benchmarks.processes import end_in_order, free_port, server
from models.demo.build import build_demo
from models.demo.cases import DEMO_CASES

MODEL = "housing-support"
MOST_MS = 50.0
"""Of a case's page, p95."""
MOST_GROWTH = 1.3
"""Of a page's p50, from few cases to many."""
GROUP = 256
TAKEN_EVERY = 5
HOLDERS = 40
"""So many people hold cases: the demonstration's caseworker is one of them."""
CASEWORKER = "demo-caseworker"
SUBJECT = "person-{:09}"
KEPT = 5_000
"""Identifiers that cases are looked up by, from all over the log."""
PAGES: Mapping[str, tuple[Role, str]] = {
    "a case": (Role.CASEWORKER, "/decisions/{decision}"),
    "my cases": (Role.CASEWORKER, "/cases?which=mine"),
    "cases nobody has taken": (Role.CASEWORKER, "/cases"),
    "all cases, newest first": (Role.CASEWORKER, "/cases?which=all&order=newest"),
    "find decisions": (Role.AUDITOR, "/audit/decisions"),
    "find decisions by advice": (Role.AUDITOR, "/audit/decisions?advised=priority"),
    "what happened to a decision": (Role.AUDITOR, "/audit/decisions/{decision}"),
}


@dataclass(frozen=True, slots=True)
class Asking:
    """A running service, with a browser of each role signed in."""

    decisions: Sequence[str]
    browsers: Mapping[Role, httpx.Client]

    def milliseconds(self, page: str, decision: int) -> float:
        """Return how long a page took. ``decision`` says which case it is about."""
        role, path = PAGES[page]
        address = path.format(decision=self.decisions[decision % len(self.decisions)])
        start = time.perf_counter()
        answer = self.browsers[role].get(address)
        took = (time.perf_counter() - start) * 1e3
        if answer.status_code != httpx.codes.OK:
            raise SystemExit(f"{address}: status {answer.status_code}")
        return took


def main() -> None:
    """Fill, ask and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=1_000_000, help="of the full log")
    options.add_argument("--few", type=int, default=1_000, help="cases of the other log")
    options.add_argument("--rounds", type=int, default=200, help="of all pages; 0 only fills")
    options.add_argument("--folder", type=Path, help="where logs are kept for another run")
    chosen = options.parse_args()
    end_in_order()
    print("\n".join(machine.described()))
    with tempfile.TemporaryDirectory(prefix="grounds-pages-") as temporary:
        place: Path = chosen.folder or Path(temporary)
        answered = _answered(place)
        logs = [_log(place, count, answered) for count in (chosen.few, chosen.cases)]
        if chosen.rounds == 0:
            return
        with ExitStack() as stack:
            few, many = (
                stack.enter_context(_asking(settings, ids, place)) for settings, ids in logs
            )
            found = _measured(few, many, chosen.rounds)
    sys.exit(0 if _told(found, chosen.few, chosen.cases) else 1)


def _answered(place: Path) -> list[StoredRecord]:
    """Return the record of each demonstration case, as the service made it."""
    model = place / "models" / MODEL
    settings = _settings(place, "answered")
    if not model.exists():
        build_demo(model / "bundle")
        (model / POLICY.name).write_bytes(POLICY.read_bytes())
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        key = store.create(name="benchmark", role=Role.CALLER, clock=utc_now)
    ids = []
    with _serving(settings, place) as address:
        for case in DEMO_CASES.values():
            answer = httpx.post(
                f"{address}/v1/models/{MODEL}/decisions",
                json={**request_body(case), "subject": SUBJECT.format(0)},
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
            )
            ids.append(str(answer.raise_for_status().json()["id"]))
    with closing(
        LogReader.open_readonly(log_directory(settings), origin=settings.log_origin)
    ) as log:
        return [log.read(each) for each in ids]


def _log(
    place: Path, cases: int, answered: Sequence[StoredRecord]
) -> tuple[Settings, Sequence[str]]:
    """Return the settings of a log with so many cases, and the identifiers of some of them."""
    settings = _settings(place, str(cases))
    kept = place / f"{cases}.txt"
    if not kept.exists():
        settings.data_dir.mkdir()
        start = time.monotonic()
        with closing(
            Log.open(
                log_directory(settings), origin=settings.log_origin, clock=utc_now, create=True
            )
        ) as log:
            ids = fill(log, cases, answered)
            filled = time.monotonic()
            with closing(IndexStore(settings.data_dir / FILE)) as index:
                Follower(log, index).catch_up()
            print(
                f"{cases:,} cases, {log.size:,} entries: filled in {(filled - start) / 60:.1f}"
                f" minutes, the index in {(time.monotonic() - filled) / 60:.1f}",
                flush=True,
            )
        kept.write_text("\n".join(ids[:: max(1, cases // KEPT)]))
    return settings, kept.read_text().split()


def fill(log: Log, cases: int, answered: Sequence[StoredRecord]) -> list[str]:
    """Append so many cases, one in five of them taken by somebody; return their identifiers."""
    ids: list[str] = []
    for first in range(0, cases, GROUP):
        numbers = range(first, min(cases, first + GROUP))
        records = [
            _case(number, record)
            for number, record in zip(numbers, islice(cycle(answered), len(numbers)), strict=False)
        ]
        receipts = log.append(records)
        ids += [record.id for record in records]
        taken = [
            _taken(number, record, receipt)
            for number, record, receipt in zip(numbers, records, receipts, strict=True)
            if number % TAKEN_EVERY == 0
        ]
        log.append(taken)
    return ids


def _case(number: int, record: StoredRecord) -> NewRecord:
    """Return a record again, of another case and another person."""
    id_, subject = new_id(), SUBJECT.format(number)
    payload = (record.payload or b"").replace(record.id.encode(), id_.encode())
    return NewRecord(
        type=record.type,
        id=id_,
        facts=record.facts,
        payload=payload.replace(SUBJECT.format(0).encode(), subject.encode()),
        subject=subject,
    )


def _taken(number: int, record: NewRecord, receipt: Receipt) -> NewRecord:
    """Return the entry that says who took a case."""
    holder = number // TAKEN_EVERY % HOLDERS
    actor = Caller(
        key_id="benchmark",
        role=Role.CASEWORKER,
        kind=Kind.HUMAN,
        actor=CASEWORKER if holder == 0 else f"caseworker-{holder}",
    )
    decision = StoredDecision(record.id, parse_recommendation(record.payload or b""), receipt)
    return event_record(
        decision, number=1, type_=TAKEN, actor=actor, at=timestamp(utc_now()), content={}
    )


def _settings(place: Path, name: str) -> Settings:
    return Settings(
        models_dir=place / "models",
        data_dir=place / name,
        suppliers_dir=place / "suppliers",
        profile="none",
    )


@contextmanager
def _serving(settings: Settings, place: Path) -> Iterator[str]:
    """Run the service; return its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with server(
        [sys.executable, "-m", "app", "serve"],
        ready=f"{address}/health/ready",
        log=place / f"service-{settings.data_dir.name}.log",
        environment={
            **grounds_environment(settings, port),
            "GROUNDS_ALLOW_UNSIGNED": "true",
            "GROUNDS_DEMO_SIGN_IN": "true",
        },
    ) as running:
        print(f"{settings.data_dir.name}: ready in {running.ready_seconds:.1f} s", flush=True)
        yield address


@contextmanager
def _asking(settings: Settings, decisions: Sequence[str], place: Path) -> Iterator[Asking]:
    with ExitStack() as stack:
        address = stack.enter_context(_serving(settings, place))
        browsers = {}
        for name in (CASEWORKER, "demo-auditor"):
            browser = stack.enter_context(httpx.Client(base_url=address, timeout=60))
            (token, *_) = re.findall(r'name="csrf" value="([^"]+)"', browser.get("/sign-in").text)
            browser.post("/sign-in/demonstration", data={"csrf": token, "person": name})
            browsers[PEOPLE[name]] = browser
        begun = time.monotonic()
        wait_until_read(address)
        print(f"  read its log through in {time.monotonic() - begun:.0f} s", flush=True)
        yield Asking(decisions, browsers)


def _measured(few: Asking, many: Asking, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return how long each page took on both, in milliseconds."""
    rng = random.Random(0)  # noqa: S311
    found: dict[str, tuple[list[float], list[float]]] = {page: ([], []) for page in PAGES}
    for number in range(-20, rounds):
        for page, times in found.items():
            decision = rng.randrange(KEPT)
            for each, took in zip((few, many), times, strict=True):
                milliseconds = each.milliseconds(page, decision)
                if number >= 0:  # the first ones are to warm up
                    took.append(milliseconds)
    return found


def _told(found: Mapping[str, tuple[list[float], list[float]]], few: int, many: int) -> bool:
    """Print the table; return whether all bounds are kept."""
    print(f"\n| page | {few:,} cases: p50 ms | p95 | {many:,} cases: p50 ms | p95 | p50 ratio |")
    print("|---|---|---|---|---|---|")
    growth = {}
    for page, times in found.items():
        (low, low_p95), (high, high_p95) = map(_p50_p95, times)
        growth[page] = high / low
        print(
            f"| {page} | {low:.1f} | {low_p95:.1f} | {high:.1f} | {high_p95:.1f} "
            f"| {growth[page]:.2f} |"
        )
    slowest = _p50_p95(found["a case"][1])[1]
    page, most = max(growth.items(), key=lambda each: each[1])
    print(f"\na case, p95: {slowest:.1f} ms (below {MOST_MS:g})")
    print(f"largest growth: {most:.2f}, {page} (at most {MOST_GROWTH:g})")
    return slowest < MOST_MS and most <= MOST_GROWTH


def _p50_p95(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    main()
