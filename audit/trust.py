"""C2SP tlog-policy: which logs are known, which witnesses, and how many of them it takes.

https://c2sp.org/tlog-policy. Names of witnesses and groups mean something inside one file only;
keys are what counts, so one key under two names is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import NoteError, QuorumError, SignatureError, TrustPolicyError
from audit.note import COSIGNATURE, ED25519, Note, NoteSignature, VerifierKey, parse_note

MAX_POLICY_BYTES = 1_000_000
_NONE = "none"


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log whose checkpoints count. Its key's name is its origin."""

    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class KnownWitness:
    """A witness whose cosignatures count."""

    name: str
    """Inside the policy file."""
    key: VerifierKey
    url: str | None
    """Where it takes checkpoints: its submission prefix."""


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as having witnessed when ``threshold`` of its members have."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint that a known log signed and a quorum cosigned."""

    checkpoint: Checkpoint
    witnesses: Mapping[str, int]
    """Name in the policy -> the time of the cosignature, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """A parsed policy file."""

    logs: tuple[KnownLog, ...]
    witnesses: tuple[KnownWitness, ...]
    groups: Mapping[str, Group]
    quorum: str | None
    """The name of a witness or group; None when no cosignature is asked for."""

    def met_by(self, names: Sequence[str]) -> bool:
        """Return whether these witnesses make the quorum."""
        have = set(names)
        # A group names only what stands before it, so one pass in order settles all of them.
        for name, group in self.groups.items():
            if sum(member in have for member in group.members) >= group.threshold:
                have.add(name)
        return self.quorum is None or self.quorum in have

    def check_met(self, names: Sequence[str]) -> None:
        """Raise QuorumError unless these witnesses make the quorum."""
        if not self.met_by(names):
            raise QuorumError(have=sorted(names), want=self.quorum or _NONE)

    def cosigners(self, note: Note) -> dict[str, int]:
        """Return the witnesses that cosigned the note, with the time each states.

        Raises SignatureError when a known witness' signature is wrong.
        """
        found: dict[str, int] = {}
        for witness in self.witnesses:
            for signature in _by(note, witness.key):
                time = int.from_bytes(signature.signature[:8], "big")
                found[witness.name] = max(time, found.get(witness.name, 0))
        return found

    def open(self, note: bytes) -> WitnessedCheckpoint:
        """Return the checkpoint if a known log signed it and the quorum cosigned it.

        Raises NoteError, SignatureError, QuorumError.
        """
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        keys = [log.key for log in self.logs if log.key.name == checkpoint.origin]
        # A list, not a generator: a known key's wrong signature must refuse the note even when
        # another of the log's keys has signed it well.
        if not any([bool(_by(parsed, key)) for key in keys]):  # noqa: C419
            raise SignatureError(f"no known log has signed the checkpoint of {checkpoint.origin!r}")
        witnesses = self.cosigners(parsed)
        self.check_met(list(witnesses))
        return WitnessedCheckpoint(checkpoint, witnesses)


def parse_policy(content: bytes) -> TrustPolicy:
    """Read a policy file. Raises TrustPolicyError naming the line at fault."""
    if len(content) > MAX_POLICY_BYTES:
        raise TrustPolicyError(f"has {len(content)} bytes, want at most {MAX_POLICY_BYTES}")
    if any((byte < 0x20 and byte not in b"\t\n") or byte == 0x7F for byte in content):
        raise TrustPolicyError("holds a control character other than tab and newline")
    parser = _Parser()
    # Names are opaque octets: surrogateescape keeps bytes that are not UTF-8 apart and comparable.
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    for number, line in enumerate(lines, start=1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if words and not words[0].startswith("#"):
            try:
                parser.take(words)
            except NoteError as err:
                raise TrustPolicyError(f"line {number}: {err}") from err
    return parser.policy()


class _Parser:
    def __init__(self) -> None:
        self._logs: list[KnownLog] = []
        self._witnesses: list[KnownWitness] = []
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self._take_log(vkey, url)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._take_witness(name, vkey, url)
            case ["group", name, threshold, _, *_]:
                self._take_group(name, threshold, tuple(words[3:]))
            case ["quorum", name]:
                if self._quorum is not None:
                    raise TrustPolicyError("a second quorum, want exactly one")
                if name != _NONE and not self._is_defined(name):
                    raise TrustPolicyError(f"the quorum {name!r} is not defined above")
                self._quorum = name
            case _:
                raise TrustPolicyError(
                    "want `log VKEY [URL]`, `witness NAME VKEY [URL]`, "
                    "`group NAME all|any|K MEMBER...` or `quorum NAME|none`"
                )

    def policy(self) -> TrustPolicy:
        if self._quorum is None:
            raise TrustPolicyError("there is no quorum line, want exactly one")
        return TrustPolicy(
            tuple(self._logs),
            tuple(self._witnesses),
            self._groups,
            None if self._quorum == _NONE else self._quorum,
        )

    def _take_log(self, vkey: str, url: list[str]) -> None:
        key = VerifierKey.parse(vkey)
        if key.algorithm != ED25519:
            raise TrustPolicyError(f"a log's key has type 01, this one {key.algorithm:02x}")
        if any(log.key.public_key == key.public_key for log in self._logs):
            raise TrustPolicyError("the log's key stands above already")
        self._logs.append(KnownLog(key, url[0] if url else None))

    def _take_witness(self, name: str, vkey: str, url: list[str]) -> None:
        self._check_new(name)
        key = VerifierKey.parse(vkey)
        if key.algorithm != COSIGNATURE:
            raise TrustPolicyError(f"a witness' key has type 04, this one {key.algorithm:02x}")
        if any(witness.key.public_key == key.public_key for witness in self._witnesses):
            raise TrustPolicyError("the witness' key stands above already")
        self._witnesses.append(KnownWitness(name, key, url[0] if url else None))

    def _take_group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._check_new(name)
        for member in members:
            if not self._is_defined(member):
                raise TrustPolicyError(f"the member {member!r} is not defined above")
            if member in self._members or members.count(member) > 1:
                raise TrustPolicyError(f"the member {member!r} is in a group already")
        self._members.update(members)
        self._groups[name] = Group(_threshold(threshold, len(members)), members)

    def _check_new(self, name: str) -> None:
        if name == _NONE or self._is_defined(name):
            raise TrustPolicyError(f"the name {name!r} is taken")

    def _is_defined(self, name: str) -> bool:
        return name in self._groups or any(name == witness.name for witness in self._witnesses)


def _threshold(text: str, members: int) -> int:
    if text == "all":
        return members
    if text == "any":
        return 1
    is_decimal = text.isascii() and text.isdigit() and text[0] != "0"
    if not is_decimal or not 1 <= int(text[:9]) <= members:
        raise TrustPolicyError(f"the threshold is {text!r}, want all, any or 1 to {members}")
    return int(text)


def _by(note: Note, key: VerifierKey) -> list[NoteSignature]:
    """Return the note's signatures by this key. Raises SignatureError when one is wrong."""
    found = [
        signature
        for signature in note.signatures
        if (signature.name, signature.key_id) == (key.name, key.key_id)
    ]
    for signature in found:
        if not key.verifies(note.text, signature.signature):
            raise SignatureError(f"the signature by {key.name} ({key.key_id.hex()}) is wrong")
    return found
