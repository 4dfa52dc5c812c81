# SPDX-License-Identifier: Apache-2.0
"""Leaves and batches: the same on both sides, strict, and bound to what was carried."""

from __future__ import annotations

import struct
import uuid

import pytest

from protocol.answer import prepend_hop
from protocol.envelope import Envelope
from protocol.errors import Malformed, TooLarge
from protocol.evidence import (
    LEAF_BYTES,
    MAX_LEAVES,
    NOTHING,
    Leaf,
    LinkBatch,
    Outcome,
    answer_digest,
    decode_leaf,
    front_of,
    read_leaves,
    request_name,
    root_of,
    split,
)
from tests.protocol.exchanges import envelope, hop_chain

LEAF = Leaf(True, False, Outcome.ANSWERED, bytes(range(16)), b"r" * 32, b"a" * 32)
LINE = b'{"by":"hoshino/broker"}\n'


def batch(leaves: list[bytes], **changes: object) -> LinkBatch:
    """Return what would be signed about leaves."""
    members = {
        "iss": "hoshino/broker",
        "aud": "minato/broker",
        "jti": "x",
        "iat": 1,
        "exp": 2,
        "stream": "A" * 22,
        "seq": 0,
        "count": len(leaves),
        "root": root_of(leaves),
        "from_ms": 1,
        "to_ms": 2,
    }
    return LinkBatch.model_validate({**members, **changes})


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("asked", [False, True])
def test_leaf_is_read_back(outcome: Outcome, asked: bool) -> None:
    """Every outcome, with an answer if it was answered."""
    answer = b"a" * 32 if outcome is Outcome.ANSWERED else NOTHING
    leaf = LEAF._replace(asked=asked, adopted=not asked, outcome=outcome, answer=answer)
    assert len(leaf.encode()) == LEAF_BYTES
    assert decode_leaf(leaf.encode()) == leaf
    assert leaf.from_the_other_side().asked is not asked
    assert leaf.id == str(uuid.UUID(bytes=leaf.exchange))


@pytest.mark.parametrize(
    "data",
    [
        LEAF.encode()[:-1],
        LEAF.encode() + b"x",
        b"\x04" + LEAF.encode()[1:],
        LEAF.encode()[:1] + b"\x00" + LEAF.encode()[2:],
        LEAF._replace(answer=NOTHING).encode(),
        LEAF._replace(outcome=Outcome.LOST).encode(),
    ],
    ids=["short", "long", "flag", "outcome", "no answer", "answer of nothing"],
)
def test_odd_leaf_is_refused(data: bytes) -> None:
    """There is one spelling of each leaf."""
    with pytest.raises(Malformed):
        decode_leaf(data)


def test_request_is_named_by_its_header_until_somebody_carries_it() -> None:
    """Then by the youngest hop record, which names all before it."""
    first = envelope()
    chain = hop_chain(first.digest, "hoshino/broker", "minato/broker")
    carried = Envelope(first.token, chain, first.body, first.version)
    names = [request_name(front_of(e.pack())) for e in (first, carried)]
    assert [uuid.UUID(bytes=exchange) for exchange, _ in names] == [
        uuid.UUID(first.header.id)
    ] * 2
    assert names[0][1].hex() != names[1][1].hex()
    assert first.body not in front_of(first.pack())


def test_change_of_header_or_hops_changes_the_name() -> None:
    """Whatever a broker alters in front of the body shows."""
    packed = envelope().with_line(LINE).pack()
    front = front_of(packed)
    found = request_name(front)
    other = front_of(envelope().with_line(LINE.replace(b"hoshino", b"yamanami")).pack())
    assert request_name(other) != found


@pytest.mark.parametrize("payload", [b"", b"\x01", b'{"kind":"batch"}' * 2])
def test_what_is_no_envelope_has_no_front(payload: bytes) -> None:
    """Link documents and damaged bytes are no exchanges."""
    assert front_of(payload) == b""


@pytest.mark.parametrize(
    "token", [b"", b"a.b", b"a.bnVsbA.c", b"a.e30.c", b"a.eyJpZCI6MX0.c"]
)
def test_request_without_an_id_is_refused(token: bytes) -> None:
    """It cannot be a leaf; the application refuses it as well."""
    with pytest.raises(Malformed):
        request_name(struct.pack(">BII", 2, len(token), 0) + token)


def test_answer_has_one_digest_on_all_links() -> None:
    """Each broker puts a record in front; type and payload are what counts."""
    answer = struct.pack(">BI", 1, 0) + b"sealed"
    once = prepend_hop(answer, LINE)
    twice = prepend_hop(once, LINE)
    assert answer_digest(answer) == answer_digest(once) == answer_digest(twice)
    assert answer_digest(b"\x02" + answer[1:]) != answer_digest(answer)
    assert answer_digest(answer[:-1] + b"x") != answer_digest(answer)


def test_leaves_are_held_to_what_was_signed() -> None:
    """Number, content and order."""
    leaves = [LEAF._replace(request=bytes([n]) * 32).encode() for n in range(5)]
    whole = b"".join(leaves)
    assert [leaf.encode() for leaf in read_leaves(batch(leaves), whole)] == leaves
    assert split(whole) == leaves
    turned = b"".join(leaves[::-1])
    for shown in (whole[:-LEAF_BYTES], whole + leaves[0], turned, whole[:-1]):
        with pytest.raises(Malformed):
            read_leaves(batch(leaves), shown)
    with pytest.raises(Malformed):
        read_leaves(batch(leaves, root="A" * 43), whole)
    with pytest.raises(TooLarge):
        read_leaves(batch(leaves), bytes(LEAF_BYTES) * (MAX_LEAVES + 1))
