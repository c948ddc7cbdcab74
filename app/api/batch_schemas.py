"""The shapes of a batch: each is one line of NDJSON, in and out."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from app.api.schemas import AnyDecision, DecisionRequest, Problem, Shape


class BatchLine(DecisionRequest):
    """One case of a batch, as one line of JSON."""

    idempotency_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description="As the header `Idempotency-Key`, for this line alone.",
        ),
    ] = None


class _Result(Shape):
    line: Annotated[int, Field(description="The line of the batch, counting from 1.", ge=1)]


class BatchDecision(_Result):
    """A line that is recorded."""

    status: Literal[201]
    replayed: Annotated[bool, Field(description="Whether this is the first answer again.")]
    decision: AnyDecision


class BatchProblem(_Result):
    """A line that is not: nothing was advised, and nothing recorded unless the problem says so."""

    status: Annotated[int, Field(ge=400, le=599)]
    problem: Problem


class BatchResult(RootModel[BatchDecision | BatchProblem]):
    """What came of one line."""
