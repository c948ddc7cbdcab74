"""Purpose, agreement, provenance, training and notices: each refused with what is wanted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.agreements import AgreementsError, load_agreements
from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.main import StartRefusedError
from app.settings import Settings
from app.training import AttestationsError, load_training
from models.aia import method
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed
from tests.problems import assert_problem

LOW = {"amount": 1.0, "count": 1, "answer": "no"}
PURPOSES = [
    {"purpose": "support", "description": "Support.", "legal_bases": ["act-1", "act-2"]},
    {"purpose": "planning", "description": "Planning.", "legal_bases": ["act-3"]},
]
NAMED = {"purpose": "support", "legal_basis": "act-1"}
AGREEMENT: dict[str, Any] = {
    "agreement": "ours",
    "party": "A council",
    "models": [tiny.NAME],
    "purposes": ["support"],
    "fields": ["amount", "count", "answer"],
    "since": "2020-01-01",
    "until": "2999-12-31",
}
AGREEMENTS = [
    AGREEMENT,
    {**AGREEMENT, "agreement": "over", "until": "2020-12-31"},
    {**AGREEMENT, "agreement": "not-yet", "since": "2999-01-01"},
    {**AGREEMENT, "agreement": "narrow", "fields": ["amount", "count"]},
    {**AGREEMENT, "agreement": "elsewhere", "models": ["another"]},
    {**AGREEMENT, "agreement": "otherwise", "purposes": ["planning"]},
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    directory = tmp_path_factory.mktemp("admission")
    agreements = directory / "agreements.yaml"
    agreements.write_text(yaml.safe_dump(AGREEMENTS))
    with governed(
        directory,
        settings={"agreements_file": agreements},
        purposes=PURPOSES,
        provenance={"stale_after_days": {"amount": 30}},
    ) as made:
        yield made


def under(service: Governed, agreement: str | None) -> dict[str, str]:
    store = KeyStore(service.started.settings.data_dir / "access.sqlite3")
    key = store.create(name="x", role=Role.CALLER, clock=utc_now, agreement=agreement)
    store.close()
    return {"Authorization": f"Bearer {key}"}


def ask(service: Governed, key: dict[str, str], **said: object) -> Any:
    return service.post(f"/v1/models/{tiny.NAME}/decisions", {"case": tiny.CASE, **said}, key)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ({}, "purpose is missing, want one of: support, planning"),
        ({"legal_basis": "act-1"}, "purpose is missing"),
        ({"purpose": "marketing", "legal_basis": "act-1"}, "this model is not for that purpose"),
        ({"purpose": "support"}, "legal_basis is missing, want one of: act-1, act-2"),
        ({"purpose": "support", "legal_basis": "act-3"}, "legal_basis is not one of the purpose's"),
    ],
)
def test_a_purpose_that_is_not_the_models_is_refused(
    service: Governed, said: dict[str, str], detail: str
) -> None:
    before = service.started.recommendations()
    refused = ask(service, under(service, "ours"), **said)
    assert detail in assert_problem(refused, slug="purpose-not-allowed", status=422)["detail"]
    assert service.started.recommendations() == before


def test_a_model_without_purposes_takes_none(tmp_path: Path) -> None:
    with governed(tmp_path) as plain:
        assert_problem(
            plain.ask(purpose="support", legal_basis="act-1"),
            slug="purpose-not-allowed",
            status=422,
        )
        assert plain.ask().json()["purpose"] is None


@pytest.mark.parametrize(
    ("agreement", "detail"),
    [
        (None, "names no data-sharing agreement"),
        ("unheard-of", "there is no agreement unheard-of"),
        ("over", "holds from 2020-01-01 to 2020-12-31"),
        ("not-yet", "holds from 2999-01-01"),
        ("narrow", "does not cover answer"),
        ("elsewhere", "is not for the model tiny"),
        ("otherwise", "is for planning, got support"),
    ],
)
def test_a_call_outside_its_agreement_is_refused(
    service: Governed, agreement: str | None, detail: str
) -> None:
    refused = ask(service, under(service, agreement), **NAMED)
    problem = assert_problem(refused, slug="outside-agreement", status=403)
    assert detail in problem["detail"]


def test_inside_its_agreement_a_call_is_answered_and_recorded_with_it(service: Governed) -> None:
    answer = ask(service, under(service, "ours"), **NAMED)
    assert answer.json()["purpose"] == NAMED
    record = service.started.parts.log.read(answer.json()["id"])
    assert record.payload is not None
    assert json.loads(record.payload)["circumstances"]["agreement"] == "ours"
    # A caseworker is inside the body: nobody shares anything.
    assert ask(service, service.person("ann"), **NAMED).status_code == 201


@pytest.mark.parametrize(
    ("provenance", "slug"),
    [
        ({"amuont": {"source": "declared"}}, "invalid-provenance"),
        ({"amount": {"source": "verified", "date": "2999-01-01"}}, "invalid-provenance"),
        ({"amount": {"source": "guessed"}}, "invalid-request"),
        ({"amount": {"source": "verified", "date": "2026-02-30"}}, "invalid-request"),
        ({"amount": {"source": "verified", "date": 20260101}}, "invalid-request"),
    ],
)
def test_provenance_that_cannot_be_is_refused(
    service: Governed, provenance: object, slug: str
) -> None:
    refused = ask(service, under(service, "ours"), **NAMED, provenance=provenance)
    assert_problem(refused, slug=slug, status=422)


@pytest.mark.parametrize(("day", "stale"), [("2020-01-01", True), (None, False)])
def test_an_old_value_is_said_to_be_stale(service: Governed, day: str | None, stale: bool) -> None:
    origin = {"source": "declared", "date": day}
    answer = ask(service, under(service, "ours"), **NAMED, provenance={"amount": origin}).json()
    assert answer["provenance"] == [{"field": "amount", **origin, "stale": stale}]


def test_where_the_policy_wants_every_origin_a_missing_one_is_refused(tmp_path: Path) -> None:
    with governed(tmp_path, provenance={"required": True}) as strict:
        every = {name: {"source": "declared"} for name in tiny.CASE}
        assert strict.ask(provenance=every).status_code == 201
        del every["count"]
        problem = assert_problem(
            strict.ask(provenance=every), slug="invalid-provenance", status=422
        )
        assert problem["detail"] == "provenance is missing for count"


@pytest.mark.parametrize(
    "content",
    [
        "a: b",
        "- {agreement: x}",
        yaml.safe_dump([{**AGREEMENT, "until": "2019-01-01"}]),
        yaml.safe_dump([AGREEMENT, AGREEMENT]),
        "[",
    ],
)
def test_a_file_that_is_no_list_of_agreements_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "agreements.yaml").write_text(content)
    with pytest.raises(AgreementsError):
        load_agreements(tmp_path / "agreements.yaml")


def assessed(raw: int) -> bytes:
    """Return an exported assessment that comes to this raw score, no area above its maximum."""
    data, left = {}, raw
    for area in method().areas:
        if area.kind == "raw":
            points = min(left, area.maximum)
            data[f"{area.prefix}99-RS"] = f"item1-{points}"
            left -= points
    assert left == 0
    return json.dumps({"version": "0.10.0", "data": data}).encode()


def trained(directory: Path, **people: tuple[str, str]) -> dict[str, object]:
    path = directory / "attestations.yaml"
    path.write_text(
        yaml.safe_dump(
            [
                {"actor": name, "training": training, "until": until}
                for name, (training, until) in people.items()
            ]
        )
    )
    return {"attestations_file": path}


def notify(service: Governed, decision: str, outcome: str, text: str) -> Any:
    return service.step(decision, "notice", service.person("ann"), outcome=outcome, text=text)


def labels() -> str:
    return " ".join(field.label for field in tiny.card().fields)


def test_at_level_three_only_people_trained_for_it_decide(tmp_path: Path) -> None:
    settings = trained(
        tmp_path,
        ann=("override", "2999-01-01"),
        bob=("override", "2020-01-01"),
        cat=("general", "2999-01-01"),
    )
    with governed(tmp_path, aia=assessed(90), settings=settings) as service:
        decision = service.ask().json()["id"]
        for name, detail in (("bob", "expired on 2020-01-01"), ("cat", "needs"), ("dan", "needs")):
            refused = service.decide(decision, name)
            problem = assert_problem(refused, slug="training-needed", status=403)
            assert detail in problem["detail"]
        body = {"outcome": "yes", "reason": REASON}
        machine = service.step(decision, "caseworker-decision", service.machine, **body)
        assert_problem(machine, slug="human-needed", status=403)
        assert service.decide(decision, "ann").status_code == 201


def test_at_level_three_without_a_file_of_training_nobody_decides(tmp_path: Path) -> None:
    with governed(tmp_path, aia=assessed(90)) as service:
        refused = service.decide(service.ask().json()["id"], "ann")
        assert_problem(refused, slug="training-needed", status=403)


@pytest.mark.parametrize(("raw", "needed"), [(41, False), (42, True)])
def test_from_level_two_a_denial_needs_a_notice_that_names_what_weighed(
    tmp_path: Path, raw: int, needed: bool
) -> None:
    with governed(tmp_path, aia=assessed(raw)) as service:
        decision = service.ask(LOW).json()["id"]
        if not needed:
            assert service.decide(decision, "ann", "no").status_code == 201
            return
        assert_problem(service.decide(decision, "ann", "no"), slug="notice-needed", status=409)
        short = notify(service, decision, "no", "We decided against you.")
        assert_problem(short, slug="notice-incomplete", status=422)
        assert notify(service, decision, "yes", labels()).status_code == 201
        # A notice of another outcome is none of this one.
        assert_problem(service.decide(decision, "ann", "no"), slug="notice-needed", status=409)
        assert notify(service, decision, "no", labels()).status_code == 201
        assert service.decide(decision, "ann", "no").status_code == 201


def test_a_policy_that_lets_machines_decide_is_refused_at_level_three(tmp_path: Path) -> None:
    with (
        pytest.raises(StartRefusedError),
        governed(tmp_path, aia=assessed(90), final_decision="machine_where_favourable"),
    ):
        pass


@pytest.mark.parametrize("content", ["a: b", "- {actor: x}", "["])
def test_a_file_that_is_no_list_of_training_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "attestations.yaml").write_text(content)
    with pytest.raises(AttestationsError):
        load_training(tmp_path / "attestations.yaml")


def test_no_file_is_not_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "attestations.yaml").write_text("[]")
    assert load_training(tmp_path / "attestations.yaml").attested == {}
    assert load_training(None).attested is None
    assert Settings().attestations_file is None
