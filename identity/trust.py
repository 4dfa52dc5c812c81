# SPDX-License-Identifier: Apache-2.0
"""Who may be believed: from the pinned root key of our own city, outwards.

Our own city's root key is pinned when the node is set up. What another city's root key
is, a *member* learns only from its city's trust bundle, a *broker* only from
agreements in force and, for cities further away, from verified announcements. Nothing
in a received document is believed: a membership counts because a chain from a known
root ends in it.

    membership = trust.verify_sender(token, operating_token, now)
    signed = received.verify(Model, trust.keys_of(membership))

What a signature proved is cached by digest; dates, removal and the root are looked at
each time. Documents are kept in the database with `identity.trust_documents`. For one
thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from identity.bundle import verify_bundle
from identity.cache import Cache
from identity.errors import ConflictingRoot, MembershipExpired, NotAMember
from protocol.agreement import Agreement
from protocol.errors import (
    Expired,
    NotYetValid,
    Replayed,
    UnknownKey,
    UnsupportedSuite,
    WrongIssuer,
)
from protocol.ids import CityId, NodeId
from protocol.membership import (
    MEMBERSHIP,
    MemberKey,
    Membership,
    OperatingCertificate,
    verify_member_key,
    verify_membership,
    verify_operating,
)
from protocol.model import Claims
from protocol.route import Announcement, Bundle, CityKeys, verify_city_keys
from protocol.signature import Received, Signed, SingleKey, digest_of
from protocol.suites import Suite, VerifyingKey

C = TypeVar("C", bound=Claims)


@dataclass(frozen=True)
class City:
    """A city whose whole chain was verified: where to send, and whose word counts.

    Attributes:
        city: which.
        operating: the key that signs its memberships.
        broker: to whom location tokens for this city are sealed.
        directory: where locations are asked for and registered.
        ends: until when all of it holds, seconds since 1970.
    """

    city: CityId
    operating: VerifyingKey
    broker: Membership
    directory: Membership
    ends: int


@dataclass(frozen=True)
class _Proven:
    """A chain that verified: under which root, and the documents with dates."""

    root: VerifyingKey
    certificate: OperatingCertificate
    membership: Membership


class TrustStore:
    """What this node believes now, and the checks that start from it."""

    def __init__(
        self,
        *,
        city: CityId,
        root: VerifyingKey,
        skew_s: int = 10,
        suites: frozenset[Suite] = frozenset(Suite),
        cache_size: int = 4096,
    ) -> None:
        """Pin our own city's root.

        Args:
            city: our own city.
            root: its root key.
            skew_s: how far two clocks may differ.
            suites: suites that this node accepts.
            cache_size: documents whose verification is remembered.
        """
        self.city = city
        self.root = root
        self.bundle: Signed[Bundle] | None = None
        self._skew_s = skew_s
        self._suites = suites
        self._agreed: dict[CityId, VerifyingKey] = {}
        self._introduced: dict[CityId, tuple[CityKeys, int]] = {}
        self._bundled: dict[CityId, CityKeys] = {}
        self._own_keys: CityKeys | None = None
        self._removed: frozenset[NodeId] = frozenset()
        self._senders: Cache[_Proven] = Cache(cache_size)
        self._cities: Cache[City] = Cache(cache_size)
        self._documents: Cache[Signed[Claims]] = Cache(cache_size)

    # What is believed.

    def accept_bundle(self, token: str, now: int) -> Signed[Bundle]:
        """Take our city's newest trust bundle.

        Raises:
            Replayed: older than the one we have (a rollback would revive removed
                nodes).
            ProtocolViolation: any other fault.
        """
        signed = verify_bundle(token, self.city, self.root, now, self._skew_s)
        if self.bundle is not None and signed.body.iat < self.bundle.body.iat:
            raise Replayed("there is a newer trust bundle already")
        self.bundle = signed
        self._bundled = {keys.city: keys for keys in signed.body.cities}
        self._removed = frozenset(signed.body.removed)
        return signed

    def agree(self, agreements: Iterable[Agreement], now: int) -> None:
        """Take the agreements in force (broker side); others are forgotten.

        A root key that was learned by introduction gives way to the agreed one.
        """
        agreed: dict[CityId, VerifyingKey] = {}
        for agreement in agreements:
            if agreement.in_force(now) and agreement.body.concerns(self.city):
                other = agreement.body.other(self.city)
                agreed[other.city] = other.root_key()
        self._agreed = agreed

    def introduce(self, announcement: Signed[Announcement], now: int) -> None:
        """Learn a city's keys from a verified announcement (broker side).

        Args:
            announcement: from `protocol.route.verify_announcement`, with the operating
                key of a neighbor that we have an agreement with.
            now: seconds since 1970.

        Raises:
            ConflictingRoot: the city is known by another root key: by agreement, by an
                introduction that has not ended, or because it is our own.
        """
        keys = announcement.body.keys
        known = self._root_of(keys.city, now)
        if known is not None and known != keys.root_key():
            raise ConflictingRoot(f"{keys.city} is known by another root key")
        if keys.city != self.city:
            self._introduced[keys.city] = keys, announcement.body.exp

    def set_own_keys(self, keys: CityKeys) -> None:
        """Set what a broker says about its own city; members take it from the bundle.

        Raises:
            ConflictingRoot: another city, or another root than the pinned one.
        """
        if keys.city != self.city or keys.root_key() != self.root:
            raise ConflictingRoot("these are not our own city's keys")
        self._own_keys = keys

    def set_removed(self, nodes: Iterable[NodeId]) -> None:
        """Set which nodes our city removed (broker side: `Authority.removed`)."""
        self._removed = frozenset(nodes)

    # What follows from it.

    def root_of(self, city: CityId, now: int) -> VerifyingKey:
        """Return a city's root key.

        Raises:
            UnknownKey: nobody we believe has told us one.
        """
        root = self._root_of(city, now)
        if root is None:
            raise UnknownKey(f"nothing vouches for the city {city} here")
        return root

    def known_cities(self, now: int) -> tuple[CityId, ...]:
        """Return all cities with a known root key, our own included, sorted."""
        names = {self.city, *self._agreed, *self._introduced, *self._bundled}
        return tuple(sorted(n for n in names if self._root_of(n, now) is not None))

    def city_keys(self, city: CityId, now: int) -> CityKeys:
        """Return a city's keys as documents, for bundles and announcements.

        Raises:
            UnknownKey: not known, or known by agreement only so far.
        """
        keys = self._keys_of(city, now)
        if keys is None or keys.root_key() != self.root_of(city, now):
            raise UnknownKey(f"the keys of {city} have not arrived here yet")
        return keys

    def city_of(self, city: CityId, now: int) -> City:
        """Return a city's verified operating key, broker and directory.

        Raises:
            UnknownKey: not known, or its keys have not arrived yet.
            ProtocolViolation: a link of its chain is broken or over.
        """
        keys = self.city_keys(city, now)
        digest = digest_of(keys.encode())
        found = self._cities.get(digest)
        if found is None or found.ends <= now:
            operating, broker, directory = verify_city_keys(keys, now, self._skew_s)
            certificate = Received.parse(keys.operating, "operating-certificate")
            ends = (
                certificate.peek(OperatingCertificate).exp,
                broker.body.exp,
                directory.body.exp,
            )
            found = City(city, operating, broker.body, directory.body, min(ends))
            self._check_suites(operating)
            self._cities.put(found, digest)
        for member in (found.broker, found.directory):
            self._check_not_removed(member)
        return found

    def verify_sender(
        self, membership_token: str, operating_token: str, now: int
    ) -> Membership:
        """Return the membership that a sender's credentials prove.

        Args:
            membership_token: the sender's membership.
            operating_token: the operating certificate that vouches for it.
            now: seconds since 1970.

        Raises:
            UnknownKey: of a city that nobody vouches for.
            MembershipExpired, NotAMember: ended, or removed by our city.
            ProtocolViolation: any other fault.
        """
        digests = (
            digest_of(membership_token.encode("utf-8", "replace")),
            digest_of(operating_token.encode("utf-8", "replace")),
        )
        proven = self._senders.get(*digests)
        if proven is None:
            proven = self._prove(membership_token, operating_token, now)
            self._senders.put(proven, *digests)
        self._check_still(proven, now)
        return proven.membership

    def keys_of(self, membership: Membership) -> SingleKey:
        """Return the key directory that holds this member's key only."""
        return SingleKey(membership.sub, membership.verifying_key())

    def verify_home_document(
        self, token: str, kind: str, model: type[C], issuer: Membership, now: int
    ) -> Signed[C]:
        """Check a document that a member signed: consent, status list, grant.

        Args:
            token: the JWS.
            kind: which kind this place asks for.
            model: its claims.
            issuer: verified membership of who must have signed it.
            now: seconds since 1970.

        Raises:
            ProtocolViolation: any fault, dates and the issuer's removal included.
        """
        self._check_member(issuer, now)
        key = self.keys_of(issuer)
        place = kind, issuer.sub, key.key.kid, digest_of(token.encode(errors="replace"))
        known = self._documents.get(*place)
        if known is not None and isinstance(known.body, model):
            signed: Signed[C] = Signed(known.token, known.body, known.owner)
        else:
            signed = Received.parse(token, kind).verify(model, key)
            self._documents.put(
                Signed(signed.token, signed.body, signed.owner), *place
            )
        signed.body.check_times(now, self._skew_s)
        return signed

    def verify_member_key(
        self, token: str, city: CityId, consent: str, now: int
    ) -> Signed[MemberKey]:
        """Check a nameless member key of a city, for one consent.

        Raises:
            WrongIssuer: certified for another consent.
            ProtocolViolation: any other fault.
        """
        operating = self.city_of(city, now).operating
        signed = verify_member_key(token, city, operating, now, self._skew_s)
        if signed.body.aud != consent:
            raise WrongIssuer("the member key was certified for another consent")
        return signed

    def _root_of(self, city: CityId, now: int) -> VerifyingKey | None:
        if city == self.city:
            return self.root
        agreed = self._agreed.get(city)
        if agreed is not None:
            return agreed
        keys = self._keys_of(city, now)
        return None if keys is None else keys.root_key()
