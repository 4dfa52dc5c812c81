# SPDX-License-Identifier: Apache-2.0
"""Several brokers of one city: one more hop inside it, counted, and never two."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.exchange import Answer, Refused
from protocol.membership import Role
from protocol.route import origin_word
from tests.federation.forged import code_of
from tests.federation.wire import Wire
from tests.federation.world import EVERYTHING, BrokerNode, City, Node, World


def further(city: City, label: str = "broker-2") -> BrokerNode:
    """Return one more broker of a city, linked with the first; each knows of both."""
    made = BrokerNode(city, label, city.certify(label, roles=(Role.BROKER,)))
    for one, other in ((made, city.broker), (city.broker, made)):
        one.peers.add(other.peer, Wire(one, other))
    return made


def link(node: Node, broker: BrokerNode) -> None:
    """Let a node hang on that broker alone."""
    node.home = Wire(node, broker)
    broker.peers.add(node.peer, Wire(broker, node))


def tell_presence(teller: BrokerNode, listener: BrokerNode) -> None:
    """Let a broker tell another one who is linked with it."""
    listener.presence.hear(
        teller.peer, listener.wire(teller), up=teller.peers.nodes(), whole=True
    )


def alone(city: City, label: str, broker: BrokerNode) -> Node:
    """Admit a member that hangs on one broker alone."""
    node = Node(city, label, city.certify(label))
    link(node, broker)
    return node


def chain(outcome: Answer | Refused) -> list[str]:
    """Return the labels of the brokers that carried it."""
    return [hop.by.label for hop in outcome.hops]


@pytest.fixture
def hoshino(world: World) -> City:
    """Return a city."""
    return world.city("hoshino")


async def test_member_of_the_other_broker_is_reached_by_one_hop_more(
    hoshino: City,
) -> None:
    """Both brokers stand in the chain."""
    second = further(hoshino)
    hall, clinic = alone(hoshino, "hall", second), hoshino.admit("clinic")
    tell_presence(hoshino.broker, second)
    outcome = await hall.ping(clinic)
    assert isinstance(outcome, Answer)
    assert chain(outcome) == ["broker-2", "broker"]


async def test_member_that_nobody_names_is_unreachable(hoshino: City) -> None:
    """A broker does not try its siblings by chance."""
    second = further(hoshino)
    hall, clinic = alone(hoshino, "hall", second), hoshino.admit("clinic")
    assert code_of(await hall.ping(clinic)) == "peer-unreachable"


async def test_what_came_from_a_sibling_is_not_passed_to_a_third(hoshino: City) -> None:
    """Else brokers with old news would pass it round."""
    second, third = further(hoshino), further(hoshino, "broker-3")
    hall, clinic = alone(hoshino, "hall", second), alone(hoshino, "clinic", third)
    tell_presence(third, hoshino.broker)
    # The second is told, wrongly, that the first has the clinic.
    second.presence.hear(
        hoshino.broker.peer, second.wire(hoshino.broker), up=(clinic.node,)
    )
    assert code_of(await hall.ping(clinic)) == "peer-unreachable"
    assert hoshino.broker.wire(third).carried == 0


async def test_hop_inside_the_city_counts_for_the_hop_budget(hoshino: City) -> None:
    """Two brokers are two hops."""
    second = further(hoshino)
    hall, clinic = alone(hoshino, "hall", second), hoshino.admit("clinic")
    tell_presence(hoshino.broker, second)
    hall.endpoint.limits = replace(hall.endpoint.limits, hops=1)
    assert code_of(await hall.ping(clinic)) == "hop-budget-exhausted"
    hall.endpoint.limits = replace(hall.endpoint.limits, hops=2)
    assert isinstance(await hall.ping(clinic), Answer)


async def test_hop_inside_the_city_counts_for_the_agreement(world: World) -> None:
    """The city that it came from has agreed to so many brokers and no more."""
    hoshino, minato = world.chain("hoshino", "minato")
    second = further(minato)
    hall, clinic = hoshino.admit("hall"), alone(minato, "clinic", second)
    tell_presence(second, minato.broker)
    assert isinstance(await hall.ping(clinic), Answer)
    two = EVERYTHING.model_copy(update={"hop_limit": 2})
    world.agree(hoshino, minato, a_to_b=two)
    assert code_of(await hall.ping(clinic)) == "hop-budget-exhausted"


async def test_way_out_of_the_city_is_found_over_the_sibling(world: World) -> None:
    """Only the first broker is linked with the neighbor."""
    hoshino, minato = world.chain("hoshino", "minato")
    second = further(hoshino)
    hall, clinic = alone(hoshino, "hall", second), minato.admit("clinic")
    (way,) = hoshino.broker.routes.ways(minato.id)
    assert second.routes.learn(minato.id, way.announcement)
    assert code_of(await hall.ping(clinic)) == "peer-unreachable"
    tell_presence(hoshino.broker, second)
    outcome = await hall.ping(clinic)
    assert [hop.by for hop in outcome.hops] == [
        "hoshino/broker-2",
        "hoshino/broker",
        "minato/broker",
    ]


async def test_sibling_is_addressed_as_a_broker(hoshino: City) -> None:
    """It carries what is for itself, and stands in the chain."""
    second = further(hoshino)
    hall = alone(hoshino, "hall", second)
    outcome = await hall.ping(hoshino.broker.named())
    assert isinstance(outcome, Answer)
    assert chain(outcome) == ["broker-2", "broker"]


async def test_lost_sibling_is_told_at_once(hoshino: City) -> None:
    """What it said went with its link."""
    second = further(hoshino)
    hall, clinic = alone(hoshino, "hall", second), hoshino.admit("clinic")
    tell_presence(hoshino.broker, second)
    second.wire(hoshino.broker).up = False
    assert code_of(await hall.ping(clinic)) == "peer-unreachable"


def test_city_between_cannot_change_what_a_city_says_of_itself(world: World) -> None:
    """Token key and brokers stand in the word that the origin has signed."""
    hoshino, minato, yamanami = world.chain("hoshino", "minato", "yamanami")
    (far,) = hoshino.broker.routes.ways(yamanami.id)
    assert far.announcement.body.tokens is None
    assert far.announcement.body.brokers == ()
    told = origin_word(far.announcement)
    assert told.tokens == yamanami.tokens.public.document
    assert told.brokers == ("yamanami/broker@wss://yamanami/broker",)
    (near,) = hoshino.broker.routes.ways(minato.id)
    assert near.announcement.body.tokens == minato.tokens.public.document
