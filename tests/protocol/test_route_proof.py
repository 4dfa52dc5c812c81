# SPDX-License-Identifier: Apache-2.0
"""Hop proofs, judged offline: what proves a record, and everything that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import merkle
from protocol.canonical import b64url
from protocol.errors import UnknownKey
from protocol.hop import HopRecord, line
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership, Role
from protocol.model import ANYONE
from protocol.route_proof import (
    HOP_BATCH,
    HOP_WORD,
    HopBatch,
    HopProof,
    HopWord,
    Verdict,
    judge,
    leaf_of,
)
from protocol.signature import digest_of, sign
from tests.protocol.cities import HOSHINO, MINATO, NOW, City, signing

REQUEST = digest_of(b"a routing header")
RECORD = HopRecord(
    by=NodeId("hoshino/broker"),
    next="minato",
    at_ms=NOW * 1000,
    decision="forward",
    prev=REQUEST,
)
LINES = [b"one\n", line(RECORD), b"three\n"]
BROKER = (Role.BROKER,)


def shown(city: City = HOSHINO, roles: tuple[Role, ...] = BROKER) -> Credentials:
    """Return what a node shows."""
    return Credentials(
        membership=city.membership("broker", roles), operating=city.certificate()
    )


def prove(credentials: Credentials, at: int) -> Membership:
    """Know the nodes of these tests."""
    for city in (HOSHINO, MINATO):
        for roles in (BROKER, (Role.VAULT,)):
            if credentials.membership == city.membership("broker", roles):
                return city.member("broker", roles)
    raise UnknownKey("a stranger")


def _signed_batch(city: City, **changes: Any) -> str:
    leaves = [leaf_of(one) for one in LINES]
    members = {
        "iss": city.node("broker"),
        "aud": ANYONE,
        "jti": "x",
        "iat": NOW,
        "exp": NOW + 10,
        "stream": "A" * 22,
        "seq": 0,
        "count": 3,
        "root": b64url(merkle.root(leaves)),
        "from_ms": NOW * 1000 - 2_000,
        "to_ms": NOW * 1000 + 2_000,
    }
    body = HopBatch.model_validate({**members, **changes})
    return sign(signing(city.node("broker")), HOP_BATCH, body).token


def proof(
    city: City = HOSHINO,
    batch: dict[str, Any] | None = None,
    credentials: Credentials | None = None,
    **changes: Any,
) -> HopProof:
    """Return a proof of `RECORD`, with changes to batch and word."""
    leaves = [leaf_of(one) for one in LINES]
    path = tuple(b64url(one) for one in merkle.inclusion_path(leaves, 1))
    members = {
        "iss": city.node("broker"),
        "aud": "yamanami/clinic",
        "jti": "x",
        "iat": NOW,
        "exp": NOW + 10,
        "request": REQUEST,
        "record": digest_of(LINES[1]),
        "says": "proven",
        "batch": _signed_batch(city, **(batch or {})),
        "index": 1,
        "path": path,
    }
    word = HopWord.model_validate({**members, **changes})
    token = sign(signing(city.node("broker")), HOP_WORD, word).token
    return HopProof(
        broker=RECORD.by, word=token, credentials=credentials or shown(city)
    )


def verdict(given: HopProof, record: HopRecord = RECORD, skew_ms: int = 5_000) -> str:
    """Judge it."""
    return judge(record, REQUEST, given, prove, skew_ms)


def test_record_in_a_signed_batch_is_proven() -> None:
    """Without asking anybody."""
    assert verdict(proof()) == Verdict.PROVEN


def test_what_a_broker_says_is_told() -> None:
    """Its denial and its other record are signed like its proof."""
    assert verdict(proof(says="unknown", batch={}, index=None)) == Verdict.UNKNOWN
    assert verdict(proof(says="other", line="another")) == Verdict.OTHER
    assert verdict(HopProof(broker=RECORD.by, code="timeout")) == Verdict.SILENT


FAULTS: dict[str, Callable[[], HopProof]] = {
    "about another request": lambda: proof(request=digest_of(b"other")),
    "about another record": lambda: proof(record=digest_of(LINES[0])),
    "another place": lambda: proof(index=2),
    "another path": lambda: proof(path=()),
    "another root": lambda: proof(batch={"root": "A" * 43}),
    "another size": lambda: proof(batch={"count": 2}),
    "batch of before": lambda: proof(batch={"to_ms": NOW * 1000 - 6_000}),
    "batch of after": lambda: proof(batch={"from_ms": NOW * 1000 + 6_000}),
    "no place": lambda: proof(index=None),
    "another broker's word": lambda: proof(MINATO),
    "no broker": lambda: proof(credentials=shown(roles=(Role.VAULT,))),
    "another's credentials": lambda: proof(credentials=shown(MINATO)),
    "a stranger": lambda: proof(
        credentials=Credentials(membership="a.b.c", operating="a.b.c")
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_proof_with_a_fault_contradicts(fault: str) -> None:
    """Whoever made it, it does not stand by the record that we hold."""
    assert verdict(FAULTS[fault]()) == Verdict.OTHER


@pytest.mark.parametrize(
    "change",
    [{"at_ms": 1}, {"next": "yamanami"}, {"decision": "no-route"}, {"prev": "A" * 43}],
)
def test_proof_covers_every_member_of_the_record(change: dict[str, Any]) -> None:
    """Time, next city, decision and the record before."""
    other = RECORD.model_copy(update=change)
    assert verdict(proof(), other) == Verdict.OTHER


def test_batch_signed_with_an_older_key_brings_its_credentials() -> None:
    """The key has changed in between; each is verified for its own time."""
    given = proof().model_copy(update={"signer": shown()})
    assert verdict(given) == Verdict.PROVEN
    foreign = proof().model_copy(update={"signer": shown(MINATO)})
    assert verdict(foreign) == Verdict.OTHER
