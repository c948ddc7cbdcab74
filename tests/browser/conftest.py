"""A real browser on the production service: ``signed_in(role)`` opens it as one of its people."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    StorageState,
    ViewportSize,
    expect,
    sync_playwright,
)

from app.demo.people import PEOPLE
from app.domain import Role
from tests.browser.world import World, running_world

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP: ViewportSize = {"width": 1000, "height": 800}

SignedIn = Callable[..., BrowserContext]
"""``signed_in(role, javascript=True, language="en")`` opens a new window's context."""


def chromium_path() -> str | None:
    """Return where the system's Chromium is, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def cookies_of_everybody(chromium: Browser, world: World) -> dict[Role, StorageState]:
    """Return each role's cookies, from signing in on the page as a person does."""
    kept: dict[Role, StorageState] = {}
    for name, role in PEOPLE.items():
        if role in kept:
            continue
        context = chromium.new_context(base_url=world.address)
        page = context.new_page()
        page.goto("/sign-in")
        page.locator(f"button[value='{name}']").click()
        page.wait_for_url(f"{world.address}/")
        kept[role] = context.storage_state()
        context.close()
    return kept


@pytest.fixture(scope="session")
def installed() -> str:
    """Where the system's Chromium is; nothing is tested without."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine: `make test` as root on Debian installs it")
    return path


@pytest.fixture(scope="module")
def chromium(installed: str) -> Iterator[Browser]:
    """The system's Chromium.

    It ends with the file: as long as Playwright runs, its thread has a running event loop, and
    ``asyncio.run`` in whatever test the process is given next would be refused.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        expect.set_options(timeout=60_000)  # five seconds are too few for a busy machine
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def world(
    installed: str,  # noqa: ARG001  # without a browser nothing is started
    demo_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """The service that the browser looks at."""
    with running_world(demo_models, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def people(chromium: Browser, world: World) -> dict[Role, StorageState]:
    """Each role's cookies."""
    return cookies_of_everybody(chromium, world)


@pytest.fixture
def signed_in(
    chromium: Browser, world: World, people: dict[Role, StorageState]
) -> Iterator[SignedIn]:
    """Open browser windows as people of a role, or as nobody for None."""
    opened: list[BrowserContext] = []

    def open_window(
        role: Role | None,
        *,
        javascript: bool = True,
        language: str = "en",
    ) -> BrowserContext:
        context = chromium.new_context(
            base_url=world.address,
            storage_state=None if role is None else people[role],
            java_script_enabled=javascript,
            viewport=DESKTOP,
        )
        context.add_cookies([{"name": "grounds-language", "value": language, "url": world.address}])
        opened.append(context)
        return context

    yield open_window
    for context in opened:
        context.close()
