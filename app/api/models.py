"""``/v1/models``: what is served, what each model takes and how it is explained."""

from fastapi import APIRouter, Request

from app.api import examples, schemas
from app.api.access import EVERY_ROLE, admits
from app.api.documents import JSON, problems
from app.api.parts import parts_of
from app.served import ServedModel

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "",
    operation_id="list_models",
    summary="List the served models",
    responses={
        200: {"content": {JSON: {"example": examples.MODEL_LIST}}},
        **problems(401, 403, 422),
    },
    **admits(*EVERY_ROLE),
)
async def list_models(request: Request) -> schemas.ModelList:
    """Return every served model."""
    return schemas.ModelList(
        models=[_summary(served) for _, served in sorted(parts_of(request).served.items())]
    )


@router.get(
    "/{model}",
    operation_id="read_model",
    summary="Read one model",
    description="What it is for, which fields a case must have, how it is explained and under "
    "which policy.",
    responses={
        200: {"content": {JSON: {"example": examples.MODEL}}},
        **problems(401, 403, 404, 422),
    },
    **admits(*EVERY_ROLE),
)
async def read_model(request: Request, model: str) -> schemas.Model:
    """Return one served model."""
    served = parts_of(request).model(model)
    card, explainer = served.bundle.card, served.explainer
    positive = card.output.positive_class
    return schemas.Model(
        **_summary(served).model_dump(),
        legal_basis=card.legal_basis,
        what_it_cannot_know=list(card.what_it_cannot_know),
        limitations=list(card.limitations),
        positive_class=None if positive is None else str(positive),
        score_meaning=card.output.meaning,
        case_schema=dict(served.bundle.schema.json_schema()),
        explanation=schemas.ExplanationMethod(
            method=explainer.method,
            reason=explainer.reason,
            unit=explainer.unit,
            link=explainer.link,
            base_value=float(explainer.base_values[0]),
            background=schemas.Background(
                rows=explainer.background_rows, digest=explainer.background_digest
            ),
        ),
        policy=schemas.PolicyName(
            name=served.policy.policy,
            version=served.policy.version,
            digest=served.policy_digest,
        ),
        purposes=[
            schemas.PurposeOffered(
                purpose=each.purpose,
                description=each.description,
                legal_bases=list(each.legal_bases),
            )
            for each in served.policy.purposes
        ],
        manual_route=served.policy.manual_route,
    )


def _summary(served: ServedModel) -> schemas.ModelSummary:
    card = served.bundle.card
    return schemas.ModelSummary(
        name=card.name,
        version=card.version,
        title=card.title,
        digest=served.bundle.digest,
        purpose=card.purpose,
        owner=card.owner,
    )
