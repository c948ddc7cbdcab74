"""Pages: what a person reads, that nothing in it can act on its own, and that it needs nobody else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from app.domain import Role
from app.web.advice import advice_of
from app.web.assets import load_assets
from app.web.charts import IN_A_LINE, ROW_HEIGHT, WIDTH, Bar, signed_bars
from app.web.language import Language, texts_in
from app.web.render import environment
from app.words import MOST_REASONS, summary
from explainers.uncertainty import Frequency
from models.demo.cases import DEMO_CASES
from tests.app import tiny
from tests.problems import KINDS, assert_guarded
from tests.started import Started

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
UNKNOWN_ID = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11"
VOID = {"meta", "link", "img", "input", "br", "hr", "rect", "line", "stop"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list["Node | str"] = field(default_factory=list)

    def text(self) -> str:
        parts = [child if isinstance(child, str) else child.text() for child in self.children]
        return " ".join("".join(parts).split())

    def all(self, tag: str) -> list["Node"]:
        found = [self] if self.tag == tag else []
        for child in self.children:
            if isinstance(child, Node):
                found += child.all(tag)
        return found

    def nodes(self) -> list["Node"]:
        return [self] + [
            node for child in self.children if isinstance(child, Node) for node in child.nodes()
        ]


class Page(HTMLParser):
    """A page as a tree; whatever is not closed, or closed and not opened, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("")
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert self._open == [self.root], f"never closed: {self._open[-1].tag}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def shown(service: Started, answer: httpx.Response) -> httpx.Response:
    page: httpx.Response = service.client.get(
        f"/decisions/{answer.json()['id']}", headers={**BROWSER, **service.session(Role.CASEWORKER)}
    )
    assert page.status_code == 200, page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert_guarded(page)
    return page


def items_under(root: Node, heading: str) -> list[str]:
    """Return the list items between one of the advice's headings and the next."""
    (content,) = [
        node for node in root.all("section") if node.attributes.get("aria-labelledby") == "advice"
    ]
    children = [child for child in content.children if isinstance(child, Node)]
    titles = [place for place, node in enumerate(children) if node.tag == "h3"]
    start = next(place for place in titles if children[place].text() == heading)
    stop = next((place for place in titles if place > start), len(children))
    return [item.text() for node in children[start:stop] for item in node.all("li")]


@pytest.mark.parametrize("name", DEMO_CASES)
def test_the_page_says_what_the_answer_says(demonstration: Started, name: str) -> None:
    answer = demonstration.ask("housing-support", DEMO_CASES[name])
    body = answer.json()
    root = Page(shown(demonstration, answer).text).root
    (heading,) = root.all("h1")
    assert heading.text() == demonstration.parts.served["housing-support"].bundle.card.title
    explanation = body["explanation"]
    assert items_under(root, "Reasons for this recommendation") == explanation["reasons_for"]
    assert items_under(root, "Reasons against it") == explanation["reasons_against"]
    assert explanation["reasons_for"] or explanation["reasons_against"]
    text = root.text()
    assert body["recommendation"]["label"] in text
    assert explanation["summary"] in text
    assert body["recommendation"]["score_meaning"] in text
    receipt = {node.all("dt")[0].text(): node.all("dd")[0].text() for node in root.all("div")
               if node.all("dt") and not node.all("div")[1:]}  # fmt: skip
    assert receipt["Case"] == body["id"]
    assert receipt["Record"] == f"{body['receipt']['log']}, entry {body['receipt']['index']}"
    assert receipt["Fingerprint of the entry"] == body["receipt"]["leaf_hash"]
    missing = [flag for flag in body["flags"] if flag["kind"] == "missing"]
    assert text.count("Missing: the model worked without it") == len(missing)
    assert bool(missing) == (name == "figures-missing")


