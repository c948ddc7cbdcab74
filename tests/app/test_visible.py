"""Words that nobody can see go on no record, whichever way they come."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain import Role
from app.visible import is_visible
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed
from tests.app.test_case_pages import DECISION, Visitor, new_case, words
from tests.problems import assert_problem

BLANKS = [
    " ", "\t\n", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}", "\N{ZERO WIDTH SPACE}", "\0",
    "\N{HANGUL FILLER}", "\N{HANGUL CHOSEONG FILLER}", "\N{HANGUL JUNGSEONG FILLER}",
    "\N{HALFWIDTH HANGUL FILLER}", "\N{BRAILLE PATTERN BLANK}", "\N{SOFT HYPHEN}",
    "\N{COMBINING GRAPHEME JOINER}", "\N{WORD JOINER} \N{LINE SEPARATOR}",
]  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("visible")) as started:
        yield started


@pytest.mark.parametrize("text", ["", *BLANKS])
def test_what_nobody_can_see_says_nothing(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.parametrize(
    "text", ["x", " 1 ", "?", "é", "e\u0301", "漢", "ᄒ", "⠁", "🙂", "\u200bok"]
)
def test_what_can_be_seen_says_something(text: str) -> None:
    assert is_visible(text)


@pytest.mark.parametrize("blank", [" ", "\N{ZERO WIDTH SPACE}", "\N{HANGUL FILLER}"])
def test_the_api_takes_no_words_that_nobody_can_see(service: Governed, blank: str) -> None:
    decision = new_case(service)
    ann, root = service.person("ann"), service.person("root", Role.ADMIN)
    rev = service.person("rev", Role.REVIEWER)
    reason = {"code": "facts_support", "text": blank}
    case, model = f"/v1/decisions/{decision}", f"/v1/models/{tiny.NAME}"
    digest = "sha256:" + "5e" * 32
    version = {"bundle": digest, "policy": digest}
    for path, body, who in (
        (f"{case}/own-assessment", {"outcome": "no", "confidence": "high", "reason": reason}, ann),
        (f"{case}/caseworker-decision", {"outcome": "no", "reason": reason}, ann),
        (f"{case}/caseworker-decision",
         {"outcome": "no", "reason": REASON, "evidence": blank}, ann),
        (f"{case}/notice", {"outcome": "no", "text": blank}, ann),
        (f"{case}/contest", {"text": blank}, ann),
        (f"{case}/representation", {"text": blank}, ann),
        (f"{case}/review", {"outcome": "no", "reason": reason}, rev),
        (f"{case}/correction", {"fields": {"count": 6}, "reason": blank}, ann),
        (f"{case}/erasure", {"basis": blank}, root),
        ("/v1/stop", {"model": tiny.NAME, "reason": blank}, root),
        ("/v1/stops/1/resume", {"reason": blank}, root),
        (f"{model}/versions", {**version, "reason": blank}, root),
        (f"{model}/stages", {**version, "stage": "retired", "reason": blank}, root),
        (f"{model}/policy", {"policy": digest, "reason": blank}, root),
        (f"{model}/rollback", {"reason": blank}, root),
        (f"{model}/monitoring/reset", {"reason": blank}, root),
        (f"{model}/protected-attributes/purge",
         {"before": "2026-01-01T00:00:00.000Z", "reason": blank}, root),
    ):  # fmt: skip
        refused = service.post(path, body, who)
        assert_problem(refused, slug="invalid-request", status=422)
        assert "text that can be seen" in refused.json()["errors"][0]["message"], path
    assert service.get(f"{case}/history", ann).json()["steps"] == []


def test_evidence_is_words_that_can_be_seen(tmp_path: Path) -> None:
    rule = {
        "rule": "all",
        "when": "case.amount > 0.0",
        "requires": "evidence",
        "description": "Look.",
    }
    with governed(tmp_path, rules=[rule]) as made:
        path = f"/decisions/{new_case(made)}"
        ann = Visitor(made.started, "ann")
        refused = ann.post(f"{path}/decision", **DECISION, evidence="\N{ZERO WIDTH SPACE}")
        assert refused.status_code == 422
        assert "Say what you checked, and how" in words(refused)
        taken = ann.post(f"{path}/decision", **DECISION, evidence="The bank statement.")
        assert taken.status_code == 303


def test_the_pages_take_no_words_that_nobody_can_see(service: Governed) -> None:
    blank = "\N{ZERO WIDTH SPACE}"
    ann = Visitor(service.started, "ann", Role.ADMIN)
    path = f"/decisions/{new_case(service)}"
    for form, filled_in, message in (
        ("decision", {**DECISION, "reason_text": blank}, "Say why in your own words"),
        ("correct?field=count",
         {"value": "6", "source": "verified", "reason": blank}, "Say how you know"),
        ("letter", {"text": blank, "outcome": "yes", "language": "en"}, "Write the letter"),
    ):  # fmt: skip
        refused = ann.post(f"{path}/{form}", **filled_in)
        assert refused.status_code == 422, form
        assert message in words(refused)
    refused = ann.post(f"/models/{tiny.NAME}/stop", reason=blank)
    assert refused.status_code == 422
    assert "Enter a reason" in words(refused)
    assert not service.started.parts.stops.state.stops
    ann.post(f"{path}/decision", **DECISION)
    refused = ann.post(f"{path}/contest", text=blank)
    assert refused.status_code == 422
    assert "Write what the person says" in words(refused)
