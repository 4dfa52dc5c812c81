# SPDX-License-Identifier: Apache-2.0
"""What comes back: a result signed by the party that answered, sealed to the asker.

    byte 0      1 = sealed answer, 2 = problem from a broker, in clear,
                3 = sealed answer with chunks behind it
    bytes 1-4   length of the hop records
    then        hop records, payload

The payload of a sealed answer is a JWS `machikura-answer+jws` that names the digest of
the request; in a hidden read it verifies against the member key and `iss` is the city.
With chunks, it is the length (u32) of the sealed answer, the sealed answer, and the
chunks of a `Segment` (`protocol.stream`). The payload of a problem is a JWS
`machikura-problem+jws` and the broker's membership, separated by a line feed. Each
broker puts its own hop record in front on the way back, so the asker ends up with the
whole chain, home broker first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from protocol.attachment import AttachmentInfo, Size
from protocol.errors import Malformed, TooLarge
from protocol.hop import MAX_HOPS
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.location import LinkGrant, LocationEntry
from protocol.model import (
    Claims,
    Digest,
    Document,
    MemberName,
    Millis,
    Seconds,
    ShortText,
)
from protocol.problem import ProblemBody
from protocol.request import ConsentPackage, Token, WireRecord
from protocol.route_proof import HopProof
from protocol.stream import Span

ANSWER = "answer"
_PREFIX = struct.Struct(">BI")


class ReadResult(Document):
    """The released records and why they are as they are.

    Attributes:
        fields: the fields released.
        cut: clause to the fields it cut (query, consent, purpose, policy, holder).
        more: there are further records after the last one.
        next: where they start: the `after` of the next read. Opaque, the holder's own.
    """

    op: Literal["read"] = "read"
    records: tuple[WireRecord, ...]
    fields: tuple[str, ...]
    cut: dict[MemberName, tuple[str, ...]]
    more: bool = False
    next: ShortText | None = None


class Segment(Document):
    """A part of an attachment; its chunks follow the sealed answer.

    Attributes:
        record: the attachment's record, as it was asked for.
        attachment: what it is, as it was asked for; the whole, not this part.
        offset, length: which bytes of its content the chunks hold.
    """

    op: Literal["segment"] = "segment"
    record: RecordId
    attachment: AttachmentInfo
    offset: Size
    length: Size

    @property
    def span(self) -> Span:
        """Where the chunks belong; judged where they are opened."""
        return Span(self.offset, self.length, self.attachment.size)


class Stored(Document):
    """What a recipient did with pushed records."""

    op: Literal["stored"] = "stored"
    stored: int
    known: int


class Entries(Document):
    """A directory's answer: who holds what under the locator."""

    op: Literal["entries"] = "entries"
    entries: tuple[LocationEntry, ...]


class Sharing(Document):
    """One release or standing consent that a holder reports to the resident."""

    recipient: NodeId
    purpose: PurposeName
    consent: ShortText
    releases: int
    last: Seconds | None = None


class Holding(Document):
    """What a holder holds of one dataset type."""

    dataset_type: DatasetTypeName
    count: int
    first: ShortText | None = None
    last: ShortText | None = None
    sharing: tuple[Sharing, ...] = ()
    records: tuple[ShortText, ...] = ()


class Holdings(Document):
    """A holder's answer to the resident's question."""

    op: Literal["holdings"] = "holdings"
    holdings: tuple[Holding, ...]


class Done(Document):
    """Carried out; nothing more to say.

    Attributes:
        at_ms: when a probe reached who answers it.
    """

    op: Literal["done"] = "done"
    at_ms: Millis | None = None


class Acknowledged(Document):
    """A signed acknowledgement of a withdrawal."""

    op: Literal["acknowledged"] = "acknowledged"
    acknowledgement: Token


class Taken(Document):
    """Whether a durable message of the asker was carried out here."""

    op: Literal["taken"] = "taken"
    taken: bool


