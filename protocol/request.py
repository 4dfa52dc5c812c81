# SPDX-License-Identifier: Apache-2.0
"""What is asked, inside the sealed body: one tagged union.

`Body` is what is sealed in a session: a fresh response key, one query, its warrant.
Record content travels as JSON *text*, so that the bytes a source signed stay as they
are and floats never meet the canonical profile.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field

from protocol.attachment import MAX_ATTACHMENTS, AttachmentInfo, Size
from protocol.errors import Malformed
from protocol.ids import AttachmentId, DatasetTypeName, ExchangeId, NodeId, RecordId
from protocol.membership import Credentials
from protocol.model import Digest, Document, Millis, Seconds, ShortText
from protocol.pseudonym import Handle, Locator
from protocol.sealed import RESPONSE_KEY_BYTES, PublicSealingKey

Token: TypeAlias = Annotated[str, Field(max_length=256 * 1024)]
MAX_BODY_BYTES = 8 * 1024 * 1024


class Warrant(Document):
    """What makes a read or push lawful, complete, so that it can be judged offline.

    Attributes:
        consent: signed by the home node.
        ticket: sealed to the receiver: whose data, in its own name for the person.
        proof: status list that says what became of the consent.
        home: credentials of the home node, whose key signed consent and proof.
    """

    consent: Token
    ticket: Token
    proof: Token | None = None
    home: Credentials | None = None

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes, made once."""
        return self.encode()

    def __copy__(self) -> Self:
        """Return a copy without the bytes: it may be changed (`model_copy`)."""
        copied = super().__copy__()
        copied.__dict__.pop("encoded", None)
        return copied


class WireRecord(Document):
    """A record on its way. `content` is JSON text; `time` is ISO 8601.

    `attachments` are there where the read asked for them: those of fields released.
    """

    id: RecordId
    dataset_type: DatasetTypeName
    version: Annotated[int, Field(ge=1)]
    time: ShortText | None = None
    content: Annotated[str, Field(max_length=MAX_BODY_BYTES)]
    attachments: (
        Annotated[tuple[AttachmentInfo, ...], Field(max_length=MAX_ATTACHMENTS)] | None
    ) = None


class Read(Document):
    """Ask a holder for records of one dataset type (requirement 3).

    Attributes:
        fields: only these; None means all that the purpose needs.
        records: only these; None means all in scope.
        since, until: record time, ISO 8601, `since` inclusive, `until` exclusive.
        limit: at most so many records, oldest first.
        after: the answer's `next`: only what comes after that record.
        attachments: tell the attachments of each record as well.
    """

    op: Literal["read"] = "read"
    warrant: Warrant | None = None
    fields: tuple[str, ...] | None = None
    records: Annotated[tuple[RecordId, ...], Field(max_length=1000)] | None = None
    since: ShortText | None = None
    until: ShortText | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: ShortText | None = None
    attachments: bool | None = None


class Fetch(Document):
    """Ask a holder for a part of an attachment.

    Attributes:
        record: its record, as the holder named it in a read.
        attachment: which.
        offset: where the part starts; a multiple of `protocol.stream.CHUNK_BYTES`.
        length: bytes of content at most; the holder may send less, in whole chunks.
        transfer: the exchange that opened this transfer; None opens one, which both
            sides write down as a provision.
    """

    op: Literal["fetch"] = "fetch"
    warrant: Warrant | None = None
    record: RecordId
    attachment: AttachmentId
    offset: Size = 0
    length: Annotated[int, Field(ge=1, le=MAX_BODY_BYTES)]
    transfer: ExchangeId | None = None


MessageId: TypeAlias = Annotated[str, Field(min_length=1, max_length=36)]
"""Names a durable message: the same in every attempt, each an exchange of its own."""


class Push(Document):
    """Deliver records to a recipient under consent (requirement 2).

    Attributes:
        message: id of the durable message; it is carried out once.
        until_ms: when the sender gives the message up; both or neither.
    """

    op: Literal["push"] = "push"
    warrant: Warrant | None = None
    records: Annotated[tuple[WireRecord, ...], Field(min_length=1, max_length=1000)]
    message: MessageId | None = None
    until_ms: Millis | None = None


