# SPDX-License-Identifier: Apache-2.0
"""The simulated network: virtual time, the same world for the same seed, and faults."""

from __future__ import annotations

import asyncio
import time

import pytest

from federation.dialer import Dialer, DialTarget
from federation.hub import LinkHub
from federation.limits import LinkLimits
from federation.link import Link
from federation.memory import PIPE_BYTES
from federation.outcome import DeadlinePassed, LinkLost
from federation.ports import Pipe, PipeClosed
from federation.simulation import Network, Weather, run
from federation.virtual import START_MS, SeededEntropy, Stuck, VirtualClock, VirtualLoop
from tests.federation.parties import MemoryStore, hub, in_s, linked, pass_s

BROKER, CLINIC, MARKET = "hoshino/broker", "hoshino/clinic", "hoshino/market"


async def hold(pipe: Pipe) -> None:
    """Serves a pipe by leaving it alone."""
    await asyncio.Event().wait()


async def pipes(network: Network) -> tuple[Pipe, Pipe]:
    """Returns both ends of a pipe from clinic to broker."""
    ends: list[Pipe] = []

    async def serve(pipe: Pipe) -> None:
        ends.append(pipe)
        await hold(pipe)

    near = await network.connector(CLINIC)(network.listen(BROKER, serve))
    await pass_s(0)
    return near, ends[0]


def city(network: Network) -> tuple[LinkHub, dict[str, Dialer]]:
    """Returns a broker and the dialers of two nodes that keep links to it."""
    broker = hub(network, BROKER)
    url = network.listen(BROKER, broker.serve)
    dialers = {}
    for node in (CLINIC, MARKET):
        dialers[node] = Dialer(
            hub(network, node),
            connect=network.connector(node),
            clock=network.clock(node),
            entropy=network.entropy(node),
            store=MemoryStore(),
        )
        dialers[node].add(DialTarget(BROKER, url))
    return broker, dialers


def test_hundred_virtual_minutes_pass_in_a_moment() -> None:
    """Nobody waits for heartbeats and back-off in a test."""

    async def world(network: Network) -> int:
        broker, _ = city(network)
        await pass_s(6_000)
        assert len(broker.links) == 2
        return network.events

    began = time.monotonic()
    assert run(world) > 800
    assert time.monotonic() - began < 5


async def stormy(network: Network) -> str:
    """A day in bad weather, with traffic; returns what happened."""
    broker, _ = city(network)
    for _ in range(300):
        await pass_s(30)
        for link in broker.links:
            try:
                await link.request(b"how are you", deadline_ms=in_s(network, 3))
            except (LinkLost, DeadlinePassed):
                continue
    return network.fingerprint()


BAD = Weather(
    delay_s=(0.01, 0.4), stall_rate=0.02, stall_s=40, cut_rate=0.01, refuse_rate=0.3
)


def test_same_seed_gives_the_same_world() -> None:
    """A failing seed can be run again."""
    worlds = [run(stormy, seed=seed, weather=BAD) for seed in (1, 2, 1)]
    assert worlds[0] == worlds[2]
    assert worlds[0] != worlds[1]


def test_links_come_back_after_any_weather() -> None:
    """Cuts, stalls and refusals all night, and every link is up in the morning."""

    async def world(network: Network) -> int:
        broker, _ = city(network)
        await pass_s(20_000)
        network.weather = Weather()
        await pass_s(120)
        return len({link.peer.node for link in broker.links})

    for seed in range(5):
        assert run(world, seed=seed, weather=BAD) == 2


def test_time_of_a_party_may_be_wrong() -> None:
    """Skew is of one party alone and can be set while the world runs."""

    async def world(network: Network) -> tuple[int, int]:
        network.clock(CLINIC).skew_ms = -5_000
        await network.clock(BROKER).sleep(1.5)
        return network.clock(CLINIC).now_ms(), network.clock(BROKER).now_ms()

    assert run(world) == (START_MS - 3_500, START_MS + 1_500)


