"""The budget of one decision: microseconds of processor time, stage by stage.

``python -m benchmarks.budget`` opens the production application on the demonstration model in this
process, without sockets, and times each stage alone over 500 cases, then whole decisions with 64 asked
at once, and the floor in the same way. Processor time, the best of several runs: what others do on the
machine disturbs it less than the clock.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import structlog
import yaml
from fastapi import FastAPI

from app import records
from app.answers import Assessment, answer_body
from app.api import schemas
from app.api.lean import parse_body
from app.api.parts import Parts
from app.demo.asking import request_body
from app.domain import Caller, Role
from app.ids import new_id, utc_now
from app.keys import KeyStore
from app.main import create_app
from app.service import Application, advise, bits_of, explain, find_changes
from app.settings import Settings
from audit.envelope import RECORD_SECRET_BYTES, fresh_secrets, seal
from audit.records import NewRecord, Receipt
from benchmarks.floor import app as floor
from models.demo.build import build_demo, demo_applications
from models.signing import make_key, sign_bundle

MODEL = "housing-support"
POLICY = Path(__file__).parent.parent / "app" / "demo" / "policy.yaml"
CASES = 500
AT_ONCE = 64
IN_STEP = 32
RUNS = 5

Stage: TypeAlias = Callable[[int], object]


def main() -> None:
    """Measure and print."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(Path("/dev/null").open("w")),  # noqa: SIM115
        cache_logger_on_first_use=True,
    )
    bodies = [json.dumps(request_body(case)).encode() for case in demo_applications().cases[:CASES]]
    for asked in ("never", "adverse_or_near_threshold"):
        with tempfile.TemporaryDirectory() as place:
            settings, key = _prepare(Path(place), asked)
            asyncio.run(_measure(settings, key, bodies, asked))


async def _measure(settings: Settings, key: str, bodies: Sequence[bytes], asked: str) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        parts: Parts = app.state.parts
        if asked == "never":
            print("one stage alone, microseconds of processor time")
            for name, micros in _stages(parts, bodies):
                print(f"  {name:44}{micros:8.1f}")
        print(f"{AT_ONCE} decisions at once, without sockets; what would change: {asked}")
        headers = [
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {key}".encode()),
        ]
        path = f"/v1/models/{MODEL}/decisions"
        loop, other = await _whole(app, path, headers, bodies, status=201)
        print(f"  {'event loop thread':44}{loop:8.1f}")
        print(f"  {'other threads (engine, slow lane, WAL)':44}{other:8.1f}")
    if asked == "never":
        loop, other = await _whole(floor, "/", headers, bodies, status=200)
        print(f"  {'the floor, event loop thread':44}{loop:8.1f}")


def _prepare(place: Path, asked: str) -> tuple[Settings, str]:
    settings = Settings(
        models_dir=place / "models", data_dir=place / "data", suppliers_dir=place / "suppliers"
    )
    bundle = settings.models_dir / MODEL / "bundle"
    build_demo(bundle)
    key, _ = make_key(settings.suppliers_dir, "budget")
    sign_bundle(bundle, key=key)
    policy = {**yaml.safe_load(POLICY.read_text()), "what_would_change": asked}
    (settings.models_dir / MODEL / "policy.yaml").write_text(yaml.safe_dump(policy))
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        return settings, store.create(name="budget", role=Role.CALLER, clock=utc_now)


