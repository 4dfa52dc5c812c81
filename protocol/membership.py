# SPDX-License-Identifier: Apache-2.0
"""Who belongs to a city: operating key certificate, membership, member key.

    city root key (offline) --> operating certificate
    operating key --> membership of each node (lives for days, renewed by itself)
    operating key --> member key: "a member of this city", without a name

A membership carries the node's keys, roles, qualifications (requirements 109, 110) and
the data classes it may handle. A node that the city removes is invalid everywhere once
its last membership ends. A member key stands in hidden reads (requirement 7).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from protocol.errors import Malformed, NotYetValid
from protocol.ids import CityId, NodeId
from protocol.model import Claims, Digest, Document, Seconds, ShortText
from protocol.sealed import PublicSealingKey
from protocol.signature import MAX_TOKEN_BYTES, Received, Signed, SingleKey
from protocol.suites import VerifyingKey

OPERATING = "operating-certificate"
MEMBERSHIP = "membership"
MEMBER_KEY = "member-key"
KEY_CHANGE = "key-change"
REVOCATIONS = "revocations"
MAX_EARLIER = 4
"""Keys of a node in overlap at the same time."""
MAX_REVOKED = 512


class Role(StrEnum):
    """What a node does (requirement 1: roles are configuration)."""

    VAULT = "vault"
    IDENTITY = "identity"
    BROKER = "broker"
    DIRECTORY = "directory"
    GATEWAY = "gateway"
    CATALOG = "catalog"
    PORTAL = "portal"
    CONSOLE = "console"


class DataClass(StrEnum):
    """How much protection a dataset type needs; `closed` never leaves its city."""

    OPEN = "open"
    PERSONAL = "personal"
    SPECIAL_CARE = "special-care"
    CLOSED = "closed"


class Qualification(Document):
    """An attested qualification of an organization, with an end.

    Attributes:
        scheme: such as `privacy-mark`, `jis-q-15001`, `medical-institution`.
        number: its registration number, empty where the scheme has none.
        until: when it ends.
    """

    scheme: ShortText
    number: ShortText = ""
    until: Seconds


class EarlierKey(Document):
    """A signature key that a node had before its present one, on the city's word.

    What it signed in its time is accepted until the overlap is over: documents that
    were on their way, or are kept by others, when the node changed its keys.

    Attributes:
        key: the key as JWK.
        since: when the city certified it first.
        replaced: when the present key, or one between, took its place.
        until: end of the overlap.
    """

    key: dict[str, str]
    since: Seconds
    replaced: Seconds
    until: Seconds

    def verifying_key(self) -> VerifyingKey:
        """Return the key."""
        return VerifyingKey.from_jwk(self.key)


class ReplacedKey(Document):
    """An operating key that another one has replaced.

    Attributes:
        kid: its name.
        until: what it signed is accepted until then.
    """

    kid: Digest
    until: Seconds


class OperatingCertificate(Claims):
    """The root's word for the city's operating key. `iss` and `sub` are the city.

    Attributes:
        sequence: counts the city's operating keys; absent for the first.
        earlier: the keys before this one that are accepted for a while.
    """

    sub: CityId
    key: dict[str, str]
    sequence: Annotated[int, Field(ge=1)] | None = None
    earlier: (
        Annotated[tuple[ReplacedKey, ...], Field(min_length=1, max_length=MAX_EARLIER)]
        | None
    ) = None

    def verifying_key(self) -> VerifyingKey:
        """Return the operating key."""
        return VerifyingKey.from_jwk(self.key)


class Membership(Claims):
    """The city's word for a node. `iss` is the city, `sub` the node.

    Attributes:
        since: when the city certified the present key first.
        earlier: keys in overlap, the latest first.
    """

    sub: NodeId
    title: dict[str, ShortText] = Field(default_factory=dict)
    key: dict[str, str]
    sealing: PublicSealingKey
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=8)]
    qualifications: Annotated[tuple[Qualification, ...], Field(max_length=32)] = ()
    data_classes: tuple[DataClass, ...] = ()
    since: Seconds | None = None
    earlier: (
        Annotated[tuple[EarlierKey, ...], Field(min_length=1, max_length=MAX_EARLIER)]
        | None
    ) = None

    def verifying_key(self) -> VerifyingKey:
        """Return the node's signing key."""
        return VerifyingKey.from_jwk(self.key)

    def qualified(self, schemes: tuple[str, ...], now: int) -> bool:
        """Tell whether the node holds one of `schemes` now (none asked: yes)."""
        held = {q.scheme for q in self.qualifications if q.until > now}
        return not schemes or not held.isdisjoint(schemes)


