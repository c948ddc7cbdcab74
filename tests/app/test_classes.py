"""Models that compare classes: what is said of a class must be true of its probability.

The margins of a softmax mean something only against each other: a field may raise a class' own
margin and lower its probability, because it raises another's more.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from onnx import TensorProto, helper

from app.domain import Role
from app.served import open_model
from app.settings import Settings
from models.build import write_bundle
from models.bundle import read
from models.card import Output
from models.errors import GraphRefusedError
from models.rows import Sample
from tests.app import tiny
from tests.models.graphs import card, constant, field, make_model, tensor
from tests.signed import signed
from tests.started import start

WEIGHTS = {2: [[1.0, 3.0], [0.0, 1.0]], 3: [[1.0, 3.0, 0.0], [0.0, 0.0, 1.0]]}
"""Margins: the first class gets a, the second three times a."""


def probabilities(classes: int, a: float, b: float) -> tuple[float, ...]:
    weights = WEIGHTS[classes]
    margins = [a * weights[0][k] + b * weights[1][k] for k in range(classes)]
    total = sum(math.exp(m) for m in margins)
    return tuple(math.exp(m) / total for m in margins)


def write(directory: Path, classes: int, wording: dict[str, str] | None = None) -> None:
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["margins"]),
            helper.make_node("Softmax", ["margins"], ["scores"], axis=1),
        ],
        [tensor("x", TensorProto.FLOAT, (None, 2))],
        [tensor("scores", TensorProto.FLOAT, (None, classes))],
        [constant("w", WEIGHTS[classes])],
    )
    names = tuple("ABC"[:classes])
    rows = [{"a": a, "b": b} for a, b in ((0.0, 0.0), (0.0, 0.5), (0.0, -0.5), (1.0, 0.0))]
    samples = []
    for row in rows:
        scores = probabilities(classes, row["a"], row["b"])
        samples.append(Sample(row, names[scores.index(max(scores))], scores))
    described = card(
        fields=(field("a", wording="an a of {value}"), field("b", wording="a b of {value}")),
        output=Output(
            task="classification",
            meaning="how likely A is",
            classes=names,
            positive_class="A",
            class_wording=wording or {},
        ),
    )
    described = described.model_copy(update={"name": "classes"})
    signed(
        write_bundle(
            directory / "bundle", model=model, card=described, background=rows[:3], samples=samples
        )
    )
    (directory / "policy.yaml").write_text(yaml.safe_dump(tiny.policy("classes")))


def asked(tmp_path: Path, model: str, case: dict[str, float]) -> tuple[Any, httpx.Response]:
    """Return the answer about a case, and its page."""
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data", profile="none")
    with start(settings) as service:
        answer = service.ask(model, case).json()
        page = service.client.get(
            f"/decisions/{answer['id']}", headers=service.session(Role.CASEWORKER)
        )
    return answer, page


@pytest.mark.parametrize("classes", [2, 3])
def test_a_field_that_lowers_a_classs_probability_is_never_said_to_raise_it(
    classes: int, tmp_path: Path
) -> None:
    """With a = 2 the first class' margin rises by 2, and its probability falls."""
    write(tmp_path / "models" / "classes", classes)
    answer, page = asked(tmp_path, "classes", {"a": 2.0, "b": 0.0})
    explanation = answer["explanation"]
    assert answer["recommendation"]["score"] == pytest.approx(probabilities(classes, 2, 0)[0])
    assert explanation["contrast"] == {"favoured": "A", "rival": "B"}
    by_field = {each["field"]: each for each in explanation["contributions"]}
    assert by_field["a"]["contribution"] == pytest.approx(-4.0, abs=1e-6)
    assert explanation["margin"] == pytest.approx(-4.0, abs=1e-6)
    told = [*explanation["reasons_for"], *explanation["reasons_against"]]
    assert not any(text.startswith("An a of 2 raised") for text in told)
    if classes == 2:
        total = explanation["base_probability"] + sum(
            each["probability_change"] for each in explanation["contributions"]
        )
        assert total == pytest.approx(answer["recommendation"]["score"], abs=1e-6)
        assert any(text.startswith("An a of 2 lowered the estimate") for text in told)
    else:
        assert explanation["base_probability"] is None
        assert explanation["reasons_for"] == ["An a of 2 counted for B rather than A."]
        assert "add up from the starting point" not in page.text
        assert "log-odds" not in page.text
        # A factor for one of three classes may lower the estimate of it.
        assert "raised the estimate" not in page.text
        assert "moved the estimate" not in page.text
        sides = "Bars to the right counted for “A”, striped bars to the left for “B”."
        assert page.text.count(sides) == 2
        assert "No factor spoke against it." in page.text


