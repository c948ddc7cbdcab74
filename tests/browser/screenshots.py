"""``make screenshots``: a picture of every page in the list, on a desktop and on a phone.

They go into ``var/screenshots``, which Git ignores. Those in ``BEST`` are also written to
``docs/images``, where the README shows them.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from app.domain import Role
from models.demo.build import build_demo
from tests.browser.conftest import FLAGS, chromium_path, cookies_of_everybody
from tests.browser.pages import PAGES
from tests.browser.world import World, running_world
from tests.signed import signed, trust_tests

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "app" / "demo" / "policy.yaml"
WIDTHS = {"desktop": 1280, "phone": 390}
BEST = {
    "decision-contested": (0, 1470, 1280, 1700),
    "letter": (0, 0, 1280, 1250),
    "audit-decision": (0, 0, 1280, 1250),
    "public-model": (0, 0, 1280, 1250),
}
"""Pages for the README, and the part that is shown."""


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only pages whose name begins so")
    wanted = parser.parse_args().only
    path = chromium_path()
    if path is None:
        sys.stdout.write("There is no Chromium here: deploy/get-chromium.sh installs it\n")
        return 1
    target = ROOT / "var" / "screenshots"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        trust_tests(directory / "trust")
        models = directory / "models"
        signed(build_demo(models / "housing-support" / "bundle"))
        for file in (POLICY, POLICY.with_name("practice.yaml")):
            shutil.copy(file, models / "housing-support" / file.name)
        with running_world(models, directory) as world, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
            taken = _take(browser, world, target, wanted)
            browser.close()
    sys.stdout.write(f"{taken} pictures in {target.relative_to(ROOT)}\n")
    return 0


def _take(browser: Browser, world: World, target: Path, wanted: str) -> int:
    people = cookies_of_everybody(browser, world)
    taken = 0
    for page in (page for page in PAGES if page.name.startswith(wanted)):
        role: Role | None = page.role
        for device, width in WIDTHS.items():
            context = browser.new_context(
                base_url=world.address,
                storage_state=None if role is None else people[role],
                viewport={"width": width, "height": 800},
            )
            window = context.new_page()
            window.goto(world.fill(page.path))
            # The reference is as long as the contract: its beginning is enough.
            window.screenshot(path=target / f"{page.name}-{device}.png", full_page=page.is_light)
            if device == "desktop" and page.name in BEST:
                x, y, wide, high = BEST[page.name]
                window.screenshot(
                    path=ROOT / "docs" / "images" / f"{page.name}.png",
                    full_page=True,
                    clip={"x": x, "y": y, "width": wide, "height": high},
                )
            context.close()
            taken += 1
    return taken


if __name__ == "__main__":
    sys.exit(main())
