# SPDX-License-Identifier: Apache-2.0
"""Routes between cities: which neighbor leads where (path vector, pure).

A broker keeps, per neighbor and destination, the newest verified announcement. The best
route is the shortest path, then the neighbor's name, so that all processes of a city
choose alike. What a neighbor may learn from us follows the agreements: a route is
passed on only if its receiver may use us for transit; the neighbor that we learned it
from has decided the same for us by announcing it.

A neighbor that changes its mind tells a new path, whose origin may have spoken earlier
than the last one's. So among words about different paths the neighbor's own time
decides which is newer, and the origin's sequence only among words about one path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocol.ids import CityId
from protocol.route import MAX_PATH, Announcement
from protocol.signature import Signed


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


class RouteTable:
    """All routes that neighbors have announced to us."""

    def __init__(self, city: CityId, *, most: int = 1024) -> None:
        """Start empty.

        Args:
            city: ours.
            most: destinations that one neighbor may announce; further ones are ignored.
        """
        self._city = city
        self._most = most
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
        return sorted(known, key=lambda r: (len(r.path), r.neighbor))

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


def _newer(body: Announcement, before: Announcement) -> bool:
    """Tell whether a neighbor's word replaces its earlier one about the same origin."""
    if body.path != before.path:
        # Links keep the order, and both may fall into one second.
        return body.iat >= before.iat
    return (body.sequence, body.iat) > (before.sequence, before.iat)
