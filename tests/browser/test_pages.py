"""Every page in the list: readable by all, by every means, and of nobody else's making."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, BrowserContext, StorageState

from app.domain import Role
from app.main import PAGES as ROUTERS
from tests.browser.checks import (
    assert_accessible,
    assert_fits,
    assert_guarded,
    assert_keyboard,
    assert_own,
    watched,
)
from tests.browser.conftest import SignedIn
from tests.browser.pages import NOT_LOOKED_AT, PAGES, Page
from tests.browser.world import World

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 100_000
"""Over the wire, of a first visit to a page with all that it fetches."""
WIDTHS = (320, 640, 1000)
"""In CSS pixels. A window of 1,280 has 640 at 200 % zoom."""
PAPER = 718
"""What A4 has room for, in CSS pixels."""
LEAST_OF_A_VALUE = 150

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_a_page_is_for_everybody(signed_in: SignedIn, world: World, page: Page) -> None:
    """With all that a page asks for; at 1,000 pixels and narrower; plain; in Welsh."""
    window = signed_in(page.role).new_page()
    asked = watched(window)
    sizes: list[int] = []
    window.on("response", lambda sent: sizes.append(sent.request.sizes()["responseBodySize"]))
    faults: list[str] = []
    window.on("pageerror", lambda error: faults.append(str(error)))
    window.on(
        "console",
        lambda said: faults.append(said.text) if "Content Security" in said.text else None,
    )
    path = world.fill(page.path)
    response = window.goto(path)
    assert response is not None
    assert response.status == page.status
    assert_guarded(response)
    assert window.title().endswith(" \N{EN DASH} Grounds")
    heading = window.locator("main h1")
    assert heading.count() == 1
    if page.heading is not None:
        assert heading.inner_text().startswith(page.heading)
    role = "Not signed in" if page.role is None else f"Signed in as {in_words(page.role)}"
    assert role in window.locator("header").inner_text()
    plain = signed_in(page.role, javascript=False).new_page()
    plain.goto(path)
    shown = said(plain.locator("main").inner_text())
    if shown != said(window.locator("main").inner_text()):
        # Up to where the log is signed moves within a second of whatever was recorded before.
        window = signed_in(page.role).new_page()
        window.goto(path)
    assert shown == said(window.locator("main").inner_text())
    assert_speaks_welsh(signed_in(page.role, language="cy", javascript=False), path, page.role)
    for width in WIDTHS:
        window.set_viewport_size({"width": width, "height": 800})
        assert_fits(window)
        assert_accessible(window)
    assert_keyboard(window)
    assert_own(asked, world)
    assert faults == []
    if page.is_light:
        assert 1000 < sum(sizes) < MOST_BYTES


def test_a_cases_facts_can_be_read_on_paper(signed_in: SignedIn, world: World) -> None:
    """Beside the address of each link there was room for one letter a line."""
    window = signed_in(Role.CASEWORKER).new_page()
    window.set_viewport_size({"width": PAPER, "height": 800})
    window.emulate_media(media="print")
    window.goto(world.fill("/decisions/{close_call}"))
    widths = window.locator(".app-facts td:nth-child(2)").evaluate_all(
        "cells => cells.map(cell => cell.getBoundingClientRect().width)"
    )
    assert widths
    assert min(widths) > LEAST_OF_A_VALUE
    assert_fits(window)


def test_what_is_folded_away_is_there_on_paper(signed_in: SignedIn, world: World) -> None:
    window = signed_in(None, javascript=False).new_page()
    window.goto(world.fill("/transparency/{model}"))
    fact = window.locator("details li").first.element_handle()
    shown = "element => element.checkVisibility()"
    assert not fact.evaluate(shown)
    window.emulate_media(media="print")
    assert fact.evaluate(shown)


@pytest.mark.parametrize("name", ["audit-decisions", "reference"])
def test_nothing_on_paper_is_out_of_sight(signed_in: SignedIn, world: World, name: str) -> None:
    """Of a list the last column was, and of an example all beyond its first lines."""
    page = next(each for each in PAGES if each.name == name)
    window = signed_in(page.role).new_page()
    window.set_viewport_size({"width": PAPER, "height": 800})
    window.emulate_media(media="print")
    window.goto(world.fill(page.path))
    assert_fits(window)
    hidden = window.locator("main .app-scroll, main pre").evaluate_all(
        "all => all.filter(each => each.scrollHeight > each.clientHeight + 1)"
    )
    assert hidden == []


def assert_speaks_welsh(context: BrowserContext, path: str, role: Role | None) -> None:
    window = context.new_page()
    window.goto(path)
    assert window.locator("html").get_attribute("lang") == "cy"
    assert "Grounds" in window.title()
    text = window.locator("header").inner_text()
    assert ("Wedi mewngofnodi fel" if role else "Heb fewngofnodi") in text
    assert "Signed in" not in text


def test_a_chart_can_be_read_in_the_readers_own_colours(
    chromium: Browser, world: World, people: dict[Role, StorageState]
) -> None:
    """Browsers force those of the texts around a drawing, and not the drawing's."""
    window = chromium.new_page(
        base_url=world.address, storage_state=people[Role.CASEWORKER], forced_colors="active"
    )
    window.goto(world.fill("/decisions/{decision}"))
    seen = window.evaluate("""() => {
      const probe = document.body.appendChild(document.createElement('p'));
      const forced = getComputedStyle(probe).color;
      const own = selector => getComputedStyle(document.querySelector(`.app-bars ${selector}`));
      return [forced, own('.size').fill, own('.label').fill, own('.raises').fill, own('.middle').stroke];
    }""")
    window.close()
    assert len(set(seen)) == 1, seen