class MemberKey(Claims):
    """The city's word for "a member of this city": keys without a name.

    `aud` is the consent it was made for, so that one key cannot link two consents.
    """

    key: dict[str, str]
    sealing: PublicSealingKey

    def verifying_key(self) -> VerifyingKey:
        """Return the key that answers verify against."""
        return VerifyingKey.from_jwk(self.key)


def verify_operating(
    token: str, city: CityId, root: VerifyingKey, now: int, skew_s: int
) -> Signed[OperatingCertificate]:
    """Check an operating certificate against the city's root key.

    Raises:
        ProtocolViolation: any fault.
    """
    received = Received.parse(token, OPERATING)
    signed = received.verify(OperatingCertificate, SingleKey(city, root))
    if signed.body.sub != city:
        raise Malformed("the operating certificate is for another city")
    signed.body.check_times(now, skew_s)
    signed.body.verifying_key()
    return signed


def verify_membership(
    token: str, city: CityId, operating: VerifyingKey, now: int, skew_s: int
) -> Signed[Membership]:
    """Check a membership against the city's operating key.

    Raises:
        ProtocolViolation: any fault; a city cannot admit a node of another city.
    """
    received = Received.parse(token, MEMBERSHIP)
    signed = received.verify(Membership, SingleKey(city, operating))
    if signed.body.sub.city != city:
        raise Malformed("a city can only admit its own nodes")
    signed.body.check_times(now, skew_s)
    signed.body.verifying_key()
    signed.body.sealing.load()
    return signed


def verify_member_key(
    token: str, city: CityId, operating: VerifyingKey, now: int, skew_s: int
) -> Signed[MemberKey]:
    """Check a nameless member key against the city's operating key.

    Raises:
        ProtocolViolation: any fault. The caller MUST hold `aud` to the consent.
    """
    received = Received.parse(token, MEMBER_KEY)
    signed = received.verify(MemberKey, SingleKey(city, operating))
    signed.body.check_times(now, skew_s)
    signed.body.verifying_key()
    signed.body.sealing.load()
    return signed


class KeyChange(Claims):
    """A node's wish to change its keys, signed with its present one.

    `request` is a join request, signed by the new key: so both keys have signed, and
    neither a thief of the old key alone nor of the new one alone changes anything.
    """

    sub: NodeId
    request: Annotated[str, Field(max_length=MAX_TOKEN_BYTES)]


class Revocations(Claims):
    """A city's word that keys are worth nothing, though a membership still names them.

    Names of keys (`kid`) and not of nodes: it says nothing to who never met the node.
    """

    keys: Annotated[tuple[Digest, ...], Field(max_length=MAX_REVOKED)] = ()


def verify_revocations(
    token: str, city: CityId, operating: VerifyingKey, now: int, skew_s: int
) -> Signed[Revocations]:
    """Check a list of revoked keys against the city's operating key.

    Its end does not matter: a key that was revoked stays so.

    Raises:
        ProtocolViolation: any fault.
    """
    received = Received.parse(token, REVOCATIONS)
    signed = received.verify(Revocations, SingleKey(city, operating))
    if signed.body.iat > now + skew_s:
        raise NotYetValid("a list of revoked keys from ahead of time")
    return signed


class Credentials(Document):
    """Who speaks: membership, and the operating certificate that vouches for it."""

    membership: Annotated[str, Field(max_length=MAX_TOKEN_BYTES)]
    operating: Annotated[str, Field(max_length=MAX_TOKEN_BYTES)]


class JoinRequest(Claims):
    """A node's request to its city, signed by the key it brings. `iss` is the node.

    Attributes:
        sub: the node id it asks for.
    """

    sub: NodeId
    title: dict[str, ShortText]
    key: dict[str, str]
    sealing: PublicSealingKey
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=8)]

    @classmethod
    def verify(cls, token: str) -> Signed[JoinRequest]:
        """Check that the requester holds the key that it brings.

        Raises:
            ProtocolViolation: any fault.
        """
        received = Received.parse(token, "join-request")
        claimed = received.peek(cls)
        key: dict[str, Any] = claimed.key
        owner = SingleKey(claimed.sub, VerifyingKey.from_jwk(key))
        signed = received.verify(cls, owner)
        signed.body.sealing.load()
        return signed
