# SPDX-License-Identifier: Apache-2.0
"""Batch evidence: what two neighbors carried between them, signed by each (DESIGN 5).

Each side of a link notes every exchange as a *leaf* and signs, every few seconds, a
*batch*: the root of a Merkle tree over its leaves since the last one. Batches of one
side toward one peer are a chain (`stream`, `seq`, `prev`), so none can be taken out or
made twice without leaving two signatures that contradict each other.

A leaf has 82 bytes:

    flags u8      1 the signer asked; 2 taken over from the peer after a crash
    outcome u8    see `Outcome`
    exchange      16 bytes, the exchange's UUID
    request       32 bytes, SHA-256 of what came last before the body: the youngest
                  hop record line, or the routing header where nobody has carried it yet
    answer        32 bytes, SHA-256 over the answer's type and payload without its hop
                  records; zeros where none was carried

The request's digest names header, body (whose digest the header signs) and every hop so
far. Both sides compute the same leaf but for the flag that says who asked.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal, NamedTuple

import orjson
from pydantic import Field

from protocol import merkle
from protocol.canonical import b64url, unb64url
from protocol.envelope import VERSIONS
from protocol.errors import Malformed, TooLarge
from protocol.membership import Credentials
from protocol.model import Claims, Digest, Document, Millis
from protocol.request import Token

LINK_BATCH = "link-batch"
MAX_LEAVES = 4096
"""Leaves in one batch; a busy link has several batches."""
LIFE_S = 10 * 366 * 86_400
"""How long a statement says that it holds: evidence is to be kept, not renewed."""
NOTHING = bytes(32)
"""In place of the digest of an answer that was not carried."""

_LEAF = struct.Struct(">BB16s32s32s")
_ENVELOPE = struct.Struct(">BII")
_ANSWER = struct.Struct(">BI")
LEAF_BYTES = _LEAF.size
REQUEST = slice(18, 50)
"""Where a leaf has the request's digest."""
_ASKED, _ADOPTED = 1, 2

Stream = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")]
"""Name of a chain of batches: 16 random bytes, base64url."""
Sequence_ = Annotated[int, Field(ge=0, le=2**50)]


class Outcome(IntEnum):
    """How an exchange ended on one side of a link."""

    ANSWERED = 1
    """An answer was carried."""
    REFUSED = 2
    """The link refused it, before or instead of an answer."""
    TIMEOUT = 3
    """The asker waited until the deadline."""
    LOST = 4
    """The link ended first."""
    CANCELED = 5
    """The asker did not want the answer any more."""
    UNKNOWN = 6
    """The peer says that it asked; nothing of it has arrived here."""


class Leaf(NamedTuple):
    """One exchange as one side saw it.

    Attributes:
        asked: whether the signer asked.
        adopted: taken over from the peer's batch, since our own notes were lost.
        outcome: how it ended there.
        exchange: 16 bytes.
        request, answer: 32 bytes each; `NOTHING` without an answer.
    """

    asked: bool
    adopted: bool
    outcome: Outcome
    exchange: bytes
    request: bytes
    answer: bytes

    @property
    def id(self) -> str:
        """The exchange's id."""
        return str(uuid.UUID(bytes=self.exchange))

    def encode(self) -> bytes:
        """Return the leaf's bytes."""
        flags = self.asked | self.adopted << 1
        return _LEAF.pack(flags, self.outcome, self.exchange, self.request, self.answer)

    def from_the_other_side(self) -> Leaf:
        """Return the same exchange as the peer would note it."""
        return self._replace(asked=not self.asked)


class Seen(Document):
    """The newest batch of the peer that the signer has taken."""

    stream: Stream
    seq: Sequence_


class LinkBatch(Claims):
    """What one side signs about its exchanges with one peer.

    Attributes:
        stream, seq: place in the signer's chain; `seq` counts from 0.
        prev: digest of the batch before; absent in the first.
        count, root: leaves and the root of the tree over them, in the order sent.
        from_ms, to_ms: signer's clock, first and last exchange noted.
        seen: what of the peer was compared before this was signed. So an exchange that
            the peer had signed by then and that is not in the chain is denied.
        hops: digest of the broker's newest hop batch (`protocol.route_proof`): a later
            one cannot be put in its place.
    """

    stream: Stream
    seq: Sequence_
    prev: Digest | None = None
    count: Annotated[int, Field(ge=1, le=MAX_LEAVES)]
    root: Digest
    from_ms: Millis
    to_ms: Millis
    seen: tuple[Seen, ...] = Field(default=(), max_length=16)
    hops: Digest | None = None


