"""The documents against the code: what exists is documented, and what is documented exists.

Each table's first column is read; a name in it that the code does not have fails as surely as one
that is left out.
"""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from app import errors
from app.api.examples import DECISION
from app.case_events import EventType
from app.cli import app as grounds
from app.client import KEY_VARIABLE
from app.custody import HOLD_LIFTED, HOLD_SET
from app.domain import Role
from app.lifecycle import EntryType
from app.log_entries import READ
from app.main import create_app
from app.metrics import STAGES, Metrics
from app.monitoring.entries import BREAKER, OUTCOME, PURGE
from app.monitoring.gauges import GAUGES
from app.monitoring.histogram import LazyHistogram
from app.policy import load_policy
from app.records import RECOMMENDATION, REPLAY, SHADOW, STARTED
from app.replay_report import REPLAY_RUN
from app.settings import Settings
from app.stops import ControlType
from app.timestamps import TIMESTAMP
from app.verifications import VERIFIED
from audit.records import ERASURE, GENESIS, KEY_ROTATED
from models import bundle
from models.card import Card, Field, Output, parse_card
from models.demo.cases import DEMO_CASES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives"]
MOST_LINES = 40
OF_TESTS = {"GROUNDS_LONG", "GROUNDS_KILL_ROUNDS", "GROUNDS_ORACLE_ROWS"}
"""Variables that only tests read; CONTRIBUTING.md has them."""
OF_CLIENTS = {KEY_VARIABLE}
"""Variables that a command reads as a client of the service, and the service does not."""


