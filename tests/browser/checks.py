"""What is asked of every page, wherever it comes from."""

import re
from urllib.parse import unquote

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response

from tests.browser.world import SUBJECT, World

MOST_TABS = 60
"""Longer pages are walked this far."""
PLACES = re.compile(r"[A-Za-z0-9._~/-]*")


def assert_accessible(page: Page) -> None:
    """Check that axe finds nothing at all."""
    # What passes need not be told: telling it takes longer than finding it.
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def assert_fits(page: Page) -> None:
    """Check that a page is not wider than its window, so that nobody scrolls in two directions."""
    overflow = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0, f"{overflow} pixels too wide"


def watched(page: Page) -> list[str]:
    """Return a list that fills with the address of everything the page asks for."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def assert_own(asked: list[str], world: World) -> None:
    """Check that nothing was asked of anybody else, and that no address tells of a person."""
    assert asked
    for address in asked:
        assert address.startswith(f"{world.address}/"), address
        told = unquote(address.removeprefix(world.address))
        assert SUBJECT not in told, told


def assert_guarded(response: Response) -> None:
    """Check the policy that keeps scripts and styles of others out."""
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def assert_keyboard(page: Page) -> None:
    """Check that Tab reaches the skip link first and then everything else, and shows where it is."""
    page.evaluate(NUMBER_WHAT_TAKES_KEYS)
    wanted = page.evaluate("() => document.querySelectorAll('[data-keys]').length")
    page.keyboard.press("Tab")
    assert "govuk-skip-link" in (page.evaluate("() => document.activeElement.className") or "")
    reached = set()
    for _ in range(min(wanted, MOST_TABS)):
        place = page.evaluate(WHERE_IT_IS)
        assert place["visible"], f"{place['text']!r} shows nothing of having the focus"
        reached.add(place["number"])
        page.keyboard.press("Tab")
    assert len(reached) == min(wanted, MOST_TABS), f"reached {sorted(reached)} of {wanted}"


NUMBER_WHAT_TAKES_KEYS = """() => {
  const names = new Set();
  let number = 0;
  const kinds = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]';
  for (const element of document.querySelectorAll(kinds)) {
    if (element.disabled || element.tabIndex < 0 || !element.checkVisibility()) continue;
    // Tab reaches one of a group of radios; the arrow keys reach the others.
    if (element.type === 'radio') {
      if (names.has(element.name)) continue;
      const chosen = document.querySelector(`input[name="${element.name}"]:checked`);
      names.add(element.name);
      (chosen || element).dataset.keys = number++;
      continue;
    }
    element.dataset.keys = number++;
  }
}"""

WHERE_IT_IS = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const label = element.labels && element.labels[0] ? getComputedStyle(element.labels[0], '::before') : null;
  const ring = each => each && (each.outlineStyle !== 'none' && parseFloat(each.outlineWidth) > 0
    || each.boxShadow !== 'none');
  const box = element.getBoundingClientRect();
  return {
    number: element.dataset.keys === undefined ? null : Number(element.dataset.keys),
    text: (element.textContent || element.name || '').trim().slice(0, 40),
    visible: Boolean(ring(style) || ring(label)) && box.width > 0 && box.height > 0,
  };
}"""
