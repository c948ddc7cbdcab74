"""``/v1/models/{model}/versions``, ``/stages``, ``/policy`` and ``/rollback``: the registry's changes."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from app.api import version_schemas as shapes
from app.api.access import CurrentCaller, admits
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.recording import recorded, until_numbered
from app.domain import Role
from app.errors import UnknownModelError
from app.lifecycle import RegistryState, VersionId, allowed_stages
from app.lifecycle_refusals import StageRefusedError
from app.log_entries import EntryWork
from app.registry_entries import Change, changes
from audit.records import NewRecord

router = APIRouter(route_class=KeyedRoute, prefix="/v1/models", tags=["versions"])

CHANGERS = admits(Role.MODEL_OWNER, Role.ADMIN)
READERS = admits(Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN)
CHANGE_PROBLEMS = problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503)

Digest = Annotated[
    str, Query(pattern=shapes.DIGEST, examples=[shapes.VERSION["bundle"]], description="By digest.")
]
Make = Callable[[RegistryState, ExitStack], NewRecord]


@router.get(
    "/{model}/versions",
    operation_id="list_versions",
    summary="A model's versions and their stages",
    description="Read from the log: every service that shares it says the same, but for `open_here`.",
    responses={
        200: {"content": {JSON: {"example": shapes.VERSIONS}}},
        **problems(401, 403, 404, 422),
    },
    **READERS,
)
async def list_versions(request: Request, model: str) -> shapes.Versions:
    """Return the versions of a model."""
    return _shown(parts_of(request), model)


@router.post(
    "/{model}/versions",
    operation_id="register_version",
    summary="Register a version",
    description="A bundle and a policy that `grounds bundle submit` put into the store, by digest. "
    "They are opened as for service; then the version is in the stage submitted.",
    status_code=201,
    responses={201: {"content": {JSON: {"example": shapes.VERSIONS}}}, **CHANGE_PROBLEMS},
    dependencies=CHANGERS["dependencies"],
    openapi_extra={
        **CHANGERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": shapes.REGISTER}}},
    },
)
async def register_version(
    request: Request, model: str, asked: shapes.RegisterRequest, caller: CurrentCaller
) -> shapes.Versions:
    """Register a version."""
    parts = parts_of(request)
    id_ = VersionId(model, asked.bundle, asked.policy)
    return await _change(
        parts,
        model,
        lambda state, held: parts.changing.register(state, id_, caller, asked.reason, held),
    )


@router.get(
    "/{model}/stages",
    operation_id="list_stage_changes",
    summary="What happened to a model's versions",
    description="Every change with who made it, when and why, oldest first, as the log has it.",
    responses={
        200: {"content": {JSON: {"example": shapes.CHANGES}}},
        **problems(401, 403, 404, 422, 503),
    },
    **READERS,
)
async def list_stage_changes(request: Request, model: str) -> shapes.Changes:
    """Return the changes of a model's versions."""
    parts = parts_of(request)
    _check_known(parts.registry.state, model)
    found = await run_in_threadpool(changes, parts.log, parts.registry.state, model)
    return shapes.Changes(model=model, changes=[_change_shape(each) for each in found])


@router.post(
    "/{model}/stages",
    operation_id="change_stage",
    summary="Move a version to another stage",
    description="From submitted to accepted with a signed acceptance report, to shadow, to live, to "
    "retired. `percent` makes a live version a canary: it gets that share of the cases, chosen by the "
    "case itself. Going live needs what the country's rules and the impact level ask for. Takes "
    "effect here with the answer, and everywhere within a second.",
    responses={200: {"content": {JSON: {"example": shapes.VERSIONS}}}, **CHANGE_PROBLEMS},
    dependencies=CHANGERS["dependencies"],
    openapi_extra={
        **CHANGERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": shapes.STAGE}}},
    },
)
async def change_stage(
    request: Request, model: str, asked: shapes.StageRequest, caller: CurrentCaller
) -> shapes.Versions:
    """Move a version to another stage."""
    parts = parts_of(request)
    id_ = VersionId(model, asked.bundle, asked.policy)
    return await _change(
        parts,
        model,
        lambda state, held: parts.changing.stage(
            state,
            id_,
            asked.stage,
            caller,
            asked.reason,
            held,
            percent=asked.percent,
            report=asked.report,
        ),
    )


@router.post(
    "/{model}/policy",
    operation_id="change_policy",
    summary="Put another policy around the active bundle",
    description="The policy is in the store (`grounds model policy` puts it there). It is checked as "
    "going live is; the version with the policy before it is retired by the same entry.",
    responses={200: {"content": {JSON: {"example": shapes.VERSIONS}}}, **CHANGE_PROBLEMS},
    dependencies=CHANGERS["dependencies"],
    openapi_extra={
        **CHANGERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": shapes.POLICY}}},
    },
)
async def change_policy(
    request: Request, model: str, asked: shapes.PolicyRequest, caller: CurrentCaller
) -> shapes.Versions:
    """Put another policy around the active bundle."""
    parts = parts_of(request)

    def make(state: RegistryState, held: ExitStack) -> NewRecord:
        _check_known(state, model)
        return parts.changing.policy(state, model, asked.policy, caller, asked.reason, held)

    return await _change(parts, model, make)


