# SPDX-License-Identifier: Apache-2.0
"""A path fails: the next one is taken at once, and nothing is executed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from federation.broker import PATHS
from federation.exchange import Answer, Asked, Refused, Reply
from federation.outcome import LinkLost, LinkProblem
from protocol.answer import ReadResult
from protocol.envelope import Envelope
from protocol.hop import HopRecord, last_digest
from protocol.problem import ProblemBody
from tests.federation.forged import code_of, problem_of, sealed
from tests.federation.wire import Wire
from tests.federation.world import EVERYTHING, City, Node, World


class Diamond:
    """Hoshino reaches yamanami through minato, and as well through kyoto."""

    def __init__(self, world: World) -> None:
        """Found the four cities; minato is the way that is taken."""
        names = ("hoshino", "kyoto", "minato", "yamanami")
        self.near, self.first, self.second, self.far = map(world.city, names)
        for between in (self.first, self.second):
            world.join(self.near, between)
            world.join(between, self.far)
        world.settle()
        self.world = world
        self.asker, self.holder = self.near.admit("hall"), self.far.admit("clinic")

    def wire(self, source: City, target: City) -> Wire:
        """Return the direction of a link."""
        return source.broker.wire(target.broker)

    def lose(self, wire: Wire) -> Callable[[bytes], bytes]:
        """Return what cuts a link when something passes."""

        def lost(_data: bytes) -> bytes:
            wire.up = False
            raise LinkLost("closed")

        return lost


@pytest.fixture
def diamond(world: World) -> Diamond:
    """Return four cities in a diamond."""
    return Diamond(world)


def through(outcome: Answer | Refused) -> list[str]:
    """Return the cities whose brokers carried it."""
    return [record.by.city for record in outcome.hops]


async def test_another_path_is_taken_when_the_request_is_lost(diamond: Diamond) -> None:
    """The link breaks as the request is sent: nobody has seen it."""
    wire = diamond.wire(diamond.near, diamond.first)
    wire.on_request = diamond.lose(wire)
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer)
    assert through(outcome) == ["hoshino", "minato", "yamanami"]
    assert outcome.repeat is None


@pytest.mark.parametrize("where", ["near", "far"])
async def test_answer_that_was_lost_is_given_again_and_nothing_done_twice(
    diamond: Diamond, where: str
) -> None:
    """The holder has answered, and the link breaks on the way back."""
    pair = (diamond.near, diamond.first), (diamond.first, diamond.far)
    wire = diamond.wire(*pair[where == "far"])
    wire.on_answer = diamond.lose(wire)
    committed: list[str] = []

    async def commit(digest: str) -> None:
        committed.append(digest)

    async def release(asked: Asked) -> Reply:
        return replace(await diamond.holder._released(asked), commit=commit)

    diamond.holder.endpoint.on({"read": release})
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer) and isinstance(outcome.result, ReadResult)
    assert through(outcome) == ["hoshino", "minato", "yamanami"]
    # What both sides have in their records is the same, and it is one release.
    assert committed == [outcome.digest]
    assert outcome.repeat not in (None, outcome.digest)


async def test_link_that_is_left_with_the_same_neighbor_is_used_first(
    diamond: Diamond,
) -> None:
    """Two links to one broker, one of which fails: the path stays the shortest."""
    near, first = diamond.near.broker, diamond.first.broker
    spare = Wire(near, first)
    wire = near.wire(first)
    near.peers.remove(first.peer, wire)
    near.peers.add(first.peer, spare)
    near.peers.add(first.peer, wire)
    wire.on_answer = diamond.lose(wire)
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer)
    assert through(outcome) == ["hoshino", "kyoto", "yamanami"]
    assert spare.carried == 1


async def test_neighbor_that_went_silent_is_not_asked_over_its_other_link(
    diamond: Diamond,
) -> None:
    """A stopped process holds both links: waiting for the second would use up time."""
    near, first = diamond.near.broker, diamond.first.broker
    spare, wire = Wire(near, first), near.wire(first)
    near.peers.remove(first.peer, wire)
    near.peers.add(first.peer, spare)
    near.peers.add(first.peer, wire)

    def silent(_data: bytes) -> bytes:
        wire.up = False
        raise LinkLost("silent")

    wire.on_answer = silent
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer)
    assert through(outcome) == ["hoshino", "minato", "yamanami"]
    assert spare.carried == 0


async def test_neighbor_that_cannot_go_on_is_passed_over(diamond: Diamond) -> None:
    """Its own link is dead, and the withdrawal has not come yet."""
    diamond.wire(diamond.first, diamond.far).up = False
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer)
    assert through(outcome) == ["hoshino", "minato", "yamanami"]


async def test_overloaded_neighbor_is_passed_over(diamond: Diamond) -> None:
    """Its link takes no more requests: nothing was begun there."""

    def busy(_data: bytes) -> bytes:
        raise LinkProblem("overloaded", 200)

    diamond.wire(diamond.near, diamond.first).on_request = busy
    assert code_of(await diamond.asker.read(diamond.holder)) == "ok"


async def test_agreement_of_another_city_does_not_end_the_search(
    diamond: Diamond, world: World
) -> None:
    """Kyoto may not pass this on to yamanami, minato may."""
    nothing = EVERYTHING.model_copy(update={"dataset_types": ()})
    world.agree(diamond.first, diamond.far, nothing, EVERYTHING)
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Answer)
    assert through(outcome) == ["hoshino", "minato", "yamanami"]


async def test_refusal_of_the_city_asked_is_final(diamond: Diamond) -> None:
    """That the holder has no link to its city is true by every path."""
    diamond.far.broker.wire(diamond.holder).up = False
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code, outcome.refusal.by) == (
        "peer-unreachable",
        "yamanami/broker",
    )
    assert diamond.wire(diamond.near, diamond.second).carried == 0


async def test_holder_that_refuses_is_asked_once(diamond: Diamond) -> None:
    """Its refusal is sealed, and no reason to look for another way."""

    async def refused(asked: Asked) -> Reply:
        diamond.holder.asked.append(asked)
        return Reply(ProblemBody(code="no-route"))

    diamond.holder.endpoint.on({"read": refused})
    assert code_of(await diamond.asker.read(diamond.holder)) == "no-route"
    assert len(diamond.holder.asked) == 1


async def test_when_all_paths_fail_the_first_one_says_why(diamond: Diamond) -> None:
    """And who: the refusal comes signed, with its hop records."""
    diamond.wire(diamond.first, diamond.far).up = False
    diamond.wire(diamond.second, diamond.far).up = False
    outcome = await diamond.asker.read(diamond.holder)
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code, outcome.refusal.by) == (
        "peer-unreachable",
        "kyoto/broker",
    )


async def test_broker_carries_one_request_a_few_times_and_no_more(
    diamond: Diamond,
) -> None:
    """The attack: brokers that strip the chain of hops send it round for ever."""
    envelope = sealed(diamond.asker, diamond.holder.target())
    codes = [await handed(diamond.asker, envelope) for _ in range(PATHS + 1)]
    assert codes == ["sealed"] * PATHS + ["loop"]
    assert len(diamond.holder.asked) == PATHS


async def test_request_that_names_our_city_in_its_chain_is_a_loop(
    diamond: Diamond,
) -> None:
    """The attack: hand it back to a broker that has carried it already."""
    sent: list[bytes] = []

    def keep(payload: bytes) -> bytes:
        sent.append(payload)
        return payload

    diamond.wire(diamond.first, diamond.far).on_request = keep
    assert code_of(await diamond.asker.read(diamond.holder)) == "ok"
    envelope = Envelope.unpack(sent[0], 1 << 20)
    back = HopRecord(
        by=diamond.far.broker.node,
        next="kyoto",
        at_ms=0,
        decision="forward",
        prev=last_digest(envelope.hops, envelope.digest),
    )
    peer, payload = diamond.far.broker.peer, envelope.with_hop(back).pack()
    assert problem_of(await diamond.first.broker.serve(peer, payload)) == "loop"


async def test_nothing_is_sent_back_to_where_it_was(diamond: Diamond) -> None:
    """Minato knows a way to yamanami through hoshino, from where it came."""
    assert len(diamond.second.broker.routes.ways(diamond.far.id)) > 1
    diamond.wire(diamond.first, diamond.far).up = False
    diamond.wire(diamond.second, diamond.far).up = False
    back = diamond.wire(diamond.second, diamond.near)
    assert code_of(await diamond.asker.read(diamond.holder)) == "peer-unreachable"
    assert back.carried == 0


async def handed(source: Node, envelope: Envelope) -> str:
    """Hand an envelope to the asker's broker; return the code of the outcome."""
    broker = source.city.broker
    return problem_of(await broker.serve(source.peer, envelope.pack()))
