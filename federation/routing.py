# SPDX-License-Identifier: Apache-2.0
"""Routes between cities: which neighbor leads where (path vector, pure).

A broker keeps, per neighbor and destination, the newest verified announcement. Among
several ways the best is chosen by, in this order:

1. the operator's *policy*: neighbors to prefer, neighbors to avoid;
2. the *length* of the path;
3. the measured *latency*, in steps of a factor of two, so that a little jitter does not
   move all traffic: our own round trip to the neighbor and what it says of the rest;
4. the neighbor's name, so that all processes of a city choose alike.

What a neighbor may learn from us follows the agreements: a route is passed on only if
its receiver may use us for transit; the neighbor that we learned it from has decided
the same for us by announcing it.

A neighbor that changes its mind tells a new path, whose origin may have spoken earlier
than the last one's. So among words about different paths the neighbor's own time
decides which is newer, and the origin's sequence only among words about one path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from protocol.agreement import Terms
from protocol.ids import CityId
from protocol.route import MAX_PATH, Announcement
from protocol.signature import Signed

_UNMEASURED = 64
"""Step of a way whose latency nobody has measured: after all that are known."""


class Preference(IntEnum):
    """What the operator thinks of a neighbor; lower is taken first."""

    PREFER = 0
    NONE = 1
    AVOID = 2


class Reason(StrEnum):
    """Why a way is the one that is taken."""

    ONLY = "only-way"
    POLICY = "policy"
    LENGTH = "length"
    LATENCY = "latency"
    NAME = "name"


@dataclass(frozen=True)
class RoutePolicy:
    """What the operator prefers, and what was measured.

    Attributes:
        prefer, avoid: neighbors to take first, or only where nobody else leads there.
        rtt_ms: round trip to a neighbor; None if it was not measured yet.
    """

    prefer: Collection[CityId] = ()
    avoid: Collection[CityId] = ()
    rtt_ms: Callable[[CityId], float | None] = lambda neighbor: None

    def of(self, neighbor: CityId) -> Preference:
        """Return what the operator thinks of a neighbor."""
        if neighbor in self.avoid:
            return Preference.AVOID
        return Preference.PREFER if neighbor in self.prefer else Preference.NONE


@dataclass(frozen=True)
class Route:
    """One way to a city.

    Attributes:
        neighbor: city to hand the exchange to.
        announcement: the verified word of that neighbor.
    """

    neighbor: CityId
    announcement: Signed[Announcement]

    @property
    def path(self) -> tuple[CityId, ...]:
        """Cities from the neighbor to the destination."""
        return self.announcement.body.path

    @property
    def permits(self) -> Terms | None:
        """What we may ask on this way; None if nobody has said."""
        return self.announcement.body.permits


class RouteTable:
    """All routes that neighbors have announced to us."""

    def __init__(
        self, city: CityId, *, most: int = 1024, policy: RoutePolicy | None = None
    ) -> None:
        """Start empty.

        Args:
            city: ours.
            most: destinations that one neighbor may announce; further ones are ignored.
            policy: what the operator prefers, and what was measured.
        """
        self._city = city
        self._most = most
        self.policy = policy or RoutePolicy()
        self._routes: dict[CityId, dict[CityId, Route]] = {}

    def learn(self, neighbor: CityId, announced: Signed[Announcement]) -> bool:
        """Take over a verified announcement.

        Returns:
            True if something changed; an older word changes nothing.
        """
        body = announced.body
        if self._city in body.path or body.path[0] != neighbor:
            return False
        present = self._routes.get(body.origin, {}).get(neighbor)
        if present is None:
            if self._told_by(neighbor) >= self._most:
                return False
        elif not _newer(body, present.announcement.body):
            return False
        self._routes.setdefault(body.origin, {})[neighbor] = Route(neighbor, announced)
        return True

    def _told_by(self, neighbor: CityId) -> int:
        return sum(neighbor in known for known in self._routes.values())

    def withdraw(self, neighbor: CityId, origin: CityId) -> bool:
        """Forget that `neighbor` leads to `origin`; True if it did."""
        known = self._routes.get(origin, {})
        gone = known.pop(neighbor, None)
        if not known:
            self._routes.pop(origin, None)
        return gone is not None

    def forget(self, origin: CityId) -> None:
        """Forget every route to a city."""
        self._routes.pop(origin, None)

    def drop(self, neighbor: CityId) -> list[CityId]:
        """Forget everything of a neighbor; returns the destinations concerned."""
        return [o for o in list(self._routes) if self.withdraw(neighbor, o)]

    def expire(self, now: int) -> list[CityId]:
        """Forget announcements that have ended; returns the destinations concerned."""
        ended = [
            (route.neighbor, origin)
            for origin, known in self._routes.items()
            for route in known.values()
            if route.announcement.body.exp <= now
        ]
        return [o for neighbor, o in ended if self.withdraw(neighbor, o)]

    def ways(self, origin: CityId) -> list[Route]:
        """Return all routes to a city, the best first."""
        known = self._routes.get(origin, {}).values()
        return sorted(known, key=self._rank) if len(known) > 1 else list(known)

    def _rank(self, route: Route) -> tuple[int, int, int, str]:
        preference = self.policy.of(route.neighbor)
        step = latency_step(self.rtt_ms(route))
        return preference, len(route.path), step, route.neighbor

    def rtt_ms(self, route: Route) -> float | None:
        """Return the round trip to the end of a way; None if it was not measured."""
        near = self.policy.rtt_ms(route.neighbor)
        far = route.announcement.body.rtt_ms
        return None if near is None or far is None else near + far

    def why(self, origin: CityId) -> Reason:
        """Return why the best route to a city is the best."""
        first, *others = self.ways(origin)
        if not others:
            return Reason.ONLY
        pairs = zip(self._rank(first), self._rank(others[0]), strict=True)
        reasons = (Reason.POLICY, Reason.LENGTH, Reason.LATENCY, Reason.NAME)
        return next(
            r for r, (one, other) in zip(reasons, pairs, strict=True) if one != other
        )

    def best(self, origin: CityId) -> Route | None:
        """Return the best route to a city."""
        return next(iter(self.ways(origin)), None)

    def destinations(self) -> Iterator[CityId]:
        """Return every city that can be reached."""
        return iter(sorted(self._routes))

    def all(self) -> Iterator[Route]:
        """Return every route."""
        for known in list(self._routes.values()):
            yield from list(known.values())

    def neighbors(self) -> set[CityId]:
        """Return the neighbors that have announced anything."""
        return {route.neighbor for route in self.all()}

    def exports(
        self, neighbor: CityId, may_transit: Callable[[CityId, CityId], bool]
    ) -> list[Route]:
        """Return the routes to announce to `neighbor`.

        Args:
            neighbor: who will be told.
            may_transit: `may_transit(asking, through_next)`: whether `asking` may use
                us to reach cities behind `through_next`.
        """
        told = []
        for origin in self.destinations():
            route = self.best(origin)
            if (
                route is not None
                and neighbor not in route.path
                and len(route.path) < MAX_PATH
                and may_transit(neighbor, route.neighbor)
            ):
                told.append(route)
        return told


def latency_step(rtt_ms: float | None) -> int:
    """Return the step of a latency: up to 8 ms, 16, 32 and so on."""
    return (
        _UNMEASURED if rtt_ms is None else max(0, round(rtt_ms) - 1 >> 3).bit_length()
    )


def _newer(body: Announcement, before: Announcement) -> bool:
    """Tell whether a neighbor's word replaces its earlier one about the same origin."""
    if body.path != before.path:
        # Links keep the order, and both may fall into one second.
        return body.iat >= before.iat
    if (body.sequence, body.iat) == (before.sequence, before.iat):
        # What it permits, or how fast it is, may change within a second as well.
        return (body.permits, body.rtt_ms) != (before.permits, before.rtt_ms)
    return (body.sequence, body.iat) > (before.sequence, before.iat)
