"""While the advice on a case is kept back, no answer of the service holds a byte of it.

Every route there is, API and pages, is asked about such a case with every role: the list is the
application's own, so that a new route is tried by itself. What is looked for are the numbers and sentences of
the answer in the log, and the advised outcome: three outcomes that differ in nothing else are told
apart only by the advice, so the advised one may nowhere be said more often than its neighbour.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import httpx
import orjson
import pytest
import yaml
from fastapi.routing import APIRoute

from app.api.batch_answer import NDJSON
from app.domain import Role
from app.main import PAGES, ROUTERS
from app.records import parse_recommendation
from app.settings import Settings
from models.bundle import read
from models.rows import Row
from tests.app import tiny
from tests.app.governed import REASON, Governed
from tests.app.test_supplied import honest_bundle
from tests.app.versions import Owner
from tests.contract.operations import Operation, operations
from tests.signed import signed
from tests.started import start

ADVISED, NEIGHBOUR, SENT = "advised-zqa", "neighbour-zqb", "sent-zqc"
"""Outcomes: what the model advises, one that nobody says, and what people send.

They are too long to stand by chance in a form's token, a digest or a signature, as three letters may.
"""
BANDS = [
    {
        "rule": f"rule-{outcome}", "at_least": line, "outcome": outcome, "label": f"Label {outcome}",
        "supported_by": "higher", "adverse": True,
    }
    for outcome, line in ((NEIGHBOUR, 0.0), (SENT, 0.3), (ADVISED, 0.6))
]  # fmt: skip
LETTERS = {
    "en": {
        "body": "The council", "matter": "your application", "contact": "Phone us.",
        "ask_for_a_person": "Phone us.", "appeal": "Complain to the ombudsman.",
        "outcomes": {each: f"We say {each}." for each in (ADVISED, NEIGHBOUR, SENT)},
    }
}  # fmt: skip
POLICY = {
    **tiny.policy(),
    "bands": BANDS,
    "reveal": "after_own_assessment",
    "notice": {"letters": LETTERS},
    "rules": [
        {"rule": "two", "when": "true", "requires": "second_person", "description": "Two decide."}
    ],
}
CASE: Row = {"amount": 12.5, "count": 2, "answer": "yes"}
OTHER: Row = {"amount": 4.0, "count": 1, "answer": "no"}
"""Advised against, so that what any advice says of this model is told apart."""
LETTER = ", ".join(each.label for each in tiny.card().fields)
MADE_UP = {
    "model": tiny.NAME, "path": "entries/000.p/1", "number": "1", "run_id": "none",
    "verification_id": "none", "hold_id": "00000000-0000-7000-8000-000000000000",
    "slug": "erased", "code": "cy",
}  # fmt: skip
FORM = {
    "outcome": SENT, "confidence": "high", "reason_code": "facts_support",
    "reason_text": "Looked at everything.", "text": LETTER, "language": "en", "field": "count",
    "value": "4", "source": "verified", "on_behalf_of": "person", "reason": "A test.",
}  # fmt: skip
STEPS: dict[str, dict[str, object]] = {
    "own-assessment": {"outcome": SENT, "confidence": "high", "reason": REASON},
    "notice": {"outcome": ADVISED, "text": LETTER, "language": "en"},
    "caseworker-decision": {"outcome": ADVISED, "reason": REASON},
}
STATES = {
    "nobody has looked": (),
    "one has assessed": ("own-assessment",),
    "one of two has decided": ("own-assessment", "notice", "caseworker-decision"),
}
ENTITLED = {
    "one has assessed": {Role.CALLER},
    "one of two has decided": {Role.CALLER},
}
"""Whom the advice is shown to: a case-management system, which shows it to whoever has assessed.
Nobody else is entitled to it while a case is in these states, but the one who assessed."""


@dataclass(slots=True)
class Sweep:
    """A service under such a policy, and what it answered."""

    service: Governed
    answered: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The statuses of each route's answers, by its method and path."""
    _of_any_case: set[str] = field(default_factory=set)

    @property
    def operations(self) -> list[Operation]:
        return operations(self.service.started.app.openapi())

    def case(self, state: str = "nobody has looked") -> str:
        """Return a new case, in one of the states; it is ann who does something."""
        asked = self.service.ask(CASE)
        assert asked.json()["advice"]["status"] == "withheld", asked.text
        decision: str = asked.json()["id"]
        for step in STATES[state]:
            done = self.service.step(decision, step, self.service.person("ann"), **STEPS[step])
            assert done.status_code == 201, done.text
        return decision

    def traces(self, decision: str) -> set[str]:
        """Return what of the advice could be in an answer and is this very case's."""
        if not self._of_any_case:
            other = self.service.ask(OTHER).json()["id"]
            self._of_any_case = self._told(other, NEIGHBOUR)
        return self._told(decision, ADVISED) - self._of_any_case

    def _told(self, decision: str, outcome: str) -> set[str]:
        payload = self.service.started.parts.log.read(decision).payload
        assert payload is not None
        answer = orjson.loads(parse_recommendation(payload).answer)
        assert answer["recommendation"]["outcome"] == outcome
        told = (answer[each] for each in ("recommendation", "explanation", "uncertainty",
                                          "what_would_change"))  # fmt: skip
        return {each for part in told for each in leaves(part)}

    def check(self, route: str, answer: httpx.Response, traces: set[str]) -> None:
        self.answered[route].add(answer.status_code)
        assert answer.status_code < 500, (route, answer.text)
        said = unescape(answer.content.decode(errors="replace")) + str(answer.headers)
        for trace in traces:
            assert trace not in said, (route, trace, said)
        assert said.count(ADVISED) == said.count(NEIGHBOUR), (route, said)

    def afresh(self) -> str:
        """Return a new case, after a step that may have changed the old one, or stopped advice."""
        self.service.started.resume_all()
        return self.case()

    def ask_operation(
        self, operation: Operation, decision: str, role: Role, query: str = ""
    ) -> httpx.Response:
        sent: dict[str, Any] = {}
        if "requestBody" in operation.content:
            sent = body_of(operation)
        headers = {**self.service.started.key(role), **sent.pop("headers", {})}
        answer: httpx.Response = self.service.started.client.request(
            operation.method.upper(),
            operation.url(**{**MADE_UP, "decision_id": decision}) + query,
            headers=headers,
            **sent,
        )
        return answer

    def ask_page(self, page: str, decision: str, role: Role, query: str = "") -> httpx.Response:
        method, path = page.split(" ")
        session = self.service.started.session(role)
        data = {**FORM, "decision": decision, **self.service.started.form(session)}
        answer: httpx.Response = self.service.started.client.request(
            method,
            path.format(**{**MADE_UP, "decision_id": decision}) + query,
            headers=session,
            data=data if method == "POST" else None,
            follow_redirects=False,
        )
        return answer