def test_every_page_has_a_name_of_its_own() -> None:
    names = [page.name for page in PAGES]
    assert len(set(names)) == len(names)


def test_every_page_of_the_service_is_in_the_list() -> None:
    """Seen as it should be at least once, beside the ways in which it cannot be shown."""
    routes = {
        route.path: route.path_regex
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
    paths = [page.path.partition("?")[0] for page in PAGES if page.status == httpx.codes.OK]
    missing = {name for name, pattern in routes.items() if not any(map(pattern.fullmatch, paths))}
    assert missing == set(NOT_LOOKED_AT)


def in_words(role: Role) -> str:
    return {Role.EQUALITY: "equality officer", Role.ADMIN: "administrator"}.get(
        role, role.value.replace("_", " ")
    )


def test_what_axe_finds_is_noticed(chromium: Browser) -> None:
    window = chromium.new_page()
    window.set_content('<main><h1>Nothing</h1><img src="data:,"></main>')
    with pytest.raises(AssertionError, match="image-alt"):
        assert_accessible(window)
    window.close()


def said(text: str) -> str:
    """Return a text without how it is set."""
    return " ".join(text.split())


def test_pages_are_valid_html(signed_in: SignedIn, world: World, tmp_path: Path) -> None:
    """One run of the validator over all of them: starting it takes longer than a page."""
    for page in PAGES:
        source = source_of(signed_in(page.role), world.fill(page.path))
        (tmp_path / f"{page.name}.html").write_text(source)
    assert validated(tmp_path) == []


def test_html_that_is_not_valid_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "broken.html").write_text(
        '<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><p><div></p></body></html>'
    )
    assert validated(tmp_path)


def source_of(context: BrowserContext, path: str) -> str:
    return context.request.get(path, headers={"Accept": "text/html"}).text()


def node() -> str:
    """Return the Node that `make` used: the machine's, or the one it fetched."""
    found = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT / '.tools/node/bin'}")
    assert found is not None
    return found


def validated(directory: Path) -> list[str]:
    """Return what html-validate finds in the pages of a directory."""
    ran = subprocess.run(  # noqa: S603  # our own validator
        [node(), ROOT / "node_modules/html-validate/bin/html-validate.mjs",
         "--config", ROOT / "tests/browser/htmlvalidate.json", "--formatter", "json", directory],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    return [
        f"{Path(file['filePath']).name}:{each['line']} {each['ruleId']} {each['message']}"
        for file in json.loads(ran.stdout)
        for each in file["messages"]
    ]


@pytest.mark.parametrize("role", list(Role), ids=str)
def test_every_role_is_shown_a_page_or_told_why_not(
    world: World, people: dict[Role, StorageState], role: Role
) -> None:
    """Nobody meets an error of the service; tests/app/test_page_roles.py says who may see what."""
    if role not in people:
        pytest.skip("machines have no session")
    cookies = {each["name"]: each["value"] for each in people[role]["cookies"]}
    with httpx.Client(base_url=world.address, cookies=cookies, timeout=60) as client:
        for page in PAGES:
            response = client.get(world.fill(page.path), headers={"Accept": "text/html"})
            assert response.status_code in {200, 303, page.status, 403, 404}, page.name
            if response.status_code != httpx.codes.SEE_OTHER:
                assert "text/html" in response.headers["content-type"]
