# SPDX-License-Identifier: Apache-2.0
"""Every node changes its keys in the middle of traffic: nothing is lost or doubled."""

from __future__ import annotations

import asyncio

import pytest

from identity.errors import KeyRevoked
from node.keys import SIGNING, node_keys
from protocol.consent import CONSENT
from protocol.signature import Received
from tests.simulation.town import (
    BROKER,
    CLINIC,
    DAY_S,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    RELEASED,
    TRANSIT,
    Town,
    play,
    said,
)

pytestmark = pytest.mark.slow


class Steady:
    """Reads one after the other, in the background of a story."""

    def __init__(self, town: Town, consent: str) -> None:
        """Begin at once."""
        self._town, self._consent = town, consent
        self.heard: list[str] = []
        self._stop = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while not self._stop:
            answer = await self._town.read(FAR_CLINIC, self._consent)
            self.heard.append(said(answer))
            await self._town.sleep(0.2)

    async def stop(self) -> None:
        """End, and hold what was heard to what the holder wrote down."""
        self._stop = True
        await self._task
        assert set(self.heard) == {RELEASED}
        released = self._town.provisions(CLINIC)
        assert len({one.exchange for one in released}) == len(released)
        assert len(released) == len(self.heard)


@pytest.mark.parametrize(
    "node", [CLINIC, FAR_CLINIC, HALL, BROKER, TRANSIT, FAR_BROKER]
)
def test_no_read_is_lost_while_a_node_changes_its_keys(node: str) -> None:
    """Holder, requester, home node and every broker on the way."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        reads = Steady(town, await town.consent(hanako))
        await town.sleep(5)
        before = town.parts(node).standing.membership().key
        await town.parts(node).rotate_keys()
        assert town.parts(node).standing.membership().key != before
        await town.sleep(90)
        await reads.stop()
        assert len(reads.heard) > 100

    play(story)


async def _day(town: Town) -> None:
    """Let a day pass; links come up anew, and with them what is due."""
    town.federation.jump(DAY_S)
    for broker in (BROKER, TRANSIT, FAR_BROKER):
        await town.federation.restart(broker)
    await town.sleep(60)
    await town.federation.settled()


def test_overlap_over_everything_goes_on_under_the_new_keys() -> None:
    """Old keys are destroyed; consents, tickets and grants have followed the keys."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.read(FAR_CLINIC, consent)
        for node in (HALL, CLINIC, FAR_CLINIC):
            await town.parts(node).rotate_keys()
        for _ in range(6):
            await _day(town)
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        for node in (HALL, CLINIC, FAR_CLINIC):
            keys = town.federation.nodes[node].keys
            town.parts(node).standing.sweep(town.now())
            assert "node" not in keys.names()
            assert "node-2" in keys.names()
            assert town.parts(node).standing.membership().earlier is None
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        signed = Received.parse(kept.package.consent, CONSENT).kid
        assert (
            signed
            == node_keys(town.federation.nodes[HALL].keys).newest.signer.public.kid
        )
        await town.store(
            CLINIC,
            "H-1",
            {
                "purchased_at": "2026-11-02T10:00:00+09:00",
                "item_name": "tea",
                "amount_yen": 300,
            },
            "shopping.purchase",
        )
        await town.locations(CLINIC).refresh()
        await town.federation.drained()
        assert town.federation.dead_letters() == {}
        found = await town.locate(hanako)
        assert found is not None

    play(story, membership_life_days=4, rotation_overlap_days=5)


def test_node_changes_its_keys_by_itself_at_their_age() -> None:
    """A setting; nobody has to remember it."""

    async def story(town: Town) -> None:
        before = town.parts(CLINIC).standing.membership()
        for _ in range(4):
            await _day(town)
        after = town.parts(CLINIC).standing.membership()
        assert after.key != before.key
        assert (after.since or 0) > (before.since or 0)
        keys = town.federation.nodes[CLINIC].keys
        assert keys.has(SIGNING)

    play(story, membership_life_days=4, rotation_overlap_days=5, rotation_age_days=3)


def test_stolen_keys_are_refused_everywhere_as_soon_as_the_word_arrives() -> None:
    """Attack: the thief has keys and a membership that holds for days."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        shown = town.parts(FAR_CLINIC).standing.credentials()
        trust = town.parts(CLINIC).trust
        trust.verify_sender(shown.membership, shown.operating, town.now())
        broker = town.federation.nodes[FAR_BROKER].core
        until = await broker.revoke_keys(town.parts(FAR_CLINIC).node)
        assert until == town.parts(FAR_CLINIC).standing.membership().exp
        await town.sleep(3)
        for node in (CLINIC, HALL, BROKER, TRANSIT):
            with pytest.raises(KeyRevoked):
                town.parts(node).trust.verify_sender(
                    shown.membership, shown.operating, town.now()
                )
        assert said(await town.read(FAR_CLINIC, consent)) == "peer-unreachable"

    play(story)


@pytest.mark.parametrize("node", [CLINIC, BROKER, HALL])
def test_hidden_holder_stays_reachable_while_keys_change(node: str) -> None:
    """Its nameless keys and location tokens are not those of any node."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, hidden_holder=True)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.parts(node).rotate_keys()
        for _ in range(5):
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            await town.sleep(20)

    play(story)


def test_pushes_and_withdrawals_on_their_way_survive_a_change_of_keys() -> None:
    """What waited in an outbox under the old keys is taken under the new ones."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, operations=["share", "store"])
        await town.received(CLINIC, consent)
        await town.federation.stop(FAR_CLINIC)
        await town.push(consent)
        await town.withdraw(hanako, consent)
        for name in (HALL, CLINIC):
            await town.parts(name).rotate_keys()
        await town.federation.restart(FAR_CLINIC)
        await town.acknowledged(hanako, consent, 900)
        await town.federation.drained()

    play(story)


def test_changes_of_keys_raise_no_alarm_of_evidence() -> None:
    """Batches that were signed before are still verified after."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        reads = Steady(town, await town.consent(hanako))
        for node in (BROKER, TRANSIT, FAR_BROKER, CLINIC, FAR_CLINIC):
            await town.sleep(3)
            await town.parts(node).rotate_keys()
        await town.sleep(60)
        await reads.stop()
        for name in town.federation.nodes:
            parts = town.parts(name)
            assert parts.database.read(parts.evidence.store.alarms) == [], name

    play(story)
