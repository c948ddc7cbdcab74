"""Asking witnesses to cosign each checkpoint: others who remember how long the log was.

Nothing waits for a witness: a decision is durable and answered without them. What is missing is an
alarm instead, in the log lines, the metrics and ``/health/ready``. The gravest is a witness that
has seen a longer log, or another history: then the database was set back or forked.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
import structlog

from app.metrics import Metrics
from app.outside import AnswerTooLongError, ask
from audit.checkpoint import Checkpoint, parse_size, unverified_checkpoint
from audit.errors import AuditError, NoteError, TrustPolicyError
from audit.files import write_durably
from audit.note import NoteSignature, encode_base64, parse_note, parse_signature_line
from audit.reader import LogReader
from audit.trust import KnownWitness, TrustPolicy, parse_policy

TIMEOUT_SECONDS = 1.0
MAX_ANSWER_BYTES = 16 * 1024
COSIGNED_FILE = "cosigned"
"""The newest checkpoint with its quorum, beside the log's own copy. It covers all before it."""

FaultKind: TypeAlias = Literal["unreachable", "refused", "conflict"]
"""No answer in time; an answer that is no cosignature; a witness that has seen another history."""

_log = structlog.get_logger("grounds.witnesses")


@dataclass(frozen=True, slots=True)
class WitnessState:
    """What is known of one witness."""

    name: str
    size: int = 0
    """Of the last checkpoint that it cosigned for this log, as far as known here."""
    fault: FaultKind | None = None
    detail: str = ""


