# SPDX-License-Identifier: Apache-2.0
"""Cities in a ring: one broker less, and everything still arrives the other way."""

from __future__ import annotations

import pytest

from node.simulate.federation import EVERYTHING
from protocol.agreement import Terms
from protocol.membership import Role
from tests.simulation.town import (
    HALL,
    MEDICAL,
    RELEASED,
    Resident,
    Town,
    hops_of,
    play,
    result_of,
    said,
)

CITIES = ("hoshino", "minato", "yamanami", "kawabe")
HOLDER, READER = "hoshino/clinic", "yamanami/clinic"


def _brokers(*cities: str) -> list[str]:
    return [f"{city}/broker" for city in cities]


EAST, WEST = (
    _brokers("yamanami", "minato", "hoshino"),
    _brokers("yamanami", "kawabe", "hoshino"),
)


async def _ring(town: Town, terms: Terms = EVERYTHING) -> None:
    """Hoshino - Minato - Yamanami - Kawabe - Hoshino; data on opposite sides."""
    world = town.federation
    for city in CITIES:
        await world.city(city)
    await world.node(HALL, Role.IDENTITY)
    await world.node(HOLDER, qualifications=MEDICAL)
    await world.node(READER, qualifications=MEDICAL)
    for one, other in zip(CITIES, (*CITIES[1:], CITIES[0]), strict=True):
        await world.agree(one, other, terms, terms)


async def _read(town: Town, consent: str) -> list[str]:
    answer = await town.read(READER, consent)
    assert len(result_of(answer).records) == 2
    return hops_of(answer)


def test_traffic_moves_to_the_other_side_when_a_broker_is_cut_off() -> None:
    """And a withdrawal given meanwhile arrives as well."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako)
        way = await _read(town, consent)
        assert way in (EAST, WEST)
        lost, other = (way[1], WEST if way == EAST else EAST)
        await town.federation.crash(lost)
        await town.sleep(2)
        assert await _read(town, consent) == other
        found = await town.locate(hanako)
        assert {party.status for party in found.asked} == {"answer"}
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(READER, consent)) == "consent-withdrawn"
        await town.federation.restart(lost)
        await town.federation.settled()
        again = await town.consent(hanako)
        assert await _read(town, again) in (EAST, WEST)

    play(story, build=_ring)


def test_dead_cable_is_noticed_and_gone_around() -> None:
    """Nobody learns of the break but by silence: two heartbeats."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako)
        way = await _read(town, consent)
        town.network.stall(way[0], way[1])
        await town.sleep(45)
        assert await _read(town, consent) != way
        town.network.heal()

    play(story, build=_ring)


def test_with_both_ways_cut_everybody_says_so_and_recovers() -> None:
    """No exchange waits past its deadline, and nothing has to be done afterwards."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako)
        for broker in _brokers("minato", "kawabe"):
            await town.federation.crash(broker)
        await town.sleep(2)
        answer = await town.read(READER, consent)
        assert said(answer) == "no-route"
        for broker in _brokers("minato", "kawabe"):
            await town.federation.restart(broker)
        await town.federation.settled()
        assert await _read(town, consent) in (EAST, WEST)

    play(story, build=_ring)


def test_agreement_without_transit_is_not_a_way() -> None:
    """Neighbors may ask each other, and nobody may pass through."""

    async def build(town: Town) -> None:
        await _ring(town, EVERYTHING.model_copy(update={"transit": False}))

    async def story(town: Town) -> None:
        await town.sleep(30)
        assert town.federation.knows(READER, ["minato", "kawabe"])
        assert not town.federation.knows(READER, ["hoshino"])

    play(story, build=build, wait_for_all=False)


@pytest.mark.parametrize("limit", [2, 3])
def test_hop_limit_of_the_agreements_counts_every_broker(limit: int) -> None:
    """Three brokers carry a read across the ring."""

    async def build(town: Town) -> None:
        await _ring(town, EVERYTHING.model_copy(update={"hop_limit": limit}))

    async def story(town: Town) -> None:
        hanako = await _linked(town)
        entry = await town.give(hanako)
        if limit == 3:
            await town.received(READER, entry.consent.jti)
            assert said(await town.read(READER, entry.consent.jti)) == RELEASED
            return
        await town.sleep(20)
        assert town.kept(READER, entry.consent.jti) is None
        # Neither to the reader, nor to the holder, who would have to reach it.
        told = "consent: hop-budget-exhausted"
        assert town.federation.dead_letters() == {HALL: [told, told]}

    play(story, build=build)


async def _linked(town: Town) -> Resident:
    return await town.resident_with_checkups()