class BatchMessage(Document):
    """A batch on its way over the link.

    Attributes:
        statement: the signed `LinkBatch`.
        leaves: all leaves, base64url.
        credentials: of the signer, now.
        oldest: lowest `seq` of the stream that the signer still keeps.
    """

    kind: Literal["batch"] = "batch"
    statement: Token
    leaves: Annotated[str, Field(max_length=MAX_LEAVES * LEAF_BYTES * 4 // 3 + 4)]
    credentials: Credentials
    oldest: Sequence_


class Taken(Document):
    """Answer to a batch: the newest of that stream that is kept here, on disk.

    Attributes:
        stream: of the batch sent.
        seq, digest: of the newest kept without a gap; absent if there is none.
    """

    kind: Literal["taken"] = "taken"
    stream: Stream
    seq: Sequence_ | None = None
    digest: Digest | None = None


class JournalQuery(Document):
    """Ask a peer for its batches about us, oldest first.

    Attributes:
        since_ms, until_ms: batches that touch this time, the peer's clock.
        after: go on behind this one.
    """

    kind: Literal["journal"] = "journal"
    since_ms: Millis
    until_ms: Millis
    after: Seen | None = None


class KeptBatch(Document):
    """A batch as it is kept."""

    statement: Token
    leaves: Annotated[str, Field(max_length=MAX_LEAVES * LEAF_BYTES * 4 // 3 + 4)]


class JournalPage(Document):
    """Answer to a `JournalQuery`."""

    kind: Literal["journal-page"] = "journal-page"
    batches: Annotated[tuple[KeptBatch, ...], Field(max_length=64)]
    more: bool


def front_of(payload: bytes) -> bytes:
    """Return a request without its sealed body, empty if it is no request.

    It is all that a leaf needs, and what a journal holds until the batch is made.
    """
    if len(payload) < _ENVELOPE.size:
        return b""
    version, header, hops = _ENVELOPE.unpack_from(payload)
    if version not in VERSIONS:
        return b""
    return payload[: _ENVELOPE.size + header + hops]


def request_name(front: bytes) -> tuple[bytes, bytes]:
    """Return the exchange's UUID and the request's digest, from `front_of`.

    Raises:
        Malformed: there is no exchange id.
    """
    try:
        _, header, hops = _ENVELOPE.unpack_from(front)
        start, end = _ENVELOPE.size, _ENVELOPE.size + header
        token = front[start:end]
        last = front.rfind(b"\n", end, -1) + 1 if hops else start
        digest = hashlib.sha256(front[last or end :]).digest()
        claims = orjson.loads(unb64url(token.split(b".", 2)[1]))
        exchange = bytes.fromhex(claims["id"].replace("-", ""))
    except _NO_NAME as error:
        raise Malformed("a request without an exchange id") from error
    if len(exchange) != 16:
        raise Malformed("a request without an exchange id")
    return exchange, digest


def answer_digest(answer: bytes) -> bytes:
    """Return the digest of an answer, the same at every link that carries it."""
    start = 0
    if len(answer) >= _ANSWER.size:
        start = _ANSWER.size + _ANSWER.unpack_from(answer)[1]
    found = hashlib.sha256(answer[:1])
    found.update(memoryview(answer)[start:])
    return found.digest()


def decode_leaf(data: bytes) -> Leaf:
    """Read one leaf.

    Raises:
        Malformed: not 82 bytes, an unknown flag or outcome, or an answer that does not
            go with the outcome.
    """
    if len(data) != LEAF_BYTES:
        raise Malformed(f"a leaf has {LEAF_BYTES} bytes")
    flags, outcome, exchange, request, answer = _LEAF.unpack(data)
    if flags & ~(_ASKED | _ADOPTED) or outcome not in _OUTCOMES:
        raise Malformed("unknown flag or outcome in a leaf")
    if (outcome == Outcome.ANSWERED) is (answer == NOTHING):
        raise Malformed("a leaf is answered if it names an answer, and only then")
    return Leaf(
        bool(flags & _ASKED),
        bool(flags & _ADOPTED),
        _OUTCOMES[outcome],
        exchange,
        request,
        answer,
    )


def split(leaves: bytes) -> list[bytes]:
    """Take the leaves of one batch apart."""
    return [leaves[at : at + LEAF_BYTES] for at in range(0, len(leaves), LEAF_BYTES)]


def root_of(leaves: Sequence[bytes]) -> str:
    """Return the root over encoded leaves as it stands in a statement."""
    return b64url(merkle.root(leaves))


def read_leaves(statement: LinkBatch, leaves: bytes) -> list[Leaf]:
    """Hold the leaves shown to the statement that was signed.

    Raises:
        Malformed: another number, another root, or no leaves.
        TooLarge: more than a batch may have.
    """
    if len(leaves) > MAX_LEAVES * LEAF_BYTES:
        raise TooLarge("too many leaves in one batch")
    parts = split(leaves)
    if len(parts) != statement.count or root_of(parts) != statement.root:
        raise Malformed("the leaves are not those that were signed")
    return [decode_leaf(part) for part in parts]


_NO_NAME = (
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,  # an id that is no text
)
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
