"""tlog-policy files: what they mean, what is refused, and quorums against a naive recursion."""

import itertools
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import standalone_verify
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import QuorumError, SignatureError, TrustPolicyError
from audit.note import COSIGNATURE, Note, SigningKey, parse_note
from audit.standalone_verify import Wrong
from audit.trust import TrustPolicy, parse_policy
from tests.audit.test_note import LOG_VKEY, NOTE, WITNESS_VKEY

PUBLISHED = f"log {LOG_VKEY}\nwitness w1 {WITNESS_VKEY}\nquorum w1\n"
LOG = SigningKey.from_seed("example.com/log", bytes(32))
WITNESSES = [
    SigningKey.from_seed(f"w{number}.example", sha256(b"%d" % number).digest(), COSIGNATURE)
    for number in range(6)
]
DECLARED = f"log {LOG.verifier.format()} https://log.example\n" + "".join(
    f"witness w{number} {key.verifier.format()}\n" for number, key in enumerate(WITNESSES)
)
SIGNED = sign_checkpoint(Checkpoint("example.com/log", 3, bytes(32)), LOG)


def policy(rules: str) -> TrustPolicy:
    return parse_policy((DECLARED + rules).encode())


def cosigned(*numbers: int) -> bytes:
    note = parse_note(SIGNED)
    lines = [WITNESSES[number].cosign(note.text, timestamp=100 + number) for number in numbers]
    return Note(note.text, (*note.signatures, *lines)).format()


def test_the_published_vector_meets_its_policy() -> None:
    opened = parse_policy(PUBLISHED.encode()).open(NOTE)
    assert opened.checkpoint.size == 8
    assert opened.witnesses == {"w1": 1_700_000_000}


def test_the_specifications_example_needs_both_groups() -> None:
    rules = policy(
        "group X 2 w0 w1 w2\n# a comment\n\t group Y any w3 w4 w5 \n\ngroup both all X Y\nquorum both\n"
    )
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(range(6), count) for count in range(7)
    ):
        met = len({0, 1, 2} & set(chosen)) >= 2 and bool({3, 4, 5} & set(chosen))
        assert rules.met_by([f"w{number}" for number in chosen]) is met


def test_a_checkpoint_short_of_its_quorum_is_refused() -> None:
    rules = policy("group two 2 w0 w1 w2\nquorum two\n")
    assert rules.open(cosigned(0, 2)).witnesses == {"w0": 100, "w2": 102}
    with pytest.raises(QuorumError, match="w0, w4"):
        rules.open(cosigned(0, 4))
    assert policy("quorum none\n").open(SIGNED).witnesses == {}


def test_one_witness_counts_once_however_often_it_signs() -> None:
    with pytest.raises(QuorumError):
        policy("group two 2 w0 w1\nquorum two\n").open(cosigned(0, 0, 0))


def test_a_log_that_is_not_listed_or_not_signing_is_refused() -> None:
    stranger = SigningKey.from_seed("example.com/log", b"\1" * 32)
    forged = sign_checkpoint(Checkpoint("example.com/log", 3, bytes(32)), stranger)
    with pytest.raises(SignatureError, match="no known log"):
        policy("quorum none\n").open(forged)
    elsewhere = sign_checkpoint(
        Checkpoint("example.com/log2", 3, bytes(32)), SigningKey(LOG.name, LOG.private_key)
    )
    with pytest.raises(SignatureError, match="no known log"):
        policy("quorum none\n").open(elsewhere)


def test_a_wrong_cosignature_of_a_known_witness_refuses_the_note() -> None:
    note = parse_note(cosigned(0, 1))
    log_line, first, second = note.signatures
    swapped = type(first)(second.name, second.key_id, first.signature)
    with pytest.raises(SignatureError, match="wrong"):
        policy("quorum w0\n").open(Note(note.text, (log_line, first, swapped)).format())


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "quorum w9\n",
        "quorum w0\nquorum w0\n",
        "quorum all\n",
        "group g all\nquorum w0\n",
        "group g 0 w0\nquorum g\n",
        "group g 3 w0 w1\nquorum g\n",
        "group g 01 w0 w1\nquorum g\n",
        "group g some w0 w1\nquorum g\n",
        "group g ² w0 w1\nquorum g\n",
        "group g any w0 w0\nquorum g\n",
        "group g any w0\ngroup h any w0\nquorum h\n",
        "group g any none\nquorum g\n",
        "group none any w0\nquorum w0\n",
        "group w1 any w0\nquorum w0\n",
        "group h any g\ngroup g any w0\nquorum h\n",
        "group g any g\nquorum g\n",
        f"witness again {WITNESSES[0].verifier.format()}\nquorum w0\n",
        f"witness w0 {WITNESS_VKEY}\nquorum w0\n",
        f"witness log {LOG_VKEY}\nquorum w0\n",
        f"log {WITNESS_VKEY}\nquorum w0\n",
        f"log {LOG.verifier.format()}\nquorum w0\n",
        f"log {LOG_VKEY} a b\nquorum w0\n",
        "log not+a+key\nquorum w0\n",
        "quorum w0\r\n",
        "quorum\vw0\n",
        "quorum w0 \x7f\n",
        f"witness \x7f {WITNESS_VKEY}\nquorum w0\n",
        "something else\nquorum w0\n",
    ],
)
def test_near_misses_are_refused_by_both_readers(rules: str) -> None:
    with pytest.raises(TrustPolicyError):
        policy(rules)
    with pytest.raises(Wrong):
        standalone_verify.Policy((DECLARED + rules).encode())


def test_a_key_whose_name_is_not_utf8_is_refused_by_both_readers() -> None:
    rules = DECLARED.encode() + b"log \xff" + LOG_VKEY.encode() + b"\nquorum w0\n"
    with pytest.raises(TrustPolicyError, match="UTF-8"):
        parse_policy(rules)
    with pytest.raises(Wrong, match="UTF-8"):
        standalone_verify.Policy(rules)


def test_names_are_opaque_octets() -> None:
    lines = f"witness \xff {WITNESSES[0].verifier.format()}\nquorum \xff\n".encode("latin-1")
    assert parse_policy(lines).quorum == "\udcff"
    assert not parse_policy(lines).met_by(["\xff"])


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, object]:
    """Return rules, and the same as nested (threshold, members) with witness numbers as leaves."""
    free: list[tuple[str, object]] = [(f"w{number}", number) for number in range(6)]
    lines = []
    for name in ("a", "b", "c"):
        chosen = draw(
            st.lists(st.sampled_from(range(len(free))), min_size=1, max_size=len(free), unique=True)
        )
        members = [free[at] for at in chosen]
        threshold = draw(st.integers(1, len(members)))
        lines.append(f"group {name} {threshold} {' '.join(member for member, _ in members)}\n")
        free = [entry for at, entry in enumerate(free) if at not in chosen]
        free.append((name, (threshold, [meaning for _, meaning in members])))
    name, meaning = free[-1]
    return "".join(lines) + f"quorum {name}\n", meaning


def naively_met(meaning: object, have: set[int]) -> bool:
    if isinstance(meaning, tuple):
        threshold, members = meaning
        return bool(sum(naively_met(member, have) for member in members) >= threshold)
    return meaning in have


@given(trees(), st.sets(st.integers(0, 5)))
def test_quorums_agree_with_a_naive_recursion(tree: tuple[str, object], have: set[int]) -> None:
    rules, meaning = tree
    names = [f"w{number}" for number in have]
    assert policy(rules).met_by(names) is naively_met(meaning, have)
