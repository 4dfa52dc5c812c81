# SPDX-License-Identifier: Apache-2.0
"""Routes between cities: signed path-vector announcements, and the bundle for members.

A broker announces to a neighbor city which cities it can reach. Each announcement wraps
the one it was learned from, down to the origin's own, and says which root key and
operating certificate the next city on the path has. So a city far away is introduced by
a chain of agreements, each of which allows transit; nobody else can vouch for a city.

A city tells its members what it knows in a *trust bundle*, signed with its operating
key: the only source of trust about other cities that a member has.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocol.agreement import Terms, is_within
from protocol.errors import Malformed, TooLarge, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import (
    Membership,
    Role,
    verify_membership,
    verify_operating,
)
from protocol.model import Claims, Document, ShortText
from protocol.request import Token
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, Signed, SingleKey
from protocol.succession import MAX_SUCCESSIONS, Succession
from protocol.suites import VerifyingKey

ROUTE = "route"
TRUST_BUNDLE = "trust-bundle"
MAX_PATH = 6
"""Cities on a path. Each layer wraps the one before in base64: six cities of the hybrid
suite make 207 kB, seven would be more than a signed document may have."""
MAX_LIFE_S = 86_400
MAX_CITIES = 1500
MAX_BUNDLE_BYTES = 14 * 1024 * 1024
MAX_BROKERS = 16
"""Broker processes of one city."""

Brokers = Annotated[tuple[ShortText, ...], Field(max_length=MAX_BROKERS)]
"""Where the brokers of a city listen, each `NODE@wss://host:port/link`."""


class CityKeys(Document):
    """Which keys a city has, on somebody's word.

    Attributes:
        root: root key as JWK.
        operating: operating certificate.
        broker: membership of the broker that speaks for the city. Location tokens are
            sealed to its key where the city has told no other (`Announcement.tokens`).
        directory: membership of its directory.
        revoked: keys of its members that are worth nothing any more.
        next: operating certificate that will take the present one's place soon.
        successions: how its root came to be what it is, the latest of them.
    """

    city: CityId
    root: dict[str, str]
    operating: Token
    broker: Token
    directory: Token
    revoked: Token | None = None
    next: Token | None = None
    successions: (
        Annotated[
            tuple[Succession, ...], Field(min_length=1, max_length=MAX_SUCCESSIONS)
        ]
        | None
    ) = None

    def root_key(self) -> VerifyingKey:
        """Return the root key."""
        return VerifyingKey.from_jwk(self.root)


class Announcement(Claims):
    """`iss` (a city) tells `aud` (a neighbor) how it reaches `origin`.

    Attributes:
        origin: destination city.
        path: cities from `iss` to `origin`, both included.
        sequence: the origin's counter; a higher one replaces what was announced before.
        keys: the origin's keys; equal to those in the innermost announcement.
        inner: the announcement this one was learned from; None when `iss` is origin.
        next_city: keys of the issuer of `inner`; None when `iss` is origin.
        brokers: where the brokers of `iss` listen; in its word about itself alone.
        tokens: key to which location tokens for `iss` are sealed, which all its brokers
            have; in its word about itself alone.
        permits: what `aud` may ask on this way, by the agreements along it; it only
            gets narrower from layer to layer. `hop_limit` counts the brokers up to that
            of `iss`. None where an older city does not say.
        rtt_ms: round trip from `iss` to `origin`, as measured on the links along the
            way; only grows from layer to layer. None where somebody does not say.
    """

    origin: CityId
    path: Annotated[tuple[CityId, ...], Field(min_length=1, max_length=MAX_PATH)]
    sequence: Annotated[int, Field(ge=0)]
    keys: CityKeys
    inner: Token | None = None
    next_city: CityKeys | None = None
    brokers: Brokers = ()
    tokens: PublicSealingKey | None = None
    permits: Terms | None = None
    rtt_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None


class Bundle(Claims):
    """What a city tells its members: keys of itself and all cities it can reach.

    Attributes:
        paths: city to path, nearest first, without the city itself.
        brokers: where the city's own brokers listen.
        tokens: city to the key that location tokens for it are sealed to; a city that
            has told none is sealed to by its broker's own key.
        sequence: grows with each bundle, also within one second: bundles come over
            several brokers, and an older one must not take a newer one's place.
    """

    cities: Annotated[tuple[CityKeys, ...], Field(max_length=MAX_CITIES)]
    paths: dict[str, tuple[CityId, ...]] = Field(default_factory=dict)
    removed: Annotated[tuple[NodeId, ...], Field(max_length=4096)] = ()
    brokers: Brokers = ()
    tokens: dict[str, PublicSealingKey] = Field(default_factory=dict)
    sequence: Annotated[int, Field(ge=0)] = 0


def verify_announcement(
    token: str,
    neighbor: CityId,
    operating: VerifyingKey,
    ourselves: CityId,
    now: int,
    skew_s: int,
) -> Signed[Announcement]:
    """Check an announcement with everything that it wraps.

    Steps:
     1. The outermost is signed with the neighbor's operating key (from the agreement).
     2. Each inner one is addressed to the city that wraps it, and signed with the
        operating key that this city vouches for.
     3. Paths shrink by exactly one city per layer and never hold a city twice, nor us.
     4. Origin and its keys are the same in all layers; the keys are the origin's, and
        are those under which its own announcement was signed.

    Raises:
        ProtocolViolation: any fault. For a city that has an agreement of its own with
            us, the caller MUST hold the root key to the one in the agreement.
    """
    if len(token) > 256 * 1024:
        raise TooLarge("route announcement too large")
    outer = _layer(token, neighbor, operating, ourselves, now, skew_s)
    path = outer.body.path
    if ourselves in path or len(set(path)) != len(path) or path[0] != neighbor:
        raise Malformed("the path of the announcement has a loop")
    layer, root = outer, outer.body.keys.root_key()
    while (wrapped := layer.body.inner) is not None:
        body = layer.body
        if body.next_city is None or len(body.path) < 2:
            raise Malformed("the announcement does not say who comes next")
        if body.next_city.city != body.path[1]:
            raise Malformed("the announcement has the keys of another city")
        root = body.next_city.root_key()
        certificate = verify_operating(
            body.next_city.operating, body.path[1], root, now, skew_s
        )
        operating = certificate.body.verifying_key()
        inner = _layer(wrapped, body.path[1], operating, CityId(body.iss), now, skew_s)
        same = inner.body.origin == body.origin and inner.body.keys == body.keys
        if inner.body.path != body.path[1:] or not same:
            raise Malformed("the layers of the announcement do not fit together")
        _check_narrowing(body, inner.body)
        layer = inner
    if layer.body.path != (layer.body.origin,):
        raise Malformed("the innermost announcement must be the origin's own")
    keys = layer.body.keys
    if keys.city != layer.body.origin or keys.root_key() != root:
        # Otherwise any neighbor could hand out keys of its own making for any city.
        raise Malformed("the announcement has the keys of another city")
    if verify_city_keys(keys, now, skew_s)[0] != operating:
        raise Malformed("the origin's announcement is not signed with the origin's key")
    if layer.body.tokens is not None:
        layer.body.tokens.load()
    return outer


def _check_narrowing(outer: Announcement, inner: Announcement) -> None:
    """Refuse a city that promises more than it was promised."""
    before, after = inner.permits, outer.permits
    if before is not None and after is not None and not is_within(after, before):
        raise Malformed("an announcement permits more than the one it wraps")
    if (inner.rtt_ms or 0) > (outer.rtt_ms or inner.rtt_ms or 0):
        raise Malformed("an announcement is faster than the one it wraps")


def origin_word(announced: Signed[Announcement]) -> Announcement:
    """Return what the origin itself said: the innermost of a verified announcement."""
    word = announced.body
    while word.inner is not None:
        word = Received.parse(word.inner, ROUTE).peek(Announcement)
    return word


def _layer(
    token: str,
    issuer: CityId,
    operating: VerifyingKey,
    audience: CityId,
    now: int,
    skew_s: int,
) -> Signed[Announcement]:
    signed = Received.parse(token, ROUTE).verify(
        Announcement, SingleKey(issuer, operating)
    )
    signed.body.check_times(now, skew_s)
    if signed.body.exp - signed.body.iat > MAX_LIFE_S:
        raise Malformed(f"an announcement lives {MAX_LIFE_S} s at most")
    if signed.body.aud != audience:
        raise WrongAudience("a layer of the announcement is for another city")
    return signed


def verify_city_keys(
    keys: CityKeys, now: int, skew_s: int
) -> tuple[VerifyingKey, Signed[Membership], Signed[Membership]]:
    """Check the chain root, operating key, broker and directory of one city.

    Returns:
        The operating key and the verified memberships of broker and directory.

    Raises:
        ProtocolViolation: any fault.
    """
    root = keys.root_key()
    certificate = verify_operating(keys.operating, keys.city, root, now, skew_s)
    operating = certificate.body.verifying_key()
    broker = verify_membership(keys.broker, keys.city, operating, now, skew_s)
    directory = verify_membership(keys.directory, keys.city, operating, now, skew_s)
    if Role.BROKER not in broker.body.roles:
        raise Malformed("the node named as broker has no such role")
    if Role.DIRECTORY not in directory.body.roles:
        raise Malformed("the node named as directory has no such role")
    return operating, broker, directory
