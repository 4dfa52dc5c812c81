# SPDX-License-Identifier: Apache-2.0
"""Cities with several brokers: any of them is lost, and nothing else is."""

from __future__ import annotations

import asyncio

import pytest

from node.keys import TOKENS
from protocol.ids import CityId, NodeId
from protocol.membership import Role
from protocol.route_proof import Verdict
from tests.simulation.test_evidence import exchange_of
from tests.simulation.test_route_proof import prove
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    MARKET,
    RELEASED,
    Town,
    checkup,
    hops_of,
    play,
    said,
)

SECOND, FAR_SECOND = "hoshino/broker-2", "yamanami/broker-2"
RELAYS = (SECOND, "minato/broker-2", FAR_SECOND)


async def build(town: Town) -> None:
    """Give each of the usual three cities a second broker."""
    await town.build()
    for relay in RELAYS:
        await town.federation.node(relay, Role.BROKER)


def brokers_of(town: Town, node: str) -> set[str]:
    """Return the brokers of its own city that a node is linked with."""
    parts = town.parts(node)
    return {str(peer.node) for peer, _ in parts.peers.brokers_of(parts.node.city)}


def tried_again(town: Town) -> int:
    """Return how often anybody sent the same request over another broker."""
    found = 0
    for node in town.federation.nodes.values():
        outcomes = node.core.parts.outcomes
        found += outcomes.get(("way-out", "next-broker"), 0)
        found += outcomes.get(("relay", "path-lost"), 0)
    return found


def keep_apart(town: Town, one: str, other: str) -> None:
    """Let two nodes see each other no more."""
    town.network.cut(one, other)
    town.network.stall(one, other)


async def joined(town: Town) -> None:
    """Wait until everybody is linked with every broker of its city."""

    def whole() -> bool:
        for name, node in town.federation.nodes.items():
            city = NodeId(name).city
            wanted = {f"{city}/broker", f"{city}/broker-2"} - {name}
            if node.running and not wanted <= brokers_of(town, name):
                return False
        return all(len(town.parts(r).trust.agreements) > 0 for r in RELAYS)

    await town.federation.until(whole)


def test_everybody_links_with_every_broker_of_the_city() -> None:
    """Members, brokers and neighbors learn of the relays by themselves."""

    async def story(town: Town) -> None:
        await joined(town)
        far = town.parts(FAR_SECOND).peers
        await town.federation.until(
            lambda: (
                {str(p.node) for p, _ in far.brokers_of(CityId("minato"))}
                == {"minato/broker", "minato/broker-2"}
            )
        )
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == RELEASED
        assert len(hops_of(answer)) == 3

    play(story, build=build)


@pytest.mark.parametrize("lost", [BROKER, FAR_SECOND])
def test_any_broker_is_lost_and_reads_go_on(lost: str) -> None:
    """Of each city one is left; the authority may be the one that is gone."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.federation.crash(lost)
        await town.sleep(1)
        for _ in range(3):
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        assert len(town.provisions(CLINIC)) == 4

    play(story, build=build)


@pytest.mark.slow
def test_city_goes_on_for_hours_without_its_authority() -> None:
    """Reads, hidden reads and pushes that were agreed on go on over the relay."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, operations=["share", "store"])
        hidden = await town.consent(hanako, hidden_holder=True)
        await town.federation.crash(BROKER)
        for _ in range(4):
            town.federation.jump(3 * 3600)
            await town.sleep(60)
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            assert said(await town.read(FAR_CLINIC, hidden)) == RELEASED
        await town.push(consent)
        await town.federation.drained()
        assert len(town.provisions(FAR_CLINIC, "reception")) == 9

    play(story, build=build)


def test_relay_starts_while_the_authority_is_away() -> None:
    """What it kept is verified again, and serves."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(BROKER)
        await town.federation.restart(SECOND)
        await town.sleep(5)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story, build=build)


@pytest.mark.slow
def test_relay_stops_when_its_authority_is_away_for_longer_than_a_day() -> None:
    """Nobody goes for ever by what was signed once."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(FAR_BROKER)
        town.federation.jump(90_000)
        await town.sleep(120)
        assert town.parts(FAR_SECOND).trust.agreements == {}
        assert said(await town.read(FAR_CLINIC, consent)) != RELEASED
        await town.federation.restart(FAR_BROKER)
        await joined(town)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story, build=build)


@pytest.mark.slow
def test_brokers_of_a_city_that_do_not_see_each_other_serve_it_both() -> None:
    """Partition between authority and relay; everybody else sees both."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        keep_apart(town, BROKER, SECOND)
        for lost in (BROKER, SECOND):
            await town.federation.stop(lost)
            await town.sleep(1)
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            await town.federation.restart(lost)
            await town.sleep(60)

    play(story, build=build)


@pytest.mark.slow
def test_both_brokers_are_lost_and_come_back() -> None:
    """Nothing is needed but to start them."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, operations=["share", "store"])
        await town.federation.crash(BROKER)
        await town.federation.crash(SECOND)
        await town.push(consent)
        assert said(await town.read(FAR_CLINIC, consent)) != RELEASED
        town.federation.jump(3600)
        await town.sleep(60)
        await town.federation.restart(SECOND)
        await town.federation.drained()
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.federation.restart(BROKER)
        await joined(town)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story, build=build)


