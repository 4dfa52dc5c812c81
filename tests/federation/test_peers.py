# SPDX-License-Identifier: Apache-2.0
"""Known neighbors: any live link will do, the youngest first."""

from __future__ import annotations

import pytest

from federation.peers import Peer, Peers
from protocol.ids import CityId
from protocol.membership import Role
from tests.federation.wire import Wire
from tests.federation.world import City, Node, World


@pytest.fixture
def hoshino(world: World) -> City:
    """Return a city."""
    return world.city("hoshino")


def linked(peers: Peers, node: Node) -> tuple[Peer, Wire]:
    """Note a new link to a node."""
    peer, wire = node.peer, Wire(node, node)
    peers.add(peer, wire)
    return peer, wire


def test_youngest_live_link_is_used(hoshino: City) -> None:
    """After a reconnect the old link may still look alive."""
    peers, node = Peers(), hoshino.admit("hall")
    old, new = linked(peers, node), linked(peers, node)
    assert peers.find(node.node) == new
    new[1].up = False
    assert peers.find(node.node) == old
    old[1].up = False
    assert peers.find(node.node) is None
    assert list(peers.all()) == []


def test_last_link_is_told_apart(hoshino: City) -> None:
    """Only its loss means that the neighbor is gone."""
    peers, node = Peers(), hoshino.admit("hall")
    old, new = linked(peers, node), linked(peers, node)
    assert not peers.remove(*old)
    assert peers.find(node.node) == new
    assert peers.remove(*new)
    assert peers.find(node.node) is None
    assert peers.remove(*new)


def test_broker_of_a_city_is_a_broker(hoshino: City) -> None:
    """A member's link does not carry for its city."""
    peers = Peers()
    linked(peers, hoshino.admit("hall"))
    assert peers.broker_of(hoshino.id) is None
    first = linked(peers, hoshino.broker)
    second = linked(peers, hoshino.admit("second", roles=(Role.BROKER,)))
    assert peers.broker_of(hoshino.id) == first
    first[1].up = False
    assert peers.broker_of(hoshino.id) == second
    demoted = Peer(second[0].node, hoshino.certify("second").body, "")
    peers.add(demoted, Wire(hoshino.broker, hoshino.broker))
    assert peers.broker_of(hoshino.id) is None
    peers.remove(*second)
    assert peers.broker_of(hoshino.id) is None
    assert peers.broker_of(CityId("minato")) is None