class OneToken(Document):
    """A signed document that was asked for: status list, membership, member key."""

    op: Literal["token"] = "token"
    token: Token


class LinkGranted(Document):
    """The link code was good."""

    op: Literal["link"] = "link"
    link: LinkGrant


class Package(Document):
    """Fresh tickets of a consent."""

    op: Literal["package"] = "package"
    package: ConsentPackage


class KeyOwner(Document):
    """Who stands behind a nameless member key; for brokers of that city alone."""

    kid: Digest
    node: NodeId
    ends: Seconds
    number: Millis


class KeyOwners(Document):
    """Member keys that a relay did not know yet, in the order of their numbers."""

    op: Literal["member-keys"] = "member-keys"
    owners: Annotated[tuple[KeyOwner, ...], Field(max_length=1000)]
    more: bool = False


class HopProofs(Document):
    """What brokers say of their hop records, in the order of the chain."""

    op: Literal["hop-proofs"] = "hop-proofs"
    proofs: Annotated[tuple[HopProof, ...], Field(max_length=MAX_HOPS)]


Result: TypeAlias = Annotated[
    ReadResult
    | Segment
    | Stored
    | Entries
    | Holdings
    | Done
    | Acknowledged
    | OneToken
    | LinkGranted
    | KeyOwners
    | Package
    | HopProofs
    | Taken,
    Field(discriminator="op"),
]


class AnswerBody(Claims):
    """What the answering party signs. `jti` is the exchange id, `aud` the asker.

    Exactly one of `result` and `problem` is there.

    Attributes:
        hops: digest of the hop records as they arrived, so that no broker can rewrite
            the records of others on the way back.
        first: where the request came again by another path, digest of the answer that
            was given first: this one differs from it in `hops` and `first` alone.
    """

    request: Digest
    hops: Digest | None = None
    first: Digest | None = None
    result: Result | None = None
    problem: ProblemBody | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if (self.result is None) == (self.problem is None):
            raise ValueError("an answer holds either a result or a problem")
        return self


class AnswerType(IntEnum):
    """First byte on the wire."""

    SEALED = 1
    PROBLEM = 2
    CHUNKS = 3


@dataclass(frozen=True)
class AnswerEnvelope:
    """An answer as it travels."""

    type: AnswerType
    hops: bytes
    payload: bytes

    def pack(self) -> bytes:
        """Return the bytes that travel."""
        return _PREFIX.pack(self.type, len(self.hops)) + self.hops + self.payload

    @classmethod
    def unpack(cls, data: bytes, max_bytes: int) -> AnswerEnvelope:
        """Take received bytes apart.

        Raises:
            TooLarge, Malformed: as named.
        """
        if len(data) > max_bytes:
            raise TooLarge(f"answer of {len(data)} bytes, limit {max_bytes}")
        if len(data) < _PREFIX.size:
            raise Malformed("truncated answer")
        kind, hops = _PREFIX.unpack_from(data)
        if not AnswerType.SEALED <= kind <= AnswerType.CHUNKS:
            raise Malformed("unknown type of answer")
        end = _PREFIX.size + hops
        if hops > MAX_HOPS * 1024 or len(data) < end:
            raise Malformed("truncated answer")
        return cls(AnswerType(kind), data[_PREFIX.size : end], data[end:])


def prepend_hop(answer: bytes, line: bytes) -> bytes:
    """Put a broker's hop record line in front, without taking the answer apart.

    Raises:
        Malformed: the stated length of the hop records is not that of the answer.
    """
    if len(answer) < _PREFIX.size:
        raise Malformed("truncated answer")
    kind, hops = _PREFIX.unpack_from(answer)
    if hops > len(answer) - _PREFIX.size:
        raise Malformed("truncated answer")
    # One copy, not two: an answer with chunks is long.
    rest = memoryview(answer)[_PREFIX.size :]
    return b"".join((_PREFIX.pack(kind, hops + len(line)), line, rest))
