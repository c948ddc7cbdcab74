"""What people see when the service cannot do what they ask: each failure is a true one."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from playwright.sync_api import Browser, Response, expect
from playwright.sync_api import Page as Window

from app.domain import Role
from app.index import store
from tests.browser.checks import assert_accessible, assert_fits, assert_guarded
from tests.browser.conftest import cookies_of_everybody
from tests.browser.world import World, running_world

PHONE = 320
MORE_THAN_A_BODY_MAY_HOLD = 1_100_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failing")


@pytest.fixture(scope="module")
def failing(
    chromium: Browser,  # noqa: ARG001  # without a browser nothing is started
    demo_models: Path,
    directory: Path,
) -> Iterator[World]:
    """A service of these tests' own, to break."""
    with running_world(demo_models, directory) as running:
        yield running


@pytest.fixture(scope="module")
def caseworker(chromium: Browser, failing: World) -> Iterator[Window]:
    """A caseworker's window, from before anything broke."""
    context = chromium.new_context(
        base_url=failing.address,
        storage_state=cookies_of_everybody(chromium, failing)[Role.CASEWORKER],
    )
    yield context.new_page()
    context.close()


def assert_says(window: Window, response: Response, *, status: int, heading: str) -> None:
    """Check that what is shown is a page like any other, with what happened as its heading."""
    assert response.status == status
    assert_guarded(response)
    expect(window.locator("main h1")).to_have_text(heading)
    window.set_viewport_size({"width": PHONE, "height": 800})
    assert_fits(window)
    assert_accessible(window)


def test_a_letter_that_is_far_too_long(failing: World, caseworker: Window) -> None:
    caseworker.goto(failing.fill("/decisions/{savings_and_steady_wages}/letter"))
    caseworker.locator("textarea[name=text]").evaluate(
        "(field, length) => { field.value = 'x'.repeat(length) }", MORE_THAN_A_BODY_MAY_HOLD
    )
    with caseworker.expect_navigation() as sent:
        caseworker.get_by_role("button", name="Show it as it will look").click()
    assert_says(caseworker, sent.value, status=413, heading="That was too much to send")


def test_an_index_that_cannot_be_read(failing: World, caseworker: Window, directory: Path) -> None:
    with closing(apsw.Connection(str(directory / "data" / store.FILE))) as connection:
        connection.execute("DROP TABLE decision")
    response = caseworker.goto("/cases")
    assert response is not None
    assert_says(caseworker, response, status=503, heading="This is not available at present")
    # A case can be decided all the same.
    response = caseworker.goto(failing.fill("/decisions/{decision}"))
    assert response is not None
    assert response.ok
