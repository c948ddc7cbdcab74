"""What each role comes to do, by keyboard alone, with JavaScript and without."""

import time

import pytest
from playwright.sync_api import Locator, expect
from playwright.sync_api import Page as Window

from app.domain import Role
from tests.browser.conftest import SignedIn
from tests.browser.world import WAIT_SECONDS, World, ask, contested
from tests.started import DEMONSTRATION

CASE = "savings-and-steady-wages"
MOST_TABS = 120
"""A page's end is reached before this many."""
MOST_CHOICES = 8

with_and_without_javascript = pytest.mark.parametrize("javascript", [True, False])


@pytest.fixture
def case(world: World) -> str:
    """The identifier of a case of this story's own."""
    return ask(world.address, world.keys, CASE)


def tab_to(window: Window, wanted: Locator) -> None:
    """Press Tab until something has the focus."""
    element = wanted.element_handle()
    for _ in range(MOST_TABS):
        if element.evaluate("element => element === document.activeElement"):
            return
        window.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {wanted}")


def open_until(window: Window, address: str, wanted: Locator) -> None:
    """Open a page until something is on it: lists follow the log, a moment behind."""
    deadline = time.monotonic() + WAIT_SECONDS
    window.goto(address)
    while not wanted.count() and time.monotonic() < deadline:
        window.wait_for_timeout(100)
        window.goto(address)


def press(window: Window, wanted: Locator) -> None:
    """Follow a link or press a button by keyboard, and wait for the page it leads to."""
    tab_to(window, wanted)
    with window.expect_navigation():
        window.keyboard.press("Enter")


def choose(window: Window, wanted: Locator) -> None:
    """Choose one of some radios: Tab leads to them, and arrows from one to the next."""
    name = wanted.get_attribute("name")
    tab_to(window, wanted.locator(f"xpath=ancestor::form//input[@name='{name}']").first)
    window.keyboard.press("Space")
    for _ in range(MOST_CHOICES):
        if wanted.is_checked():
            return
        window.keyboard.press("ArrowDown")
    raise AssertionError(f"no arrow leads to {wanted}")


def write(window: Window, wanted: Locator, text: str) -> None:
    """Write into a field."""
    tab_to(window, wanted)
    window.keyboard.type(text)


def link_to(window: Window, address: str) -> Locator:
    return window.locator(f"main a[href='{address}']")


def button(window: Window, name: str) -> Locator:
    return window.get_by_role("button", name=name, exact=True)


@with_and_without_javascript
def test_a_caseworker_decides_and_writes(signed_in: SignedIn, case: str, javascript: bool) -> None:
    window = signed_in(Role.CASEWORKER, javascript=javascript).new_page()
    window.goto("/")
    press(window, link_to(window, "/cases"))
    press(window, link_to(window, f"/decisions/{case}"))
    press(window, button(window, "Take this case"))
    expect(window.get_by_text("You have this case.")).to_be_visible()
    window.goto("/cases")
    press(window, window.get_by_role("link", name="My cases"))
    press(window, link_to(window, f"/decisions/{case}"))
    for group in ("outcome", "reason_code"):
        choose(window, window.locator(f"input[name={group}]").first)
    write(window, window.locator("textarea[name=reason_text]"), "I have read the papers.")
    press(window, button(window, "Record the decision"))
    expect(window.get_by_role("alert")).to_contain_text("Record the letter to the person first")
    tab_to(window, link_to(window, f"/decisions/{case}/letter"))
    with window.expect_popup() as opened:
        window.keyboard.press("Enter")
    letter = opened.value
    expect(letter.locator("main article")).to_contain_text("We will not deal with your application")
    press(letter, button(letter, "Record it as sent"))
    expect(letter.locator("main")).to_contain_text("1 letter is recorded.")
    letter.close()
    # What was filled in before is still there.
    press(window, button(window, "Record the decision"))
    decided = window.locator("#decision ~ dl")
    expect(decided).to_contain_text("No priority")
    expect(decided).to_contain_text("I have read the papers.")


