# SPDX-License-Identifier: Apache-2.0
"""What a broker tells its neighbors: routes and their withdrawal.

Notices are one-way messages on a link: `{"kind": "route", "token": …}`,
`{"kind": "withdraw", "origin": …}` between brokers, `{"kind": "trust", "token": …}`
from a broker to its members. Each token is signed and judged by itself; a withdrawal
counts only for what that same neighbor had announced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from federation.relay import Agreed
from federation.routing import Route, RouteTable
from protocol.canonical import b64url
from protocol.ids import CityId
from protocol.model import Document
from protocol.route import MAX_BUNDLE_BYTES, ROUTE, Announcement, CityKeys
from protocol.signature import MAX_TOKEN_BYTES, Signed, sign
from protocol.suites import Signer

MAX_NOTICE_BYTES = MAX_BUNDLE_BYTES + 1024


class Notice(Document):
    """One notice on a link."""

    kind: Literal["route", "withdraw", "trust"]
    token: Annotated[str, Field(max_length=MAX_BUNDLE_BYTES)] | None = None
    origin: CityId | None = None


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
        life_s: int = 600,
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
            life_s: how long an announcement is valid.
        """
        self._city = city
        self._operating = operating
        self._keys = keys
        self._routes = routes
        self._agreed = agreed
        self._now_ms = now_ms
        self._entropy = entropy
        self._life_s = life_s
        self._told: dict[CityId, dict[CityId, tuple[str, int]]] = {}

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
            name = "" if route is None else route.announcement.digest
            known = told.get(origin)
            if known is not None and known[0] == name and now < known[1]:
                continue
            signed = self._announce(neighbor, route, now)
            if signed is not None and len(signed.token) <= MAX_TOKEN_BYTES:
                told[origin] = (name, now + self._life_s // 3)
                notices.append(Notice(kind="route", token=signed.token).encode())
            elif known is not None:
                # What was told before no longer holds, and this cannot be told.
                gone.append(origin)
        for origin in gone:
            del told[origin]
            notices.append(Notice(kind="withdraw", origin=origin).encode())
        return notices

    def forget(self, neighbor: CityId) -> None:
        """Start over with a neighbor, after its link was lost."""
        self._told.pop(neighbor, None)

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
            ),
        )

    def _direct(self, neighbor: CityId) -> CityKeys | None:
        """Return a neighbor's own keys, as it announced them to us itself."""
        for way in self._routes.ways(neighbor):
            if way.neighbor == neighbor:
                return way.announcement.body.keys
        return None
