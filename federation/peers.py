# SPDX-License-Identifier: Apache-2.0
"""Known neighbors and the live links to them.

A node may have several links to one peer (several broker processes, or both sides
dialed); any of them will do, the youngest first. Who a peer is was proven in the
handshake; here it is only looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from protocol.ids import CityId, NodeId
from protocol.membership import Membership, Role


class Carrier(Protocol):
    """What a link must offer to carry requests (see `federation.link.Link`)."""

    @property
    def up(self) -> bool:
        """Whether it can take a request now."""

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the last heartbeat; None before the first."""

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Carry one request and return its answer."""

    def notify(self, payload: bytes) -> None:
        """Send a one-way notice."""

    def end(self) -> None:
        """End the link; both sides learn it."""


@dataclass(frozen=True)
class Peer:
    """A neighbor whose credentials were verified.

    Attributes:
        node: its id.
        membership: its verified membership.
        token: that membership as it was shown.
        operating: its city's operating certificate as it was shown.
    """

    node: NodeId
    membership: Membership
    token: str
    operating: str = ""

    @property
    def city(self) -> CityId:
        """The peer's city."""
        return self.node.city

    @property
    def is_broker(self) -> bool:
        """Whether the peer may carry other nodes' exchanges."""
        return Role.BROKER in self.membership.roles


class Peers:
    """All live links, by peer."""

    def __init__(self) -> None:
        """Start without links."""
        self._links: dict[NodeId, list[tuple[Peer, Carrier]]] = {}
        # A broker has thousands of members and few neighbors.
        self._cities: dict[CityId, dict[NodeId, None]] = {}

    def add(self, peer: Peer, link: Carrier) -> None:
        """Note a new link; it is preferred from now on."""
        self._links.setdefault(peer.node, []).insert(0, (peer, link))
        if peer.is_broker:
            self._cities.setdefault(peer.city, {})[peer.node] = None

    def remove(self, peer: Peer, link: Carrier) -> bool:
        """Forget a link; returns True if it was the last one to that peer."""
        left = [pair for pair in self._links.get(peer.node, []) if pair[1] is not link]
        if left:
            self._links[peer.node] = left
        else:
            self._links.pop(peer.node, None)
            brokers = self._cities.get(peer.city, {})
            brokers.pop(peer.node, None)
            if not brokers:
                self._cities.pop(peer.city, None)
        return not left

    def find(self, node: NodeId) -> tuple[Peer, Carrier] | None:
        """Return a live link to a node."""
        for pair in self._links.get(node, ()):
            if pair[1].up:
                return pair
        return None

    def brokers_of(self, city: CityId) -> Iterator[tuple[Peer, Carrier]]:
        """Return a live link to each broker of a city that we are linked with."""
        for node in list(self._cities.get(city, ())):
            pair = self.find(node)
            if pair is not None and pair[0].is_broker:
                yield pair

    def broker_of(self, city: CityId) -> tuple[Peer, Carrier] | None:
        """Return a live link to any broker of a city."""
        return next(self.brokers_of(city), None)

    def rtt_ms(self, city: CityId) -> float | None:
        """Return the shortest round trip to a broker of a city that was measured."""
        measured = (link.rtt_ms for _, link in self.brokers_of(city))
        return min((rtt for rtt in measured if rtt is not None), default=None)

    def nodes(self) -> tuple[NodeId, ...]:
        """Return who is linked with us now."""
        return tuple(node for node in list(self._links) if self.find(node))

    def all(self) -> Iterator[tuple[Peer, Carrier]]:
        """Return every live link."""
        for pairs in list(self._links.values()):
            for pair in list(pairs):
                if pair[1].up:
                    yield pair
