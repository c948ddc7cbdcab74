"""What nobody trusted has signed is not served; development says so in every answer."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.main import StartRefusedError
from app.settings import Settings
from app.trust import UNRULED, WARNING
from audit.leaf import parse_leaf
from models.acceptance import Acceptance, write_acceptance
from models.bundle import ACCEPTANCE, SIGNATURE
from models.signing import make_key, sign_bundle
from tests.app import tiny
from tests.signed import SUPPLIER
from tests.started import start


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    """A signed model of one's own, to be harmed."""
    tiny.write(tmp_path / "models" / tiny.NAME)
    return Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")


def bundle(settings: Settings) -> Path:
    return settings.models_dir / tiny.NAME / "bundle"


def test_every_answer_names_the_supplier_that_signed_the_model(fresh: Settings) -> None:
    with start(fresh) as service:
        answer = service.ask(tiny.NAME, tiny.CASE).json()
    assert answer["model"]["signature"] == {
        "status": "verified",
        "supplier": SUPPLIER,
        "warning": None,
    }


@pytest.mark.parametrize("harm", ["unsigned", "edited", "unknown", "nobody-trusted"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_model_that_nobody_trusted_has_signed_is_not_served(
    harm: str, *, allowed: bool, fresh: Settings, tmp_path: Path
) -> None:
    """In development too, unless there is no signature at all."""
    settings = fresh.model_copy(update={"allow_unsigned": allowed})
    path = bundle(settings)
    if harm == "unsigned":
        (path / SIGNATURE).unlink()
        want = "got no signature; want model.sig of a trusted supplier"
    elif harm == "edited":
        (path / "card.yaml").write_bytes((path / "card.yaml").read_bytes() + b"\n")
        want = "edited since they were signed: card.yaml"
    elif harm == "unknown":
        key, _ = make_key(tmp_path / "keys", "stranger")
        sign_bundle(path, key=key)
        want = f"want one by a trusted supplier: {SUPPLIER}"
    else:
        settings = settings.model_copy(update={"suppliers_dir": tmp_path / "none"})
        want = "got none in GROUNDS_SUPPLIERS_DIR; want a NAME.pem for each"
    if allowed and harm == "unsigned":
        return  # the next test's
    with capture_logs() as logged, pytest.raises(StartRefusedError), start(settings):
        pass
    (refusal,) = [entry for entry in logged if entry["event"] == "cannot start"]
    assert want in refusal["reason"]


def test_a_place_that_cannot_be_made_is_named_and_no_traceback(fresh: Settings) -> None:
    """The file system's own word, in the place of the many lines of an unexpected error."""
    occupied = fresh.data_dir.parent / "occupied"
    occupied.write_bytes(b"")
    settings = fresh.model_copy(update={"store_dir": occupied / "store"})
    with capture_logs() as logged, pytest.raises(StartRefusedError), start(settings):
        pass
    (refusal,) = [entry for entry in logged if entry["event"] == "cannot start"]
    assert refusal["reason"].startswith(str(occupied / "store"))
    assert refusal["reason"].endswith("Not a directory")


def test_development_says_so_in_the_answer_the_start_record_and_the_log(fresh: Settings) -> None:
    (bundle(fresh) / SIGNATURE).unlink()
    # The signature is one of the things asked for: something else has to be there in its place.
    checked = Acceptance(
        method="exact",
        against="a test",
        rows=1,
        largest_difference=0.0,
        allowed_difference=1e-6,
        unit="log-odds",
        largest_residual=0.0,
    )
    (bundle(fresh) / ACCEPTANCE).write_bytes(write_acceptance(checked))
    settings = fresh.model_copy(update={"allow_unsigned": True})
    with capture_logs() as logged, start(settings) as service:
        answer = service.ask(tiny.NAME, tiny.CASE).json()
        log = service.parts.log
        started = next(
            row.id for row in log.entries(0, log.size) if parse_leaf(row.leaf).type == "started"
        )
        record = json.loads(log.read(started).payload or b"")
    said = {"status": "unsigned", "supplier": None, "warning": WARNING}
    assert answer["model"]["signature"] == said
    assert record["models"][tiny.NAME]["signature"] == {**said, "fingerprint": None}
    assert record["settings"]["allow_unsigned"] is True
    warnings = [entry for entry in logged if entry["log_level"] == "warning"]
    assert [entry["warning"] for entry in warnings] == [WARNING]


def test_a_protected_attribute_as_a_field_is_not_served(tmp_path: Path) -> None:
    """Nationality, whatever the card says of it; nor under another name that says the same."""
    for number, (name, label) in enumerate(
        (("nationality", "Amount"), ("amount", "Applicant's nationality"))
    ):
        directory = tmp_path / str(number) / "models" / tiny.NAME
        told = tiny.card()
        first = told.fields[0].model_copy(update={"name": name, "label": label})
        tiny.write(directory, told=told.model_copy(update={"fields": (first, *told.fields[1:])}))
        settings = Settings(models_dir=directory.parent, data_dir=tmp_path / str(number) / "data")
        with capture_logs() as logged, pytest.raises(StartRefusedError), start(settings):
            pass
        (refusal,) = [entry for entry in logged if entry["event"] == "cannot start"]
        assert "nationality or language, by its" in refusal["reason"]
        research = settings.model_copy(update={"profile": "none"})
        case = {("nationality" if k == "amount" else k) if not number else k: v
                for k, v in tiny.CASE.items()}  # fmt: skip
        with start(research) as service:
            signature = service.ask(tiny.NAME, case).json()["model"]["signature"]
        assert signature == {"status": "verified", "supplier": SUPPLIER, "warning": UNRULED}


def test_verifying_leaves_the_library_out_of_the_hot_path(fresh: Settings) -> None:
    """Nothing that a decision runs imports it: only loading a bundle does."""
    source = (Path(__file__).parents[2] / "models" / "signing.py").read_text()
    top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert not any("model_signing" in line for line in top)
    assert fresh.allow_unsigned is False