@pytest.mark.parametrize("name", DEMO_CASES)
def test_the_chart_has_the_tables_figures(demonstration: Started, name: str) -> None:
    answer = demonstration.ask("housing-support", DEMO_CASES[name])
    page = shown(demonstration, answer).text
    table = {row.all("th")[0].text(): row.all("td")[-1].text()
             for row in Page(page).root.all("tbody")[1].all("tr")}  # fmt: skip
    contributions = answer.json()["explanation"]["contributions"]
    assert len(table) == len(contributions) + 2
    (svg,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    bars = bars_of(svg)
    assert len(bars) == MOST_REASONS + 1
    by_label = {row["label"]: row["probability_change"] for row in contributions}
    for label, figure, side, _ in bars[:-1]:
        full = next(each for each in by_label if each.startswith(label.removesuffix("…")))
        assert figure == table[full]
        assert side == ("raises" if by_label[full] > 0 else "lowers")
        if figure.startswith(("+", "\N{MINUS SIGN}")):
            size = float(figure[1:].split()[0]) / 100
            assert abs(size - abs(by_label[full])) <= 0.0005 + 1e-12
            assert (figure[0] == "+") == (by_label[full] > 0)
    assert bars[-1][0] == f"{len(contributions) - MOST_REASONS} other factors"
    # Bars are as long as their figures are large, strongest first.
    lengths = [length for *_, length in bars[:-1]]
    assert lengths == sorted(lengths, reverse=True)
    sizes = sorted((abs(size) for size in by_label.values()), reverse=True)
    for length, size in zip(lengths, sizes, strict=False):
        assert abs(length / lengths[0] - size / sizes[0]) < 0.01
    rest = sum(sorted(by_label.values(), key=abs, reverse=True)[MOST_REASONS:])
    assert (bars[-1][2] == "raises") == (rest > 0)


def test_the_charts_figures_are_in_the_pages_language(demonstration: Started) -> None:
    page = in_welsh(demonstration)
    (svg,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert all(figure.endswith(" pwynt") for _, figure, *_ in bars_of(svg))
    table = Page(page).root.all("tbody")[1]
    assert not re.search(r"\bpoints?\b|less than|more than", table.text())


def test_a_welsh_page_says_which_of_its_words_are_english(demonstration: Started) -> None:
    page = in_welsh(demonstration)
    assert '>: <span lang="en">Rent arrears</span></span></a>' in page
    rows = Page(page).root.all("tbody")[1].all("tr")
    first, arrears, *_, total = [(row.all("th") + row.all("td")) for row in rows]
    assert [cell.attributes.get("lang") for cell in arrears] == ["en", "en", None]
    assert {cell.attributes.get("lang") for cell in (*first, *total)} == {None}


def in_welsh(demonstration: Started) -> str:
    """Return the page of a new case."""
    answer = demonstration.ask("housing-support", DEMO_CASES["eviction-date-set"])
    cookies = demonstration.session(Role.CASEWORKER)["Cookie"]
    page: str = demonstration.client.get(
        f"/decisions/{answer.json()['id']}",
        headers={**BROWSER, "Cookie": f"{cookies}; grounds-language=cy"},
    ).text
    return page


def bars_of(svg: str) -> list[tuple[str, str, str, float]]:
    """Return (label, figure, side, length) of each bar, in the order drawn."""
    tree = ElementTree.fromstring(svg)  # noqa: S314  # our own, and well-formed or it fails
    labels = [node.text or "" for node in tree.findall("text[@class='label']")]
    figures = [node.text or "" for node in tree.findall("text[@class='size']")]
    rects = [
        (node.get("class", ""), float(node.get("width", "nan"))) for node in tree.findall("rect")
    ]
    return [
        (label, figure, side, length)
        for label, figure, (side, length) in zip(labels, figures, rects, strict=True)
    ]


@pytest.mark.parametrize("name", DEMO_CASES)
def test_every_number_on_a_case_is_the_same_in_welsh(demonstration: Started, name: str) -> None:
    answer = demonstration.ask("housing-support", DEMO_CASES[name])
    cookies = demonstration.session(Role.CASEWORKER)["Cookie"]

    def numbers(language: Language) -> list[list[str]]:
        page = demonstration.client.get(
            f"/decisions/{answer.json()['id']}",
            headers={"Cookie": f"{cookies}; grounds-language={language}", **BROWSER},
        ).text
        (main,) = Page(page).root.all("main")
        parts = [
            node
            for node in main.nodes()
            if node.tag in ("p", "li", "th", "td", "dd", "caption", "text")
        ]
        return [re.findall(r"\d[\d,.:]*\d|\d", node.text()) for node in parts]

    in_english, in_welsh = numbers(Language.ENGLISH), numbers(Language.WELSH)
    assert sum(map(len, in_english)) > 50
    assert [sorted(each) for each in in_welsh] == [sorted(each) for each in in_english]


def test_fields_whose_names_begin_alike_are_told_apart_in_a_chart() -> None:
    names = [
        f"Savings and other things of value that belong to {who}"
        for who in ("a carer who lives in the home", "a carer who lives somewhere else")
    ]
    figures = ["+1,234,567,890", "\N{MINUS SIGN}987,654,321"]
    svg = signed_bars(
        [
            Bar(name, size, text)
            for name, size, text in zip(names, (2.0, -1.0), figures, strict=True)
        ],
        title="Effects",
        description="Two of them.",
    )
    tree = ElementTree.fromstring(svg)  # noqa: S314  # our own, and well-formed or it fails
    lines = [list(node.itertext()) for node in tree.findall("text[@class='label']")]
    assert [" ".join(each) for each in lines] == names
    assert max(len(line) for each in lines for line in each) <= IN_A_LINE
    sizes = tree.findall("text[@class='size']")
    assert [node.text for node in sizes] == figures
    # The longest bar's figure, at most nine units a character, ends inside the drawing.
    assert float(sizes[0].get("x", "nan")) + 9 * len(figures[0]) <= WIDTH
    # What comes next stands below the second line.
    tops = [float(node.get("y", "nan")) for node in tree.findall("rect")]
    assert tops[1] - tops[0] > ROW_HEIGHT


@pytest.mark.parametrize(
    "macro",
    [
        "bullets(['{}'])",
        "facts_table([{'value': '{}'}], 'none', false, {})",
        "chart_with_table('', '', [], [['A', '{}', '']])",
    ],
)
def test_an_amount_that_is_owed_keeps_its_sign_on_its_line(macro: str) -> None:
    """A browser ends a line after a hyphen, and what follows would be read as money that is there."""
    source = (
        '{% from "components/case_parts.html" import bullets, facts_table %}'
        '{% from "components/chart.html" import chart_with_table %}'
    )
    template = environment(Language.ENGLISH).from_string(
        source + "{{ " + macro.replace("'{}'", "'A balance of -£5'") + " }}"
    )
    assert "A balance of -\N{WORD JOINER}£5" in template.render()


def test_a_label_without_a_gap_or_in_wide_characters_is_broken_into_lines() -> None:
    for name, most in (("x" * 100, IN_A_LINE), ("\N{CJK UNIFIED IDEOGRAPH-5BB6}" * 40, 24)):
        svg = signed_bars([Bar(name, 1.0, "+1")], title="Effects", description="One.")
        (label,) = ElementTree.fromstring(svg).findall("text[@class='label']")  # noqa: S314
        assert "".join(label.itertext()) == name
        assert all(len(line) <= most for line in label.itertext())


HOSTILE_CASES: list[Mapping[str, Any]] = [
    {"amount": 12.5, "count": 5, "answer": tiny.HOSTILE},
    {"amount": 1.0, "count": 1, "answer": tiny.HOSTILE},
    {"amount": 1.0, "count": 1, "answer": "{{ 7 * 7 }}</svg></table>&lt;"},
    {"amount": 12.5, "count": 5, "answer": "`<u>x</u>`' onload='alert(3)"},
    {"amount": 12.5, "count": 5, "answer": ""},
]


@pytest.mark.parametrize("case", HOSTILE_CASES, ids=str)
def test_markup_in_any_text_is_shown_and_not_obeyed(
    service: Started, case: Mapping[str, Any]
) -> None:
    answer = service.ask(tiny.NAME, case)
    assert answer.status_code == 201, answer.text
    page = shown(service, answer).text
    root = Page(page).root
    assert_inert(root)
    text = root.text()
    assert " ".join(tiny.HOSTILE.split()) in text  # from the card and the policy
    assert " ".join(str(case["answer"]).split()) in text  # from the case


def test_markup_would_be_noticed() -> None:
    script = f'<script type="module" src="{load_assets()["grounds.js"]}"></script>'
    assert_inert(Page(f"{script}<main><p>x</p></main>").root)
    page = f"{script}<main><p>{tiny.HOSTILE}</p></main>"
    with pytest.raises((AssertionError, ValueError)):
        assert_inert(Page(page).root)


def assert_inert(root: Node) -> None:
    allowed = {
        "", "html", "head", "meta", "title", "link", "body", "a", "header", "div", "span", "main",
        "p", "h1", "h2", "h3", "strong", "ul", "li", "svg", "defs", "pattern", "rect", "text", "tspan",
        "line",
        "table", "caption", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "code", "pre",
        "section", "details", "summary", "small", "script", "footer", "nav", "form", "input", "button", "ol",
        "label", "fieldset", "legend", "textarea", "select", "option", "article", "time",
    }  # fmt: skip
    (own,) = root.all("script")
    assert own.children == []
    assert own.attributes["src"] == load_assets()["grounds.js"]
    for node in root.nodes():
        assert node.tag in allowed, node.tag
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            assert name != "style", "the policy allows no style of an element's own"
            if name in {"href", "src", "action", "xlink:href"}:
                assert re.fullmatch(r"(/(?!/)|#)[\w./#?=%-]*", value or ""), value


def every_page(service: Started) -> list[httpx.Response]:
    decided = service.ask(tiny.NAME, tiny.CASE)
    paths = [
        f"/decisions/{decided.json()['id']}",
        f"/decisions/{UNKNOWN_ID}",
        "/decisions/none",
        "/docs",
        "/nowhere",
        *(f"/problems/{slug}" for slug in KINDS),
        "/problems/none",
    ]
    return [
        service.client.get(path, headers={**BROWSER, **service.session(Role.ADMIN)})
        for path in paths
    ]


def test_every_page_is_whole_inert_and_needs_nobody_else(service: Started) -> None:
    pages = every_page(service)
    assert len(pages) > 20
    for page in pages:
        assert page.headers["content-type"] == "text/html; charset=utf-8", page.url
        assert_guarded(page)
        root = Page(page.text).root
        assert_inert(root)
        (html,) = root.all("html")
        assert html.attributes["lang"] == "en"
        assert len(root.all("h1")) == len(root.all("main")) == len(root.all("title")) == 1
        # No address with a host, in markup or in the style sheet: nothing is fetched from others.
        linked = [
            value
            for node in root.nodes()
            for name, value in node.attributes.items()
            if "//" in (value or "") and name != "xmlns"
        ]
        assert linked == []


def test_every_answer_of_every_kind_is_guarded(service: Started) -> None:
    key = service.key(Role.ADMIN)
    client = service.client
    answers = [
        client.get("/health/live"),
        client.get("/health/ready"),
        client.get("/metrics"),
        client.get("/openapi.json"),
        client.get("/v1/models"),
        client.get("/v1/models", headers=key),
        client.get("/v1/audit/checkpoint", headers=key),
        client.options("/v1/models"),
        client.get("/nowhere"),
        client.get("/static/none"),
        service.ask(tiny.NAME, tiny.CASE),
        service.ask(tiny.NAME, {}),
    ]
    assert len({answer.status_code for answer in answers}) >= 6
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in answers:
        assert_guarded(answer)


@pytest.mark.parametrize(
    ("path", "heading", "status"),
    [
        (f"/decisions/{UNKNOWN_ID}", "There is no such case", 404),
        ("/decisions/none", "Page not found", 404),
        ("/nowhere", "Page not found", 404),
        ("/problems/none", "Page not found", 404),
    ],
)
def test_a_browser_gets_an_error_as_a_page(
    service: Started, path: str, heading: str, status: int
) -> None:
    page = service.client.get(path, headers={**BROWSER, **service.session(Role.ADMIN)})
    assert page.status_code == status
    root = Page(page.text).root
    assert root.all("h1")[0].text() == heading
    assert page.headers["x-request-id"] in root.text()


def test_a_browser_without_a_session_is_sent_to_sign_in_and_back(service: Started) -> None:
    path = f"/decisions/{UNKNOWN_ID}"
    page = service.client.get(path, headers=BROWSER, follow_redirects=False)
    assert page.status_code == 303
    assert page.headers["location"] == f"/sign-in?back={path}"
    assert_guarded(page)


def test_the_reference_names_every_operation_and_its_roles(service: Started) -> None:
    root = Page(service.client.get("/docs").text).root
    sections = {
        node.attributes["id"]: node.text()
        for node in root.all("section")
        if "id" in node.attributes
    }
    for path, methods in service.app.openapi()["paths"].items():
        for method, operation in methods.items():
            text = sections[operation["operationId"]]
            assert f"{method.upper()} {path}" in text
            assert f"Roles: {', '.join(operation['x-roles'])}" in text


@pytest.fixture(scope="module")
def close_call(demonstration: Started) -> dict[str, Any]:
    """An answer that a test may say otherwise."""
    body: dict[str, Any] = demonstration.ask("housing-support", DEMO_CASES["close-call"]).json()
    return body


def test_what_is_left_of_rounding_is_no_change_on_the_page(close_call: dict[str, Any]) -> None:
    rows = [
        {**row, "contribution": size, "probability_change": size / 4}
        for row, size in zip(
            close_call["explanation"]["contributions"], (-1e-14, 2.0), strict=False
        )
    ]
    told = {**close_call, "explanation": {**close_call["explanation"], "contributions": rows}}
    shown = advice_of(told, None, texts_in(Language.ENGLISH)).rows
    assert [row.effect for row in shown] == ["+50 points", "no change"]


def test_the_page_counts_similar_cases_as_the_answer_does(close_call: dict[str, Any]) -> None:
    """Never none in ten and never all: one answer has one share, whoever reads it."""
    for positives in range(101):
        frequency = Frequency(0.0, 1.0, 100, positives)
        similar = {"wording": frequency.wording, "cases": 100, "positives": positives}
        told = {
            **close_call,
            "uncertainty": {**close_call["uncertainty"], "similar_cases": similar},
        }
        line = advice_of(told, None, texts_in(Language.ENGLISH)).how_sure[0]
        assert line.lower().startswith(f"{frequency.wording} turned out as ")


def test_a_factor_that_is_said_to_have_counted_is_not_called_no_change(
    close_call: dict[str, Any],
) -> None:
    """A contribution can be so far out that its change of probability is nothing at all."""
    rows = [
        {**row, "contribution": size, "probability_change": 0.0}
        for row, size in zip(close_call["explanation"]["contributions"], (-3.0, 0.0), strict=False)
    ]
    told = {**close_call, "explanation": {**close_call["explanation"], "contributions": rows}}
    shown = advice_of(told, None, texts_in(Language.ENGLISH)).rows
    assert [row.effect for row in shown] == ["less than 0.1 points", "no change"]


@pytest.mark.parametrize("language", Language)
def test_the_page_and_the_summary_round_the_estimate_alike(
    demonstration: Started, close_call: dict[str, Any], language: Language
) -> None:
    """Fifty percent is not below one half."""
    served = demonstration.parts.served["housing-support"]
    below = served.policy.apply(0.4996, target=0)
    told = {
        **close_call,
        "recommendation": {
            **close_call["recommendation"],
            "score": below.score,
            "rule": {"id": below.rule.id, "description": below.rule.description},
        },
    }
    assert below.rule.description == "the score is below 0.5"
    assert advice_of(told, served, texts_in(language)).score == "49.96%"
    assert "is 49.96%." in summary(below, is_probability=True, base_probability=None)
    # Without the policy that advised nobody knows where its lines are.
    other = {**told, "policy": {**told["policy"], "digest": "sha256:" + "0" * 64}}
    assert advice_of(other, served, texts_in(language)).score == "50%"


def test_an_interval_that_was_recorded_without_ends_is_not_told(close_call: dict[str, Any]) -> None:
    interval = {"low": None, "high": None, "coverage": 0.9, "calibration_rows": 5}
    uncertainty = {
        **close_call["uncertainty"],
        "similar_cases": None,
        "prediction_set": None,
        "prediction_interval": interval,
    }
    told = advice_of({**close_call, "uncertainty": uncertainty}, None, texts_in(Language.ENGLISH))
    assert told.how_sure[0] == "How often this model is right for such cases is not known here."


def test_a_sampled_effect_is_said_to_be_off_by_what_it_may_be(close_call: dict[str, Any]) -> None:
    def told(error: float | None, *, of: Sequence[Mapping[str, Any]]) -> str:
        explanation = {
            **close_call["explanation"],
            "largest_standard_error": error,
            "contributions": list(of),
        }
        return advice_of(
            {**close_call, "explanation": explanation}, None, texts_in(Language.ENGLISH)
        ).sampling

    (row, *_) = close_call["explanation"]["contributions"]
    in_points = {**row, "contribution": -0.5, "probability_change": -0.25}
    in_its_unit = {**row, "contribution": 2.0, "probability_change": None}
    assert told(None, of=[in_points]) == ""
    assert told(0.0, of=[in_points]) == ""
    assert told(0.004, of=[in_points]).endswith("about this much: 0.6 points.")
    assert told(0.004, of=[in_its_unit]).endswith("about this much: 0.012.")


def test_what_is_counted_of_similar_cases_is_named_in_the_cards_words(
    demonstration: Started, close_call: dict[str, Any]
) -> None:
    """A class may be called 1, which says nothing."""
    served = demonstration.parts.served["housing-support"]
    (line, *_) = advice_of(close_call, served, texts_in(Language.ENGLISH)).how_sure
    assert "turned out as “award priority housing support”: " in line
