# SPDX-License-Identifier: Apache-2.0
"""Which root key each city has, as far as this node was told by those it believes.

Our own city's root key is pinned when the node is set up. Another city's root key a
*member* learns only from its city's trust bundle, a *broker* only from agreements in
force and, for cities further away, from verified announcements. One city has one root:
a second one is refused as long as the first is known, so nobody on a path can slip in
a city of its own under another's name. An agreement, read over the phone by people,
outranks an introduction.

`identity.trust.TrustStore` builds on it; `identity.trust_documents` keeps what must
survive a restart. In memory, for one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache

from identity.bundle import verify_bundle
from identity.chains import Chains
from identity.errors import ConflictingRoot
from protocol.agreement import Agreement
from protocol.errors import Malformed, ProtocolViolation, Replayed, TooLarge, UnknownKey
from protocol.ids import CityId, NodeId
from protocol.membership import (
    OPERATING,
    OperatingCertificate,
    Revocations,
    verify_revocations,
)
from protocol.route import MAX_CITIES, Announcement, Bundle, CityKeys, origin_word
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, Signed
from protocol.succession import Succession
from protocol.suites import VerifyingKey

_logger = logging.getLogger(__name__)


class KnownCities:
    """The cities that this node believes in now."""

    def __init__(self, *, city: CityId, root: VerifyingKey, skew_s: int = 10) -> None:
        """Pin our own city's root.

        Args:
            city: our own city.
            root: its root key.
            skew_s: how far two clocks may differ.
        """
        self.city = city
        self._pinned = root
        self.skew_s = skew_s
        self.chains = Chains(skew_s=skew_s)
        self.operating: Signed[OperatingCertificate] | None = None
        self.bundle: Signed[Bundle] | None = None
        self.agreements: dict[CityId, Agreement] = {}
        self.pins: dict[CityId, VerifyingKey] = {}
        self._introduced: dict[CityId, tuple[CityKeys, int]] = {}
        self._token_keys: dict[CityId, PublicSealingKey | None] = {}
        self._bundled: dict[CityId, CityKeys] = {}
        self._own_keys: CityKeys | None = None
        self._own_tokens: PublicSealingKey | None = None
        self._removed: frozenset[NodeId] = frozenset()
        self._revocations: dict[CityId, Signed[Revocations]] = {}
        self.revoked: frozenset[str] = frozenset()

    @property
    def root(self) -> VerifyingKey:
        """Our city's root key now: the pinned one, or who followed it."""
        return self.chains.follow(self.city, self._pinned)

    def is_own_root(self, root: VerifyingKey) -> bool:
        """Tell whether it is our city's root key, or was before it was followed."""
        return self.chains.follow(self.city, root) == self.root

    def follow_peer(self, city: CityId, told: tuple[Succession, ...]) -> None:
        """Follow what a peer shows of its city's root, if we know that city.

        Raises:
            ConflictingRoot, ProtocolViolation: see `Chains.take_line`.
        """
        pinned = self._pinned if city == self.city else self.pins.get(city)
        agreement = self.agreements.get(city)
        if agreement is not None:
            pinned = _loaded(agreement.body.other(self.city).root)
        if pinned is not None:
            self.chains.take_line(city, pinned, told)

    def accept_line(self, told: Iterable[Succession] | None) -> bool:
        """Follow the successions of our own city's root; True if it moved.

        Raises:
            ConflictingRoot, ProtocolViolation: see `Chains.take_line`.
        """
        return self.chains.take_line(self.city, self._pinned, told)

    def certificate(
        self, token: str, city: CityId, now: int
    ) -> Signed[OperatingCertificate]:
        """Check a city's operating certificate by all that we know of its keys.

        Raises:
            UnknownKey: nobody we believe has told us the city's root.
            KeyRevoked: its key was replaced, and the overlap is over.
            ProtocolViolation: any other fault.
        """
        return self.chains.verify(token, city, self.root_of(city, now), now)

    def accept_operating(self, token: str, now: int) -> Signed[OperatingCertificate]:
        """Take our city's operating certificate, if it is newer than the one we have.

        Returns:
            The newest one; an older one that is offered changes nothing.

        Raises:
            ProtocolViolation: not signed by the pinned root, over, or malformed.
        """
        offered = self.certificate(token, self.city, now)
        newest = self.chains.newest(self.city)
        self.operating = offered if newest is None else newest
        return self.operating

    def accept_bundle(self, token: str, now: int) -> Signed[Bundle]:
        """Take our city's newest trust bundle (member side).

        Raises:
            Replayed: older than the one we have: a rollback would revive removed nodes.
            ProtocolViolation: any other fault.
        """
        signed = verify_bundle(
            token, self.city, lambda own: self._own(own, now), now, self.skew_s
        )
        if self.bundle is not None and _age(signed.body) < _age(self.bundle.body):
            raise Replayed("there is a newer trust bundle already")
        self.bundle = signed
        self._bundled = {keys.city: keys for keys in signed.body.cities}
        self._removed = frozenset(signed.body.removed)
        for keys in signed.body.cities:
            self._follow(keys, now)
        self.accept_operating(self._bundled[self.city].operating, now)
        return signed

    def _own(self, keys: CityKeys, now: int) -> VerifyingKey:
        """Check our own city's keys in a bundle and return its operating key."""
        self.accept_line(keys.successions)
        certificate = self.certificate(keys.operating, self.city, now).body
        if not self.chains.accepts(self.city, self._pinned, keys.root_key(), now):
            raise Malformed("the bundle names another root key for our city")
        return certificate.verifying_key()

    def _follow(self, keys: CityKeys, now: int) -> None:
        """Take up what a city's keys say of changes: successor, next key, revoked.

        A fault in them is that city's own; it must not cost us the others.
        """
        try:
            known = self._known_root(keys.city, now) or _loaded(keys.root)
            self.chains.take_line(keys.city, known, keys.successions)
            if keys.next is not None:
                self.chains.verify(keys.next, keys.city, known, now)
            if keys.next is not None or _says_more(keys.operating):
                self.chains.verify(keys.operating, keys.city, known, now)
            self.take_revocations(keys, now)
        except ProtocolViolation as error:
            _logger.warning("the keys of %s have a fault: %s", keys.city, error)

    def agree(self, agreements: Iterable[Agreement], now: int) -> None:
        """Take the agreements in force (broker side); all others are forgotten."""
        self.agreements = {
            agreement.body.other(self.city).city: agreement
            for agreement in agreements
            if agreement.in_force(now) and agreement.body.concerns(self.city)
        }

    def introduce(self, announcement: Signed[Announcement], now: int) -> None:
        """Learn a city's keys from a verified announcement (broker side).

        Args:
            announcement: from `protocol.route.verify_announcement`, with the operating
                key of a neighbor that we have an agreement with.
            now: seconds since 1970.

        Raises:
            ConflictingRoot: the city is or was known by another root key: by agreement,
                by an introduction, or because it is our own. Who introduces a city
                first is believed; nobody can change it later but an operator
                (`unpin`) or an agreement with the city itself.
            TooLarge: a neighbor makes up cities without end.
        """
        keys = announcement.body.keys
        self.hold(keys, now)
        if keys.city == self.city:
            return
        self._introduced = {
            city: told for city, told in self._introduced.items() if told[1] > now
        }
        self._token_keys = {
            city: key
            for city, key in self._token_keys.items()
            if city in self._introduced
        }
        new = keys.city not in self.pins
        if new and len(self.pins) >= 4 * MAX_CITIES:
            raise TooLarge("more cities were announced than there can be")
        if keys.city not in self._introduced and len(self._introduced) >= MAX_CITIES:
            raise TooLarge("more cities are announced than fit in a trust bundle")
        self._introduced[keys.city] = keys, announcement.body.exp
        self._token_keys[keys.city] = origin_word(announcement).tokens
        self.pins[keys.city] = keys.root_key()
        self._follow(keys, now)

    def hold(self, keys: CityKeys, now: int) -> None:
        """Hold a city's keys to the root that we know of it.

        Raises:
            ConflictingRoot: it is or was known by another root key.
        """
        known = self._known_root(keys.city, now) or self.pins.get(keys.city)
        root = _loaded(keys.root)
        if known is not None:
            self.chains.take_line(keys.city, known, keys.successions)
        known = known or root
        if not self.chains.accepts(keys.city, known, root, now):
            raise ConflictingRoot(f"{keys.city} is known by another root key")
        if self.chains.newest(keys.city) is not None or _says_more(keys.operating):
            self.chains.verify(keys.operating, keys.city, known, now)

    def take_revocations(self, keys: CityKeys, now: int) -> bool:
        """Take a city's newest word on which keys are worth nothing; True if new.

        Only a newer word replaces one: an older list would revive a stolen key.

        Args:
            keys: of the city, believed otherwise.
            now: seconds since 1970.

        Raises:
            ProtocolViolation: the list is not the city's.
        """
        before = self._revocations.get(keys.city)
        if keys.revoked is None or (before and before.token == keys.revoked):
            return False
        certificate = self.certificate(keys.operating, keys.city, now)
        told = verify_revocations(
            keys.revoked,
            keys.city,
            certificate.body.verifying_key(),
            now,
            self.skew_s,
        )
        if before is not None and told.body.iat < before.body.iat:
            return False
        self._revocations[keys.city] = told
        lists = (one.body.keys for one in self._revocations.values())
        revoked = frozenset(kid for kids in lists for kid in kids)
        new, self.revoked = revoked != self.revoked, revoked
        return new

    def unpin(self, city: CityId) -> bool:
        """Forget which root key a far city had; True if there was one.

        For operators who have learned, over another channel, that the city has a new
        root key, or that a neighbor had introduced a wrong one.
        """
        self._introduced.pop(city, None)
        self._token_keys.pop(city, None)
        self.chains.forget(city)
        return self.pins.pop(city, None) is not None

    def set_own_keys(
        self, keys: CityKeys, tokens: PublicSealingKey | None = None
    ) -> None:
        """Set a broker's word on its own city; members take it from the bundle.

        Args:
            keys: our city's keys.
            tokens: what location tokens for our city are sealed to, if not to the
                broker's own key.

        Raises:
            ConflictingRoot: another city, or another root than the pinned one.
        """
        if keys.city != self.city or not self.is_own_root(keys.root_key()):
            raise ConflictingRoot("these are not our own city's keys")
        self._own_keys, self._own_tokens = keys, tokens

    def set_removed(self, nodes: Iterable[NodeId]) -> None:
        """Set which nodes our city removed (broker side: `Authority.removed`)."""
        self._removed = frozenset(nodes)

    def is_removed(self, node: NodeId) -> bool:
        """Tell whether our city has removed the node."""
        return node in self._removed

    def names(self, now: int) -> tuple[CityId, ...]:
        """Return all cities with a known root key, our own included, sorted."""
        told = {self.city, *self.agreements, *self._introduced, *self._bundled}
        return tuple(sorted(n for n in told if self._known_root(n, now) is not None))

    def root_of(self, city: CityId, now: int) -> VerifyingKey:
        """Return a city's root key.

        Raises:
            UnknownKey: nobody we believe has told us one.
        """
        root = self._known_root(city, now)
        if root is None:
            raise UnknownKey(f"nothing vouches for the city {city} here")
        return root

    def city_keys(self, city: CityId, now: int) -> CityKeys:
        """Return a city's keys as documents: for bundles, announcements, sealing.

        Raises:
            UnknownKey: not known, or known by agreement only so far.
        """
        keys = self._told_keys(city, now)
        if keys is None or not self.chains.accepts(
            city, self.root_of(city, now), _loaded(keys.root), now
        ):
            raise UnknownKey(f"the keys of {city} have not arrived here yet")
        return keys

    def token_key(self, city: CityId, now: int) -> PublicSealingKey | None:
        """Return what location tokens for a city are sealed to; None: broker's key."""
        if city == self.city and self._own_keys is not None:
            return self._own_tokens
        keys, ends = self._introduced.get(city, (None, 0))
        if keys is not None and ends > now:
            return self._token_keys.get(city)
        if self.bundle is not None and self.bundle.body.exp > now:
            return self.bundle.body.tokens.get(city)
        return None

    def _known_root(self, city: CityId, now: int) -> VerifyingKey | None:
        if city == self.city:
            return self.root
        agreement = self.agreements.get(city)
        if agreement is not None and agreement.in_force(now):
            agreed = _loaded(agreement.body.other(self.city).root)
            return self.chains.follow(city, agreed)
        keys = self._told_keys(city, now)
        return None if keys is None else self.chains.follow(city, _loaded(keys.root))

    def _told_keys(self, city: CityId, now: int) -> CityKeys | None:
        if city == self.city and self._own_keys is not None:
            return self._own_keys
        keys, ends = self._introduced.get(city, (None, 0))
        if keys is not None and ends > now:
            return keys
        if self.bundle is not None and self.bundle.body.exp > now:
            return self._bundled.get(city)
        return None


def _says_more(operating: str) -> bool:
    """Tell whether a certificate is of a city that has replaced its operating key."""
    received = Received.parse(operating, OPERATING)
    return received.peek(OperatingCertificate).sequence is not None


def _age(bundle: Bundle) -> tuple[int, int]:
    return bundle.iat, bundle.sequence


def _loaded(jwk: dict[str, str]) -> VerifyingKey:
    return _load(tuple(sorted(jwk.items())))


@lru_cache(maxsize=MAX_CITIES)
def _load(members: tuple[tuple[str, str], ...]) -> VerifyingKey:
    # Judging a point costs as much as verifying a signature; roots are asked for at
    # every exchange.
    return VerifyingKey.from_jwk(dict(members))
