"""A case is told of in the words of the version that advised on it, whatever is active by now."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest
import yaml

from app.domain import Role
from app.library import Library
from app.policy import load_policy
from app.served import ServedModel, join, with_policy
from app.trust import Vouched
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_notices import LETTER, written
from tests.app.test_six_kinds import explained
from tests.problems import assert_problem
from tests.started import serving

NEW = "Zebra"
"""Is in every word of the new version that could be said of a case."""
BANDS = [{**band, "label": f"{NEW} label"} for band in tiny.policy()["bands"]]  # type: ignore[attr-defined]
NEW_LETTER = {
    **LETTER,
    "contact": "Phone the new number.",
    "outcomes": {name: f"{NEW} {text}" for name, text in LETTER["outcomes"].items()},  # type: ignore[attr-defined]
}


@dataclass(frozen=True, slots=True)
class Two:
    """A service, a case that its first version advised on, and what may be active since."""

    service: Governed
    decision: str
    old: ServedModel
    new: ServedModel
    """Another card and another policy."""
    elsewhere: Path
    """Where the first version is not."""

    @contextmanager
    def active(self, version: ServedModel, *, old_is_gone: bool = False) -> Iterator[None]:
        """Let a version be active: the first is then to be found by its digests only, or not."""
        settings = self.service.started.settings
        if old_is_gone:
            update = {"models_dir": self.elsewhere, "store_dir": self.elsewhere / "store"}
            settings = settings.model_copy(update=update)
        with self.service.started.replaced(served=serving(version), library=Library(settings)):
            yield


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    directory = tmp_path_factory.mktemp("two")
    told = tiny.card()
    fields = tuple(
        field.model_copy(update={"label": f"{NEW} {field.name}", "wording": NEW + " {value}"})
        for field in told.fields
    )
    told = told.model_copy(update={"version": "2", "title": f"{NEW} title", "fields": fields})
    files = tiny.write(directory / "new" / tiny.NAME, told=told)
    path = directory / "new" / tiny.NAME / "policy.yaml"
    letters = {"letters": {"en": NEW_LETTER}}
    path.write_text(
        yaml.safe_dump({**tiny.policy(), "version": "2", "bands": BANDS, "notice": letters})
    )
    with governed(directory / "old", notice={"letters": {"en": LETTER}}) as service:
        decision = service.ask().json()["id"]
        new = join(
            files,
            load_policy(path, lowest_score=0),
            service.started.settings,
            vouched_for=Vouched(None, None),
            directory=path.parent,
        )
        old = service.started.parts.served[tiny.NAME]
        yield Two(service, decision, old, new, directory / "elsewhere")


def under(old: ServedModel, new: ServedModel) -> ServedModel:
    """Return the first version's bundle under the new policy."""
    return with_policy(old, new.policy)


@pytest.mark.parametrize("changed", ["bundle and policy", "policy"])
def test_an_old_case_keeps_its_words(two: Two, changed: str) -> None:
    service, decision = two.service, two.decision
    before = written(service, decision), explained(service, decision)
    version = two.new if changed == "bundle and policy" else under(two.old, two.new)
    with two.active(version):
        letter, told = written(service, decision), explained(service, decision)
        page = service.started.client.get(
            f"/decisions/{decision}", headers=service.started.session(Role.CASEWORKER)
        )
    assert "Phone the new number." in letter["text"]
    assert letter["text"].replace("Phone the new number.", "Phone us.") == before[0]["text"]
    assert letter["must_name"] == before[0]["must_name"]
    review = told["responsibility"]["outcome"]["review"]
    assert review["contact"] == "Phone the new number."
    for half in ("outcome", "process"):
        for kind in ("rationale", "data", "fairness", "impact"):
            assert told[kind][half] == before[1][kind][half], (kind, half)
    assert page.status_code == 200
    for text in (str(letter), str(told), page.text):
        assert NEW not in text


def test_a_list_tells_an_outcome_in_the_words_of_the_rows_own_policy(two: Two) -> None:
    service = two.service
    decided = service.ask().json()["id"]
    assert service.decide(decided, "ann", "no").status_code == 201
    service.started.parts.index.catch_up()
    session = service.started.session(Role.CASEWORKER)

    def shown() -> str:
        page = service.started.client.get("/cases?which=all&order=newest", headers=session)
        assert decided in page.text
        return str(page.text)

    assert f"No {tiny.HOSTILE}" in unescape(shown())
    with two.active(two.new):
        assert f"{NEW} label" not in shown()


def test_a_version_that_is_not_here_is_said_to_be_so(two: Two) -> None:
    service, decision = two.service, two.decision
    with two.active(two.new, old_is_gone=True):
        refused = service.get(f"/v1/decisions/{decision}/notice", service.person("ann"))
        told = explained(service, decision)
        pages = [
            service.started.client.get(path, headers=service.started.session(Role.CASEWORKER))
            for path in (f"/decisions/{decision}", f"/decisions/{decision}/letter")
        ]
    problem = assert_problem(refused, slug="notice-unavailable", status=409)
    assert "not available here" in problem["detail"]
    assert told["data"]["outcome"]["status"] == "not_provided"
    assert "not available here" in told["data"]["outcome"]["reason"]
    assert told["rationale"]["process"]["status"] == "not_provided"
    # What was recorded with the advice is told all the same.
    assert told["rationale"]["outcome"]["status"] == "provided"
    assert [page.status_code for page in pages] == [200, 200]
    for text in (str(told), refused.text, *(page.text for page in pages)):
        assert NEW not in text


def test_a_version_that_can_no_longer_be_opened_is_not_available_either(
    two: Two, tmp_path: Path
) -> None:
    service, decision = two.service, two.decision
    copied = tmp_path / tiny.NAME
    tiny.write(copied)
    (copied / "policy.yaml").write_bytes((two.old.directory / "policy.yaml").read_bytes())
    (copied / "bundle" / "model.onnx").write_bytes(b"no model")
    settings = service.started.settings.model_copy(
        update={"models_dir": tmp_path, "store_dir": tmp_path / "store"}
    )
    with service.started.replaced(served=serving(two.new), library=Library(settings)):
        refused = service.get(f"/v1/decisions/{decision}/notice", service.person("ann"))
    assert_problem(refused, slug="notice-unavailable", status=409)