ids = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_column(document: str, heading: str) -> dict[str, str]:
    """Return each name in the first column of the table under ``heading``, with its row's rest.

    The heading is that of the column, as written.
    """
    found: dict[str, str] = {}
    inside = False
    for line in text(document).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and not line.startswith("|--"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                assert name not in found, f"{document} lists {name} twice"
                found[name] = " | ".join(cells[1:])
    assert found, f"{document} has no table whose first column is {heading!r}"
    return found


def variable(setting: str) -> str:
    return f"GROUNDS_{setting.upper()}"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {
        name: rest
        for name, rest in first_column("docs/settings.md", "variable").items()
        if name.startswith("GROUNDS_")
    }

    assert documented.keys() == {variable(name) for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = documented[variable(name)].split(" | ")[0]
        assert default == f"`{field.default}`"


@ids
def test_no_document_names_a_variable_that_nothing_reads(document: Path) -> None:
    known = {variable(name) for name in Settings.model_fields} | OF_TESTS | OF_CLIENTS
    written = set(re.findall(r"GROUNDS_[A-Z][A-Z_]*[A-Z]", document.read_text(encoding="utf-8")))

    assert written <= known


def test_every_variable_that_the_tests_read_is_documented() -> None:
    read: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        read |= set(re.findall(r"environ\b[^\n]*\"(GROUNDS_[A-Z_]+)\"", path.read_text()))
    settings = {variable(name) for name in Settings.model_fields}

    assert read - settings <= OF_TESTS
    assert set(re.findall(r"GROUNDS_[A-Z_]+", text("CONTRIBUTING.md"))) == OF_TESTS


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels) or "none"


def test_every_metric_is_documented_with_its_labels() -> None:
    documented = first_column("docs/metrics.md", "metric")
    registry = Metrics(["a-model"]).registry
    names: dict[str, tuple[str | None, str]] = {}
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            name = collector._name + ("_total" if collector._type == "counter" else "")
            names[name] = (collector._type, _listed(collector._labelnames))
        elif isinstance(collector, LazyHistogram):
            names[collector.name] = ("histogram", _listed(collector.labels))
    names.update({gauge.name: ("gauge", _listed(gauge.labels)) for gauge in GAUGES})

    assert documented.keys() == names.keys()
    for name, (kind, labels) in names.items():
        assert documented[name].startswith(f"{kind} | {labels} | "), name


def test_every_stage_is_documented() -> None:
    assert first_column("docs/metrics.md", "stage").keys() == set(STAGES)


def test_every_problem_is_documented_with_its_status() -> None:
    documented = first_column("docs/problems.md", "slug")
    kinds = {kind.slug: kind.status for kind in errors.ALL_PROBLEM_TYPES}

    assert {slug: int(rest.split(" | ")[0]) for slug, rest in documented.items()} == kinds


def test_every_fault_code_of_a_case_is_documented() -> None:
    source = text("models/checks.py") + text("models/schema.py")
    codes = set(re.findall(r"_fault\(\s*field, \"(\w+)\"|code=\"(\w+)\"", source))

    assert first_column("docs/problems.md", "code").keys() == {a or b for a, b in codes}


def verbs() -> Iterator[str]:
    command = get_command(grounds)
    assert isinstance(command, typer.core.TyperGroup)
    for name, entry in command.commands.items():
        if isinstance(entry, typer.core.TyperGroup):
            if entry.invoke_without_command:
                yield f"grounds {name}"
            yield from (f"grounds {name} {inner}" for inner in entry.commands)
        else:
            yield f"grounds {name}"


def test_every_command_is_documented() -> None:
    assert first_column("docs/cli.md", "command").keys() == set(verbs())


@ids
def test_no_document_shows_a_command_that_does_not_exist(document: Path) -> None:
    known = {verb.removeprefix("grounds ") for verb in verbs()}
    starts = {verb.split()[0] for verb in known}
    for first, second in re.findall(
        r"(?:^|[`/(] ?|KEY=\$\()grounds ([a-z]+)(?: ([a-z-]+))?", document.read_text(), re.MULTILINE
    ):
        assert first in starts, f"grounds {first}"
        if first not in known:
            assert f"{first} {second}" in known, f"grounds {first} {second}"


def test_every_role_is_documented() -> None:
    assert first_column("docs/cli.md", "role").keys() == {role.value for role in Role}


def test_what_an_administrator_may_not_do_is_documented() -> None:
    """Giving protected attributes: the row says so, and nothing else is kept from the role."""
    operations = [
        operation
        for methods in create_app(Settings()).openapi()["paths"].values()
        for operation in methods.values()
    ]
    refused = [
        operation["operationId"]
        for operation in operations
        if not {"admin", "public"} & set(operation["x-roles"])
    ]
    assert refused == ["report_attributes"]
    row = first_column("docs/cli.md", "role")["admin"]
    assert "but give protected attributes" in row
    assert "`equality`" in row


def test_every_file_of_a_bundle_is_documented_with_its_limit() -> None:
    documented = first_column("docs/bundles.md", "file")
    limits = {**bundle.SIZE_LIMITS, **bundle.OPTIONAL}

    assert documented.keys() == limits.keys()
    for name, limit in limits.items():
        assert documented[name].endswith(f"| {limit >> 20} MiB"), name


@pytest.mark.parametrize("part", [Card, Field, Output], ids=lambda part: part.__name__)
def test_every_member_of_a_card_is_documented(part: type[Card | Field | Output]) -> None:
    written = text("docs/bundles.md")

    for name in part.model_fields:
        assert re.search(rf"^[- ]*{name}:|`{name}`", written, re.MULTILINE), name


def test_the_cards_example_is_a_card() -> None:
    (example,) = re.findall(r"```yaml\n(name: .*?)```", text("docs/bundles.md"), re.DOTALL)

    assert len(parse_card(example.encode()).fields) == 3


def test_the_policys_example_is_a_policy(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(policy: .*?)```", text("docs/bundles.md"), re.DOTALL)
    path = tmp_path / "policy.yaml"
    path.write_text(example)

    assert load_policy(path, lowest_score=0.0).apply(0.7, target=0).outcome == "first"


def test_the_apis_example_is_the_demonstrations_first_case() -> None:
    blocks = re.findall(r"```json\n(.*?)```", text("docs/api.md"), re.DOTALL)

    assert json.loads(blocks[0])["case"] == next(iter(DEMO_CASES.values()))


def test_the_apis_example_of_an_answer_has_every_member() -> None:
    answer = json.loads(re.findall(r"```json\n(.*?)```", text("docs/api.md"), re.DOTALL)[1])

    assert shape(answer) == shape(DECISION)


def shape(value: object) -> object:
    """Return the names of all members, without the values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [shape(value[0])]
    return None


def named_tests(document: str) -> list[tuple[str, str | None]]:
    """Return (file, test) of each test that a document names; None for a whole file."""
    found = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", document)
    return [(path, name or None) for path, name in found]


@ids
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    for path, name in named_tests(document.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
        if name is not None:
            assert re.search(rf"^def {name}\(", text(path), re.MULTILINE), f"{path}::{name}"


def test_each_obligation_names_a_test_and_a_false_one_is_noticed() -> None:
    table = text("docs/governance.md").partition("## Obligations, features and their tests\n")[2]
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        assert named_tests(row), row
    assert named_tests("`tests/a.py::test_b`, `tests/c.py`") == [
        ("tests/a.py", "test_b"), ("tests/c.py", None),
    ]  # fmt: skip


@ids
def test_every_make_target_in_a_document_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))

    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= targets


@ids
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug_of(heading) for heading in headings}, target


def slug_of(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


@ids
def test_no_document_names_a_folder_of_one_machine(document: Path) -> None:
    found = re.findall(r"(?<![\w.])/(?:home|root|work|Users|tmp/[\w.]+)(?:/|\b)[^\s`]*",
                       document.read_text(encoding="utf-8"))  # fmt: skip

    assert found == []


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_record_is_short_and_whole(record: Path) -> None:
    lines = record.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= MOST_LINES
    assert lines[0].startswith(f"# {record.name[:4]}: ")
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS


def test_decision_records_are_numbered_once_each_and_listed() -> None:
    names = [record.name for record in DECISIONS]
    numbers = [name[:4] for name in names]

    assert len(set(numbers)) == len(numbers)
    assert re.findall(r"\]\((\d{4}-[^)]+)\)", text("docs/decisions/README.md")) == names


def test_every_type_of_entry_is_in_the_specification() -> None:
    own = {GENESIS, ERASURE, KEY_ROTATED}
    told = {
        RECOMMENDATION,
        SHADOW,
        REPLAY,
        REPLAY_RUN,
        STARTED,
        READ,
        HOLD_SET,
        HOLD_LIFTED,
        TIMESTAMP,
        VERIFIED,
    }
    seen = {
        OUTCOME,
        BREAKER,
        PURGE,
        *get_args(ControlType),
        *get_args(EventType),
        *get_args(EntryType),
    }
    cells = first_column("docs/audit-log.md", "type")
    documented = {name for cell in cells for name in re.findall(r"[a-z_.]+", cell)}

    assert documented == own | told | seen


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = set(re.findall(r"`(test_[a-z_]+\.py)`", text("docs/audit-log.md")))

    assert named
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    return [
        (name, rest.strip()) for line in joined.splitlines() for name, _, rest in [line.partition(" ")]
    ]  # fmt: skip


def final_stage() -> dict[str, list[str]]:
    """Return the last stage's instructions by name."""
    stage: dict[str, list[str]] = {}
    for name, rest in instructions():
        if name == "FROM":
            stage = {}
        stage.setdefault(name, []).append(rest)
    return stage


def test_the_dockerfile_passes_hadolint() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    linter = str(beside) if beside.exists() else shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed: it comes with the development dependencies")
    run = subprocess.run(  # noqa: S603 - the linter beside this Python
        [linter, str(ROOT / "Dockerfile")], check=False, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_image_runs_as_a_numbered_user_without_a_shell() -> None:
    stage = final_stage()
    (user,) = stage["USER"]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    for form in ("ENTRYPOINT", "CMD"):
        assert stage[form][-1].startswith('["')
    assert "sh" not in stage["ENTRYPOINT"][0].split('"')


def test_the_image_says_whether_it_is_healthy() -> None:
    (check,) = final_stage()["HEALTHCHECK"]

    assert "/health/ready" in check
    assert 'CMD ["python", "-c",' in check
    (code,) = re.findall(r'CMD \["python", "-c", "(.*)"\]', check)
    compile(code.replace('\\"', '"'), "HEALTHCHECK", "exec")


def test_the_images_settings_exist_and_it_sends_nothing_home() -> None:
    (environment,) = final_stage()["ENV"]
    values = dict(re.findall(r"(\w+)=(\S+)", environment))
    ours = {name for name in values if name.startswith("GROUNDS_")}

    assert ours <= {variable(name) for name in Settings.model_fields}
    assert values["ORT_DISABLE_TELEMETRY"] == "1"
    assert values["NUMBA_CACHE_DIR"].startswith("/tmp/")  # noqa: S108 - a tmpfs of its own


def test_what_the_image_compiles_can_be_imported() -> None:
    (module, name) = re.findall(r"from ([\w.]+) import (\w+)", text("Dockerfile"))[0]

    assert callable(getattr(importlib.import_module(module), name))


def test_every_file_that_the_image_copies_exists_and_is_let_through() -> None:
    let_through = text(".dockerignore")
    for name, rest in instructions():
        if name != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}\n" in let_through, source


@pytest.mark.parametrize("folder", ["app", "models", "explainers", "audit"])
def test_every_package_is_let_through_to_the_image(folder: str) -> None:
    assert f"!{folder}\n" in text(".dockerignore")
    assert (ROOT / folder).is_dir()


def test_every_reason_for_not_being_ready_is_one_that_the_service_gives() -> None:
    rows = (DOCS / "operations.md").read_text().split("| `reason` |")[1].split("\n\n")[0]
    code = "".join(path.read_text() for path in (ROOT / "app").glob("*.py"))
    told = re.findall(r"`([a-z][^`]*)`", rows)
    reasons = [each.partition(" (")[0] for each in told if " " in each and "grounds" not in each]
    assert len(reasons) >= 5
    assert [each for each in reasons if each not in code] == []