def _stages(parts: Parts, bodies: Sequence[bytes]) -> list[tuple[str, float]]:
    served, caller, now = parts.served[MODEL], Caller("budget", Role.CALLER), utc_now()
    run = served.bundle.session.run_row
    asked = [schemas.DecisionRequest.model_validate(parse_body(body)) for body in bodies]
    cases = [served.bundle.schema.encode(each.case) for each in asked]
    admitted = [
        parts.admission.admit(served, each, case.values, caller=caller, on=now.date())
        for each, case in zip(asked, cases, strict=True)
    ]
    scored = [run(case.feeds) for case in cases]
    explained = [
        explain(served, case, each, decision_id="budget")
        for case, each in zip(cases, scored, strict=True)
    ]
    familiar = [served.sureness.familiarity.check(case.values) for case in cases]

    def advised(at: int) -> Any:
        return advise(served, cases[at], scored[at], familiar[at], admitted[at], created=now)

    advice = [advised(at) for at in range(len(cases))]
    assessed = [
        Assessment(scored[at], explained[at], familiar[at], advice[at], None, admitted[at], now)
        for at in range(len(cases))
    ]
    identifier = new_id()
    answers = [
        answer_body(served, case, each, decision_id=identifier)
        for case, each in zip(cases, assessed, strict=True)
    ]

    def payload(at: int) -> bytes:
        return records.recommendation_payload(
            caller=caller.key_id,
            subject=None,
            case=cases[at].values,
            circumstances=admitted[at],
            terms=served.terms,
            answer=answers[at],
            bits=bits_of(scored[at], explained[at], advice[at]),
            runtime=parts.runtime,
        )

    def search(at: int) -> object:
        return find_changes(served, cases[at], assessed[at])

    payloads = [payload(at) for at in range(len(cases))]
    secrets = fresh_secrets(RECORD_SECRET_BYTES, len(cases))
    receipt = Receipt(parts.settings.log_origin, 1, bytes(32))
    stages: Mapping[str, Stage] = {
        "parse the body": lambda at: parse_body(bodies[at]),
        "check its form": lambda at: schemas.DecisionRequest.model_validate(parse_body(bodies[at])),
        "check and encode the case": lambda at: served.bundle.schema.encode(asked[at].case),
        "admit": lambda at: parts.admission.admit(
            served, asked[at], cases[at].values, caller=caller, on=now.date()
        ),
        "score (onnxruntime)": lambda at: run(cases[at].feeds),
        "explain": lambda at: explain(served, cases[at], scored[at], decision_id="budget"),
        "compare with the background": lambda at: served.sureness.familiarity.check(
            cases[at].values
        ),
        "apply the policy": advised,
        "write the answer": lambda at: answer_body(
            served, cases[at], assessed[at], decision_id=identifier
        ),
        "write the payload": payload,
        "seal the payload": lambda at: seal(payloads[at], record_id=identifier, secret=secrets[at]),
        "add the receipt": lambda at: records.with_receipt(answers[at], receipt),
        "search what would change (if asked)": search,
    }
    found = [(name, _micros(stage, len(cases))) for name, stage in stages.items()]
    lines = [
        Application(new_id(), served, caller, case, None, None, parts.service, terms)
        for case, terms in zip(cases, admitted, strict=True)
    ]
    found += [
        (f"score to payload, {count} in step", _in_step(parts, lines, count))
        for count in (1, IN_STEP)
    ]
    found += [
        (f"append, a group of {size}, sealing included", _append(parts, payloads, size))
        for size in (1, AT_ONCE)
    ]
    return found


def _micros(stage: Stage, count: int) -> float:
    best = float("inf")
    for _ in range(RUNS):
        start = time.thread_time()
        for at in range(count):
            stage(at)
        best = min(best, time.thread_time() - start)
    return best / count * 1e6


def _in_step(parts: Parts, applications: Sequence[Application], count: int) -> float:
    """Return the cost of one case on the whole line, so many going it together."""
    groups = [applications[first : first + count] for first in range(0, len(applications), count)]
    return (
        _micros(lambda at: parts.service.prepare(groups[at]), len(groups))
        * len(groups)
        / len(applications)
    )


def _append(parts: Parts, payloads: Sequence[bytes], size: int) -> float:
    """Return the cost of one record; the engine is idle meanwhile."""
    facts = parts.served[MODEL].facts
    best = float("inf")
    for _ in range(RUNS):
        start = time.thread_time()
        for first in range(0, 256, size):
            parts.log.append(
                [
                    NewRecord(records.RECOMMENDATION, new_id(), facts, payload)
                    for payload in payloads[first : first + size]
                ]
            )
        best = min(best, time.thread_time() - start)
    return best / 256 * 1e6


async def _whole(
    app: FastAPI,
    path: str,
    headers: list[tuple[bytes, bytes]],
    bodies: Sequence[bytes],
    *,
    status: int,
) -> tuple[float, float]:
    """Return microseconds of the event loop's thread and of all others, per answer."""
    best = (float("inf"), float("inf"))
    for _ in range(RUNS):
        own, process = time.thread_time(), time.process_time()
        for first in range(0, len(bodies) - AT_ONCE + 1, AT_ONCE):
            await asyncio.gather(
                *(
                    _ask(app, path, headers, body, status)
                    for body in bodies[first : first + AT_ONCE]
                )
            )
        count = len(bodies) // AT_ONCE * AT_ONCE
        own, process = time.thread_time() - own, time.process_time() - process
        best = min(best, (own / count * 1e6, (process - own) / count * 1e6))
    return best


def _ask(
    app: FastAPI, path: str, headers: list[tuple[bytes, bytes]], body: bytes, status: int
) -> Awaitable[None]:
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "asgi": {"version": "3.0"},
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != status:
            raise RuntimeError(f"got status {message['status']}, want {status}")

    return app(scope, receive, send)


if __name__ == "__main__":
    main()