def leaves(value: Any) -> Iterator[str]:
    """Yield what would give a part of an answer away, wherever it stood."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in {"field", "label", "value", "outcome", "rule"}:
                yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, float):
        digits = repr(abs(value))[:8]
        if len(digits) == 8:
            yield digits
    elif isinstance(value, str) and " " in value:
        yield value
        yield from re.findall(r"\d+(?:\.\d+)?(?: points|%)", value)


def body_of(operation: Operation) -> dict[str, Any]:
    """Return how a client sends a body that is right for the small model."""
    example = next(each for place, _, each, _ in operation.examples() if place == "request")
    bodies: dict[str, Any] = {
        "create_decision": {"case": CASE},
        "correct_case": {"fields": {"count": 4}, "reason": "A slip of the pen."},
        "record_notice": {"outcome": SENT, "text": LETTER, "language": "en"},
        "report_outcome": {"outcome": 1},
    }
    if operation.id == "create_decisions":
        return {
            "content": json.dumps({"case": CASE}), "headers": {"Content-Type": NDJSON},
        }  # fmt: skip
    body = bodies.get(operation.id, example)
    said = re.sub(r'"(no-)?priority"', f'"{SENT}"', json.dumps(body))
    return {"json": json.loads(said.replace("housing-support", tiny.NAME))}


@contextmanager
def swept(directory: Path) -> Iterator[Sweep]:
    """Run such a service, with a shadow version that looks on."""
    model = directory / "models" / tiny.NAME
    honest_bundle(directory / "made")
    shutil.copytree(directory / "made" / "bundle", model / "bundle")
    signed(read(model / "bundle"))
    (model / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (model / "monitoring.yaml").write_text(
        yaml.safe_dump({"protected_attributes": {"sex": ["female", "male"]}})
    )
    settings = Settings(models_dir=directory / "models", data_dir=directory / "data")
    with start(settings) as started:
        owner = Owner(settings, started.client, tiny.NAME)
        other = directory / "other"
        shutil.copytree(model, other)
        (other / "policy.yaml").write_text(yaml.safe_dump({**POLICY, "version": "2"}))
        owner.bring(owner.submit(other), "accepted", "shadow")
        yield Sweep(Governed(started))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """One service for all readings: so few cases that no figure over cases is told of them."""
    with swept(tmp_path_factory.mktemp("kept-back")) as found:
        yield found


def pages(method: str) -> list[tuple[str, APIRoute]]:
    """Return the pages of a method, by method and path."""
    return [
        (f"{method} {route.path}", route)
        for router in PAGES
        for route in router.routes
        if isinstance(route, APIRoute) and method in (route.methods or ())
    ]


def askers(said: Mapping[str, Any], readers: set[Role]) -> set[Role]:
    """Return who asks: what is open to all is the same for everybody, and is asked once."""
    return {Role.AUDITOR} if said["x-roles"] == ["public"] else readers


def queries(choices: Mapping[str, Iterable[object]]) -> list[str]:
    """Return each query that makes one choice."""
    return [f"?{name}={str(each).lower()}" for name, found in choices.items() for each in found]


def choices_of_operation(operation: Operation) -> dict[str, list[object]]:
    """Return what each member of the query may be, where it is one of a few."""
    schemas = {
        each["name"]: each["schema"]
        for each in operation.content.get("parameters", ())
        if each["in"] == "query"
    }
    return {
        name: [True, False] if schema.get("type") == "boolean" else schema.get("enum", [])
        for name, schema in schemas.items()
    }


def choices_of_page(route: APIRoute) -> dict[str, tuple[object, ...]]:
    """As ``choices_of_operation``."""
    return {
        each.alias: get_args(each.field_info.annotation)
        for each in route.dependant.query_params
        if get_origin(each.field_info.annotation) is Literal
    }


@pytest.mark.parametrize("state", STATES)
def test_no_reading_shows_a_byte_of_it(sweep: Sweep, state: str) -> None:
    decision = sweep.case(state)
    sweep.service.started.parts.index.catch_up()
    traces = sweep.traces(decision)
    readers = set(Role) - ENTITLED.get(state, set())
    for operation in (each for each in sweep.operations if each.method == "get"):
        asked = ("", *queries(choices_of_operation(operation)))
        for role, query in product(askers(operation.content, readers), asked):
            answer = sweep.ask_operation(operation, decision, role, query)
            sweep.check(f"GET {operation.path}", answer, traces)
    for page, route in pages("GET"):
        asked = ("", *queries(choices_of_page(route)))
        for role, query in product(askers(route.openapi_extra or {}, readers), asked):
            sweep.check(page, sweep.ask_page(page, decision, role, query), traces)
    assert_all_asked(sweep, "GET")
    # The near miss: what is looked for is there, once it may be seen.
    if STATES[state]:
        shown = sweep.service.get(f"/v1/decisions/{decision}", sweep.service.person("ann"))
        assert all(json.dumps(trace, ensure_ascii=False)[1:-1] in shown.text for trace in traces)
        with pytest.raises(AssertionError):
            sweep.check("GET /v1/decisions/{decision_id}", shown, set())


def test_no_step_taken_too_early_shows_a_byte_of_it(tmp_path: Path) -> None:
    with swept(tmp_path) as sweep:
        decision = sweep.case()
        traces = sweep.traces(decision)
        for role, operation in product(Role, sweep.operations):
            if operation.method == "post":
                answer = sweep.ask_operation(operation, decision, role)
                sweep.check(f"POST {operation.path}", answer, traces)
                if answer.is_success:
                    decision = sweep.afresh()
        for role, (page, _) in product(Role, pages("POST")):
            answer = sweep.ask_page(page, decision, role)
            sweep.check(page, answer, traces)
            if answer.status_code == 303:
                decision = sweep.afresh()
        assert_all_asked(sweep, "POST")


def assert_all_asked(sweep: Sweep, method: str) -> None:
    """Every route of the application was asked, and each about a case was reached by somebody."""
    routes = {
        f"{method} {route.path.replace(':path', '')}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and method in (route.methods or ())
    }
    assert routes == sweep.answered.keys()
    for route, statuses in sweep.answered.items():
        if "{decision_id}" in route:
            # 422 is a page shown again with what is wrong; the API would not have looked at the case.
            reached = {200, 201, 303, 409} | ({422} if "/v1/" not in route else set())
            assert statuses & reached, (route, statuses)
