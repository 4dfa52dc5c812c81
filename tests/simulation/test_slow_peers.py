# SPDX-License-Identifier: Apache-2.0
"""Peers that drip, hang half-open or never speak cost their own time only."""

from __future__ import annotations

import asyncio

import pytest

from federation.handshake import MAX_HELLO_BYTES
from federation.ports import Pipe, PipeClosed
from protocol.envelope import Kind
from protocol.ids import NodeId
from protocol.request import Ping
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_CLINIC,
    HALL,
    MARKET,
    RELEASED,
    TRANSIT,
    Town,
    outcome,
    play,
    said,
)

pytestmark = pytest.mark.slow

URL = f"memory://{BROKER}"


async def _pipe(town: Town, name: str) -> Pipe:
    return await town.network.connector(name)(URL)


async def _ends(pipe: Pipe, seconds: float) -> bool:
    """Tell whether the other side hangs up within that time."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await pipe.receive()
    except PipeClosed:
        return True
    except TimeoutError:
        return False


async def _works(town: Town) -> bool:
    """Tell whether the city still carries exchanges, without delay."""
    began = town.clock.now_ms()
    asked = await town.ask(CLINIC, HALL, Kind.MANAGE, Ping())
    return outcome(asked) == RELEASED and town.clock.now_ms() - began < 200


def test_callers_that_never_speak_are_hung_up_on() -> None:
    """Hundreds of them, and the members notice nothing."""

    async def story(town: Town) -> None:
        pipes = [await _pipe(town, f"stranger/{number}") for number in range(200)]
        assert await _works(town)
        closed = await asyncio.gather(*(_ends(pipe, 15) for pipe in pipes))
        assert all(closed)
        assert await _works(town)

    play(story)


def test_caller_that_drips_gains_nothing() -> None:
    """The handshake as a whole has a deadline, whatever trickles in meanwhile."""

    async def story(town: Town) -> None:
        pipe = await _pipe(town, "stranger/drip")

        async def drip() -> None:
            while True:
                await pipe.send(b"{")
                await town.sleep(1)

        dripping = asyncio.ensure_future(drip())
        assert await _ends(pipe, 15)
        dripping.cancel()
        assert await _works(town)

    play(story)


@pytest.mark.parametrize(
    "hello", [b"", b"\0" * 64, b"[" * 5_000, b"x" * (MAX_HELLO_BYTES + 1), b"{}"]
)
def test_caller_that_speaks_nonsense_is_told_and_hung_up_on(hello: bytes) -> None:
    """Before it is known, nothing of it is kept."""

    async def story(town: Town) -> None:
        pipe = await _pipe(town, "stranger/noise")
        await pipe.send(hello)
        assert await _ends(pipe, 15)
        links = town.federation.nodes[BROKER].core.links.links
        assert all(not link.peer.node.startswith("stranger") for link in links)
        assert await _works(town)

    play(story)


def test_half_open_link_is_noticed_and_requests_end_meanwhile() -> None:
    """A dead cable breaks nothing: only silence tells, within two heartbeats."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        town.network.stall(CLINIC, BROKER)
        began = town.clock.now_ms()
        answer = await town.read(FAR_CLINIC, consent, timeout_ms=3_000)
        assert said(answer) == "timeout"
        assert town.clock.now_ms() - began <= 3_000
        await town.sleep(35)
        assert town.parts(BROKER).peers.find(NodeId(CLINIC)) is None
        assert said(await town.read(FAR_CLINIC, consent)) == "peer-unreachable"
        town.network.heal()
        await town.federation.settled()
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


def test_slow_holder_delays_nobody_else() -> None:
    """Streams of one link do not wait for each other."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        town.network.stall(MARKET, BROKER)
        hanging = [
            asyncio.ensure_future(town.ask(HALL, MARKET, Kind.MANAGE, Ping()))
            for _ in range(50)
        ]
        await town.sleep(0.1)
        began = town.clock.now_ms()
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        assert town.clock.now_ms() - began < 500
        codes = {outcome(await one) for one in hanging}
        assert codes <= {"timeout", "peer-unreachable"}

    play(story)


def test_release_whose_turn_comes_after_the_deadline_is_none() -> None:
    """Writes had to wait at the holder; nobody waits any more: nothing is written."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        holder = town.parts(CLINIC)

        def too_late(opened: bytes) -> None:
            town.network.clock(CLINIC).skew_ms += 60_000

        holder.exchanges.tap = too_late
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == "deadline-passed"
        assert town.provisions(CLINIC) == []
        assert town.provisions(FAR_CLINIC, "reception") == []

    play(story)


def test_packets_that_crawl_still_arrive_or_time_out() -> None:
    """A link of half a second per packet is slow, not broken."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)

        def crawl(source: str, target: str, packet: bytes) -> float:
            return 0.5 if TRANSIT in (source, target) else 0.0

        town.network.script = crawl
        answer = await town.read(FAR_CLINIC, consent, timeout_ms=9_000)
        assert said(answer) == RELEASED
        answer = await town.read(FAR_CLINIC, consent, timeout_ms=1_000)
        assert said(answer) == "timeout"

    play(story)
