# SPDX-License-Identifier: Apache-2.0
"""Answers: one outcome, bounded framing, and a route that grows on the way back."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import hop
from protocol.answer import (
    ANSWER,
    AnswerBody,
    AnswerEnvelope,
    AnswerType,
    Result,
    prepend_hop,
)
from protocol.canonical import canonical, unb64url
from protocol.errors import BadSignature, Malformed, TooLarge, UnknownKey, WrongIssuer
from protocol.ids import NodeId
from protocol.sealed import open_answer, seal_answer
from protocol.signature import Received, SingleKey, digest_of, sign
from tests.protocol.cities import HOSHINO, NOW, seed, signing
from tests.protocol.exchanges import (
    CHECKUP,
    EXCHANGE,
    HOLDER,
    RECIPIENT,
    RECORDS,
    TREATMENT,
    hop_chain,
)

LIMIT = 1 << 16
REQUEST = digest_of(b"routing header")
MAX_HOPS_BYTES = hop.MAX_HOPS * 1024
RECORD = {"id": RECORDS[0], "dataset_type": CHECKUP, "version": 1, "content": "{}"}
SHARING = {"recipient": RECIPIENT, "purpose": TREATMENT, "consent": "c", "releases": 1}
RESULTS: dict[str, dict[str, Any]] = {
    "segment": {
        "record": "urn:machikura:hoshino:clinic:0199c000-0000-7000-8000-00000000000a",
        "attachment": {
            "id": "0199c000-0000-7000-8000-00000000000b",
            "field": "ecg_finding",
            "media_type": "image/png",
            "size": 70000,
            "sha256": "A" * 43,
        },
        "offset": 65536,
        "length": 4464,
    },
    "read": {"records": [RECORD], "fields": ["date"], "cut": {"purpose": ["note"]}},
    "stored": {"stored": 1, "known": 0},
    "entries": {"entries": [{"node": HOLDER, "dataset_type": CHECKUP, "since": 1}]},
    "holdings": {
        "holdings": [{"dataset_type": CHECKUP, "count": 2, "sharing": [SHARING]}]
    },
    "member-keys": {
        "owners": [{"kid": "A" * 43, "node": HOLDER, "ends": 1, "number": 1}]
    },
    "taken": {"taken": True},
    "hop-proofs": {"proofs": [{"broker": HOLDER, "code": "timeout"}]},
    "done": {},
    "acknowledged": {"acknowledgement": "a.b.c"},
    "token": {"token": "a.b.c"},
    "link": {"link": {"home": HOLDER, "handle": "A" * 43, "grant": "a.b.c"}},
    "package": {"package": {"consent": "a.b.c", "own_ticket": "t", "holders": []}},
}


def members(**changes: object) -> dict[str, Any]:
    """Return an answer's members, with changes; `...` takes one away."""
    valid = {
        "iss": HOLDER,
        "aud": RECIPIENT,
        "jti": EXCHANGE,
        "iat": NOW,
        "exp": NOW + 60,
        "request": REQUEST,
        "result": {"op": "done"},
    }
    return {k: v for k, v in {**valid, **changes}.items() if v is not ...}


def answer() -> AnswerBody:
    """Return the holder's answer."""
    return AnswerBody.decode(canonical(members()))


@pytest.mark.parametrize("op", RESULTS)
def test_result_is_read_back(op: str) -> None:
    """Each member of the union, under its own name."""
    read = AnswerBody.decode(canonical(members(result={"op": op, **RESULTS[op]})))
    assert read.result is not None
    assert read.result.op == op
    assert AnswerBody.decode(read.encode()) == read


def test_every_result_has_an_example() -> None:
    """A new member of the union brings one along."""
    union = get_args(get_args(Result)[0])
    ops = {get_args(kind.model_fields["op"].annotation)[0] for kind in union}
    assert ops == set(RESULTS)


def test_problem_is_an_answer_too() -> None:
    """A refusal is signed like a release."""
    problem = {"code": "consent-expired"}
    read = AnswerBody.decode(canonical(members(result=..., problem=problem)))
    assert read.problem is not None
    assert read.problem.code == "consent-expired"


def test_answer_can_name_the_hops_of_its_request() -> None:
    """So that no broker can rewrite them on the way back."""
    read = AnswerBody.decode(canonical(members(hops=REQUEST)))
    assert read.hops == REQUEST
    assert answer().hops is None


def test_answer_holds_exactly_one_outcome() -> None:
    """Both would be read as either, neither as nothing."""
    for change in ({"problem": {"code": "internal"}}, {"result": ...}):
        with pytest.raises(Malformed, match="either a result or a problem"):
            AnswerBody.decode(canonical(members(**change)))


@pytest.mark.parametrize(
    "change",
    [
        {"result": {"op": "everything"}},
        {"result": {"op": "stored", "stored": "1", "known": 0}},
        {"request": "short"},
        {"request": ...},
        {"hops": "none"},
        {"result": {"op": "read", "records": [{}], "fields": [], "cut": {}}},
    ],
)
def test_odd_answer_is_refused(change: dict[str, object]) -> None:
    """Unknown results, other types, no request to belong to."""
    with pytest.raises(Malformed):
        AnswerBody.decode(canonical(members(**change)))


