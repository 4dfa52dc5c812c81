# SPDX-License-Identifier: Apache-2.0
"""Who is linked with which sibling: bound to the link on which it was told."""

from __future__ import annotations

import pytest

from federation.presence import MAX_NODES, Presence
from protocol.errors import TooLarge
from protocol.ids import CityId, NodeId
from tests.federation.wire import Wire
from tests.federation.world import World

CLINIC, HALL = NodeId("hoshino/clinic"), NodeId("hoshino/hall")
NEIGHBOR = NodeId("minato/broker")


class Told:
    """A broker that hears a sibling on two links."""

    def __init__(self) -> None:
        """Link them."""
        city = World().city("hoshino")
        self.peer = city.broker.peer
        self.presence = Presence()
        self.one, self.other = (Wire(city.broker, city.broker) for _ in range(2))

    def beside(self, node: NodeId) -> int:
        """Return over how many links a node can be reached."""
        return len(list(self.presence.beside(node)))


@pytest.fixture
def told() -> Told:
    """Return an empty presence with two links to speak on."""
    return Told()


def test_changes_follow_the_whole_list(told: Told) -> None:
    """Up and down count from what was told first."""
    told.presence.hear(told.peer, told.one, up=(CLINIC,), whole=True)
    told.presence.hear(told.peer, told.one, up=(HALL,), down=(CLINIC,))
    assert (told.beside(CLINIC), told.beside(HALL)) == (0, 1)


def test_whole_list_takes_the_place_of_what_was_told_before(told: Told) -> None:
    """Nothing old stays."""
    told.presence.hear(told.peer, told.one, up=(CLINIC, HALL), whole=True)
    told.presence.hear(told.peer, told.one, up=(HALL,), whole=True)
    assert (told.beside(CLINIC), told.beside(HALL)) == (0, 1)


def test_word_goes_with_its_link(told: Told) -> None:
    """What was told on the other link stays."""
    told.presence.hear(told.peer, told.one, up=(CLINIC,), whole=True)
    told.presence.hear(told.peer, told.other, up=(CLINIC,), whole=True)
    told.presence.forget(told.one)
    assert told.beside(CLINIC) == 1
    told.other.up = False
    assert told.beside(CLINIC) == 0
    assert told.presence.by_sibling() == {}


def test_cities_are_those_of_the_nodes_told(told: Told) -> None:
    """Only brokers link across cities, so a foreign node is a way there."""
    minato = CityId("minato")
    told.presence.hear(told.peer, told.one, up=(NEIGHBOR, NEIGHBOR), whole=True)
    assert next(told.presence.toward(minato))[1] is told.one
    told.presence.hear(told.peer, told.one, up=(), down=(NEIGHBOR, NEIGHBOR))
    assert list(told.presence.toward(minato)) == []


def test_sibling_cannot_fill_the_memory(told: Told) -> None:
    """Beyond the bound nothing of it is believed."""
    names = [NodeId(f"hoshino/n{number}") for number in range(MAX_NODES + 1)]
    told.presence.hear(told.peer, told.one, up=names[:-1], whole=True)
    with pytest.raises(TooLarge):
        told.presence.hear(told.peer, told.one, up=names[-1:])
    assert told.beside(names[0]) == 0
