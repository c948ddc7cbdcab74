"""Templates and views: what a template names is what its view has, no more and no less."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, meta, nodes

import app.web
from app.web.language import Language
from app.web.render import TEMPLATES, environment

EVERYWHERE = {"page", "_", "gettext", "ngettext", "navigation_items", "error_list", "error_message"}
"""What every template has without its view."""
SHARED = {"base.html"}


def views() -> dict[str, type[Any]]:
    """Return every view there is, by its name."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(app.web.__path__, "app.web.")
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if dataclasses.is_dataclass(value) and isinstance(value, type) and _shows(value)
    }


def _shows(kind: type[Any]) -> bool:
    return isinstance(getattr(kind, "template", None), str)


def named_in(template: str, made: Environment) -> set[str]:
    """Return what a template takes from its context, apart from what it sets itself."""
    parsed = made.parse((TEMPLATES / template).read_text())
    imported = {
        name if isinstance(name, str) else name[1]
        for node in parsed.find_all(nodes.FromImport)
        for name in node.names
    }
    own = {node.name for node in parsed.find_all(nodes.Macro)}
    return meta.find_undeclared_variables(parsed) - EVERYWHERE - imported - own


@pytest.mark.parametrize("name", views())
def test_a_template_names_exactly_what_its_view_has(name: str) -> None:
    view = views()[name]
    has = {field.name for field in dataclasses.fields(view)}
    assert named_in(view.template, environment(Language.ENGLISH)) == has
    assert view.__dataclass_params__.frozen, "a view is frozen"


def test_every_template_belongs_to_a_view() -> None:
    used = {view.template for view in views().values()}
    there = {
        str(path.relative_to(TEMPLATES))
        for path in TEMPLATES.rglob("*.html")
        if path.parent.name != "components"
    }
    assert there == used | SHARED


def test_a_name_that_no_view_has_would_be_noticed() -> None:
    made = environment(Language.ENGLISH)
    parsed = made.parse('{% extends "base.html" %}{% block content %}{{ forgotten }}{% endblock %}')
    assert meta.find_undeclared_variables(parsed) - EVERYWHERE == {"forgotten"}


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_no_template_has_script_or_style_of_its_own(path: Path) -> None:
    source = path.read_text()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|javascript:", source)
    for script in re.findall(r"<script[^>]*>(.*?)</script>", source, re.DOTALL):
        assert script == ""


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_every_form_that_changes_something_carries_its_token(path: Path) -> None:
    for form in re.findall(r"<form.*?</form>", path.read_text(), re.DOTALL):
        if re.search(r'method="post"', form):
            assert 'name="csrf"' in form or "csrf_field(page)" in form