@with_and_without_javascript
def test_a_caseworker_who_gives_no_reason_is_told_where(
    signed_in: SignedIn, case: str, javascript: bool
) -> None:
    window = signed_in(Role.CASEWORKER, javascript=javascript).new_page()
    window.goto(f"/decisions/{case}")
    press(window, button(window, "Record the decision"))
    expect(window.get_by_role("alert")).to_contain_text("There is a problem")
    expect(button(window, "Record the decision")).to_be_visible()


@with_and_without_javascript
def test_taking_a_case_takes_away_nothing_that_was_written(
    signed_in: SignedIn, case: str, javascript: bool
) -> None:
    """The button is the first of the form that it leaves alone, and yet not the one for Enter."""
    window = signed_in(Role.CASEWORKER, javascript=javascript).new_page()
    window.goto(f"/decisions/{case}")
    first, why = window.locator("input[name=outcome]").first, window.get_by_label("Why?")
    first.check()
    why.fill("I have read the papers.")
    with window.expect_navigation():
        button(window, "Take this case").click()
    expect(window.get_by_text("You have this case.")).to_be_visible()
    expect(first).to_be_checked()
    expect(why).to_have_value("I have read the papers.")
    first.focus()
    with window.expect_navigation():
        window.keyboard.press("Enter")
    expect(window.get_by_role("alert")).to_contain_text("Choose a reason")
    expect(window.get_by_text("You have this case.")).to_be_visible()


def test_the_letter_that_is_printed_is_the_edited_one(signed_in: SignedIn, case: str) -> None:
    window = signed_in(Role.CASEWORKER).new_page()
    window.goto(f"/decisions/{case}/letter")
    window.get_by_role("textbox", name="Text of the letter").fill(
        "You owe us -£5.\n\n\nGood <b>bye</b>,\nus"
    )
    written = ["You owe us -\N{WORD JOINER}£5.", "Good <b>bye</b>,\nus"]
    expect(window.locator("article p")).to_have_text(written, use_inner_text=True)
    window.get_by_role("link", name="Back to case").click()
    window.go_back()
    expect(window.locator("article p")).to_have_text(written, use_inner_text=True)


@with_and_without_javascript
def test_a_reviewer_answers_a_contest(
    signed_in: SignedIn, world: World, case: str, javascript: bool
) -> None:
    contested(world.address, world.keys, case)
    window = signed_in(Role.REVIEWER, javascript=javascript).new_page()
    open_until(window, "/reviews", link_to(window, f"/decisions/{case}"))
    press(window, link_to(window, f"/decisions/{case}"))
    press(window, link_to(window, f"/decisions/{case}/contest"))
    expect(window.locator("main")).to_contain_text("Somebody else needs it more.")
    review(window, case)
    expect(window.get_by_role("alert")).to_contain_text("Record the letter to the person first")
    window.goto(f"/decisions/{case}/letter?outcome=no-priority&language=en")
    press(window, button(window, "Record it as sent"))
    window.goto(f"/decisions/{case}/contest")
    review(window, case, by_enter=True)
    window.goto(f"/decisions/{case}")
    expect(window.locator("#decision ~ dl")).to_contain_text("No priority")
    expect(window.locator("#decision ~ dl")).to_contain_text("Reviewed by")
    window.goto("/reviews")
    expect(link_to(window, f"/decisions/{case}")).to_have_count(0)


def review(window: Window, case: str, *, by_enter: bool = False) -> None:
    form = window.locator(f"form[action='/decisions/{case}/contest']")
    choose(window, form.get_by_label("No priority"))
    choose(window, form.get_by_label("I know something that the model does not"))
    write(window, form.get_by_label("Why?"), "The home was not visited.")
    if by_enter:
        form.get_by_label("No priority").focus()
        with window.expect_navigation():
            window.keyboard.press("Enter")
    else:
        press(window, button(window, "Record the review"))


