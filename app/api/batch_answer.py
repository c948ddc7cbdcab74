"""The answer to a batch: lines are read, handed over in groups, and told in order as they settle.

NDJSON in and out, both as they come. Each case has its own record and receipt, and a line at fault
costs no other line anything. Little is held at a time: the body that has come, and a few groups.
What is recorded stays recorded when the client goes away.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.api.asking import application_steps, check_key, idempotency_of
from app.api.batch_lines import Line, Lines
from app.api.batch_recording import Settled, recorded_all
from app.api.lean import parse_body
from app.api.parts import Parts
from app.api.problems import problem_inside
from app.domain import Caller
from app.errors import (
    PROBLEMS,
    BodyTooLargeError,
    InvalidRequestError,
    TooManyLinesError,
)
from app.in_step import Steps, in_step, timed
from app.reading import read_decision
from app.records import with_receipt
from app.reveal import shown_body, without_advice
from app.service import Application
from app.work import Earlier, Recorded
from audit.records import Idempotency
from models.errors import CaseRejectedError

NDJSON = "application/x-ndjson"
MOST_LINES = 10_000
GROUP = 64
"""Lines that are handed to the engine at once. More would make single requests wait longer behind
them; fewer would make commits small."""
AHEAD = 1
"""Groups between the one that is told and the one that is handed over: three of a batch are in the
engine's queue at most."""
SENDING_SECONDS = 30.0
"""How long a client may take nothing of the answer before the batch ends."""

KNOWN = tuple(PROBLEMS)
"""What is told as the problem of one line. Anything else is a fault of ours and ends the batch."""


