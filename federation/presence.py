# SPDX-License-Identifier: Apache-2.0
"""Who is linked with which broker of our own city.

Every broker tells its siblings (the other brokers of its city) which nodes are linked
with it: members, and brokers of neighbor cities. So a request that enters at one broker
reaches a node that is linked with another one, by one more hop inside the city.

What a sibling told belongs to the link that it was told on: a link keeps its order,
begins with the whole list, and takes all of it along when it ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from federation.peers import Carrier, Peer
from protocol.errors import TooLarge
from protocol.ids import CityId, NodeId

MAX_NODES = 20_000
"""Nodes that one sibling may name: twice the links that a broker takes."""


@dataclass
class _Told:
    """What one sibling told on one link."""

    peer: Peer
    nodes: set[NodeId] = field(default_factory=set)
    cities: Counter[CityId] = field(default_factory=Counter)

    def add(self, node: NodeId) -> None:
        if node not in self.nodes:
            self.nodes.add(node)
            self.cities[node.city] += 1

    def remove(self, node: NodeId) -> None:
        if node in self.nodes:
            self.nodes.discard(node)
            self.cities[node.city] -= 1


class Presence:
    """What all siblings have told, by link."""

    def __init__(self) -> None:
        """Nobody has told anything."""
        self._told: dict[Carrier, _Told] = {}

    def hear(
        self,
        peer: Peer,
        link: Carrier,
        *,
        up: Iterable[NodeId],
        down: Iterable[NodeId] = (),
        whole: bool = False,
    ) -> None:
        """Take a sibling's word.

        Args:
            peer: the sibling.
            link: on which it was told.
            up: nodes that are linked with it now.
            down: nodes that no longer are.
            whole: forget what was told on this link before.

        Raises:
            TooLarge: it names more nodes than a broker can have.
        """
        told = self._told.get(link)
        if told is None or whole:
            told = self._told[link] = _Told(peer)
        for node in down:
            told.remove(node)
        for node in up:
            told.add(node)
        if len(told.nodes) > MAX_NODES:
            del self._told[link]
            raise TooLarge("a broker names more nodes than it can have links")

    def forget(self, link: Carrier) -> None:
        """A link has ended: what was told on it is no longer known."""
        self._told.pop(link, None)

    def beside(self, node: NodeId) -> Iterator[tuple[Peer, Carrier]]:
        """Return the siblings that are linked with a node."""
        for link, told in self._told.items():
            if link.up and node in told.nodes:
                yield told.peer, link

    def toward(self, city: CityId) -> Iterator[tuple[Peer, Carrier]]:
        """Return the siblings that are linked with a broker of another city."""
        for link, told in self._told.items():
            if link.up and told.cities[city] > 0:
                yield told.peer, link

    def by_sibling(self) -> dict[NodeId, frozenset[NodeId]]:
        """Return who is linked with each sibling, for operators."""
        found: dict[NodeId, frozenset[NodeId]] = {}
        for link, told in self._told.items():
            if link.up:
                known = found.get(told.peer.node, frozenset())
                found[told.peer.node] = known | told.nodes
        return found