class NodeBack(Document):
    """Tell whoever waits for a node of our city that it has its link again.

    Attributes:
        wait: the id that the asker gave.
    """

    op: Literal["node-back"] = "node-back"
    wait: MessageId


class TakenQuery(Document):
    """Ask a receiver whether it has carried out a durable message of ours."""

    op: Literal["taken"] = "taken"
    message: MessageId


class LocateLocator(Document):
    """Ask a directory which nodes hold what under a locator."""

    op: Literal["locate-locator"] = "locate-locator"
    locator: Locator


class LocateHandle(Document):
    """Ask a holder what it holds of the resident and with whom it is shared."""

    op: Literal["locate-handle"] = "locate-handle"
    handle: Handle
    records: bool = False


class ConsentNotice(Document):
    """Tell a recipient of a consent (new, changed), with what it needs to use it."""

    op: Literal["consent-notice"] = "consent-notice"
    package: ConsentPackage


class HolderTicket(Document):
    """How a recipient reaches one holder under a consent.

    Attributes:
        city: the holder's city.
        ticket: sealed to the holder.
        node, membership: the holder, where it is not hidden.
        token, member_key: the opaque way, where it is hidden.
    """

    city: ShortText
    ticket: Token
    node: NodeId | None = None
    membership: Token | None = None
    token: Token | None = None
    member_key: Token | None = None


class ConsentPackage(Document):
    """A consent as delivered to one party.

    Attributes:
        own_ticket: sealed to that party: who is meant, in its own name.
        holders: how to reach the other side: the holders for a recipient, the
            recipients for a holder that shall push.
        proof: the freshest status list at the time of sending.
        home: credentials of the home node.
    """

    consent: Token
    own_ticket: Token
    holders: Annotated[tuple[HolderTicket, ...], Field(max_length=64)]
    proof: Token | None = None
    home: Credentials | None = None


class Revoke(Document):
    """Tell a party that a consent was withdrawn or paused."""

    op: Literal["revoke"] = "revoke"
    withdrawal: Token
    proof: Token | None = None


class StatusQuery(Document):
    """Ask a home node for the current status list of a block."""

    op: Literal["status-list"] = "status-list"
    list: Annotated[int, Field(ge=0)]


class TicketsQuery(Document):
    """A recipient asks the home node for fresh tickets and tokens of a consent."""

    op: Literal["tickets"] = "tickets"
    consent: ShortText


class MemberQuery(Document):
    """Ask a city for the membership of one of its nodes."""

    op: Literal["member"] = "member"
    node: NodeId


class RenewQuery(Document):
    """A node asks its city to renew its membership.

    Attributes:
        request: a join request, where roles or titles change; the keys stay.
        change: a change of keys, signed by the present and the new one.
    """

    op: Literal["renew"] = "renew"
    request: Token | None = None
    change: Token | None = None


class GrantQuery(Document):
    """A linked holder asks the home node for a fresh location grant.

    Attributes:
        handle: its name for the resident.
    """

    op: Literal["location-grant"] = "location-grant"
    handle: Handle


class LinkClaim(Document):
    """A holder redeems the one-time code that a resident showed."""

    op: Literal["link-claim"] = "link-claim"
    code: Annotated[str, Field(max_length=64)]


class RegisterLocation(Document):
    """A holder registers what it holds under a grant; replaces its earlier entries.

    Attributes:
        home: credentials of the home node that signed the grant.
    """

    op: Literal["register-location"] = "register-location"
    grant: Token
    home: Credentials | None = None
    dataset_types: Annotated[tuple[DatasetTypeName, ...], Field(max_length=256)]


class MemberKeyQuery(Document):
    """A home node asks a holder for fresh nameless keys for one consent."""

    op: Literal["member-key"] = "member-key"
    consent: ShortText
    until: Seconds


