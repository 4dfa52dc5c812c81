# SPDX-License-Identifier: Apache-2.0
"""The way to a node, hop by hop, and what it does not tell."""

from __future__ import annotations

import pytest

from node.tracer import Trace, Tracer
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    TRANSIT,
    Town,
    play,
)

pytestmark = pytest.mark.slow


async def traced(town: Town, node: str, to: str) -> Trace:
    """Trace from one node to another."""
    parts = town.parts(node)
    tracer = Tracer(
        node=NodeId(node),
        exchanges=parts.exchanges,
        addressbook=parts.addressbook,
        now_ms=parts.world.clock.now_ms,
    )
    return await tracer.trace(NodeId(to))


def nodes_of(trace: Trace) -> list[str]:
    """Return who stands on the way."""
    return [str(probe.node) for probe in trace.probes]


def test_every_hop_has_its_times_there_and_back() -> None:
    """A member of another city, over three brokers; times add up."""

    async def story(town: Town) -> None:
        trace = await traced(town, FAR_CLINIC, CLINIC)
        assert nodes_of(trace) == [FAR_BROKER, TRANSIT, BROKER, CLINIC]
        assert trace.refusal is None
        for probe in trace.probes:
            assert probe.round_ms is not None and probe.there_ms is not None
            assert probe.back_ms is not None
            assert probe.round_ms == probe.there_ms + probe.back_ms > 0
        first, last = trace.probes[0].round_ms, trace.probes[-1].round_ms
        assert first is not None and last is not None
        assert first < last

    play(story)


def test_slow_hop_shows_in_its_round_trip() -> None:
    """Half a second between two brokers, each way, is where it is."""

    async def story(town: Town) -> None:
        def slow(source: str, target: str, _packet: bytes) -> float:
            return 0.5 if {source, target} == {TRANSIT, BROKER} else 0.0

        town.network.script = slow
        trace = await traced(town, FAR_CLINIC, CLINIC)
        town.network.script = None
        rounds = [probe.round_ms or 0 for probe in trace.probes]
        assert rounds[1] < 500 <= 1_000 <= rounds[2]
        assert (trace.probes[2].there_ms or 0) >= 500 <= (trace.probes[2].back_ms or 0)

    play(story)


def test_trace_ends_where_the_way_does_and_says_who_refused() -> None:
    """The node has no link: its city's broker says so, and still has its times."""

    async def story(town: Town) -> None:
        await traced(town, FAR_CLINIC, CLINIC)
        await town.federation.stop(CLINIC)
        trace = await traced(town, FAR_CLINIC, CLINIC)
        assert trace.refusal is not None
        assert (trace.refusal.code, trace.refusal.by) == ("peer-unreachable", BROKER)
        assert nodes_of(trace) == [FAR_BROKER, TRANSIT, BROKER, CLINIC]
        assert trace.probes[-1].round_ms is None
        assert trace.probes[2].round_ms is not None

    play(story)


def test_broker_traces_another_and_stands_on_its_own_way() -> None:
    """It asks nobody else about itself."""

    async def story(town: Town) -> None:
        trace = await traced(town, FAR_BROKER, BROKER)
        assert nodes_of(trace) == [FAR_BROKER, TRANSIT, BROKER]
        assert trace.probes[0].round_ms == 0

    play(story)


def test_node_that_nobody_knows_is_not_traced() -> None:
    """The same refusal as in any other exchange with it."""

    async def story(town: Town) -> None:
        with pytest.raises(MachikuraError):
            await traced(town, FAR_CLINIC, "hoshino/nobody")

    play(story)


def test_transit_cannot_tell_a_trace_s_destination() -> None:
    """A member of another city stands in no byte that the city between received."""

    async def story(town: Town) -> None:
        await traced(town, FAR_CLINIC, CLINIC)
        assert CLINIC.encode() not in bytes(town.federation.nodes[TRANSIT].learned)

    play(story)