@dataclass(slots=True)
class _Asked:
    """One line as asked: an application, or what is wrong with it."""

    line: int
    idempotency: Idempotency | None = None
    asked: Application | Exception | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines that were handed over together, and what comes of them."""

    lines: Sequence[_Asked]
    outcomes: "asyncio.Task[list[Settled]]"


class BatchAnswer(Response):
    """Reads a batch and answers it."""

    def __init__(
        self,
        request: Request,
        parts: Parts,
        model: str,
        caller: Caller,
        key: str | None,
    ) -> None:
        """``key`` is the batch's Idempotency-Key."""
        super().__init__()
        self._request = request
        self._parts = parts
        self._model = model
        self._caller = caller
        self._key = key
        trace = request.scope["state"]["trace"]
        self._trace = None if trace is None else trace.id
        self._size = min(GROUP, parts.settings.queue_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, line by line."""
        settings = self._parts.settings
        with self._parts.batches.entered():
            async with Lines(
                receive,
                longest=settings.max_body_bytes,
                seconds=settings.request_timeout_seconds,
            ) as lines:
                try:
                    first = await lines.next(self._size)
                except ClientDisconnect:
                    await Response(status_code=HTTPStatus.BAD_REQUEST)(scope, receive, send)
                    return
                if not first:
                    raise InvalidRequestError("the body holds no case: want one a line, as JSON")
                headers = [(b"content-type", NDJSON.encode())]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                is_whole = await self._answer(lines, first, send)
        if is_whole:
            # Its place is free by now: who reads the end may send the next batch at once.
            await send({"type": "http.response.body", "body": b""})

    async def _answer(self, lines: Lines, first: Sequence[Line], send: Send) -> bool:
        """Tell line after line; return whether all were told."""
        groups: asyncio.Queue[_Group | None] = asyncio.Queue(AHEAD)
        producer = asyncio.create_task(self._hand_over(lines, first, groups))
        begun: list[_Group] = []
        try:
            while (group := await groups.get()) is not None:
                begun = [group]
                content = b"".join(await self._told(group))
                async with asyncio.timeout(SENDING_SECONDS):
                    await send({"type": "http.response.body", "body": content, "more_body": True})
            await producer  # a fault of ours in it ends the batch without its end
        except TimeoutError:
            return False  # the client takes nothing; an answer without its end says that it is cut
        else:
            return True
        finally:
            producer.cancel()
            await asyncio.gather(producer, return_exceptions=True)
            for each in (*begun, *_left_in(groups)):
                each.outcomes.cancel()

    async def _hand_over(
        self, lines: Lines, first: Sequence[Line], groups: "asyncio.Queue[_Group | None]"
    ) -> None:
        """Parse and submit group after group, as far ahead of the answers as the queue lets."""
        group = first
        last = 0
        try:
            while group and not lines.is_gone:
                taken = [line for line in group if line.number <= MOST_LINES]
                if taken:
                    await groups.put(self._submitted(self._asked(taken)))
                    last = taken[-1].number
                if len(taken) < len(group):
                    over = _Asked(
                        group[len(taken)].number, None, TooManyLinesError(most=MOST_LINES)
                    )
                    await groups.put(self._submitted([over]))
                    break
                group = await lines.next(self._size)
        except ClientDisconnect:
            pass
        except KNOWN as error:
            # What ended the body early is told in the place of the line that was to come.
            await groups.put(self._submitted([_Asked(last + 1, None, error)]))
        except Exception:
            await groups.put(None)
            raise
        await groups.put(None)

    def _submitted(self, lines: Sequence[_Asked]) -> _Group:
        works = [each.asked for each in lines if isinstance(each.asked, Application)]
        return _Group(lines, asyncio.create_task(recorded_all(self._parts, works)))

    def _asked(self, lines: Sequence[Line]) -> list[_Asked]:
        """Parse and check lines, all of them one stage before any goes the next."""
        hear = self._parts.metrics.stages["parse"].observe
        asked = in_step([timed(self._asking(line), hear) for line in lines])
        for each in asked:
            if isinstance(each, Exception):
                raise each  # a fault of ours
        return [each for each in asked if isinstance(each, _Asked)]

    def _asking(self, line: Line) -> Steps[_Asked]:
        asked = _Asked(line.number)
        try:
            body, key = self._parsed(line)
            yield
            asked.idempotency = idempotency_of(key, self._caller, self._model, body)
            asked.asked = yield from application_steps(
                self._parts,
                # For each line anew: another version may have gone live meanwhile.
                self._parts.lineup(self._model),
                self._caller,
                body,
                idempotency=asked.idempotency,
                trace=self._trace,
            )
        except KNOWN as error:
            asked.asked = error
        return asked

    def _parsed(self, line: Line) -> tuple[object, str | None]:
        """Return a line's body and its Idempotency-Key."""
        if line.content is None:
            raise BodyTooLargeError(limit=self._parts.settings.max_body_bytes)
        body = parse_body(line.content)
        if not isinstance(body, dict) or "idempotency_key" not in body:
            return body, None if self._key is None else f"{self._key}:{line.number}"
        key = body.pop("idempotency_key")
        return body, check_key(key, place="idempotency_key")

    async def _told(self, group: _Group) -> list[bytes]:
        """Return the group's lines of the answer, once all of it is settled."""
        settled = iter(await group.outcomes)
        found = [
            next(settled) if isinstance(each.asked, Application) else each.asked
            for each in group.lines
        ]
        earlier: Mapping[int, bytes | Exception] = {}
        if not all(isinstance(each, Recorded) for each in found):
            earlier = await run_in_threadpool(self._earlier, group.lines, found)
        told = []
        for each, outcome in zip(group.lines, found, strict=True):
            again = earlier.get(each.line)
            if isinstance(again, bytes):
                told.append(_decision(each.line, again, replayed=True))
            elif isinstance(outcome, Recorded) and isinstance(each.asked, Application):
                self._parts.shadows.offer(each.asked, outcome)
                is_shown = each.asked.served.policy.reveal == "concurrent"
                make = with_receipt if is_shown else without_advice
                body = make(outcome.answer, outcome.receipt)
                told.append(_decision(each.line, body, replayed=False))
            else:
                told.append(self._problem(each.line, outcome if again is None else again))
        return told

    def _earlier(
        self, lines: Sequence[_Asked], found: Sequence[Settled | None]
    ) -> Mapping[int, bytes | Exception]:
        """Return by line what was answered before. Reads the log: not for the event loop."""
        answers: dict[int, bytes | Exception] = {}
        log = self._parts.log
        for each, outcome in zip(lines, found, strict=True):
            identifier = outcome.id if isinstance(outcome, Earlier) else None
            if isinstance(outcome, InvalidRequestError | CaseRejectedError) and each.idempotency:
                # What was accepted once keeps its answer, even if today's model would refuse it.
                match = log.find_idempotent(each.idempotency)
                if match is not None and match.same_request is not False:
                    identifier = match.id
            if identifier is not None:
                try:
                    stored = read_decision(log, identifier, reader=self._caller)
                    answers[each.line] = shown_body(log, stored, reader=self._caller)
                except KNOWN as error:
                    answers[each.line] = error
        return answers

    def _problem(self, line: int, error: object) -> bytes:
        if not isinstance(error, Exception):
            raise TypeError(f"line {line} has no outcome")
        status, problem = problem_inside(self._request, error)
        return orjson.dumps({"line": line, "status": status, "problem": problem}) + b"\n"


def _decision(line: int, body: bytes, *, replayed: bool) -> bytes:
    said = b"true" if replayed else b"false"
    return b'{"line":%d,"status":201,"replayed":%s,"decision":%s}\n' % (line, said, body)


def _left_in(groups: "asyncio.Queue[_Group | None]") -> list[_Group]:
    left = [groups.get_nowait() for _ in range(groups.qsize())]
    return [group for group in left if group is not None]
