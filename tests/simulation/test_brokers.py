# SPDX-License-Identifier: Apache-2.0
"""Cities with several brokers: any of them is lost, and nothing else is."""

from __future__ import annotations

import pytest

from protocol.ids import CityId, NodeId
from protocol.membership import Role
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    RELEASED,
    Town,
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


@pytest.mark.parametrize("lost", [BROKER, SECOND, FAR_BROKER, FAR_SECOND])
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