@with_and_without_javascript
def test_an_auditor_recomputes_a_decision_and_verifies_the_log(
    signed_in: SignedIn, case: str, javascript: bool
) -> None:
    window = signed_in(Role.AUDITOR, javascript=javascript).new_page()
    window.goto("/audit/decisions")
    write(window, window.get_by_label("Decision or entry number"), case)
    press(window, button(window, "Go to it"))
    expect(window.locator("main")).to_contain_text("Advice given")
    press(window, button(window, "Recompute this decision"))
    expect(window.locator("main")).to_contain_text("Every number came out the same, bit for bit")
    window.goto("/audit/log")
    press(window, button(window, "Verify the whole log"))
    expect(window.locator("h1")).to_have_text("Verification of the log")
    ended = window.get_by_text("Hash over all entries")
    if javascript:
        expect(ended).to_be_visible(timeout=60_000)
    else:
        for _ in range(600):
            if ended.count():
                break
            window.wait_for_timeout(100)
            window.reload()
    faults = window.locator("dl > div", has=window.get_by_text("Faults", exact=True))
    expect(faults.locator("dd")).to_have_text("0")


@with_and_without_javascript
def test_a_model_owner_stops_a_model_and_two_people_let_it_go_on(
    signed_in: SignedIn, world: World, javascript: bool
) -> None:
    window = signed_in(Role.MODEL_OWNER, javascript=javascript).new_page()
    window.goto("/models")
    press(window, link_to(window, f"/models/{DEMONSTRATION}"))
    press(window, button(window, "Stop advice"))
    write(window, window.get_by_label("Why?"), "The feed of rents is wrong.")
    press(window, button(window, "Stop advice"))
    expect(window.locator("main")).to_contain_text("The feed of rents is wrong.")
    with pytest.raises(AssertionError, match="advice-stopped"):
        ask(world.address, world.keys, CASE)
    let_it_go_on(window)
    expect(window.locator("main")).to_contain_text("has asked that it go on")
    second = signed_in(Role.ADMIN, javascript=javascript).new_page()
    second.goto(f"/models/{DEMONSTRATION}")
    let_it_go_on(second)
    expect(second.locator("main")).to_contain_text("Gives advice")
    ask(world.address, world.keys, CASE)


def let_it_go_on(window: Window) -> None:
    press(window, window.get_by_role("link", name="Let advice go on"))
    write(window, window.get_by_label("Why?"), "The feed is mended.")
    press(window, button(window, "Let advice go on"))


@with_and_without_javascript
def test_anybody_reads_what_a_model_is_for_and_how_to_question_it(
    signed_in: SignedIn, javascript: bool
) -> None:
    window = signed_in(None, javascript=javascript).new_page()
    window.goto("/")
    press(window, link_to(window, "/transparency"))
    press(window, link_to(window, f"/transparency/{DEMONSTRATION}"))
    for heading in ("What it does", "On what authority", "How to question a decision"):
        expect(window.get_by_role("heading", name=heading)).to_be_visible()
    press(window, link_to(window, f"/transparency/{DEMONSTRATION}/record.json"))
    expect(window.locator("body")).to_contain_text(DEMONSTRATION)


@with_and_without_javascript
def test_an_equality_officer_sees_for_whom_a_model_was_tried(
    signed_in: SignedIn, javascript: bool
) -> None:
    window = signed_in(Role.EQUALITY, javascript=javascript).new_page()
    window.goto("/")
    press(window, link_to(window, "/models"))
    press(window, link_to(window, f"/models/{DEMONSTRATION}"))
    expect(window.get_by_role("heading", name="Is it fair?")).to_be_visible()
    expect(window.locator("main")).to_contain_text("Nobody compares groups by: age, sex")
    expect(button(window, "Stop advice")).to_have_count(0)