def test_node_that_is_linked_with_one_broker_is_reached_over_the_other() -> None:
    """One hop more inside the city, which stands in the chain."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        # The clinic hangs on the authority alone, the transit city on the relay.
        keep_apart(town, CLINIC, SECOND)
        for broker in ("minato/broker", "minato/broker-2"):
            keep_apart(town, BROKER, broker)
        await town.sleep(30)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == RELEASED
        assert hops_of(answer)[-2:] == [SECOND, BROKER]
        assert len(hops_of(answer)) == 4
        expected = [(hop, Verdict.PROVEN) for hop in hops_of(answer)]
        exchange = exchange_of(answer)
        assert await prove(town, FAR_CLINIC, exchange, asked=True) == expected
        assert await prove(town, CLINIC, exchange, asked=False) == expected

    play(story, build=build)


@pytest.mark.slow
def test_removed_node_loses_its_link_with_every_broker() -> None:
    """The relay learns it from the bundle."""

    async def story(town: Town) -> None:
        await joined(town)
        await town.federation.remove(MARKET)
        await town.federation.until(lambda: brokers_of(town, MARKET) == set())
        await town.sleep(120)
        assert brokers_of(town, MARKET) == set()

    play(story, build=build)


@pytest.mark.slow
def test_removed_relay_is_no_broker_any_more() -> None:
    """Members and neighbors dial it no longer, and no bundle names it."""

    async def story(town: Town) -> None:
        await joined(town)
        await town.federation.remove(SECOND)
        await town.federation.until(lambda: brokers_of(town, CLINIC) == {BROKER})
        await town.sleep(120)
        bundle = town.parts(CLINIC).trust.bundle
        assert bundle is not None
        assert [b.partition("@")[0] for b in bundle.body.brokers] == [BROKER]

    play(story, build=build)


@pytest.mark.parametrize("hop", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_broker_is_lost_in_the_middle_of_reads_and_none_is_lost_or_doubled(
    hop: int,
) -> None:
    """Eight in flight over the broker that goes: each is answered, released once."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        lost = hops_of(await town.read(FAR_CLINIC, consent))[hop]
        said_all: list[str] = []

        async def reader() -> None:
            for _ in range(8):
                answer = await town.read(FAR_CLINIC, consent)
                said_all.append(said(answer))

        town.network.at(0.3, lambda: town.federation.kill(lost))
        await asyncio.gather(*(reader() for _ in range(8)))
        assert said_all == [RELEASED] * 64
        releases = [p.exchange for p in town.provisions(CLINIC)]
        assert len(releases) == len(set(releases)) == 65
        assert len(town.provisions(FAR_CLINIC, "reception")) == 65
        assert tried_again(town) > 0

    play(story, build=build)


@pytest.mark.slow
def test_relays_of_all_cities_find_each_other_while_no_authority_is_there() -> None:
    """Started anew, each by what it kept: agreements name the authorities only."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        for authority in (BROKER, "minato/broker", FAR_BROKER):
            await town.federation.crash(authority)
        for relay in RELAYS:
            await town.federation.crash(relay)
        await town.sleep(1)
        for relay in RELAYS:
            await town.federation.restart(relay)
        await town.sleep(40)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == RELEASED
        assert hops_of(answer) == [FAR_SECOND, "minato/broker-2", SECOND]

    play(story, build=build)


@pytest.mark.slow
def test_pushes_arrive_once_while_two_of_three_brokers_are_lost() -> None:
    """One after the other, in the middle of deliveries; then a withdrawal."""

    async def three(town: Town) -> None:
        await build(town)
        await town.federation.node("hoshino/broker-3", Role.BROKER)

    async def story(town: Town) -> None:
        await joined(town)
        await town.federation.until(lambda: len(brokers_of(town, CLINIC)) == 3)
        hanako = await town.resident_with_checkups(0)
        stored = [await town.store(CLINIC, "H-1", checkup(n)) for n in range(12)]
        consent = await town.consent(hanako, operations=["share", "store"])
        await town.received(CLINIC, consent)
        for record in stored:
            await town.push(consent, records=[record])
        town.network.at(0.2, lambda: town.federation.kill(BROKER))
        town.network.at(0.9, lambda: town.federation.kill(SECOND))
        await town.federation.drained()
        arrived = [r.records for r in town.provisions(FAR_CLINIC, "reception")]
        assert sorted(r for rs in arrived for r in rs) == sorted(stored)
        assert town.federation.dead_letters() == {}
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"

    play(story, build=three)


def test_resident_sees_that_a_directory_is_away_and_finds_the_data_all_the_same() -> (
    None
):
    """The directory is the authority's; holders are asked over the relay."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        await town.federation.drained()
        before = await town.locate(hanako)
        await town.federation.crash(BROKER)
        await town.sleep(1)
        after = await town.locate(hanako)
        assert [one.holder for one in after.found] == [CLINIC]
        assert after.found == before.found
        silent = {party.party: party.status for party in after.asked}
        assert silent["hoshino directory"] in ("refusal", "timeout")
        asked = [party.party for party in after.asked]
        assert len(asked) == len(set(asked))

    play(story, build=build)


@pytest.mark.slow
def test_city_changes_its_token_key() -> None:
    """After a relay was stolen: the authority makes another one at its next start."""

    async def story(town: Town) -> None:
        await joined(town)
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        authority = town.federation.nodes[BROKER]
        old = authority.keys.opening(TOKENS)
        (authority.settings.data_dir / "keys" / f"{TOKENS}.key").unlink()
        await town.federation.restart(BROKER)
        await joined(town)
        new = authority.keys.opening(TOKENS)
        assert new != old

        def told() -> bool:
            asker = town.parts(FAR_CLINIC)
            known = asker.trust.token_key(CityId("hoshino"), asker.now())
            return known == new.public.document

        await town.federation.until(told, 120)
        town.federation.jump(400)  # tokens that were made before are used so long
        await town.sleep(70)
        for lost in (SECOND, BROKER):
            await town.federation.crash(lost)
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            await town.federation.restart(lost)
            await joined(town)

    play(story, build=build)
