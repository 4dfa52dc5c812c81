# SPDX-License-Identifier: Apache-2.0
"""Every node may be killed and started again: nothing acknowledged is lost.

Nobody helps: links, routes, trust and outboxes come back by themselves. The last tests
kill a node at each single write of a story, once before it is on disk and once after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from federation.peers import Carrier
from node.simulate.meddler import take_over
from protocol.answer import AnswerEnvelope
from protocol.envelope import Envelope, Kind
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    DAY_S,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    RELEASED,
    TRANSIT,
    Resident,
    Town,
    play,
    result_of,
    said,
)

pytestmark = pytest.mark.slow

EVERYBODY = (FAR_BROKER, TRANSIT, BROKER, CLINIC, FAR_CLINIC, HALL)


@pytest.mark.parametrize("victim", EVERYBODY)
def test_killed_node_comes_back_and_exchanges_work_again(victim: str) -> None:
    """Records, links, consents and withdrawals of before are all still there."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        consent = await town.consent(hanako, hidden_holder=True)
        ended = await town.consent(hanako)
        await town.withdraw(hanako, ended)
        await town.acknowledged(hanako, ended)
        await town.federation.crash(victim)
        await town.sleep(30)
        answer = await town.read(FAR_CLINIC, consent, timeout_ms=1_500)
        assert said(answer) in _WHILE_AWAY[victim]
        await town.federation.restart(victim)
        await town.federation.settled()
        answer = await town.read(FAR_CLINIC, consent)
        assert len(result_of(answer).records) == 2
        assert said(await town.read(FAR_CLINIC, ended)) == "consent-withdrawn"
        found = await town.locate(hanako)
        assert {party.status for party in found.asked} == {"answer"}
        assert [one.holding.count for one in found.found] == [2]
        assert await _new_consent_works(town, hanako)
        assert (town.federation.waiting(), town.federation.dead_letters()) == ({}, {})

    play(story)


_WHILE_AWAY = {
    FAR_BROKER: {"peer-unreachable"},
    TRANSIT: {"no-route"},
    BROKER: {"no-route"},
    CLINIC: {"peer-unreachable"},
    FAR_CLINIC: {"peer-unreachable"},
    HALL: {RELEASED},  # Within T its last proof serves.
}


async def _new_consent_works(town: Town, resident: Resident) -> bool:
    consent = await town.consent(resident)
    return said(await town.read(FAR_CLINIC, consent)) == RELEASED


def test_whole_federation_survives_a_power_cut() -> None:
    """All nodes at once, in no particular order."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        for victim in EVERYBODY:
            await town.federation.crash(victim)
        entry = None
        for victim in reversed(EVERYBODY):
            await town.federation.restart(victim)
            if victim == HALL:
                # The resident does not wait until all are back.
                entry = await town.give(hanako)
        await town.federation.settled()
        assert entry is not None
        await town.received(FAR_CLINIC, entry.consent.jti)
        for identifier in (consent, entry.consent.jti):
            assert said(await town.read(FAR_CLINIC, identifier)) == RELEASED

    play(story)


def test_what_was_queued_before_a_crash_is_delivered_after_it() -> None:
    """Consents, withdrawals, registrations and pushes wait on disk."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        store = await town.consent(hanako, operations=["store"])
        await town.received(CLINIC, store)
        await town.federation.crash(BROKER)
        entry = await town.give(hanako)
        await town.withdraw(hanako, store)
        await town.push(store)
        for victim in (HALL, CLINIC):
            await town.federation.crash(victim)
            await town.federation.restart(victim)
        assert town.federation.waiting().keys() == {HALL, CLINIC}
        await town.federation.restart(BROKER)
        await town.federation.drained()
        await town.received(FAR_CLINIC, entry.consent.jti)
        await town.acknowledged(hanako, store)

    play(story)


