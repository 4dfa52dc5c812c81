# SPDX-License-Identifier: Apache-2.0
"""The envelope: a signed routing header in clear, a sealed body, and the hops so far.

    byte 0        envelope version, 2; in 1 the body is sealed in another way
    bytes 1-4     length of the routing header (big-endian)
    bytes 5-8     length of the hop records
    then          routing header (compact JWS), hop records, sealed body

The routing header is a JWS whose payload H says who asks whom for what; its protected
header also holds the size and digest of the sealed body. The body is sealed with H as
context, so neither can be moved under the other. A broker reads the header and counts
hops; nothing is re-serialized on the way, only hop records are added.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import Field

from protocol import hop
from protocol.errors import Malformed, TooLarge, UnsupportedVersion, WrongIssuer
from protocol.hop import HopCount
from protocol.ids import CityId, DatasetTypeName, ExchangeId, NodeId, PurposeName
from protocol.membership import DataClass
from protocol.model import Digest, Document, Millis
from protocol.session import AskerSession, HolderSession, split
from protocol.signature import KeyDirectory, Received, digest_of, sign_bytes
from protocol.suites import Signer

ROUTING = "routing"
_EXTRA = frozenset({"body", "size"})
_PREFIX = struct.Struct(">BII")
VERSION = 2
VERSIONS = (1, 2)
"""Brokers carry both and need not tell them apart."""
MAX_HEADER_BYTES = 16 * 1024
MAX_HOPS_BYTES = hop.MAX_HOPS * 1024


class Kind(StrEnum):
    """What an exchange is for."""

    READ = "read"
    PUSH = "push"
    INVOKE = "invoke"
    LOCATE = "locate"
    NOTIFY = "notify"
    REVOKE = "revoke"
    MANAGE = "manage"


class Address(Document):
    """Where to: a city, and there a node by name or by opaque token.

    Personal exchanges always use a token, so that nobody between the two cities learns
    the node. Brokers and directories are addressed by name.
    """

    city: CityId
    token: str | None = None
    node: NodeId | None = None


class Wait(Document):
    """What the sender asks the broker of the city addressed.

    Attributes:
        id: the sender's name for this wait, the same in every attempt.
        until_ms: until when it wants to be told that the node addressed is back.
    """

    id: ExchangeId
    until_ms: Millis


class RoutingHeader(Document):
    """What every party on the way may read.

    Attributes:
        v: protocol version.
        id: exchange id.
        sender: who asks; must own the key that signed.
        to: destination.
        dataset_type, purpose, data_class: None for exchanges about no dataset.
        consent: digest of the consent, None without.
        member: name (kid) of the member key that shall answer a hidden read.
        hops: brokers that it may pass at most.
        iat_ms, deadline_ms: no exchange waits past the deadline.
        wait: if the node addressed has no link, tell me when it is back.
    """

    v: Annotated[int, Field(ge=1, le=1)] = 1
    id: ExchangeId
    kind: Kind
    sender: NodeId
    to: Address
    dataset_type: DatasetTypeName | None = None
    purpose: PurposeName | None = None
    data_class: DataClass | None = None
    consent: Digest | None = None
    member: Digest | None = None
    hops: HopCount
    iat_ms: Millis
    deadline_ms: Millis
    wait: Wait | None = None


@dataclass(frozen=True)
class Envelope:
    """An envelope taken apart, unverified.

    Attributes:
        token: the routing header's JWS bytes.
        hops: hop records as framed lines.
        body: sealed body.
        version: how it is sealed: 1 `protocol.first_body`, 2 `protocol.session`.
    """

    token: bytes
    hops: bytes
    body: bytes
    version: int = VERSION

    @cached_property
    def received(self) -> Received:
        """The header's JWS, parsed."""
        return Received.parse(
            self.token, ROUTING, extra=_EXTRA, max_bytes=MAX_HEADER_BYTES
        )

    @cached_property
    def header(self) -> RoutingHeader:
        """The routing header, unverified: enough for a broker on a trusted link."""
        return RoutingHeader.decode(self.received.payload, MAX_HEADER_BYTES)

    @cached_property
    def digest(self) -> str:
        """Digest of the header: the request's own name, which answers carry."""
        return digest_of(self.token)

    @cached_property
    def body_digest(self) -> str:
        """Digest of the sealed body, as the protected header must name it."""
        return digest_of(self.body)

    @cached_property
    def parts(self) -> tuple[bytes, bytes]:
        """The sealed offer of a session, and what is sealed in that session.

        Raises:
            CannotOpen: the body is truncated.
        """
        return split(self.body)

    @classmethod
    def seal(
        cls,
        header: RoutingHeader,
        body: bytes,
        session: AskerSession,
        signer: Signer,
        nonce: bytes,
    ) -> Envelope:
        """Seal `body` in a session under `header`, and sign the header.

        Args:
            header: routing header.
            body: plaintext.
            session: with the party that shall open it.
            signer: our key.
            nonce: 12 fresh random bytes.
        """
        payload = header.encode()
        sealed = session.seal(payload, body, nonce)
        return cls.around(sealed, header, payload, signer)

    @classmethod
    def around(
        cls,
        sealed: bytes,
        header: RoutingHeader,
        payload: bytes,
        signer: Signer,
        *,
        version: int = VERSION,
    ) -> Envelope:
        """Sign a header, of which `payload` are the bytes, over a sealed body."""
        extra = {"body": digest_of(sealed), "size": len(sealed)}
        token = sign_bytes(signer, ROUTING, payload, extra).encode("ascii")
        envelope = cls(token, b"", sealed, version)
        # Who wrote the header need not read it again.
        envelope.__dict__["header"] = header
        return envelope

    @classmethod
    def unpack(cls, data: bytes, max_bytes: int) -> Envelope:
        """Take received bytes apart.

        Raises:
            UnsupportedVersion, TooLarge, Malformed: as named.
        """
        if len(data) > max_bytes:
            raise TooLarge(f"envelope of {len(data)} bytes, limit {max_bytes}")
        if len(data) < _PREFIX.size:
            raise Malformed("truncated envelope")
        version, header, hops = _PREFIX.unpack_from(data)
        if version not in VERSIONS:
            raise UnsupportedVersion(f"envelope version {version}")
        if header > MAX_HEADER_BYTES or hops > MAX_HOPS_BYTES:
            raise TooLarge("routing header or hop records too large")
        start = _PREFIX.size
        if len(data) < start + header + hops:
            raise Malformed("truncated envelope")
        middle = start + header
        body = middle + hops
        return cls(data[start:middle], data[middle:body], data[body:], version)

    def pack(self) -> bytes:
        """Return the bytes that travel."""
        prefix = _PREFIX.pack(self.version, len(self.token), len(self.hops))
        return b"".join((prefix, self.token, self.hops, self.body))

    def with_hop(self, record: hop.HopRecord) -> Envelope:
        """Return the envelope with one more hop record."""
        return self.with_line(hop.line(record))

    def with_line(self, line: bytes) -> Envelope:
        """Return the envelope with one more hop record, as `hop.line` gave it."""
        return Envelope(self.token, self.hops + line, self.body, self.version)

    def verify(self, keys: KeyDirectory) -> VerifiedEnvelope:
        """Check signature, sender, and that the body is the one that was signed for.

        Raises:
            ProtocolViolation: any fault.
        """
        owner = self.received.check(keys)
        if self.header.sender != owner:
            raise WrongIssuer("the routing header names another sender than its key's")
        self.check_body()
        return VerifiedEnvelope(self, self.header)

    def check_body(self) -> None:
        """Hold the sealed body to the size and digest in the protected header.

        Raises:
            Malformed: another body than the sender's.
        """
        extra = self.received.extra
        if extra["size"] != len(self.body) or extra["body"] != self.body_digest:
            raise Malformed("the sealed body is not the one that was signed for")

    def open(self, session: HolderSession) -> bytes:
        """Open the body; the seal binds it to the exact bytes of the header.

        Raises:
            CannotOpen: of another session, altered, or moved under another header.
        """
        return session.open(self.received.payload, self.parts[1])


@dataclass(frozen=True)
class VerifiedEnvelope:
    """An envelope whose sender is proven. Only `Envelope.verify` makes it."""

    envelope: Envelope
    header: RoutingHeader
