"""Script in every text field of every page: it is shown as text, wherever it comes up again."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator
from playwright.sync_api import Page as Window

from app.domain import Role
from tests.browser.conftest import cookies_of_everybody
from tests.browser.pages import PAGES
from tests.browser.world import running_world

HOSTILE = "\"'><script>window.taken=1</script><img src=x onerror=window.taken=1>{{7*191}}${7*191}"
WHAT_FORMS_SEND = """(forms, text) => forms.map(form => {
  const fields = [...form.querySelectorAll(text)].map(field => field.name);
  return fields.length ? [form.getAttribute('action'), ...fields].join(' ') : null;
})"""
TEXT = "input[type=text], input[type=search], input:not([type]), textarea"


def test_no_script_in_a_field_becomes_part_of_a_page(
    chromium: Browser, demo_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every form is filled and sent, in a service of its own; then every page is read again."""
    with running_world(demo_models, tmp_path_factory.mktemp("hostile")) as world:
        people = cookies_of_everybody(chromium, world)
        windows: dict[Role | None, Window] = {
            role: chromium.new_context(
                base_url=world.address,
                storage_state=None if role is None else people[role],
                # A script would be stopped by the policy as well: here only escaping stands.
                bypass_csp=True,
            ).new_page()
            for role in {page.role for page in PAGES}
        }
        filled = 0
        sent: set[tuple[Role | None, str]] = set()
        for page in PAGES:
            window, path = windows[page.role], world.fill(page.path)
            window.goto(path)
            for number, form in enumerate(
                window.locator("form").evaluate_all(WHAT_FORMS_SEND, TEXT)
            ):
                # The same form of another page, and what has nothing to write in.
                if form is None or (page.role, form) in sent:
                    continue
                sent.add((page.role, form))
                window.goto(path)
                filled += fill_and_send(window, window.locator("form").nth(number))
                assert_untaken(window)
        assert filled >= sum(page.path == "/audit/decisions" for page in PAGES)
        for page in PAGES:
            window = windows[page.role]
            window.goto(world.fill(page.path))
            assert_untaken(window)


def fill_and_send(window: Window, form: Locator) -> int:
    """Put script into every text field of a form and send it; return in how many."""
    fields = form.locator(TEXT)
    count = fields.count()
    if count == 0:
        return 0
    for field in fields.all():
        field.evaluate("(field, text) => { field.value = text }", HOSTILE)
    for radio in form.locator("input[type=radio]").all():
        radio.evaluate("radio => { radio.checked = true }")
    with window.expect_navigation():
        form.evaluate("form => form.requestSubmit ? form.requestSubmit() : form.submit()")
    return count


def assert_untaken(window: Window) -> None:
    assert window.evaluate("() => window.taken") is None
    assert window.locator("img[src=x], [onerror]").count() == 0
    assert window.locator("script").count() == 1
    assert "1337" not in window.locator("body").inner_text()


def test_script_that_becomes_part_of_a_page_is_noticed(chromium: Browser) -> None:
    window = chromium.new_page()
    window.set_content(f"<script></script><p>{HOSTILE}</p>")
    with pytest.raises(AssertionError):
        assert_untaken(window)
    window.close()
