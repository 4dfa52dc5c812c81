# SPDX-License-Identifier: Apache-2.0
"""What a city tells its neighbors: routes and their withdrawal.

Only the authority of a city can sign what it announces. It tells its neighbors itself
and gives the same notices to the relays of its city (`federation.notice`), which tell
them on their own links, also while the authority is away: hence the long life.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from federation.notice import Notice
from federation.relay import Agreed
from federation.routing import Route, RouteTable, latency_step
from protocol.agreement import Terms, narrowed
from protocol.canonical import b64url
from protocol.ids import CityId
from protocol.route import ROUTE, Announcement, CityKeys
from protocol.sealed import PublicSealingKey
from protocol.signature import MAX_TOKEN_BYTES, Signed, digest_of, sign
from protocol.suites import Signer

MAX_PERMITS_BYTES = 4096
"""Longer terms are not announced; the brokers on the way hold to them all the same."""
RENEWALS = 24
"""Times in its life that an announcement is signed anew: hourly, if it lives a day."""


@dataclass(frozen=True)
class _Told:
    """What was told of one city: by which word, until when it serves, and how."""

    name: str
    renew_at: int
    notice: bytes


class Announcer:
    """Signs what our city announces, and remembers who was told what."""

    def __init__(
        self,
        *,
        city: CityId,
        operating: Signer,
        keys: Callable[[], CityKeys],
        routes: RouteTable,
        agreed: Agreed,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        life_s: int = 86_400,
        brokers: Callable[[], tuple[str, ...]] = tuple,
        tokens: PublicSealingKey | None = None,
    ) -> None:
        """Take the parts.

        Args:
            city: ours.
            operating: the city's operating key.
            keys: our own keys as others must know them, now.
            routes: what neighbors announced.
            agreed: the agreement in force with a city.
            now_ms: clock.
            entropy: chance.
            life_s: how long an announcement is valid: so long do our relays do without
                us. A route that is gone is withdrawn at once, whatever its life.
            brokers: where the brokers of our city listen, now.
            tokens: what location tokens for our city are sealed to.
        """
        self._city = city
        self._operating = operating
        self._keys = keys
        self._routes = routes
        self._agreed = agreed
        self._now_ms = now_ms
        self._entropy = entropy
        self._life_s = life_s
        self._brokers = brokers
        self._tokens = tokens
        self._told: dict[CityId, dict[CityId, _Told]] = {}

    def for_neighbor(self, neighbor: CityId) -> list[bytes]:
        """Return the notices that bring a neighbor up to date; usually none or few."""
        now = self._now_ms() // 1000
        told = self._told.setdefault(neighbor, {})
        notices: list[bytes] = []
        wanted: dict[CityId, Route | None] = {}
        if self._agreed(neighbor) is not None:
            wanted[self._city] = None
            exported = self._routes.exports(neighbor, self._may_transit)
            wanted.update({r.announcement.body.origin: r for r in exported})
        gone = [o for o in told if o not in wanted]
        for origin, route in wanted.items():
            name = self._name(neighbor, route)
            known = told.get(origin)
            if known is not None and known.name == name and now < known.renew_at:
                continue
            signed = self._announce(neighbor, route, now)
            if signed is not None and len(signed.token) <= MAX_TOKEN_BYTES:
                notice = Notice(
                    kind="route", token=signed.token, operating=self._keys().operating
                ).encode()
                renew_at = now + self._life_s // RENEWALS
                told[origin] = _Told(name, renew_at, notice)
                notices.append(notice)
            elif known is not None:
                # What was told before no longer holds, and this cannot be told.
                gone.append(origin)
        for origin in gone:
            del told[origin]
            notices.append(Notice(kind="withdraw", origin=origin).encode())
        return notices

    def current(self, neighbor: CityId) -> list[bytes]:
        """Return all notices that hold for a neighbor now, for a link that is new."""
        return [told.notice for told in self._told.get(neighbor, {}).values()]

    def forget(self, neighbor: CityId) -> None:
        """Start over with a neighbor, after its link was lost."""
        self._told.pop(neighbor, None)

    def _name(self, neighbor: CityId, route: Route | None) -> str:
        """Return what an announcement depends on; another name needs another word."""
        agreement = self._agreed(neighbor)
        terms = "" if agreement is None else digest_of(agreement.encode())
        if route is not None:
            step = latency_step(self._routes.rtt_ms(route))
            return f"{route.announcement.digest}{terms}{step}"
        return f"{digest_of(self._keys().encode())}{self._brokers()}{terms}"

    def _permits(self, neighbor: CityId, route: Route | None) -> Terms | None:
        """Return what a neighbor may ask on a way through us; None if it is too long.

        What the next city lets us ask is in its word already.
        """
        agreement = self._agreed(neighbor)
        if agreement is None:
            return None
        terms = agreement.terms(neighbor)
        if route is not None:
            if route.permits is None:
                return None
            # The next city's broker is one more than ours.
            limit = max(1, route.permits.hop_limit - 1)
            onward = route.permits.model_copy(update={"hop_limit": limit})
            terms = narrowed(terms, onward)
        return terms if len(terms.encode()) <= MAX_PERMITS_BYTES else None

    def _rtt_ms(self, route: Route | None) -> int | None:
        """Return the round trip to the end of a way, upwards; none to ourselves."""
        measured = 0.0 if route is None else self._routes.rtt_ms(route)
        return None if measured is None else min(86_400_000, ceil(measured))

    def _may_transit(self, asking: CityId, through_next: CityId) -> bool:
        theirs, ours = self._agreed(asking), self._agreed(through_next)
        return theirs is not None and ours is not None and theirs.terms(asking).transit

    def _announce(
        self, neighbor: CityId, route: Route | None, now: int
    ) -> Signed[Announcement] | None:
        inner: str | None = None
        next_city: CityKeys | None = None
        path: tuple[CityId, ...] = (self._city,)
        if route is None:
            origin, keys = self._city, self._keys()
            sequence = self._now_ms()
        else:
            body = route.announcement.body
            direct = self._direct(route.neighbor)
            if direct is None:
                return None
            origin, keys = body.origin, body.keys
            path = (self._city, *body.path)
            sequence, inner = body.sequence, route.announcement.token
            next_city = direct
        return sign(
            self._operating,
            ROUTE,
            Announcement(
                iss=self._city,
                aud=neighbor,
                jti=b64url(self._entropy(12)),
                iat=now,
                exp=now + self._life_s,
                origin=origin,
                path=path,
                sequence=sequence,
                keys=keys,
                inner=inner,
                next_city=next_city,
                brokers=self._brokers() if route is None else (),
                tokens=self._tokens if route is None else None,
                permits=self._permits(neighbor, route),
                rtt_ms=self._rtt_ms(route),
            ),
        )

    def _direct(self, neighbor: CityId) -> CityKeys | None:
        """Return a neighbor's own keys, as it announced them to us itself."""
        for way in self._routes.ways(neighbor):
            if way.neighbor == neighbor:
                return way.announcement.body.keys
        return None