def test_shares_of_a_softmax_are_no_regression(tmp_path: Path) -> None:
    """What is told of a class is told against another; numbers without names have none."""
    write(tmp_path / "classes", 3)
    files = read(tmp_path / "classes" / "bundle")
    output = Output(task="regression", meaning="a share", number=1)
    regression = replace(files, card=files.card.model_copy(update={"output": output}))
    samples = tuple(Sample(each.case, each.scores[1], each.scores) for each in files.samples)
    with pytest.raises(GraphRefusedError, match="want the task classification"):
        open_model(replace(regression, samples=samples), Settings())


def test_a_number_behind_a_logistic_is_told_as_the_share_that_it_is(tmp_path: Path) -> None:
    """Its contributions are log-odds, which are no part of a number from 0 to 1."""
    directory = tmp_path / "models" / "share"
    rows = [{"a": a, "b": b} for a, b in ((0.0, 0.5), (1.0, -0.5), (0.5, 0.0))]
    shares = [1 / (1 + math.exp(-2 * row["a"] - row["b"])) for row in rows]
    described = card(
        fields=(field("a", wording="an a of {value}"), field("b", wording="a b of {value}")),
        output=Output(task="regression", meaning="share of the rent", unit="of the rent"),
    ).model_copy(update={"name": "share"})
    signed(
        write_bundle(
            directory / "bundle",
            model=make_model(
                [
                    helper.make_node("MatMul", ["x", "w"], ["margin"]),
                    helper.make_node("Sigmoid", ["margin"], ["share"]),
                ],
                [tensor("x", TensorProto.FLOAT, (None, 2))],
                [tensor("share", TensorProto.FLOAT, (None, 1))],
                [constant("w", [[2.0], [1.0]])],
            ),
            card=described,
            background=rows,
            samples=[Sample(row, p, (p,)) for row, p in zip(rows, shares, strict=True)],
        )
    )
    policy: dict[str, Any] = dict(tiny.policy("share"))
    policy["bands"][0]["at_least"] = -math.inf
    (directory / "policy.yaml").write_text(yaml.safe_dump(policy))
    answer, page = asked(tmp_path, "share", {"a": 1.0, "b": 0.0})
    told = answer["explanation"]
    # Of log-odds of 1 in the background and 2 in the case.
    assert "is 88%, from a starting point of 73% for comparable cases" in told["summary"]
    assert told["strongest_reasons"] == ["An a of 1 raised the estimate by 15 points."]
    assert "+15 points" in page.text
    assert "88%" in page.text
    assert "how often the model expects" not in page.text


def test_a_class_is_told_in_the_cards_words(tmp_path: Path) -> None:
    """It may be called 1, or help-now."""
    write(tmp_path / "models" / "classes", 3, {"A": "help now", "B": "wait for the panel"})
    answer, page = asked(tmp_path, "classes", {"a": 2.0, "b": 0.0})
    assert answer["explanation"]["contrast"] == {"favoured": "A", "rival": "B"}
    told = "An a of 2 counted for wait for the panel rather than help now."
    assert answer["explanation"]["reasons_for"] == [told]
    assert "Bars to the right counted for “help now”" in page.text
    assert "for wait for the panel" in page.text
    assert "for B" not in page.text
