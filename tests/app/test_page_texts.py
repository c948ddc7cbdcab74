"""What caseworkers and the public read: no jargon, and no harder than it has to be."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

import app.web
from app.notices.readability import reading_of
from app.web.language import Language, catalogue_of

WEB = Path(app.web.__file__).parent
FOR_SPECIALISTS = re.compile(
    r"(templates/)?(auditor|owner)|log_pages|templates/public/(reference|problem)\.html|reference\.py"
)
"""Auditors, model owners and developers read terms of their trade."""
JARGON = re.compile(
    r"\b(algorithm\w*|API|background|bundle\w*|cach\w+|calibrat\w+|checkpoint\w*|classif\w+|conformal"
    r"|contributions?|counterfactual\w*|covariate\w*|digest\w*|endpoint\w*|features?|hash\w*|HTTP\w*"
    r"|inference|JSON|log|log-odds|logit\w*|Merkle|metrics?|odds|ONNX|outlier\w*|parameters?|payload\w*"
    r"|percentile\w*|prior|probabilit\w+|quantile\w*|regress\w+|residual\w*|schema\w*|SHAP|Shapley"
    r"|sigma|statistic\w*|threshold\w*|tokens?|variance|vector\w*)\b",
    re.IGNORECASE,
)
GREATEST_AGE = 10
GREATEST_LIX = 45
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext.babel_extract")]


def plain_texts() -> list[str]:
    """Return every text that caseworkers and the public read, in English."""
    found = extract_from_dir(
        WEB,
        method_map=METHODS,
        options_map={"templates/**.html": {"trim_blocks": "true", "silent": "false"}},
        keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    texts: dict[bool, set[str]] = {True: set(), False: set()}
    for file, _, message, _, _ in found:
        is_plain = FOR_SPECIALISTS.match(file) is None
        texts[is_plain].update([message] if isinstance(message, str) else message)
    # The navigation has the names of the specialists' pages beside the others.
    return sorted(texts[True] - texts[False])


def test_there_are_texts() -> None:
    assert len(plain_texts()) > 120


def test_no_text_has_a_word_of_the_trade() -> None:
    found = {text: word[0] for text in plain_texts() if (word := JARGON.search(text))}
    assert found == {}


@pytest.mark.parametrize("text", ["The probability is 0.7", "See the log.", "A SHAP value"])
def test_a_word_of_the_trade_is_noticed(text: str) -> None:
    assert JARGON.search(text)


def test_the_texts_can_be_read_by_most() -> None:
    whole = "\n\n".join(text for text in plain_texts() if text.endswith((".", "?", "!")))
    reading = reading_of(whole, language="en", greatest_age=GREATEST_AGE, greatest_lix=GREATEST_LIX)
    assert reading.value is not None
    assert reading.is_within, reading


def test_a_text_that_is_hard_to_read_is_noticed() -> None:
    hard = (
        "Notwithstanding the aforementioned considerations, determinations regarding discretionary"
        " entitlements necessitate comprehensive substantiation of circumstances, documentation and"
        " the proportionality of administrative interventions affecting applicants. "
    ) * 6
    assert not reading_of(
        hard, language="en", greatest_age=GREATEST_AGE, greatest_lix=GREATEST_LIX
    ).is_within


def test_welsh_sentences_are_about_as_short() -> None:
    """LIX is not calibrated for Welsh: this only notices a catalogue that runs on."""
    texts = set(plain_texts())
    whole = "\n\n".join(
        str(message.string)
        for message in catalogue_of(Language.WELSH)
        if isinstance(message.id, str) and message.id in texts and message.id.endswith(".")
    )
    assert reading_of(
        whole, language="cy", greatest_age=GREATEST_AGE, greatest_lix=GREATEST_LIX
    ).is_within
