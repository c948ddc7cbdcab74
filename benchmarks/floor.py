"""The floor: FastAPI that parses a body and sends back a JSON of the size of our answer."""

import os

import orjson
from fastapi import FastAPI, Request, Response

ANSWER = orjson.dumps({"answer": "x" * int(os.environ.get("FLOOR_BYTES", "5000"))})

app = FastAPI()


@app.post("/")
async def echo(request: Request) -> Response:
    """Read the body as JSON and answer with a fixed JSON."""
    orjson.loads(await request.body())
    return Response(ANSWER, media_type="application/json")
