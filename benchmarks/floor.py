"""The floor: FastAPI that parses a body and sends back a JSON of the size of our answer.

``app`` answers with a Response of its own, as fast as FastAPI goes with a route of its own;
``typed`` declares the body and the answer, as its tutorial does.
"""

import os

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

SIZE = int(os.environ.get("FLOOR_BYTES", "5000"))
ANSWER = orjson.dumps({"answer": "x" * (SIZE - len('{"answer":""}'))})


class Case(BaseModel):
    """The body."""

    case: dict[str, float]


class Part(BaseModel):
    """One field's part in the answer."""

    field: str
    label: str
    value: float
    contribution: float


class Answer(BaseModel):
    """The answer: as many parts as the size asks for."""

    parts: list[Part]


_PART = Part(field="field-00", label="x" * 100, value=1.25, contribution=0.123456789)
_PARTS = [_PART] * max(1, SIZE // (len(_PART.model_dump_json()) + 1))

app = FastAPI()
typed = FastAPI()


@app.post("/")
async def echo(request: Request) -> Response:
    """Read the body as JSON and answer with a fixed JSON."""
    orjson.loads(await request.body())
    return Response(ANSWER, media_type="application/json")


@typed.post("/")
async def echo_typed(case: Case) -> Answer:
    """Read the body as a declared model and answer with another."""
    return Answer(parts=_PARTS if case.case else [])
