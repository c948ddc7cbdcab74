"""``/v1/models/{model}/transparency``: what is published of a model, from its bundle and deployment."""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, JsonValue

from app.api.access import EVERY_ROLE, admits
from app.api.documents import JSON, problems
from app.api.parts import parts_of
from app.api.schemas import ModelName
from app.custody import Custody
from app.publish.atrs import atrs_record
from app.publish.cyclonedx import cyclonedx_bom
from app.publish.register import eu_register_entry
from app.publish.subject import FILE, Subject, read_deployment
from app.served import ServedModel
from models.bundle import read

router = APIRouter(prefix="/v1/models", tags=["models"])

_EXAMPLE = {
    "model": {
        "name": "housing-support",
        "version": "1.0.0",
        "digest": "sha256:6f1c0b0e5d3e8d0a5a7f3f1f7c1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c",
        "signature": {"status": "verified", "supplier": "northmoor", "warning": None},
        "arm": "live",
    },
    "impact_level": 2,
    "atrs": {"standard": "ATRS", "standard_version": "4.0", "title": "Priority for support"},
    "cyclonedx": {"bomFormat": "CycloneDX", "specVersion": "1.7"},
    "eu_register": {"register": "AI Act, Annex VIII, section C", "C.1": None, "gaps": []},
    "retention": {
        "keep_days": 365,
        "erase_after_days": 2190,
        "basis": "Example Records Act, section 12",
        "backups_kept_days": 30,
    },
}


class Kept(BaseModel):
    """How long what is recorded of a case is kept; null where nobody has said, or there is no end."""

    model_config = ConfigDict(extra="forbid")

    keep_days: int | None
    """At least so long."""
    erase_after_days: int | None
    """At most so long, unless a legal hold keeps it."""
    basis: str | None
    """The law or rule that says so."""
    backups_kept_days: int | None
    """How much longer it is in backups, whatever erased it."""


class Transparency(BaseModel):
    """A model's published records; what nobody has said is null in them, and listed as a gap."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    impact_level: int | None
    """1 to 4, by Canada's method; null where nothing was assessed."""
    atrs: dict[str, JsonValue]
    cyclonedx: dict[str, JsonValue]
    eu_register: dict[str, JsonValue]
    retention: Kept


@router.get(
    "/{model}/transparency",
    operation_id="read_transparency",
    summary="Read a model's published records",
    description="The UK algorithmic transparency record, a CycloneDX bill of materials, the "
    "entry for the EU's register, and how long what is recorded is kept. Figures from use are not in it: `grounds publish` takes them with "
    "their window.",
    responses={
        200: {"content": {JSON: {"example": _EXAMPLE}}},
        **problems(401, 403, 404, 422),
    },
    **admits(*EVERY_ROLE),
)
async def read_transparency(request: Request, model: str) -> Transparency:
    """Return what is published of one served model."""
    parts = parts_of(request)
    served = parts.model(model)
    # Reads the bundle's files again: rare, and not for the thread that decisions wait for.
    return await run_in_threadpool(records, served, parts.custody)


def records(served: ServedModel, custody: Custody) -> Transparency:
    """Return what is published of a model. Reads the bundle's files."""
    period = custody.period_of(served.name)
    subject = Subject(read(served.bundle.path), read_deployment(served.directory / FILE))
    return Transparency.model_validate(
        {
            "model": {
                "name": served.name,
                "version": served.bundle.card.version,
                "digest": served.bundle.digest,
                "signature": served.vouched.body(),
                "arm": served.arm,
            },
            "impact_level": served.bundle.impact_level,
            "atrs": atrs_record(subject),
            "cyclonedx": cyclonedx_bom(subject),
            "eu_register": eu_register_entry(subject),
            "retention": {
                "keep_days": None if period is None else period.keep_days,
                "erase_after_days": None if period is None else period.erase_after_days,
                "basis": None if period is None else period.basis,
                "backups_kept_days": custody.backups_kept_days,
            },
        }
    )
