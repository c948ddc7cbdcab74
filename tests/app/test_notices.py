"""The letter to the person affected: written whole, in one language, plain, or refused saying why."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.domain import Role
from app.library import Library
from app.lineup import Serving
from app.main import StartRefusedError
from app.notices.facts import Fact
from app.notices.readability import lix, reading_age, reading_of
from app.notices.templates import TemplatesError, load_template
from models.demo.card import demo_card
from models.demo.cases import DEMO_CASES
from models.demo.welsh import WELSH
from models.translations import CardWords
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed
from tests.app.test_admission import assessed
from tests.problems import assert_problem
from tests.started import DEMONSTRATION, Started

LETTER = {
    "body": "The council",
    "matter": "your request",
    "contact": "Phone us.",
    "ask_for_a_person": "Write to us.",
    "appeal": "Write to the court.",
    "outcomes": {"yes": "We say yes.", "no": "We say no."},
}
BANDS: list[dict[str, object]] = tiny.policy()["bands"]  # type: ignore[assignment]


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    terms = {"letters": {"en": LETTER}}
    with governed(tmp_path_factory.mktemp("english"), notice=terms) as service:
        yield service


def written(service: Governed, decision: str, name: str = "ann", **query: str) -> Any:
    answer = service.started.client.get(
        f"/v1/decisions/{decision}/notice", params=query, headers=service.person(name)
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def demo_letter(demonstration: Started, name: str, **query: str) -> Any:
    asked = demonstration.client.post(
        f"/v1/models/{DEMONSTRATION}/decisions",
        json={
            "case": DEMO_CASES[name],
            "purpose": "housing-support",
            "legal_basis": "housing-act-1996-part-7",
            "provenance": {"rent_arrears": {"source": "verified", "date": "2026-11-02"}},
        },
        headers=demonstration.key(Role.CALLER),
    ).json()
    answer = demonstration.client.get(
        f"/v1/decisions/{asked['id']}/notice",
        params=query,
        headers=demonstration.key(Role.CASEWORKER),
    )
    assert answer.status_code == 200, answer.text
    return answer.json(), asked


@pytest.mark.parametrize("name", DEMO_CASES)
@pytest.mark.parametrize("language", ["en", "cy"])
def test_the_packaged_letters_are_whole_and_plain(
    demonstration: Started, name: str, language: str
) -> None:
    letter, asked = demo_letter(demonstration, name, language=language)
    if "recommendation" not in asked:
        return
    assert letter["to_complete"] == []
    assert letter["reading"]["within_limit"] is True
    assert letter["reading"]["value"] is not None
    assert letter["must_name"]
    for label in letter["must_name"]:
        assert label in letter["text"]
    # Whatever is written can be recorded as it is.
    recorded = demonstration.client.post(
        f"/v1/decisions/{letter['decision']}/notice",
        json={"outcome": letter["outcome"], "text": letter["text"], "language": language},
        headers=demonstration.key(Role.CASEWORKER),
    )
    assert recorded.status_code == 201, recorded.text
    assert recorded.json()["content"]["reading"] == letter["reading"]


def test_a_letter_says_what_was_not_known(demonstration: Started) -> None:
    """What of it weighed is told where that stands; what did not, at the end of the facts."""
    labels = {field.name: field.label for field in demo_card().fields}
    several = 0
    for name, case in DEMO_CASES.items():
        letter, _ = demo_letter(demonstration, name)
        missing = {labels[field] for field, value in case.items() if value is None}
        light = missing - set(letter["must_name"])
        told = re.search(r"We did not know [^\n]+\n((?:\s*- [^\n]+\n)+)", letter["text"])
        said = set() if told is None else set(re.findall(r"- ([^\n]+)\.\n", told[1]))
        assert said == light, name
        several = max(several, len(light))
        assert ("We did not know this fact." in letter["text"]) is (len(light) == 1)
    assert several > 1


def test_a_letter_says_where_a_fact_comes_from_and_of_which_day(demonstration: Started) -> None:
    letter, _ = demo_letter(demonstration, "eviction-date-set")
    assert re.search(r"Rent arrears: £[\d,.]+ \(we checked this, 2 November 2026\)", letter["text"])
    assert "we have no note of where it came from" in letter["text"]
    for told in (
        "28 days",
        "ombudsman",
        "Phone 01632",
        "A member of our staff",
        "computer program",
    ):
        assert told in letter["text"]


def test_no_english_word_of_the_card_is_in_a_welsh_letter(demonstration: Started) -> None:
    letter, _ = demo_letter(demonstration, "eviction-date-set", language="cy")
    assert "2 Tachwedd 2026" in letter["text"]
    for field in demo_card().fields:
        assert field.label not in letter["text"], field.name
        for words in field.value_wording.values():
            assert words not in letter["text"], words
    assert "Rent arrears" in demo_letter(demonstration, "eviction-date-set")[0]["text"]


@pytest.mark.parametrize("name", DEMO_CASES)
def test_every_number_in_a_letter_is_the_same_in_welsh(demonstration: Started, name: str) -> None:
    """Days, sums, limits and changes, in the same order: only words differ."""
    letter, asked = demo_letter(demonstration, name)
    path = f"/v1/decisions/{asked['id']}/notice"
    welsh = demonstration.client.get(
        path, params={"language": "cy"}, headers=demonstration.key(Role.CASEWORKER)
    ).json()
    numbers = [re.findall(r"\d[\d,.]*\d|\d", text) for text in (letter["text"], welsh["text"])]
    assert len(numbers[0]) > 10
    assert numbers[0] == numbers[1]


def test_a_translation_that_leaves_a_word_out_is_refused() -> None:
    said = WELSH.model_dump()
    for lacking in (
        {**said["fields"], "tenure": {**said["fields"]["tenure"], "value_wording": {}}},
        {name: words for name, words in said["fields"].items() if name != "savings"},
        {**said["fields"], "weekly_rent": {**said["fields"]["weekly_rent"], "unit": None}},
        {**said["fields"], "stranger": said["fields"]["savings"]},
    ):
        words = CardWords.model_validate({**said, "fields": lacking})
        with pytest.raises(ValueError, match="translation 'cy' lacks"):
            type(demo_card()).model_validate(
                {**demo_card().model_dump(), "translations": {"cy": words}}
            )


def test_a_letter_names_what_weighed_and_tells_both_sides(english: Governed) -> None:
    decision = english.ask({"amount": 12.5, "count": 1, "answer": "no"}).json()["id"]
    letter = written(english, decision)
    towards, against = letter["text"].split("These facts counted the other way.")
    assert "Amount & <b>more</b>: 12.50" in towards.split("Why we decided this")[1]
    assert "Count: 1" in against.split("The other facts")[0]
    assert letter["outcome"] == "yes"
    assert letter["text"].startswith("The council\n")
    assert "We say yes." in letter["text"]


def test_each_fact_is_on_the_side_of_the_rule_that_advised(tmp_path: Path) -> None:
    """Another rule for the same outcome is supported from the other side."""
    low, high = BANDS
    bands = [
        {**high, "rule": "lowest", "at_least": 0.0, "supported_by": "lower"},
        {**low, "at_least": 0.2},
        high,
    ]
    with governed(tmp_path, notice={"letters": {"en": LETTER}}, bands=bands) as service:
        answer = service.ask().json()
        text = written(service, answer["id"])["text"]
    assert answer["explanation"]["reasons_against"] == []
    assert "counted the other way" not in text
    assert "these facts counted most towards the decision" in text


def test_one_fact_is_not_called_several_and_none_is_said_to_be_none(tmp_path: Path) -> None:
    letters = {"letters": {"en": LETTER}, "material_share": 0.4}
    with governed(tmp_path, notice=letters) as service:
        heavy = written(service, service.ask({**tiny.CASE, "answer": "no"}).json()["id"])["text"]
        even = written(
            service, service.ask({"amount": 2, "count": 5, "answer": "yes"}).json()["id"]
        )
    assert "this fact counted most towards the decision.\n- Amount" in heavy
    assert "The first one" not in heavy
    assert "no single fact counted much towards the decision" in even["text"]
    assert "counted most" not in even["text"]
    assert "This fact counted the other way.\n- Amount" in even["text"]


def test_a_departed_from_suggestion_does_not_rest_on_what_spoke_against_it(
    english: Governed,
) -> None:
    decision = english.ask({"amount": 12.5, "count": 1, "answer": "no"}).json()["id"]
    text = written(english, decision, outcome="no")["text"]
    towards, against = text.split("counted against the program's suggestion.")
    assert "This fact counted most towards the program's suggestion.\n- Amount" in towards
    assert "Count: 1" in against
    assert "Count: 1" not in towards


def test_changes_are_told_apart_from_one_that_needs_them_all(demonstration: Started) -> None:
    seen = set()
    for name in DEMO_CASES:
        letter, asked = demo_letter(demonstration, name)
        found = asked["what_would_change"]["found"] if "recommendation" in asked else []
        seen.add(min(len(found), 2))
        for said, applies in (
            ("something else with this change.", len(found) == 1),
            ("something else with any one of these changes.", len(found) > 1),
        ):
            assert (said in letter["text"]) is applies, name
        for change in (part for each in found for part in each["changes"]):
            assert re.search(rf"{change['label']}: [^(\n]+ instead of [^(\n]+", letter["text"])
        assert not re.search(r"\bnot (no|not)\b", letter["text"])
    assert seen >= {0, 2}


def test_what_a_person_reviewed_is_not_called_a_programs_decision(tmp_path: Path) -> None:
    machine = "machine_where_favourable"
    letters = {"letters": {"en": LETTER}}
    with governed(tmp_path, notice=letters, final_decision=machine) as service:
        decision = service.ask().json()["id"]
        ended = service.step(
            decision, "caseworker-decision", service.machine, outcome="yes", reason=REASON
        )
        assert ended.status_code == 201, ended.text
        assert "No member of our staff took part" in written(service, decision)["text"]
        service.step(decision, "contest", service.person("ann"), text="No.", on_behalf_of="person")
        reviewed = service.step(
            decision, "review", service.person("rev", Role.REVIEWER),
            outcome="no", reason={**REASON, "text": "The sums were wrong."},
        )  # fmt: skip
        assert reviewed.status_code == 201, reviewed.text
        letter = written(service, decision)
        six = service.get(f"/v1/decisions/{decision}/explanation", service.person("ann")).json()
    assert letter["outcome"] == "no"
    assert "A member of our staff made this decision." in letter["text"]
    assert "The sums were wrong." in letter["text"], "the review's reason is on record"
    assert letter["to_complete"] == []
    assert "A machine decided: yes." in six["summary"]
    assert "A person reviewed this and decided: no." in six["summary"]


def test_departing_from_the_advice_leaves_the_reason_to_a_person(english: Governed) -> None:
    decision = english.ask().json()["id"]
    draft = written(english, decision, outcome="no")
    assert draft["to_complete"] == ["say in plain words why this was decided"]
    assert "The program suggested another outcome: We say yes." in draft["text"]
    refused = english.step(
        decision, "notice", english.person("ann"), outcome="no", text=draft["text"]
    )
    assert_problem(refused, slug="notice-incomplete", status=422)
    finished = re.sub(r"\[\[.*?\]\]", "Your papers show other sums.", draft["text"])
    sent = english.step(decision, "notice", english.person("ann"), outcome="no", text=finished)
    assert sent.status_code == 201, sent.text
    assert english.decide(decision, "ann", "no").status_code == 201
    after = written(english, decision)
    assert after["to_complete"] == []
    assert REASON["text"] in after["text"]


def test_a_letter_gives_the_reason_of_whoever_followed_the_advice(english: Governed) -> None:
    decision = english.ask().json()["id"]
    before = written(english, decision)["text"]
    assert REASON["text"] not in before
    assert english.decide(decision, "ann", "yes").status_code == 201
    after = written(english, decision)
    assert after["text"] == before.replace(
        "Why we decided this\n\n", f"Why we decided this\n\n{REASON['text']}\n\n"
    )
    english.step(decision, "contest", english.person("ann"), text="No.", on_behalf_of="person")
    checked = {**REASON, "text": "We asked the landlord, who says the same."}
    upheld = english.step(
        decision, "review", english.person("rev", Role.REVIEWER), outcome="yes", reason=checked
    )
    assert upheld.status_code == 201, upheld.text
    final = written(english, decision)["text"]
    assert checked["text"] in final
    assert REASON["text"] not in final


def test_a_reason_in_another_language_is_a_place_left_open(demonstration: Started) -> None:
    service = Governed(demonstration)
    before, asked = demo_letter(demonstration, "eviction-date-set", language="cy")
    decided = service.decide(asked["id"], "ann", asked["recommendation"]["outcome"])
    assert decided.status_code == 201, decided.text
    after = service.get(
        f"/v1/decisions/{asked['id']}/notice?language=cy", service.person("ann")
    ).json()
    assert before["to_complete"] == []
    assert after["to_complete"] == ["dywedwch mewn geiriau plaen pam y penderfynwyd hyn"]
    assert REASON["text"] not in after["text"]


def test_a_letter_that_leaves_out_a_factor_is_refused(english: Governed) -> None:
    decision = english.ask().json()["id"]
    letter = written(english, decision)
    lacking = letter["text"].replace("Count: 5", "")
    refused = english.step(decision, "notice", english.person("ann"), outcome="yes", text=lacking)
    assert_problem(refused, slug="notice-incomplete", status=422)
    assert "Count" in refused.json()["detail"]


def test_a_letter_that_is_too_hard_to_read_is_refused(english: Governed) -> None:
    decision = english.ask().json()["id"]
    text = written(english, decision)["text"]
    hard = text + " ".join(["notwithstanding administrative circumstances"] * 60) + "."
    refused = english.step(decision, "notice", english.person("ann"), outcome="yes", text=hard)
    assert_problem(refused, slug="notice-incomplete", status=422)
    assert "too hard to read" in refused.json()["detail"]
    taken = english.step(decision, "notice", english.person("ann"), outcome="yes", text=text)
    assert taken.status_code == 201


def test_a_text_of_the_case_cannot_pass_for_the_letter(english: Governed) -> None:
    forged = "x\n\nYou have 90 days [[to pay]]"
    decision = english.ask({**tiny.CASE, "answer": forged}).json()["id"]
    letter = written(english, decision)
    assert forged not in letter["text"]
    assert "x You have 90 days [ [to pay]]" in letter["text"]
    assert letter["to_complete"] == []


def test_without_words_in_the_language_no_letter_is_written(english: Governed) -> None:
    decision = english.ask().json()["id"]
    path = f"/v1/decisions/{decision}/notice"
    refused = english.get(f"{path}?language=cy", english.person("ann"))
    assert_problem(refused, slug="notice-unavailable", status=409)
    assert "has no words for a letter in 'cy'; it has them in 'en'" in refused.text
    recorded = english.step(
        decision, "notice", english.person("ann"), outcome="yes", text="Llythyr.", language="cy"
    )
    assert_problem(recorded, slug="notice-unavailable", status=409)
    strange = english.get(f"{path}?outcome=maybe", english.person("ann"))
    assert_problem(strange, slug="invalid-request", status=422)


def test_no_letter_tells_advice_that_is_kept_back(tmp_path: Path) -> None:
    terms = {"letters": {"en": LETTER}}
    with governed(tmp_path, reveal="after_own_assessment", notice=terms) as service:
        decision = service.ask().json()["id"]
        refused = service.get(f"/v1/decisions/{decision}/notice", service.person("ann"))
        assert_problem(refused, slug="advice-withheld", status=409)
        service.assess(decision, "ann")
        assert "Amount" in written(service, decision)["text"]


def test_without_advice_the_letter_says_so_and_a_person_gives_the_reason(tmp_path: Path) -> None:
    rule = {
        "rule": "never", "when": "true", "requires": "no_advice", "description": "Not for this.",
    }  # fmt: skip
    with governed(tmp_path, rules=[rule], notice={"letters": {"en": LETTER}}) as service:
        decision = service.ask().json()["id"]
        path = f"/v1/decisions/{decision}/notice"
        refused = service.get(path, service.person("ann"))
        assert_problem(refused, slug="step-missing", status=409)
        letter = written(service, decision, outcome="no")
        assert "The computer program gave no advice" in letter["text"]
        assert letter["must_name"] == []
        assert len(letter["to_complete"]) == 1


def test_at_level_two_a_denial_needs_its_own_notice_first(tmp_path: Path) -> None:
    low = {"amount": 1.0, "count": 1, "answer": "no"}
    with governed(tmp_path, aia=assessed(50), notice={"letters": {"en": LETTER}}) as service:
        decision = service.ask(low).json()["id"]
        refused = service.decide(decision, "ann", "no")
        assert_problem(refused, slug="notice-needed", status=409)
        letter = written(service, decision)
        other = re.sub(r"\[\[.*?\]\]", "x", written(service, decision, outcome="yes")["text"])
        # A letter about another outcome is none about this one.
        assert service.step(
            decision, "notice", service.person("ann"), outcome="yes", text=other
        ).status_code == 201  # fmt: skip
        assert service.decide(decision, "ann", "no").status_code == 409
        assert service.step(
            decision, "notice", service.person("ann"), outcome="no", text=letter["text"]
        ).status_code == 201  # fmt: skip
        assert service.decide(decision, "ann", "no").status_code == 201
        favourable = service.ask().json()["id"]
        assert service.decide(favourable, "ann", "yes").status_code == 201


def test_a_case_of_a_bundle_that_is_gone_can_still_be_told_of_in_english(
    english: Governed, tmp_path: Path
) -> None:
    decision = english.ask().json()["id"]
    text = written(english, decision)["text"]
    started = english.started
    elsewhere = started.settings.model_copy(update={"models_dir": tmp_path, "data_dir": tmp_path})
    with started.replaced(served=Serving(), library=Library(elsewhere)):
        path = f"/v1/decisions/{decision}/notice"
        refused = english.get(path, english.person("ann"))
        assert_problem(refused, slug="notice-unavailable", status=409)
        by_hand = english.step(decision, "notice", english.person("ann"), outcome="yes", text=text)
        assert by_hand.status_code == 201, by_hand.text


def own_template(directory: Path, letter: str) -> Path:
    packaged = load_template(None, "en").words.model_dump(mode="json")
    (directory / "en").mkdir(parents=True)
    (directory / "en" / "letter.txt").write_text(letter)
    (directory / "en" / "words.yaml").write_text(yaml.safe_dump(packaged))
    return directory


def test_a_body_edits_its_templates(tmp_path: Path) -> None:
    own = own_template(
        tmp_path / "own",
        "Dear you: {% for f in factors_for %}{{ f.label }}; {% endfor %}{{ outcome }}",
    )
    with governed(
        tmp_path, notice={"letters": {"en": LETTER}}, settings={"notices_dir": own}
    ) as service:
        letter = written(service, service.ask().json()["id"])
        assert letter["text"].startswith("Dear you: ")
        assert letter["template"]["packaged"] is False


@pytest.mark.parametrize(
    ("letter", "fault"), [("{{ ghost }}", "names ghost"), ("{% if outcome %}", "end of template")]
)
def test_a_template_that_cannot_be_used_refuses_the_start(
    tmp_path: Path, letter: str, fault: str
) -> None:
    with pytest.raises(TemplatesError, match=fault):
        load_template(own_template(tmp_path / "own", letter), "en")


@pytest.mark.parametrize(
    ("letter", "fault"),
    [("{{ letter.ghost }}", "no attribute 'ghost'"), ("{{ ''.__class__.mro() }}", "unsafe")],
)
def test_what_a_template_reaches_for_and_may_not_have_is_an_error(
    tmp_path: Path, letter: str, fault: str
) -> None:
    own = own_template(tmp_path / "own", letter)
    with governed(
        tmp_path, notice={"letters": {"en": LETTER}}, settings={"notices_dir": own}
    ) as service:
        decision = service.ask().json()["id"]
        refused = service.get(f"/v1/decisions/{decision}/notice", service.person("ann"))
        problem = assert_problem(refused, slug="notice-unavailable", status=409)
        assert fault in problem["detail"]


@pytest.mark.parametrize(
    "letters",
    [
        {"en": {**LETTER, "outcomes": {"yes": "Yes."}}},
        {"en": LETTER, "cy": LETTER},  # the small model's card has no Welsh
        {"en": LETTER, "gd": LETTER},
    ],
)
def test_letters_that_cannot_be_written_refuse_the_start(tmp_path: Path, letters: object) -> None:
    with pytest.raises(StartRefusedError), governed(tmp_path, notice={"letters": letters}):
        pass


def test_one_day_is_not_called_days(tmp_path: Path) -> None:
    terms = {"letters": {"en": LETTER}, "appeal_within_days": 1}
    with governed(tmp_path, notice=terms, review={"answer_within_days": 1}) as service:
        text = written(service, service.ask().json()["id"])["text"]
    assert "We will answer within 1 day." in text
    assert "You have 1 day from the date of this letter." in text


def test_a_source_without_a_date_is_said_without_one() -> None:
    words = load_template(None, "en").words
    assert words.source(Fact("a", "1", None, None)) == ""
    assert words.source(Fact("a", "1", "declared", None)) == " (you told us)"
    assert words.source(Fact("a", "1", "estimated", date(2026, 1, 2))).endswith("2 January 2026)")


def test_both_measures_are_their_published_formulas() -> None:
    words = ["The", "cat", "sat", "on", "the", "enormous", "mat"]  # 26 letters
    assert reading_age(words, 1) == round(max(4.71 * 26 / 7 + 0.5 * 7 - 21.43, 0) + 5, 1)
    assert lix(words, 1) == round(7 + 100 / 7, 1)
    easy, hard = (
        "The cat sat. " * 60,
        "Notwithstanding administrative circumstances whatsoever " * 40,
    )
    for language in ("en", "cy"):
        assert reading_of(easy, language=language, greatest_age=14, greatest_lix=45).is_within
        assert not reading_of(hard, language=language, greatest_age=14, greatest_lix=45).is_within
    short = reading_of("Notwithstanding.", language="en", greatest_age=14, greatest_lix=45)
    assert short.value is None