def test_world_that_waits_for_nothing_is_stuck() -> None:
    """A deadlock is an error, not a test that hangs."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(wait())


def test_world_ends_in_its_time() -> None:
    """A world that only beats its heart is taken to hang."""

    async def world(network: Network) -> None:
        city(network)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run(world, limit_s=600)


def test_blocking_calls_run_at_once() -> None:
    """What production gives to a thread cannot race with virtual time."""

    async def world(_network: Network) -> str:
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")
        return await asyncio.to_thread(str.upper, "done")

    assert run(world) == "DONE"


def test_seeded_entropy_depends_on_seed_and_position_alone() -> None:
    """Two parties never draw the same bytes, two runs always do."""
    one, same, other = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    first = one.token_bytes(40)
    assert first == same.token_bytes(40)
    assert first != other.token_bytes(40)
    assert first != one.token_bytes(40)
    draws = [one.between(2, 3) for _ in range(1_000)]
    assert 2 <= min(draws) < 2.05 < 2.95 < max(draws) < 3


def test_clock_starts_where_it_is_told() -> None:
    """A world may begin on the day before a law changes."""

    async def world(_network: Network) -> int:
        return VirtualClock(1_000, skew_ms=5).now_ms()

    assert run(world) == 1_005


# Pipes and their faults.


def test_pipe_keeps_the_order_under_any_delay() -> None:
    """A WebSocket never reorders, so neither does what stands for it."""

    async def world(network: Network) -> list[bytes]:
        near, far = await pipes(network)
        for number in range(50):
            await near.send(b"%d" % number)
        return [await far.receive() for _ in range(50)]

    weather = Weather(delay_s=(0, 10), stall_rate=0.2, stall_s=30)
    assert run(world, weather=weather) == [b"%d" % number for number in range(50)]


def test_sender_waits_for_a_slow_reader() -> None:
    """A pipe holds as much as a socket would, not everything."""

    async def world(network: Network) -> tuple[bool, bool]:
        near, far = await pipes(network)
        await near.send(bytes(PIPE_BYTES))
        sending = asyncio.ensure_future(near.send(b"more"))
        await pass_s(100)
        waited = not sending.done()
        await far.receive()
        await sending
        return waited, await far.receive() == b"more"

    assert run(world) == (True, True)


def test_packets_sent_before_closing_arrive() -> None:
    """A close frame is read by the other side."""

    async def world(network: Network) -> bytes:
        near, far = await pipes(network)
        await near.send(b"bye")
        await near.close()
        last = await far.receive()
        with pytest.raises(PipeClosed):
            await far.receive()
        with pytest.raises(PipeClosed):
            await far.send(b"too late")
        with pytest.raises(PipeClosed):
            await near.receive()
        return last

    assert run(world) == b"bye"


def test_cut_is_learned_by_both_sides() -> None:
    """What was on its way is lost."""

    async def world(network: Network) -> None:
        near, far = await pipes(network)
        await near.send(b"lost")
        network.cut(CLINIC, BROKER)
        for end in (near, far):
            with pytest.raises(PipeClosed):
                await end.receive()
            with pytest.raises(PipeClosed):
                await end.send(b"x")

    run(world)


def test_cut_of_others_is_not_ours() -> None:
    """Faults are between those who are named."""

    async def world(network: Network) -> bytes:
        near, far = await pipes(network)
        network.cut(CLINIC, MARKET)
        await near.send(b"through")
        return await far.receive()

    assert run(world) == b"through"


def test_partition_holds_packets_until_it_heals() -> None:
    """TCP sends again: nothing is lost by a partition shorter than the heartbeat."""

    async def world(network: Network) -> tuple[bool, bytes, bytes]:
        near, far = await pipes(network)
        network.partition({BROKER}, {CLINIC})
        await near.send(b"first")
        receiving = asyncio.ensure_future(far.receive())
        await pass_s(100)
        held = not receiving.done()
        await near.send(b"second")
        network.heal()
        return held, await receiving, await far.receive()

    assert run(world) == (True, b"first", b"second")


def test_connecting_waits_through_a_partition() -> None:
    """A lost SYN is not a refusal; whoever connects has a timeout of its own."""

    async def world(network: Network) -> float:
        url = network.listen(BROKER, hold)
        network.partition({BROKER})
        network.at(60, network.heal)
        await network.connector(CLINIC)(url)
        return network.clock("").now_ms() - START_MS

    assert 60_000 <= run(world) < 61_000


def test_party_that_refuses_can_be_welcoming_again() -> None:
    """A broker that restarts refuses for a while."""

    async def world(network: Network) -> Pipe:
        url = network.listen(BROKER, hold)
        network.refuse(BROKER)
        with pytest.raises(ConnectionRefusedError):
            await network.connector(CLINIC)(url)
        network.welcome(BROKER)
        return await network.connector(CLINIC)(url)

    assert run(world).certificate_hash


def test_nobody_listens_under_an_unknown_name() -> None:
    """A wrong address is refused like a closed port."""

    async def world(network: Network) -> None:
        with pytest.raises(ConnectionRefusedError):
            await network.connector(CLINIC)("memory://nowhere")

    run(world)


def test_script_sees_every_packet_and_may_delay_or_cut() -> None:
    """A test can strike at the very packet that it means."""

    async def world(network: Network) -> tuple[int, list[bytes]]:
        near, far = await pipes(network)
        seen: list[bytes] = []

        def script(source: str, target: str, packet: bytes) -> float:
            seen.append(packet)
            if packet == b"cut":
                network.cut(source, target)
            return 60.0 if packet == b"slow" else 0.0

        network.script = script
        await near.send(b"slow")
        await far.receive()
        took_ms = network.clock("").now_ms() - START_MS
        with pytest.raises(PipeClosed):
            await near.send(b"cut")
        return took_ms, seen

    took_ms, seen = run(world)
    assert 60_000 <= took_ms < 60_100
    assert seen == [b"slow", b"cut"]


def test_listener_that_fails_is_logged_and_its_pipe_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in a party is seen, and the others go on."""

    async def world(network: Network) -> None:
        async def broken(_pipe: Pipe) -> None:
            raise KeyError("bug")

        pipe = await network.connector(CLINIC)(network.listen(BROKER, broken))
        with pytest.raises(PipeClosed):
            await pipe.receive()

    run(world)
    assert "KeyError" in caplog.text


def test_link_survives_a_partition_shorter_than_its_heartbeat() -> None:
    """A request that was on its way is answered late, but once."""
    served: list[bytes] = []

    async def count(_link: Link, payload: bytes) -> bytes:
        served.append(payload)
        return payload

    async def world(network: Network) -> bytes:
        limits = LinkLimits(heartbeat_s=30, probe_s=30)
        near, _ = await linked(
            network,
            hub(network, CLINIC, link_limits=limits),
            hub(network, BROKER, link_limits=limits, on_request=count),
        )
        network.partition({BROKER})
        network.at(20, network.heal)
        return await near.request(b"once", deadline_ms=in_s(network, 60))

    assert run(world) == b"once"
    assert served == [b"once"]
