# SPDX-License-Identifier: Apache-2.0
"""Overload: delayed, then refused, and nobody at the cost of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from federation.broker import BrokerLimits
from federation.exchange import Answer, Asked, Refused, Reply
from federation.hub import HubLimits
from federation.limits import LinkLimits, Paced
from federation.link import Link
from federation.ports import Payload
from federation.simulation import Network, run
from protocol.answer import Done
from tests.federation.forged import code_of
from tests.federation.parties import hub, in_s, pass_s
from tests.federation.world import Node, World

FLOOD = 12
NEAR = "hoshino/clinic"


@asynccontextmanager
async def stalled(node: Node) -> AsyncIterator[None]:
    """Let a node answer nothing meanwhile."""
    go_on = asyncio.Event()

    async def stall(asked: Asked) -> Reply:
        await go_on.wait()
        return Reply(Done())

    node.endpoint.on({"ping": stall})
    try:
        yield
    finally:
        go_on.set()


async def flood(
    asker: Node, other: Node, count: int = FLOOD
) -> list[asyncio.Task[Answer | Refused]]:
    """Start many exchanges at once."""
    tasks = [asyncio.ensure_future(asker.ping(other)) for _ in range(count)]
    for _ in range(50):
        await asyncio.sleep(0)
    return tasks


async def codes(tasks: list[asyncio.Task[Answer | Refused]]) -> list[str]:
    """Return how those that have ended did, and end the others."""
    ended = [code_of(task.result()) for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return ended


async def test_member_that_floods_leaves_room_for_the_others() -> None:
    """Its exchanges hang at a dead holder; those of another member are carried."""
    world = World(limits=BrokerLimits(in_flight=16))
    hoshino = world.city("hoshino")
    hall, market, clinic, shop = (
        hoshino.admit(name) for name in ("hall", "market", "clinic", "shop")
    )
    async with stalled(clinic):
        tasks = await flood(hall, clinic)
        assert code_of(await market.ping(shop)) == "ok"
        refused = await codes(tasks)
    assert refused == ["overloaded"] * (FLOOD - 8)


async def test_city_that_floods_leaves_room_for_our_members() -> None:
    """Whoever speaks for it: all members of a neighbor share one share."""
    world = World(limits=BrokerLimits(in_flight=16))
    hoshino, minato = world.chain("hoshino", "minato")
    one, two = minato.admit("one"), minato.admit("two")
    clinic, shop, hall = (hoshino.admit(name) for name in ("clinic", "shop", "hall"))
    async with stalled(clinic):
        tasks = await flood(one, clinic, 6) + await flood(two, clinic, 6)
        assert code_of(await hall.ping(shop)) == "ok"
        refused = await codes(tasks)
    assert set(refused) == {"overloaded"}
    assert len(refused) >= 4


async def test_holder_that_hangs_does_not_use_up_the_broker() -> None:
    """Many ask it, each within its own share; those who ask others are served."""
    world = World(limits=BrokerLimits(in_flight=16))
    hoshino = world.city("hoshino")
    askers = [hoshino.admit(f"asker-{number}") for number in range(5)]
    clinic, shop, market = (hoshino.admit(n) for n in ("clinic", "shop", "market"))
    async with stalled(clinic):
        tasks = [task for asker in askers for task in await flood(asker, clinic, 2)]
        assert code_of(await market.ping(shop)) == "ok"
        refused = await codes(tasks)
    assert refused == ["overloaded"] * 2


async def test_refused_for_overload_is_told_when_to_come_again() -> None:
    """By the broker that has no room, without a signature to pay for."""
    world = World(limits=BrokerLimits(in_flight=2))
    hoshino = world.city("hoshino")
    hall, clinic = hoshino.admit("hall"), hoshino.admit("clinic")
    async with stalled(clinic):
        tasks = await flood(hall, clinic, 2)
        refused = await hall.ping(clinic)
        await codes(tasks)
    assert isinstance(refused, Refused)
    assert (refused.refusal.code, refused.refusal.signed) == ("overloaded", False)
    assert refused.refusal.retry_after_ms == 500
    assert code_of(await hall.ping(clinic)) == "ok"


async def test_peer_over_its_rate_is_delayed_then_refused_then_refused_curtly() -> None:
    """Graded: what it is told costs it first time, then the answer, us nothing."""
    hoshino = World().city("hoshino")
    hall, clinic = hoshino.admit("hall"), hoshino.admit("clinic")
    broker = hoshino.broker
    broker.pace[hall.node] = Paced(delay_ms=250)
    assert code_of(await hall.ping(clinic)) == "ok"
    assert broker.delays == [0.25]
    seen = []
    for curt in (False, True):
        broker.pace[hall.node] = Paced(retry_ms=1_500, curt=curt)
        refused = await hall.ping(clinic)
        assert isinstance(refused, Refused)
        refusal = refused.refusal
        seen.append((refusal.code, refusal.signed, refusal.retry_after_ms))
    assert seen == [("rate-limited", True, 1_500), ("rate-limited", False, 1_500)]
    assert code_of(await clinic.ping(hall)) == "ok"


# ------------------------------------------------------------------ bytes on all links


Handle = Callable[[Link, bytes], Awaitable[Payload]]


def test_peer_that_fills_the_memory_leaves_room_for_the_others() -> None:
    """Bytes in hand are bounded over all links together, not only on each."""

    async def hang(_link: Link, payload: bytes) -> Payload:
        if len(payload) > 10:
            await asyncio.Event().wait()
        return payload

    async def world(network: Network) -> tuple[list[str], bytes, bytes]:
        limits = HubLimits(max_bytes_in=1_000_000)
        broker = hub(network, "hoshino/broker", on_request=hang, limits=limits)
        url = network.listen(broker.node, broker.serve)
        links = [
            await hub(network, name).dial(await network.connector(name)(url))
            for name in ("hoshino/flood", "hoshino/clinic")
        ]
        flooding, other = links
        tasks = [
            asyncio.ensure_future(
                flooding.request(bytes(50_000), deadline_ms=in_s(network, 30))
            )
            for _ in range(20)
        ]
        await pass_s(5)
        refused = [getattr(t.exception(), "slug", "") for t in tasks if t.done()]
        small = await other.request(b"small", deadline_ms=in_s(network, 30))
        for task in tasks:
            task.cancel()
        await pass_s(1)
        again = await flooding.request(bytes(9), deadline_ms=in_s(network, 30))
        await asyncio.gather(*tasks, return_exceptions=True)
        return refused, small, again

    refused, small, again = run(world)
    assert refused == ["overloaded"] * 10
    assert small == b"small"
    assert again == bytes(9)


def test_lost_link_gives_back_what_it_held() -> None:
    """Half received messages and waiting notices with it: else memory would leak."""

    async def never(_link: Link, _payload: bytes) -> None:
        await asyncio.Event().wait()

    async def world(network: Network) -> list[str]:
        broker = hub(
            network,
            "hoshino/broker",
            on_notice=never,
            limits=HubLimits(max_bytes_in=1_000_000),
            link_limits=LinkLimits(max_bytes_in=900_000),
        )
        url = network.listen(broker.node, broker.serve)
        outcomes = []
        for _ in range(3):
            near = hub(network, NEAR)
            link = await near.dial(await network.connector(NEAR)(url))
            for _ in range(8):
                link.notify(bytes(50_000))
            outcomes.append(await _echoed(network, link))
            await near.close()
            await pass_s(5)
        return outcomes

    assert run(world) == ["answered"] * 3


async def _echoed(network: Network, link: Link) -> str:
    await link.request(bytes(200_000), deadline_ms=in_s(network, 30))
    return "answered"


@pytest.mark.parametrize("curt", [False, True])
async def test_refusal_of_one_peer_touches_no_other(curt: bool) -> None:
    """Names are those of links, which were proven."""
    hoshino = World().city("hoshino")
    hall, clinic, shop = (hoshino.admit(n) for n in ("hall", "clinic", "shop"))
    hoshino.broker.pace[hall.node] = Paced(retry_ms=1, curt=curt)
    assert code_of(await hall.ping(clinic)) == "rate-limited"
    assert code_of(await shop.ping(clinic)) == "ok"