class CertifyKey(Document):
    """A holder asks its city to certify nameless keys for one consent."""

    op: Literal["certify-key"] = "certify-key"
    consent: ShortText
    key: dict[str, str]
    sealing: PublicSealingKey
    until: Seconds


class MemberKeysQuery(Document):
    """A relay asks its authority whose the city's member keys are.

    Attributes:
        after: number of the last one that it knows.
    """

    op: Literal["member-keys"] = "member-keys"
    after: Millis


class HopProofQuery(Document):
    """Ask a broker to prove its hop record of an exchange (`protocol.route_proof`).

    Attributes:
        request: digest of the routing header.
        chain: all hop records, as they travel.
        all: ask the brokers before it as well. The receiver of an exchange asks so,
            and only its own broker: no other may learn who the receiver is.
    """

    op: Literal["hop-proof"] = "hop-proof"
    request: Digest
    chain: Annotated[str, Field(max_length=16 * 1024)]
    all: bool = False


class Ping(Document):
    """A canary exchange: proves the whole way, carries nothing."""

    op: Literal["ping"] = "ping"


Query: TypeAlias = Annotated[
    Read
    | Fetch
    | Push
    | LocateLocator
    | LocateHandle
    | ConsentNotice
    | Revoke
    | StatusQuery
    | TicketsQuery
    | MemberQuery
    | RenewQuery
    | GrantQuery
    | LinkClaim
    | RegisterLocation
    | MemberKeyQuery
    | CertifyKey
    | TakenQuery
    | MemberKeysQuery
    | NodeBack
    | HopProofQuery
    | Ping,
    Field(discriminator="op"),
]


class _Asked(Document):
    query: Query


ConsentNotice.model_rebuild()
_Asked.model_rebuild()
_PREFIX = struct.Struct(f">{RESPONSE_KEY_BYTES}sI")


@dataclass(frozen=True)
class Body:
    """What is sealed for the other end.

        bytes 0-31    response key
        bytes 32-35   length of the query (big-endian)
        then          the query, canonical JSON `{"query": ...}`
        then          its warrant, canonical JSON; nothing where there is none

    The warrant stands apart because it is long and recurs: both ends keep it, one
    written, the other read.

    Attributes:
        response_key: 32 fresh bytes; the answer is sealed under it.
        query: what is asked.
    """

    response_key: bytes = field(repr=False)
    query: Query

    def encode(self) -> bytes:
        """Return the plaintext."""
        query, warrant = self.query, b""
        if isinstance(query, Read | Fetch | Push) and query.warrant is not None:
            warrant = query.warrant.encoded
            query = query.model_copy(update={"warrant": None})
        asked = _Asked.model_construct(query=query).encode()
        return _PREFIX.pack(self.response_key, len(asked)) + asked + warrant

    @classmethod
    def decode(
        cls,
        data: bytes,
        max_bytes: int = 1 << 20,
        warrant_of: Callable[[bytes], Warrant] | None = None,
    ) -> Body:
        """Read a plaintext.

        Args:
            data: as opened.
            max_bytes: limit of the query.
            warrant_of: reads a warrant, for who keeps those read before.

        Raises:
            TooLarge, Malformed: as named.
        """
        if len(data) < _PREFIX.size:
            raise Malformed("truncated body")
        key, size = _PREFIX.unpack_from(data)
        end = _PREFIX.size + size
        if len(data) < end:
            raise Malformed("truncated body")
        query = _Asked.decode(data[_PREFIX.size : end], max_bytes).query
        if isinstance(query, Read | Fetch | Push) and query.warrant is not None:
            raise Malformed("the warrant stands behind the query")
        if len(data) > end:
            if not isinstance(query, Read | Fetch | Push):
                raise Malformed("a warrant for a query that takes none")
            rest = data[end:]
            warrant = (
                warrant_of(rest) if warrant_of else Warrant.decode(rest, max_bytes)
            )
            query = query.model_copy(update={"warrant": warrant})
        return cls(key, query)
