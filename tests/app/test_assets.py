"""Styles and scripts: ours to use, kept for good, small, and from nobody else."""

import gzip
import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from app.web.assets import DIRECTORY, AssetsError, load_assets
from tests.problems import assert_guarded, assert_problem
from tests.started import Started

ROOT = Path(__file__).resolve().parents[2]
KEPT = {"cache-control": "public, max-age=31536000, immutable"}
MOST_COMPRESSED = 40 * 1024
"""Of all styles and scripts together: a page of 60 kB stays within 100 kB over the wire."""
FORBIDDEN = re.compile(rb"GDS Transport|@font-face|\.woff|crown|crest|royal", re.IGNORECASE)


@pytest.mark.parametrize("name", ["grounds.css", "grounds.js", "govuk-frontend.js", "icon.svg"])
def test_a_file_is_named_by_its_content_and_kept_for_good(service: Started, name: str) -> None:
    address = load_assets()[name]
    plain = service.client.get(address, headers={"Accept-Encoding": "identity"})
    compressed = service.client.get(address, headers={"Accept-Encoding": "gzip"})
    assert plain.status_code == compressed.status_code == 200
    for response in (plain, compressed):
        assert_guarded(response, **KEPT)
        assert response.headers["vary"] == "Accept-Encoding"
        assert response.headers["content-type"] == plain.headers["content-type"]
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content
    assert int(compressed.headers["content-length"]) < max(len(plain.content), 200)


def test_a_browser_gets_each_as_what_it_is(service: Started) -> None:
    kinds = {
        name: service.client.get(load_assets()[name]).headers["content-type"].split(";")[0]
        for name in ("grounds.css", "grounds.js", "icon.svg")
    }
    assert kinds == {
        "grounds.css": "text/css",
        "grounds.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }


@pytest.mark.parametrize("path", ["manifest.json", "none.css", "../build.js", "grounds.css"])
def test_nothing_else_is_served(service: Started, path: str) -> None:
    for encoding in ("identity", "gzip"):
        response = service.client.get(f"/static/{path}", headers={"Accept-Encoding": encoding})
        assert_problem(response, slug="not-found", status=404)


def test_neither_typeface_nor_crest_is_among_the_files() -> None:
    files = [path for path in DIRECTORY.iterdir() if path.suffix not in {".gz", ".json"}]
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        assert not (found := FORBIDDEN.search(content)), (path, found)
        assert path.suffix in {".css", ".js", ".svg"}
        assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == content


def test_the_typeface_would_be_noticed() -> None:
    sheet = ROOT / "node_modules/govuk-frontend/dist/govuk/govuk-frontend.min.css"
    assert FORBIDDEN.search(sheet.read_bytes())


def test_the_styles_fetch_nothing() -> None:
    for path in DIRECTORY.glob("*.css"):
        targets = re.findall(r"url\(([^)]*)\)|@import", path.read_text())
        assert all(target.startswith("#") for target in targets), targets


def test_all_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in DIRECTORY.glob("*.gz")) < MOST_COMPRESSED


def test_without_the_files_a_start_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetsError, match="make assets"):
        load_assets(tmp_path)


def test_styles_and_templates_are_of_the_same_release() -> None:
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]["govuk-frontend"]
    assert wanted == "6.3.0"
    # The templates' own changelog: 4.1 follows govuk-frontend 6.3.
    assert version("govuk-frontend-jinja").startswith("4.1.")


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
    assert "://" not in re.sub(r'"(url|homepage|funding)": "[^"]*"', "", json.dumps(lock))
