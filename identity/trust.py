# SPDX-License-Identifier: Apache-2.0
"""Whether to believe a document: a chain from a known root must end in it.

    membership = trust.verify_sender(token, operating_token, now)
    verified = envelope.verify(trust.key_directory_for(membership))

Nothing in a document is believed by itself: not its issuer, not its key. What a
signature proved is cached by digest (bounded); dates, removal and the city's root are
looked at each time, so a cached document ends like any other. The rules of each
document are protocol's; which roots are known is `identity.known`'s. For one thread at
a time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

from identity.cache import Cache
from identity.errors import KeyRevoked, MembershipExpired, NotAMember
from identity.key_changes import KeysOf
from identity.known import KnownCities
from protocol.errors import Expired, UnknownKey, UnsupportedSuite, WrongAudience
from protocol.ids import CityId
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    MemberKey,
    Membership,
    OperatingCertificate,
    Role,
    verify_member_key,
    verify_membership,
)
from protocol.model import Claims
from protocol.route import CityKeys, verify_city_keys
from protocol.signature import Received, Signed, SingleKey
from protocol.suites import Suite, VerifyingKey

C = TypeVar("C", bound=Claims)

_KEPT_WHOLE = 8192


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
    """Credentials that verified, and under which root."""

    root: VerifyingKey
    certificate: OperatingCertificate
    membership: Membership


class TrustStore(KnownCities):
    """The known cities, and what follows from them for a document at hand."""

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
            cache_size: documents of each kind whose verification is remembered.
        """
        super().__init__(city=city, root=root, skew_s=skew_s)
        self._suites = suites
        self._senders: Cache[_Proven] = Cache(cache_size)
        self._cities: Cache[tuple[CityKeys, City]] = Cache(cache_size)
        self._keys: Cache[SingleKey] = Cache(cache_size)
        self._documents: Cache[object] = Cache(cache_size)

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
        place = _name_of(membership_token), _name_of(operating_token)
        proven = self._senders.get(*place)
        if proven is None:
            proven = self._prove(membership_token, operating_token, now)
            self._senders.put(proven, *place)
        membership = proven.membership
        city = membership.sub.city
        known = self.root_of(city, now)
        if known != proven.root and not self.chains.accepts(
            city, known, proven.root, now
        ):
            raise UnknownKey(f"the root key of {city} has changed")
        proven.certificate.check_times(now, self.skew_s)
        self.chains.check(city, proven.certificate, now)
        self._check_member(membership, now)
        return membership

    def key_directory_for(self, membership: Membership) -> SingleKey:
        """Return the key directory that holds this member's key, and no other."""
        # Judging a point costs as much as verifying a signature: once per key.
        place = (membership.sub, *membership.key.values())
        known = self._keys.get(*place)
        if known is not None:
            return known
        key = membership.verifying_key()
        return self._keys.put(SingleKey(membership.sub, key), *place)

    def verify_home_document(
        self, token: str, kind: str, model: type[C], issuer: Membership, now: int
    ) -> Signed[C]:
        """Check a document that one member must have signed: consent, list, grant.

        Args:
            token: the JWS.
            kind: the kind of document that this place asks for.
            model: its claims.
            issuer: verified membership of who must have signed it.
            now: seconds since 1970.

        Raises:
            ProtocolViolation: any fault; the document's and the issuer's end included.
        """
        self._check_member(issuer, now)
        keys = self.key_directory_for(issuer)
        place = kind, issuer.sub, keys.key.kid, _name_of(token)
        kept = self._documents.get(*place)
        signed: Signed[C]
        if isinstance(kept, Signed) and isinstance(kept.body, model):
            signed = kept
        else:
            received = Received.parse(token, kind)
            if received.kid != keys.key.kid and issuer.earlier:
                return self._of_earlier_key(received, kind, model, issuer, now)
            signed = received.verify(model, keys)
            self._documents.put(signed, *place)
        signed.body.check_times(now, self.skew_s)
        return signed

    def _of_earlier_key(
        self,
        received: Received,
        kind: str,
        model: type[C],
        issuer: Membership,
        now: int,
    ) -> Signed[C]:
        """Check a document by a key in overlap: of that key's time, and not revoked."""
        kid = received.kid
        keys = KeysOf(issuer, now)
        if kid in self.revoked:
            raise UnknownKey("the key was revoked by its city")
        place = kind, issuer.sub, kid, _name_of(received.token)
        kept = self._documents.get(*place)
        if isinstance(kept, Signed) and isinstance(kept.body, model):
            signed: Signed[C] = kept
        else:
            signed = received.verify(model, keys)
            self._documents.put(signed, *place)
        keys.check_time(kid, signed.body, self.skew_s)
        signed.body.check_times(now, self.skew_s)
        return signed

    def city_of(self, city: CityId, now: int) -> City:
        """Return a city's verified operating key, broker and directory.

        Raises:
            UnknownKey: not known, or its keys have not arrived yet.
            ProtocolViolation: a link of its chain is faulty or over.
        """
        keys = self.city_keys(city, now)
        kept = self._cities.get(city)
        if kept is not None and kept[0] == keys and kept[1].ends > now:
            found = kept[1]
        else:
            found = self._verified(keys, now)
            self._cities.put((keys, found), city)
        for member in (found.broker, found.directory):
            self._check_member(member, now)
        return found

    def verify_broker(self, token: str, now: int) -> Membership:
        """Check the membership of a broker, under its city's present operating key.

        Raises:
            NotAMember: the node is no broker, or was removed.
            ProtocolViolation: any other fault; its city may be unknown here.
        """
        claimed = Received.parse(token, MEMBERSHIP).peek(Membership).sub.city
        operating = self.operating_named(claimed, token, MEMBERSHIP, now)
        signed = verify_membership(token, claimed, operating, now, self.skew_s)
        if Role.BROKER not in signed.body.roles:
            raise NotAMember(f"{signed.body.sub} is no broker")
        self._check_member(signed.body, now)
        return signed.body

    def verify_member_key(
        self, token: str, city: CityId, consent: str, now: int
    ) -> Signed[MemberKey]:
        """Check a nameless member key of a city, for one consent.

        Raises:
            WrongAudience: certified for another consent.
            ProtocolViolation: any other fault.
        """
        operating = self.operating_named(city, token, MEMBER_KEY, now)
        signed = verify_member_key(token, city, operating, now, self.skew_s)
        if signed.body.aud != consent:
            raise WrongAudience("the member key was certified for another consent")
        self._check_suites(
            signed.body.verifying_key().suite, signed.body.sealing.load().suite
        )
        return signed

    def operating_named(
        self, city: CityId, token: str, kind: str, now: int
    ) -> VerifyingKey:
        """Return the operating key that a document of a city must verify under.

        While a city changes its operating key that is the present one, the next one or
        one in overlap, whichever the document names.

        Args:
            city: whose document it must be.
            token: the document.
            kind: its kind.
            now: seconds since 1970.

        Raises:
            UnknownKey: the city is not known, or its keys have not arrived yet.
            ProtocolViolation: a link of its chain is faulty or over.
        """
        present = self.city_of(city, now).operating
        kid = Received.parse(token, kind).kid
        if kid == present.kid:
            return present
        return self.chains.key_named(city, kid, now) or present

    def _verified(self, keys: CityKeys, now: int) -> City:
        self.certificate(keys.operating, keys.city, now)
        operating, broker, directory = verify_city_keys(keys, now, self.skew_s)
        self._check_suites(keys.root_key().suite, operating.suite)
        certificate = Received.parse(keys.operating, OPERATING)
        ends = min(
            certificate.peek(OperatingCertificate).exp,
            broker.body.exp,
            directory.body.exp,
        )
        return City(keys.city, operating, broker.body, directory.body, ends)

    def _prove(self, membership: str, operating: str, now: int) -> _Proven:
        # The city is only claimed here; its root key then proves or refutes it.
        claimed = Received.parse(membership, MEMBERSHIP).peek(Membership).sub.city
        root = self.root_of(claimed, now)
        skew_s = self.skew_s
        certificate = self.certificate(operating, claimed, now)
        key = certificate.body.verifying_key()
        # A strict node accepts no link of the chain under another suite.
        self._check_suites(root.suite, key.suite)
        try:
            proven = verify_membership(membership, claimed, key, now, skew_s)
        except Expired as error:
            raise MembershipExpired(error.detail) from error
        return _Proven(root, certificate.body, proven.body)

    def _check_member(self, member: Membership, now: int) -> None:
        if member.exp <= now:
            raise MembershipExpired(f"the membership of {member.sub} has ended")
        if self.is_removed(member.sub):
            raise NotAMember(f"{member.sub} was removed by its city")
        key = self.key_directory_for(member).key
        if key.kid in self.revoked:
            raise KeyRevoked(f"the city of {member.sub} has revoked its key")
        self._check_suites(key.suite, member.sealing.suite)

    def _check_suites(self, *suites: Suite) -> None:
        if not self._suites.issuperset(suites):
            raise UnsupportedSuite("this node does not accept that suite")


def _name_of(token: str) -> str:
    """Return what a token is remembered by: itself, or a digest where it is long.

    The text's own hash is computed once for each string, and both ends keep the strings
    that recur; a digest would be made anew for every exchange.
    """
    if len(token) <= _KEPT_WHOLE:
        return token
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