class WitnessFaultError(Exception):
    """A witness did not cosign."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def load_policy_file(path: Path, *, origin: str) -> TrustPolicy:
    """Return the policy of ``path``, which must know this log and where its witnesses are.

    Raises TrustPolicyError.
    """
    try:
        policy = parse_policy(path.read_bytes())
    except OSError as err:
        raise TrustPolicyError(f"cannot read {path}: {err.strerror}") from err
    except TrustPolicyError as err:
        raise TrustPolicyError(f"{path}: {err}") from err
    if all(log.key.name != origin for log in policy.logs):
        raise TrustPolicyError(f"{path} does not name this log, {origin!r}")
    return policy


class Witnesses:
    """Collects cosignatures for one log."""

    def __init__(
        self,
        log: LogReader,
        policy: TrustPolicy,
        *,
        metrics: Metrics,
        client: httpx.AsyncClient,
    ) -> None:
        """``client`` is closed by whoever made it."""
        self._log = log
        self.policy = policy
        self._metrics = metrics
        self._client = client
        self._path = log.directory / COSIGNED_FILE
        self._states = {known.name: WitnessState(known.name) for known in policy.witnesses}
        self._cosigned = self._recall()
        self._short: str | None = None
        for known in policy.witnesses:
            if known.url is not None:
                # Before it has cosigned anything it is as one that has not for long.
                metrics.witness_size.labels(known.name).set(0)
                metrics.witness_time.labels(known.name).set(0)

    @property
    def states(self) -> Sequence[WitnessState]:
        """Return what is known of each witness, in the policy's order."""
        return tuple(self._states.values())

    @property
    def cosigned(self) -> bytes | None:
        """Return the newest checkpoint that a quorum cosigned, with all signatures."""
        return self._cosigned

    @property
    def alarms(self) -> list[str]:
        """Return what is wrong at present, worst first."""
        found = [
            f"witness {state.name} has seen another history of this log: {state.detail}"
            for state in self._states.values()
            if state.fault == "conflict"
        ]
        if self._short is not None:
            found.append(self._short)
        return found

    @property
    def is_complete(self) -> bool:
        """Return whether every witness that can be asked cosigned when last asked."""
        return self._short is None and all(state.fault is None for state in self._states.values())

    async def collect(self, note: bytes) -> bytes:
        """Ask every witness at once; return the note with the cosignatures given, kept if a quorum.

        Never raises for what a witness does or does not do. Raises OSError when the result cannot
        be kept.
        """
        checkpoint = unverified_checkpoint(note, origin=self._log.origin)
        asked = [known for known in self.policy.witnesses if known.url is not None]
        given = await asyncio.gather(*(self._ask(known, note, checkpoint) for known in asked))
        lines = [line for line in given if line is not None]
        parsed = parse_note(note)
        full = replace(parsed, signatures=(*parsed.signatures, *lines))
        if self.policy.met_by(list(self.policy.cosigners(full))):
            # Only the newest is kept: it covers every entry that an older one covers.
            await asyncio.to_thread(write_durably, self._path, full.format())
            self._cosigned = full.format()
            self._short = None
            self._metrics.quorum_size.set(checkpoint.size)
        elif self._short is None:
            self._short = "the log's newest checkpoint lacks its quorum of witnesses"
            _log.error("quorum", size=checkpoint.size, reason=self._short)
        return full.format()

    async def _ask(
        self, known: KnownWitness, note: bytes, checkpoint: Checkpoint
    ) -> NoteSignature | None:
        state = self._states[known.name]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                signature = await self._cosignature(known, note, checkpoint)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as err:
            self._fault(state, "unreachable", type(err).__name__)
            return None
        except WitnessFaultError as err:
            self._fault(self._states[known.name], err.kind, str(err))
            return None
        time = int.from_bytes(signature.signature[:8], "big")
        self._states[known.name] = WitnessState(known.name, checkpoint.size)
        self._metrics.witness_size.labels(known.name).set(checkpoint.size)
        self._metrics.witness_time.labels(known.name).set(time)
        if state.fault is not None:
            _log.info("witness", witness=known.name, state="cosigns again")
        return signature

    async def _cosignature(
        self, known: KnownWitness, note: bytes, checkpoint: Checkpoint
    ) -> NoteSignature:
        old = min(self._states[known.name].size, checkpoint.size)
        response = await self._send(known, old, note, checkpoint)
        if response.status_code == HTTPStatus.CONFLICT:
            old = self._last_size(response)
            self._states[known.name] = replace(self._states[known.name], size=old)
            if old > checkpoint.size:
                size = await asyncio.to_thread(self._log.catch_up)
                if old > size:
                    raise WitnessFaultError(
                        "conflict",
                        f"it cosigned {old} entries, the log has {size}: the database was set back",
                    )
                raise WitnessFaultError("refused", f"it has cosigned {old} entries meanwhile")
            response = await self._send(known, old, note, checkpoint)
        if response.status_code in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise WitnessFaultError(
                "conflict", f"it answered {response.status_code} from size {old}"
            )
        if response.status_code == HTTPStatus.NOT_FOUND:
            # As one does that has lost its memory. Its operator adds the log again.
            raise WitnessFaultError("refused", "it does not know this log, or is not there (404)")
        if response.status_code != HTTPStatus.OK:
            raise WitnessFaultError("refused", f"it answered {response.status_code}")
        return _signature_in(response, known, note)

    async def _send(
        self, known: KnownWitness, old: int, note: bytes, checkpoint: Checkpoint
    ) -> httpx.Response:
        try:
            proof = (
                await asyncio.to_thread(self._log.consistency_proof, old, checkpoint.size)
                if old
                else ()
            )
        except AuditError as err:
            raise WitnessFaultError("refused", f"no proof from size {old}: {err}") from err
        lines = "".join(f"{encode_base64(node)}\n" for node in proof)
        try:
            return await ask(
                self._client,
                "POST",
                f"{(known.url or '').rstrip('/')}/add-checkpoint",
                most=MAX_ANSWER_BYTES,
                content=f"old {old}\n{lines}\n".encode() + note,
            )
        except AnswerTooLongError as err:
            raise WitnessFaultError("refused", "its answer is too long") from err

    @staticmethod
    def _last_size(response: httpx.Response) -> int:
        try:
            return parse_size(response.content.decode("ascii").removesuffix("\n"))
        except (NoteError, UnicodeDecodeError) as err:
            raise WitnessFaultError("conflict", "it answered 409 without a size") from err

    def _fault(self, state: WitnessState, kind: FaultKind, detail: str) -> None:
        self._metrics.witness_failures.labels(state.name, kind).inc()
        if state.fault != kind:  # once, not every second: the detail may name sizes, which grow
            _log.error("witness", witness=state.name, kind=kind, reason=detail)
        self._states[state.name] = replace(state, fault=kind, detail=detail)

    def _recall(self) -> bytes | None:
        """Return the cosigned checkpoint that was kept, unless the policy has changed since."""
        try:
            note = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            self.policy.open(note)
        except NoteError as err:
            _log.error("cosigned", reason=str(err))
            return None
        return note


def _signature_in(response: httpx.Response, known: KnownWitness, note: bytes) -> NoteSignature:
    """Return the witness' cosignature among the lines of its answer."""
    text = parse_note(note).text
    try:
        lines = [parse_signature_line(line) for line in response.content.decode().splitlines()]
    except (NoteError, UnicodeDecodeError) as err:
        raise WitnessFaultError("refused", "its answer is not of signature lines") from err
    for line in lines:
        if (line.name, line.key_id) == (known.key.name, known.key.key_id):
            if not known.key.verifies(text, line.signature):
                raise WitnessFaultError("refused", "its cosignature is wrong")
            return line
    raise WitnessFaultError("refused", "its answer has no cosignature by the key in the policy")
