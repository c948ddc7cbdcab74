"""What a country asks of a model: protected fields, proxies, coverage by obligation, datasheets."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from models.build import write_bundle
from models.bundle import AIA, BundleFiles, read
from models.card import Card, Value
from models.coverage import FACTS, coverage, unaccounted_groups
from models.datasheet import parse_datasheet
from models.demo.assessments import DATASHEET_TEXT, aia_answers
from models.errors import CardRefusedError, FilesRefusedError, RowsRefusedError
from models.evaluation import Evaluated, parse_evaluation, write_evaluation
from models.forbidden import check_fields, resembling
from models.measures import auc, expected_calibration_error, rate
from models.profile import PROFILES, load_profile, vocabulary
from models.proxies import measure_proxies, parse_proxies, write_proxies
from tests.models.graphs import ROW, SAMPLE, card, field, logistic_model

TODAY = date(2026, 11, 24)


@pytest.fixture
def demo(demo_bundle: BundleFiles) -> BundleFiles:
    return demo_bundle


def named(name: str, label: str = "A figure") -> Card:
    return card(fields=[field(name, label=label)])


@pytest.mark.parametrize(
    "name",
    [
        "nationality",
        "applicant_nationality",
        "ApplicantNationality",
        "age",
        "age_years",
        "age_group",
        "date_of_birth",
        "is_male",
        "gender_code",
        "ethnic_group",
        "has_disability",
        "marital_status",
        "country_of_birth",
        "religion",
        "nationalité",
    ],
)
def test_a_protected_attribute_is_no_field_by_its_name(name: str) -> None:
    with pytest.raises(CardRefusedError, match="by its name; want no protected attribute"):
        check_fields(named(name), load_profile("uk"))
    with pytest.raises(CardRefusedError, match="by its label"):
        check_fields(named("x7", label=name.replace("_", " ")), load_profile("uk"))


@pytest.mark.parametrize(
    "name",
    ["mortgage", "age_of_roof", "race_track_distance", "months_at_address", "average", "sexton"],
)
def test_another_thing_with_such_a_word_in_it_is_a_field(name: str) -> None:
    check_fields(named(name), load_profile("uk"))


def test_what_resembles_one_is_pointed_out() -> None:
    found = resembling(named("age_of_roof"), load_profile("uk"))
    assert [(told.name, attribute.id) for told, attribute in found] == [("age_of_roof", "age")]
    assert resembling(named("mortgage"), load_profile("uk")) == []


@pytest.mark.parametrize(
    ("categories", "refused"),
    [
        (["Male", "Female"], True),
        (["m", "f", "not stated"], True),
        (["White", "Black", "Other"], True),
        (["Amer-Indian-Eskimo", "White"], True),
        (["male", "engine"], False),
        (["other", "unknown"], False),
        (["Council tenant", "Private tenant"], False),
    ],
)
def test_values_give_a_protected_attribute_away(
    categories: Sequence[str], *, refused: bool
) -> None:
    told = card(fields=[field("x7", "string", categories=categories)])
    if refused:
        with pytest.raises(CardRefusedError, match="by its values"):
            check_fields(told, load_profile("uk"))
    else:
        check_fields(told, load_profile("uk"))


def test_countries_differ_in_what_they_protect() -> None:
    told = named("marital_status")
    check_fields(told, load_profile("eu"))
    with pytest.raises(CardRefusedError, match="Canadian Human Rights Act"):
        check_fields(told, load_profile("ca"))


def test_every_profile_names_what_the_code_knows() -> None:
    known = {attribute.id for attribute in vocabulary().attributes}
    for name in PROFILES:
        profile = load_profile(name)
        assert set(profile.protected.attributes) <= known
        needs = {need for each in profile.obligations for need in each.needs}
        assert needs <= {*FACTS, "assessments_dated"}
        ids = [each.id for each in profile.obligations]
        assert len(ids) == len(set(ids))


def test_the_demonstration_covers_what_its_country_asks(demo: BundleFiles) -> None:
    found = coverage(demo, load_profile("uk"), on=TODAY)
    assert found.suffices, found.refusal
    # Not built by `bundle build`, and not signed: both are pointed out.
    gaps = {gap for item in found.items for gap in item.gaps}
    assert gaps == {"acceptance.json", "model.sig"}


def test_taking_the_slices_away_leaves_a_gap_by_article(demo: BundleFiles) -> None:
    analysis = demo.card.quantitative_analysis
    assert analysis is not None
    whole = tuple(metric for metric in analysis.performance_metrics if metric.slice is None)
    harmed = _with(
        demo,
        demo.card.model_copy(
            update={
                "quantitative_analysis": analysis.model_copy(update={"performance_metrics": whole})
            }
        ),
    )
    in_force = date(2027, 12, 2)
    before = coverage(demo, load_profile("eu"), on=in_force)
    after = coverage(harmed, load_profile("eu"), on=in_force)
    lost = {i.obligation.source for i in after.items if not i.is_covered} - {
        i.obligation.source for i in before.items if not i.is_covered
    }
    assert lost == {"AI Act, Article 13(3)(b)(v)"}
    assert unaccounted_groups(harmed.card) == demo.card.protected


def test_obligations_begin_on_their_day(demo: BundleFiles) -> None:
    eve = coverage(demo, load_profile("eu"), on=date(2027, 12, 1))
    day = coverage(demo, load_profile("eu"), on=date(2027, 12, 2))
    assert len(eve.items) + len(eve.not_yet) == len(day.items)
    assert {"aia-27"} <= {each.id for each in eve.not_yet}
    assert "aia-27" in {item.obligation.id for item in day.essential_gaps}


def test_an_assessment_after_the_day_or_overdue_does_not_count(demo: BundleFiles) -> None:
    first, *rest = demo.card.assessments
    for change, message in (
        ({"date": date(2026, 11, 25)}, "completed before use"),
        ({"review_by": date(2026, 11, 23)}, "looked at again in time"),
    ):
        assessments = (first.model_copy(update=change), *rest)
        harmed = _with(demo, demo.card.model_copy(update={"assessments": assessments}))
        found = coverage(harmed, load_profile("uk"), on=TODAY)
        assert not found.suffices
        assert message in found.refusal
        assert "gdpr-dpia" in found.refusal


def test_a_bare_card_is_not_enough(tmp_path: Path) -> None:
    files = write_bundle(
        tmp_path / "b", model=logistic_model(), card=card(), background=[ROW], samples=[SAMPLE]
    )
    found = coverage(files, load_profile("uk"), on=TODAY)
    assert not found.suffices
    assert found.share < 0.2
    assert "want 80% and all that is essential" in found.refusal


def test_the_level_decides_what_is_asked(demo: BundleFiles) -> None:
    assert demo.impact is not None
    low = replace(demo, impact=replace(demo.impact, level=1))
    unknown = replace(demo, impact=None)
    asked = {
        name: {item.obligation.id for item in coverage(each, load_profile("ca"), on=TODAY).items}
        for name, each in (("low", low), ("two", demo), ("unknown", unknown))
    }
    assert asked["two"] - asked["low"] == {"reasons", "peer-review", "gender-analysis"}
    assert asked["unknown"] == asked["two"], "what is not assessed is asked for everything"
    very_high = replace(demo, impact=replace(demo.impact, level=4))
    gaps = coverage(very_high, load_profile("ca"), on=TODAY).refusal
    assert "peer_review" in gaps, "level IV wants two reviews"


def _with(files: BundleFiles, told: Card) -> BundleFiles:
    return replace(files, card=told)


def test_the_impact_level_is_the_bundles_own(demo: BundleFiles, tmp_path: Path) -> None:
    assert demo.impact is not None
    assert demo.impact.level == 2
    edited = aia_answers().replace(b'"currentPage"', b'"level": "I", "currentPage"')
    files = write_bundle(
        tmp_path / "b", model=logistic_model(), card=card(), background=[ROW], samples=[SAMPLE],
        documents={AIA: edited},
    )  # fmt: skip
    assert files.impact == demo.impact


def people(rng: np.random.Generator, count: int) -> list[Evaluated]:
    """``planted`` follows the attribute nine times in ten; ``noise`` knows nothing of it."""
    rows = []
    for _ in range(count):
        group = str(rng.choice(["p", "q"]))
        other = "q" if group == "p" else "p"
        shown = group if rng.random() < 0.9 else other
        case: dict[str, Value] = {
            "planted": {"p": "north", "q": "south"}[shown],
            "noise": float(rng.normal()),
        }
        rows.append(Evaluated(case, "yes", {"sex": group}))
    return rows


PLANTED = card(
    fields=[field("noise"), field("planted", "string", categories=["north", "south"])],
    protected=("sex",),
)


def test_a_planted_proxy_is_found_and_named_first() -> None:
    (found,) = measure_proxies(people(np.random.default_rng(1), 800), PLANTED).attributes
    assert found.auc is not None
    # Nine in ten: the best there is has an area of 0.9, and tells 1 - H(0.1) = 0.53 of the entropy.
    assert 0.85 < found.auc < 0.95
    assert [each.field for each in found.fields] == ["planted", "noise"]
    assert found.fields[0].association == pytest.approx(0.53, abs=0.08)
    assert found.fields[1].association < 0.02
    limits = load_profile("uk").proxies
    assert found.auc >= limits.auc
    assert found.fields[0].association >= limits.association


def test_unrelated_fields_are_no_proxies() -> None:
    rows = [
        replace(row, groups={"sex": group})
        for row, group in zip(
            people(np.random.default_rng(2), 800),
            np.random.default_rng(3).choice(["p", "q"], 800),
            strict=True,
        )
    ]
    (found,) = measure_proxies(rows, PLANTED).attributes
    assert found.auc is not None
    assert 0.4 < found.auc < 0.6
    assert max(each.association for each in found.fields) < 0.02


def test_groups_too_small_to_compare_are_said_to_be_left_out() -> None:
    rows = people(np.random.default_rng(4), 100)
    rows += [replace(rows[0], groups={"sex": "r"})] * 5
    (found,) = measure_proxies(rows, PLANTED).attributes
    assert found.left_out == {"r": 5}
    (none,) = measure_proxies(
        [replace(row, groups={"sex": "p"}) for row in rows], PLANTED
    ).attributes
    assert none.auc is None


def test_proxies_and_evaluation_read_back_equal() -> None:
    rows = people(np.random.default_rng(5), 90)
    found = measure_proxies(rows, PLANTED)
    assert parse_proxies(write_proxies(found)) == found
    with pytest.raises(FilesRefusedError, match="want measured proxies"):
        parse_proxies(b"{}")
    assert list(parse_evaluation(write_evaluation(rows, PLANTED), PLANTED)) == rows


def test_an_evaluation_set_holds_only_what_the_card_protects() -> None:
    rows = people(np.random.default_rng(6), 3)
    written = write_evaluation([replace(r, groups={"shoe": "p"}) for r in rows], PLANTED)
    with pytest.raises(RowsRefusedError, match="got columns shoe"):
        parse_evaluation(written, PLANTED)
    none = write_evaluation([replace(r, groups={}) for r in rows], PLANTED)
    with pytest.raises(RowsRefusedError, match="got no protected attribute"):
        parse_evaluation(none, PLANTED)


def test_a_datasheet_names_its_empty_sections() -> None:
    assert parse_datasheet(DATASHEET_TEXT.encode()).empty_sections == ()
    bare = parse_datasheet(b"motivation: {purpose: A test}\nuses: {}\n")
    assert "motivation" not in bare.empty_sections
    assert {"uses", "composition"} <= set(bare.empty_sections)
    with pytest.raises(CardRefusedError, match="Extra inputs"):
        parse_datasheet(b"mood: {a: b}\n")


def test_wilsons_interval_as_published() -> None:
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    found = rate(np.arange(263) < 81)
    assert (round(found.lower, 4), round(found.upper, 4)) == (0.2553, 0.3662)
    none = rate(np.zeros(20, bool))
    assert (none.lower, round(none.upper, 4)) == (0.0, 0.1611)


def test_auc_is_the_share_of_pairs_in_order(rng: np.random.Generator) -> None:
    scores, truth = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.4
    pairs = [
        (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
        for i in np.flatnonzero(truth)
        for j in np.flatnonzero(~truth)
    ]
    assert auc(scores, truth) == pytest.approx(float(np.mean(pairs)), abs=1e-12)


def test_a_calibrated_score_has_a_small_error(rng: np.random.Generator) -> None:
    scores = rng.random(20_000)
    truth = rng.random(20_000) < scores
    assert expected_calibration_error(scores, truth) < 0.02
    assert expected_calibration_error(np.full(1000, 0.9), np.arange(1000) < 500) == pytest.approx(
        0.4
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261124)


def test_a_bundle_with_all_files_reads_back(demo: BundleFiles) -> None:
    again = read(demo.path)
    assert (again.digest, again.impact, again.proxies) == (demo.digest, demo.impact, demo.proxies)
    assert len(again.evaluation) == 1_000