def test_answer_of_another_party_is_refused() -> None:
    """Foreign answers: another key, or the right name under another key."""
    keys = SingleKey(HOLDER, signing(HOLDER).public)
    token = sign(signing(HOLDER), ANSWER, answer()).token
    assert Received.parse(token, ANSWER).verify(AnswerBody, keys).body == answer()
    foreign = sign(signing("hoshino/market"), ANSWER, answer()).token
    with pytest.raises(UnknownKey):
        Received.parse(foreign, ANSWER).verify(AnswerBody, keys)
    other = answer().model_copy(update={"iss": "hoshino/market"})
    with pytest.raises(WrongIssuer):
        Received.parse(sign(signing(HOLDER), ANSWER, other).token, ANSWER).verify(
            AnswerBody, keys
        )


def test_hidden_answer_verifies_against_the_member_key_only() -> None:
    """Requirement 7: the city stands for the holder; another member cannot answer."""
    nameless = answer().model_copy(update={"iss": "hoshino"})
    keys = SingleKey(HOSHINO.name, signing("nameless 1").public)
    token = sign(signing("nameless 1"), ANSWER, nameless).token
    assert Received.parse(token, ANSWER).verify(AnswerBody, keys).owner == "hoshino"
    for signer in (signing("nameless 2"), HOSHINO.operating):
        with pytest.raises(UnknownKey):
            Received.parse(sign(signer, ANSWER, nameless).token, ANSWER).check(keys)


def test_altered_answer_is_refused() -> None:
    """Even the requester cannot change what it was told."""
    head, _, signature = sign(signing(HOLDER), ANSWER, answer()).token.split(".")
    _, other, _ = sign(
        signing(HOLDER), ANSWER, answer().model_copy(update={"exp": NOW + 61})
    ).token.split(".")
    with pytest.raises(BadSignature):
        Received.parse(f"{head}.{other}.{signature}", ANSWER).check(
            SingleKey(HOLDER, signing(HOLDER).public)
        )


def test_sealed_answer_travels_and_opens() -> None:
    """Signed, sealed, framed, carried, and back."""
    key = seed("response key", 32)
    token = sign(signing(HOLDER), ANSWER, answer()).token.encode()
    sealed = seal_answer(key, unb64url(REQUEST), token)
    packed = AnswerEnvelope(AnswerType.SEALED, b"", sealed).pack()
    arrived = AnswerEnvelope.unpack(packed, LIMIT)
    assert open_answer(key, unb64url(REQUEST), arrived.payload) == token


def test_brokers_put_their_hops_in_front() -> None:
    """The asker ends up with the whole chain, home broker first."""
    chain = hop_chain(REQUEST, "minato/broker", "yamanami/broker", "hoshino/broker")
    packed = AnswerEnvelope(AnswerType.SEALED, b"", b"payload").pack()
    for line in reversed(chain.splitlines(keepends=True)):
        packed = prepend_hop(packed, line)
    arrived = AnswerEnvelope.unpack(packed, LIMIT)
    assert (arrived.hops, arrived.payload) == (chain, b"payload")
    brokers = [record.by for record in hop.parse(arrived.hops, REQUEST)]
    assert brokers[0] == NodeId("minato/broker")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01\x00\x00\x00",
        b"\x01\xff\xff\xff\xff",
        b"\x01\xff\xff\xff\xffpayload",
        b"\x01\x00\x00\x00\x08payload",
    ],
)
def test_answer_that_promises_more_than_it_has_is_refused(packed: bytes) -> None:
    """A broker that only adds its hop must not fall over it either."""
    with pytest.raises(Malformed, match="truncated"):
        AnswerEnvelope.unpack(packed, LIMIT)
    with pytest.raises(Malformed, match="truncated"):
        prepend_hop(packed, b"line\n")


@pytest.mark.parametrize("hops", [b"", b"line\n"])
def test_answer_without_payload_is_taken(hops: bytes) -> None:
    """Its lengths are right; that nothing opens is for the asker to find."""
    bare = AnswerEnvelope(AnswerType.SEALED, hops, b"")
    assert AnswerEnvelope.unpack(bare.pack(), LIMIT) == bare
    longer = AnswerEnvelope.unpack(prepend_hop(bare.pack(), b"mine\n"), LIMIT)
    assert longer.hops == b"mine\n" + hops


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_answer_of_an_unknown_type_is_refused(kind: int) -> None:
    """There are three."""
    with pytest.raises(Malformed, match="unknown type"):
        AnswerEnvelope.unpack(bytes([kind]) + bytes(10), LIMIT)


def test_hop_records_of_an_answer_are_bounded() -> None:
    """As those of a request are."""
    full = AnswerEnvelope(AnswerType.SEALED, bytes(MAX_HOPS_BYTES), b"x")
    assert AnswerEnvelope.unpack(full.pack(), LIMIT) == full
    over = AnswerEnvelope(AnswerType.SEALED, bytes(MAX_HOPS_BYTES + 1), b"x")
    with pytest.raises(Malformed):
        AnswerEnvelope.unpack(over.pack(), LIMIT)


def test_long_answer_is_refused_unread() -> None:
    """The limit is the caller's."""
    packed = AnswerEnvelope(AnswerType.PROBLEM, b"", b"payload").pack()
    AnswerEnvelope.unpack(packed, len(packed))
    with pytest.raises(TooLarge):
        AnswerEnvelope.unpack(packed, len(packed) - 1)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_adding_a_hop_changes_nothing_else(data: bytes, line: bytes) -> None:
    """For every answer that has the right lengths."""
    try:
        longer = prepend_hop(data, line)
        before = AnswerEnvelope.unpack(data, LIMIT)
    except Malformed:
        return
    after = AnswerEnvelope.unpack(longer, LIMIT)
    assert (after.hops, after.payload) == (line + before.hops, before.payload)
    assert after.type is before.type
