# SPDX-License-Identifier: Apache-2.0
"""Proof of a route: brokers commit to their hop records, and prove them afterwards.

A broker signs, every few seconds, a *hop batch*: the root of a Merkle tree over the
SHA-256 of each line that it has added to requests. Whoever took part in an exchange
holds the lines of all brokers; each broker on the way can show that one of its batches
holds its line, or say that it does not. The line names the line before it and, through
it, the request; so a proof covers request, previous record, next city, time and
decision. What each says is signed, so a proof can be checked by anybody, later, without
asking anybody (`judge`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol import hop, merkle
from protocol.canonical import b64url, unb64url
from protocol.errors import ProtocolViolation, WrongIssuer
from protocol.evidence import Sequence_, Stream
from protocol.hop import HopRecord
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership, Role
from protocol.model import Claims, Digest, Document, Millis, ShortText
from protocol.request import Token
from protocol.signature import Received, SingleKey, digest_of

HOP_BATCH = "hop-batch"
HOP_WORD = "hop-word"
MAX_HOP_LEAVES = 16_384


class HopBatch(Claims):
    """What a broker signs about the lines it has added since the last one.

    Attributes:
        stream, seq, prev: place in the broker's chain, as in a link batch.
        count, root: lines, and the root over their SHA-256 in order.
        from_ms, to_ms: broker's clock, first line and end of the batch.
    """

    stream: Stream
    seq: Sequence_
    prev: Digest | None = None
    count: Annotated[int, Field(ge=1, le=MAX_HOP_LEAVES)]
    root: Digest
    from_ms: Millis
    to_ms: Millis


class HopWord(Claims):
    """What a broker says, when asked, of a line that bears its name.

    Attributes:
        request: digest of the routing header.
        record: digest of the line that was shown to it.
        says: `proven`, its batch holds that line; `other`, it carried this request
            with another line; `unknown`, it has no line of its own there.
        line: its own line, where it says `other`.
        batch: the signed `HopBatch` that holds the line; absent where it is unknown.
        index, path: place of the line in the tree, and the siblings.
    """

    request: Digest
    record: Digest
    says: Literal["proven", "other", "unknown"]
    line: Annotated[str, Field(max_length=1024)] | None = None
    batch: Token | None = None
    index: Annotated[int, Field(ge=0, lt=MAX_HOP_LEAVES)] | None = None
    path: Annotated[tuple[Digest, ...], Field(max_length=merkle.MAX_PATH)] = ()


class HopProof(Document):
    """A broker's word with what is needed to verify it.

    Attributes:
        broker: whose line it is about.
        word: the signed `HopWord`; absent where the broker gave none.
        credentials: of the key that signed the word.
        signer: of the key that signed the batch, where it is an older one.
        code: why there is no word.
    """

    broker: NodeId
    word: Token | None = None
    credentials: Credentials | None = None
    signer: Credentials | None = None
    code: ShortText = ""


class Verdict(StrEnum):
    """What is known of one hop record."""

    PROVEN = "proven"
    """The broker has signed that record, at that time, and shows it."""
    OTHER = "contradicted"
    """The broker shows another record for this request, or a proof that fails."""
    UNKNOWN = "denied"
    """The broker says that it has no such record."""
    SILENT = "unproven"
    """The broker has not answered so far."""


Prove = Callable[[Credentials, int], Membership]
"""Returns whose credentials these were at a time (seconds), or raises."""


def judge(
    record: HopRecord, request: str, proof: HopProof, prove: Prove, skew_ms: int
) -> Verdict:
    """Say what a proof shows about a hop record that we hold.

    Args:
        record: as it stands in our chain, which the caller has checked.
        request: digest of the routing header.
        proof: what came for it.
        prove: judges credentials (`identity.trust`).
        skew_ms: how far the broker's clock may have been set back in between.
    """
    if proof.word is None or proof.credentials is None:
        return Verdict.SILENT
    try:
        word = _verified(record, request, proof.word, proof.credentials, prove)
        if word.says == "unknown":
            return Verdict.UNKNOWN
        if word.says == "other":
            return Verdict.OTHER
        held = _holds(record, word, proof, prove, skew_ms)
    except ProtocolViolation:
        return Verdict.OTHER
    return Verdict.PROVEN if held else Verdict.OTHER


def _verified(
    record: HopRecord, request: str, token: str, shown: Credentials, prove: Prove
) -> HopWord:
    received = Received.parse(token, HOP_WORD)
    at = received.peek(HopWord).iat
    word = received.verify(HopWord, _key_of(record.by, shown, at, prove)).body
    if word.request != request or word.record != digest_of(hop.line(record)):
        raise WrongIssuer("a word about another record")
    return word


def _holds(
    record: HopRecord, word: HopWord, proof: HopProof, prove: Prove, skew_ms: int
) -> bool:
    """Check that a signed batch of the broker holds the record, at its time."""
    if word.batch is None or word.index is None or proof.credentials is None:
        return False
    received = Received.parse(word.batch, HOP_BATCH)
    shown = proof.signer or proof.credentials
    at = received.peek(HopBatch).iat
    batch = received.verify(HopBatch, _key_of(record.by, shown, at, prove)).body
    found = merkle.root_from_path(
        leaf_of(hop.line(record)),
        word.index,
        batch.count,
        [unb64url(sibling, length=merkle.HASH_BYTES) for sibling in word.path],
    )
    in_time = batch.from_ms - skew_ms <= record.at_ms <= batch.to_ms + skew_ms
    return b64url(found) == batch.root and in_time


def _key_of(broker: NodeId, shown: Credentials, at: int, prove: Prove) -> SingleKey:
    member = prove(shown, at)
    if member.sub != broker or Role.BROKER not in member.roles:
        raise WrongIssuer("not the broker that the record names")
    return SingleKey(broker, member.verifying_key())


def leaf_of(line: bytes) -> bytes:
    """Return a line's leaf: its SHA-256, line feed included."""
    return unb64url(digest_of(line))