def test_release_is_not_repeated_after_a_restart_of_the_holder() -> None:
    """A broker that plays a request again finds the exchange on record."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        kept: list[bytes] = []

        async def copy(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            kept.append(payload)
            return await link.request(payload, deadline_ms=deadline_ms)

        take_over(town.parts(BROKER), CLINIC, copy)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        (request,) = [one for one in kept if _kind(one) is Kind.READ]
        await town.federation.restart(CLINIC)
        await town.federation.settled()
        again = await _send(town, BROKER, CLINIC, request)
        assert len(town.provisions(CLINIC)) == 1
        # Sealed to the asker: what matters is that it holds no records.
        assert len(again.payload) < 2_000
        once_more = await _send(town, BROKER, CLINIC, request)
        assert once_more.payload == again.payload
        assert len(town.provisions(CLINIC)) == 1

    play(story)


def _kind(payload: bytes) -> Kind:
    return Envelope.unpack(payload, 1 << 24).header.kind


async def _send(town: Town, broker: str, node: str, payload: bytes) -> AnswerEnvelope:
    found = town.parts(broker).peers.find(NodeId(node))
    assert found is not None
    deadline_ms = town.clock.now_ms() + 5_000
    answer = await found[1].request(payload, deadline_ms=deadline_ms)
    return AnswerEnvelope.unpack(answer, 1 << 24)


def test_outbox_survives_weeks_without_the_other_side() -> None:
    """And drains by itself, in order, when the other side is back."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.federation.crash(FAR_CLINIC)
        consents = [(await town.give(hanako)).consent.jti for _ in range(5)]
        await town.withdraw(hanako, consents[0])
        await town.sleep(60)
        town.federation.jump(3 * DAY_S)
        await town.sleep(600)
        await town.federation.restart(FAR_CLINIC)
        await town.federation.drained()
        kept = [town.kept(FAR_CLINIC, consent) for consent in consents]
        assert kept[0] is None
        assert all(kept[1:])
        assert town.federation.dead_letters() == {}
        assert said(await town.read(FAR_CLINIC, consents[4])) == RELEASED

    play(story)


# --------------------------------------------------- death at each single write


Act = Callable[[Town, Resident], Awaitable[object]]


async def _give(town: Town, hanako: Resident) -> object:
    return await town.give(hanako)


async def _withdraw(town: Town, hanako: Resident) -> object:
    consents = town.desk().consents(hanako.account)
    identifier = consents[0].consent.jti
    return await town.desk().withdraw(hanako.account, identifier, "delete")


async def _push(town: Town, hanako: Resident) -> object:
    consents = town.desk().consents(hanako.account)
    await town.push(consents[0].consent.jti)
    return None


async def _read(town: Town, hanako: Resident) -> object:
    consents = town.desk().consents(hanako.account)
    return await town.read(FAR_CLINIC, consents[0].consent.jti, timeout_ms=5_000)


async def _link(town: Town, hanako: Resident) -> object:
    return await town.link(hanako, FAR_CLINIC, "Y-1")


DEATHS: list[tuple[str, Act]] = [
    (HALL, _give),
    (FAR_CLINIC, _give),
    (HALL, _withdraw),
    (CLINIC, _withdraw),
    (FAR_CLINIC, _withdraw),
    (CLINIC, _push),
    (FAR_CLINIC, _push),
    (CLINIC, _read),
    (FAR_CLINIC, _read),
    (HALL, _link),
    (FAR_CLINIC, _link),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "act"), DEATHS, ids=[f"{v}{a.__name__}" for v, a in DEATHS]
)
def test_death_at_any_write_leaves_no_half_done_work(victim: str, act: Act) -> None:
    """The act happened or it did not; trying again afterwards always works."""
    for number in range(1, 5):
        for keeps in (False, True):
            story = partial(_die, victim=victim, act=act, number=number, keeps=keeps)
            if not play(story):
                assert number > 1, "the story has no write at this node"
                return


async def _die(town: Town, victim: str, act: Act, number: int, *, keeps: bool) -> bool:
    """Kill a node at its nth write; return False if the act has fewer."""
    hanako = await town.resident_with_checkups(2)
    consent = await town.consent(hanako, operations=["store", "share"])
    await town.received(CLINIC, consent)
    await town.federation.drained()
    database = town.federation.nodes[victim].database
    database.dies_at, database.keeps = database.writes + number, keeps
    await _try(act(town, hanako))
    await town.sleep(5)
    if not town.federation.deaths:
        return False
    await town.federation.restart(victim)
    await town.federation.settled()
    await _try(act(town, hanako))
    await town.federation.drained()
    await _check(town, hanako, act, consent)
    return True


async def _try(work: Awaitable[object]) -> None:
    """Wait for an act whose node may die under it."""
    try:
        async with asyncio.timeout(20):
            await work
    except (TimeoutError, MachikuraError):
        return


async def _check(town: Town, hanako: Resident, act: Act, consent: str) -> None:
    """Look at all sides."""
    assert town.federation.dead_letters() == {}
    if act is _withdraw:
        await town.acknowledged(hanako, consent)
        assert {t.done for t in town.told(hanako, consent).values()} == {"deleted"}
        assert said(await town.read(FAR_CLINIC, await _any(town, hanako))) == RELEASED
        return
    for entry in town.desk().consents(hanako.account):
        await town.received(FAR_CLINIC, entry.consent.jti)
        assert said(await town.read(FAR_CLINIC, entry.consent.jti)) == RELEASED
    if act is _push:
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        found = town.records_of(FAR_CLINIC, kept.subject, CHECKUP)
        assert [record.version for record in found] == [1, 1]
    if act is _link:
        found_parties = await town.locate(hanako)
        assert {party.status for party in found_parties.asked} == {"answer"}


async def _any(town: Town, hanako: Resident) -> str:
    return await town.consent(hanako)
