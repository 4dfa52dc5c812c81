# SPDX-License-Identifier: Apache-2.0
"""A member's way out: the next broker when one is lost or cannot go on."""

from __future__ import annotations

import pytest

from federation.exchange import Answer
from federation.outcome import DeadlinePassed, LinkLost
from federation.peers import Peers
from federation.way_out import WayOut
from protocol.envelope import Kind
from protocol.membership import Role
from protocol.request import Ping
from tests.federation.forged import code_of, sealed
from tests.federation.wire import Wire
from tests.federation.world import BrokerNode, City, Node, World


async def refusal_by(city: City) -> bytes:
    """Return what a city's broker says when it does not find a node."""
    asker = city.admit("asker")
    stranger = Node(city, "stranger", city.certify("stranger"))
    envelope = sealed(asker, stranger.target(consent=""), Ping(), kind=Kind.MANAGE)
    return await city.broker.serve(asker.peer, envelope.pack())


class Out:
    """A hall that is linked with two brokers, and a clinic on both as well."""

    def __init__(self) -> None:
        """Link everybody with everybody but the brokers with each other."""
        self.world = World()
        self.city = self.world.city("hoshino")
        certified = self.city.certify("broker-2", roles=(Role.BROKER,))
        brokers = (self.city.broker, BrokerNode(self.city, "broker-2", certified))
        self.hall = Node(self.city, "hall", self.city.certify("hall"))
        self.clinic = Node(self.city, "clinic", self.city.certify("clinic"))
        self.peers = Peers()
        self.counted: list[str] = []
        for broker in brokers:
            broker.peers.add(self.clinic.peer, Wire(broker, self.clinic))
            self.peers.add(broker.peer, Wire(self.hall, broker))
        self.way = WayOut(
            self.hall.node, self.peers, lambda what, code: self.counted.append(code)
        )
        self.hall.endpoint.send = self.way.send
        self.sent: list[bytes] = []
        self.first, self.next = self._in_order()

    def _in_order(self) -> tuple[Wire, Wire]:
        found = self.way._next(set())
        assert found is not None
        other = self.way._next({found[0].node})
        assert other is not None
        assert isinstance(found[1], Wire) and isinstance(other[1], Wire)
        return found[1], other[1]

    def noted(self, data: bytes) -> bytes:
        """Keep what was sent."""
        self.sent.append(data)
        return data

    def noted_and_lost(self, data: bytes) -> bytes:
        """Keep what was sent, and lose the link."""
        self.sent.append(data)
        self.first.up = False
        raise LinkLost("closed")


@pytest.fixture
def out() -> Out:
    """Return a hall with two ways out."""
    return Out()


async def test_one_broker_is_used_as_long_as_it_is_there(out: Out) -> None:
    """The same for everything that this node sends."""
    for _ in range(3):
        assert isinstance(await out.hall.ping(out.clinic), Answer)
    assert (out.first.carried, out.next.carried, out.counted) == (3, 0, [])


async def test_same_bytes_go_over_the_next_broker_when_a_link_is_lost(out: Out) -> None:
    """Under the same exchange id: whoever has it already does nothing twice."""
    out.first.on_request, out.next.on_request = out.noted_and_lost, out.noted
    assert isinstance(await out.hall.ping(out.clinic), Answer)
    assert len(out.sent) == 2
    assert out.sent[0] == out.sent[1]
    assert out.counted == ["next-broker"]


async def test_answer_that_was_lost_with_its_link_is_fetched_again(out: Out) -> None:
    """The clinic has answered; over the next broker it gives the same answer."""
    out.first.on_answer = out.noted_and_lost
    assert isinstance(await out.hall.ping(out.clinic), Answer)
    assert len(out.clinic.received) == 2


async def test_broker_that_cannot_go_on_is_passed_by(out: Out) -> None:
    """It has no link with the clinic, and no sibling that has."""
    broker = out.first.target
    assert isinstance(broker, BrokerNode)
    broker.peers.remove(out.clinic.peer, broker.wire(out.clinic))
    assert isinstance(await out.hall.ping(out.clinic), Answer)


async def test_refusal_of_the_exchange_itself_is_final(out: Out) -> None:
    """A second broker would say the same, and be asked in vain."""
    target = out.clinic.target(consent="")
    out.world.clock.move(600_000)  # the token has ended
    assert code_of(await out.hall.ask(target, Ping())) == "token-invalid"
    assert out.next.carried == 0


async def test_refusal_of_another_city_is_final(out: Out) -> None:
    """Our brokers have done their part."""
    minato = out.world.city("minato")
    assert not out.way._cannot_go_on(await refusal_by(minato))
    assert out.way._cannot_go_on(await refusal_by(out.city))


async def test_refusal_is_told_when_no_broker_can_go_on(out: Out) -> None:
    """The first one's word, signed."""
    stranger = Node(out.city, "stranger", out.city.certify("stranger"))
    assert code_of(await out.hall.ping(stranger)) == "peer-unreachable"
    assert (out.first.carried, out.next.carried) == (1, 1)


async def test_without_any_broker_it_ends_at_once(out: Out) -> None:
    """Nothing waits for a link."""
    out.first.up = out.next.up = False
    with pytest.raises(LinkLost):
        await out.way.send(b"anything", out.world.clock.now_ms() + 1000)


async def test_deadline_is_not_passed_on(out: Out) -> None:
    """A silent broker has used up the time; nobody else is asked then."""
    out.first.silent = True
    with pytest.raises(DeadlinePassed):
        await out.way.send(b"anything", out.world.clock.now_ms() + 1000)
    assert out.next.carried == 0