@router.post(
    "/{model}/rollback",
    operation_id="roll_back",
    summary="Undo the latest step towards live",
    description="While a canary is under way, it goes back to shadow. Else the version that was active "
    "before is active again; it is kept open, so this is instant. Where what advises was last "
    "changed by a rollback or the circuit breaker, the request has to name the version to leave.",
    responses={200: {"content": {JSON: {"example": shapes.VERSIONS}}}, **CHANGE_PROBLEMS},
    dependencies=CHANGERS["dependencies"],
    openapi_extra={
        **CHANGERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": shapes.ROLLBACK}}},
    },
)
async def roll_back(
    request: Request, model: str, asked: shapes.RollbackRequest, caller: CurrentCaller
) -> shapes.Versions:
    """Undo the latest step towards live."""
    parts = parts_of(request)
    leaving = None
    if asked.bundle is not None and asked.policy is not None:
        leaving = VersionId(model, asked.bundle, asked.policy)

    def make(state: RegistryState, held: ExitStack) -> NewRecord:
        _check_known(state, model)
        return parts.changing.rollback(state, model, caller, asked.reason, held, leaving=leaving)

    return await _change(parts, model, make)


@router.get(
    "/{model}/comparison",
    operation_id="compare_shadow",
    summary="What a shadow version would have said",
    description="Sums over the cases that were recorded while the version was in shadow. No case and "
    "no score of a case is shown, and nothing is said over fewer than ten.",
    responses={
        200: {"content": {JSON: {"example": shapes.COMPARISON}}},
        **problems(401, 403, 404, 422, 503),
    },
    **READERS,
)
async def compare_shadow(
    request: Request, model: str, bundle: Digest, policy: Digest
) -> shapes.ShadowComparison:
    """Return the figures of a version's latest time in shadow."""
    parts = parts_of(request)
    version = parts.registry.state.version(VersionId(model, bundle, policy))
    found = await run_in_threadpool(parts.comparisons.compare, version)
    return shapes.ShadowComparison(
        model=model,
        bundle=bundle,
        policy=policy,
        stage=version.stage,
        cases=found.cases,
        compared=found.compared,
        failed=found.failed,
        left_out=found.left_out,
        latest_only=found.latest_only,
        agreement=(
            None
            if found.agreement is None
            else shapes.Share(
                value=found.agreement.value, low=found.agreement.low, high=found.agreement.high
            )
        ),
        outcomes=[
            shapes.OutcomePair(given=given, shadow=shadow, cases=cases)
            for given, shadow, cases in found.outcomes
        ],
        more_adverse=found.more_adverse,
        mean_score_difference=found.mean_score_difference,
        largest_score_difference=found.largest_score_difference,
    )


async def _change(parts: Parts, model: str, make: Make) -> shapes.Versions:
    """Record a change made for the newest state; made again when another came first.

    Raises StageRefusedError when that one changed what advises: whoever asked did not know of it, and
    two rollbacks at once would go back two versions.
    """
    met: list[tuple[VersionId | None, VersionId | None]] = []

    async def attempt() -> shapes.Versions:
        with ExitStack() as held:
            state = await run_in_threadpool(parts.registry.refresh)
            of = state.model(model)
            met.append((of.active, of.canary))
            if met[0] != met[-1]:
                raise StageRefusedError(
                    "somebody else changed what advises at the same moment: look at the versions first"
                )
            record = await run_in_threadpool(make, state, held)
            await recorded(parts, EntryWork(record))
            await run_in_threadpool(parts.registry.refresh)
            return _shown(parts, model)

    return await until_numbered(attempt)


def _check_known(state: RegistryState, model: str) -> None:
    if model not in state.models:
        raise UnknownModelError(served=sorted(state.models))


def _shown(parts: Parts, model: str) -> shapes.Versions:
    _check_known(parts.registry.state, model)
    state = parts.registry.state.model(model)
    here = parts.registry.open_versions
    return shapes.Versions(
        model=model,
        versions=[
            shapes.VersionShown(
                version=each.name,
                bundle=id_.bundle,
                policy_version=each.policy_name,
                policy=id_.policy,
                stage=each.stage,
                since=each.since,
                active=id_ == state.active,
                percent=each.percent,
                may_go_to=list(allowed_stages(state, each)),
                open_here=id_ in here,
            )
            for id_, each in state.versions.items()
        ],
    )


def _change_shape(change: Change) -> shapes.ChangeShown:
    return shapes.ChangeShown(
        number=change.number,
        index=change.index,
        type=change.type,
        version=change.version,
        bundle=change.id.bundle,
        policy_version=change.policy_version,
        policy=change.id.policy,
        stage=change.stage,
        percent=change.percent,
        rollback=change.rollback,
        at=change.at,
        by=change.actor,
        role=change.role,
        human=change.is_human,
        reason=change.reason,
        accepted_by=change.accepted_by,
    )
