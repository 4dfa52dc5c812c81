# SPDX-License-Identifier: Apache-2.0
"""Agreements change in the middle of traffic, and what follows follows at once."""

from __future__ import annotations

import asyncio

import pytest

from node import federating
from node.federating import Deal
from node.simulate.federation import EVERYTHING, Chance
from protocol.agreement import Agreement
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import CityId
from protocol.membership import DataClass
from protocol.request import Ping
from tests.simulation.test_key_change import Steady
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    RELEASED,
    TRANSIT,
    Town,
    outcome,
    play,
    said,
)

pytestmark = pytest.mark.slow
DAY_S = 86_400
NARROW = EVERYTHING.model_copy(update={"data_classes": (DataClass.OPEN,)})


def _present(town: Town, broker: str, other: str) -> Agreement:
    return town.parts(broker).trust.agreements[CityId(other)]


def _amended(town: Town, first: str, second: str, deal: Deal | None) -> bytes:
    """Let both cities sign the next version."""
    old = _present(town, f"{first}/broker", second)
    nodes = town.federation.nodes
    proposal = federating.amend(
        old,
        nodes[f"{first}/broker"].root,
        deal,
        days=365,
        now_ms=town.clock.now_ms(),
    )
    signer = nodes[f"{second}/broker"].root.signer
    return proposal.countersign(CityId(second), signer).wire


async def _install(town: Town, broker: str, wire: bytes) -> None:
    parts = town.parts(broker)
    await parts.database.write(
        lambda c: parts.agreements.install(c, wire, now=town.now())
    )
    await town.federation.nodes[broker].core.agreements_installed()


async def _end(town: Town, broker: str, other: str) -> None:
    """Install the end that both cities have signed for this moment."""
    parts = town.parts(broker)
    old = _present(town, broker, other)
    nodes = town.federation.nodes
    ending = None
    at = town.now()
    for city in (broker.partition("/")[0], other):
        ending = federating.end(
            old,
            nodes[f"{city}/broker"].root,
            at=at,
            now_ms=town.clock.now_ms(),
            entropy=Chance(town.network, city),
            other=ending,
        )
    assert ending is not None
    wire = ending.encode()
    await parts.database.write(lambda c: parts.agreements.end(c, wire, now=town.now()))
    await nodes[broker].core.agreements_installed()


def test_no_read_is_lost_while_an_agreement_is_renewed() -> None:
    """One side installs the new version some time before the other."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        reads = Steady(town, await town.consent(hanako))
        await town.sleep(5)
        wire = _amended(town, "yamanami", "minato", None)
        await _install(town, FAR_BROKER, wire)
        await town.sleep(20)
        await _install(town, TRANSIT, wire)
        await town.sleep(20)
        assert _present(town, TRANSIT, "yamanami").body.version == 2
        await reads.stop()

    play(story)


def test_narrower_terms_count_at_once_at_each_city_that_has_them() -> None:
    """What both have signed is judged at each hop, by each city's own copy."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        deal = Deal(we_may=NARROW, they_may=EVERYTHING)
        wire = _amended(town, "yamanami", "minato", deal)
        await _install(town, TRANSIT, wire)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == "agreement-data-class"
        await _install(town, FAR_BROKER, wire)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == "agreement-data-class"

    play(story)


def test_change_that_one_city_signed_is_refused() -> None:
    """Attack: wider terms, installed by the side that would like them."""

    async def story(town: Town) -> None:
        old = _present(town, FAR_BROKER, "minato")
        proposal = federating.amend(
            old,
            town.federation.nodes[FAR_BROKER].root,
            Deal(we_may=EVERYTHING, they_may=NARROW),
            days=365,
            now_ms=town.clock.now_ms(),
        )
        with pytest.raises(MachikuraError):
            await _install(town, FAR_BROKER, proposal.wire)
        with pytest.raises(MachikuraError):
            await _install(town, TRANSIT, proposal.wire)
        assert _present(town, FAR_BROKER, "minato").body.version == 1

    play(story)


def test_older_version_is_not_installed_again() -> None:
    """Attack: rollback to wider terms, also after a restart."""

    async def story(town: Town) -> None:
        old = _present(town, TRANSIT, "yamanami").wire
        deal = Deal(we_may=NARROW, they_may=NARROW)
        await _install(town, TRANSIT, _amended(town, "yamanami", "minato", deal))
        await town.federation.restart(TRANSIT)
        await town.federation.settled()
        with pytest.raises(MachikuraError):
            await _install(town, TRANSIT, old)
        assert _present(town, TRANSIT, "yamanami").body.version == 2

    play(story)


def test_end_of_an_agreement_withdraws_routes_and_ends_links_at_once() -> None:
    """Of the city in the middle: the far city is out of reach within a second."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await _end(town, TRANSIT, "yamanami")
        await town.sleep(1)
        assert town.parts(TRANSIT).peers.broker_of(CityId("yamanami")) is None
        routes = town.parts(BROKER).routes
        assert routes is not None
        assert routes.ways(CityId("yamanami")) == []
        assert not town.federation.knows(CLINIC, ["yamanami"])
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) in ("no-route", "peer-unreachable", "no-agreement")
        assert len(town.provisions(CLINIC)) == 1

    play(story)


def test_city_stops_serving_an_agreement_by_itself() -> None:
    """No signature of the other side is needed to stop; it cannot be undone."""

    async def story(town: Town) -> None:
        parts = town.parts(TRANSIT)
        old = _present(town, TRANSIT, "yamanami")
        await parts.database.write(
            lambda c: parts.agreements.stop(c, old.body.id, now=town.now())
        )
        await town.federation.nodes[TRANSIT].core.agreements_installed()
        await town.sleep(1)
        assert not town.federation.knows(CLINIC, ["yamanami"])
        with pytest.raises(MachikuraError):
            await _install(town, TRANSIT, old.wire)

    play(story)


def test_exchange_in_flight_is_judged_where_it_arrives() -> None:
    """It passed the first city under terms that the second has just ended."""

    async def story(town: Town) -> None:
        target = await town.parts(FAR_CLINIC).addressbook.target(
            town.parts(CLINIC).node
        )
        # The network takes some milliseconds for each hop.
        asked = asyncio.ensure_future(town.ask(FAR_CLINIC, target, Kind.MANAGE, Ping()))
        await town.sleep(0.001)
        parts = town.parts(BROKER)
        old = _present(town, BROKER, "minato")
        await parts.database.write(
            lambda c: parts.agreements.stop(c, old.body.id, now=town.now())
        )
        await parts.take_agreements()
        heard = outcome(await asked)
        assert heard in ("no-agreement", "peer-unreachable", "no-route")

    play(story)
