# SPDX-License-Identifier: Apache-2.0
"""Batch evidence in a whole federation: honest neighbors agree, whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from federation.evidence_store import OWN, PEER, Alarm
from federation.exchange import Answer, Refused
from node.parts import Parts
from node.reader import HolderAnswer
from protocol.evidence import Outcome
from protocol.ids import NodeId
from tests.simulation.town import (
    BROKER,
    CLINIC,
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

SETTLED_S = 30
EVERYBODY = (HALL, CLINIC, FAR_CLINIC, BROKER, TRANSIT, FAR_BROKER)
LINKS = (
    (BROKER, TRANSIT),
    (TRANSIT, FAR_BROKER),
    (FAR_CLINIC, FAR_BROKER),
    (CLINIC, BROKER),
)


def alarms(parts: Parts) -> list[Alarm]:
    """Return the open alarms of a node."""
    return parts.database.read(parts.evidence.store.alarms)


def journal(town: Town, node: str, peer: str, side: str) -> dict[str, Outcome]:
    """Return what one side has signed, as another node has it on disk."""
    parts = town.parts(node)
    batches = parts.database.read(
        lambda c: parts.evidence.store.between(c, NodeId(peer), side, 0, 1 << 50)
    )
    return {leaf.id: leaf.outcome for batch in batches for leaf in batch.read()}


def agree(town: Town, one: str, other: str) -> bool:
    """Tell whether both have the same exchanges, own and the other's, on disk."""
    return (
        journal(town, one, other, OWN).keys()
        == journal(town, one, other, PEER).keys()
        == journal(town, other, one, OWN).keys()
        == journal(town, other, one, PEER).keys()
    )


def exchange_of(answer: HolderAnswer) -> str:
    """Return the id of a read's exchange."""
    assert isinstance(answer.outcome, Answer | Refused)
    return answer.outcome.exchange


def quiet(town: Town) -> bool:
    """Tell whether nobody has an open alarm."""
    return not any(alarms(town.parts(node)) for node in EVERYBODY)


def test_neighbors_sign_the_same_exchanges() -> None:
    """After a few seconds every link's two sides hold both signatures."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.sleep(SETTLED_S)
        for one, other in LINKS:
            assert journal(town, one, other, OWN)
            assert agree(town, one, other), (one, other)
        assert quiet(town)

    play(story)


def test_cut_in_the_middle_is_in_doubt_and_then_settled() -> None:
    """What was sent and not received is no fraud: the next link settles it."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.sleep(SETTLED_S)
        await town.warrant(FAR_CLINIC, consent)
        reading = asyncio.ensure_future(town.read(FAR_CLINIC, consent))
        town.network.stall(TRANSIT, BROKER)
        await town.sleep(1)
        town.network.cut(TRANSIT, BROKER)
        town.network.heal()
        assert said(await reading) != RELEASED
        await town.sleep(2 * SETTLED_S)
        ours = journal(town, TRANSIT, BROKER, OWN)
        doubtful = [e for e, outcome in ours.items() if outcome is Outcome.LOST]
        assert len(doubtful) == 1
        theirs = journal(town, TRANSIT, BROKER, PEER)
        assert theirs[doubtful[0]] is Outcome.UNKNOWN
        assert agree(town, TRANSIT, BROKER)
        assert quiet(town)

    play(story)


def test_answer_lost_with_the_link_is_settled_as_answered() -> None:
    """The holder's side answered, the asker's never heard: both say so."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.sleep(10)

        def swallow(source: str, target: str, packet: bytes) -> float:
            late = source == BROKER and target == TRANSIT and len(packet) > 1500
            return 30.0 if late else 0.0

        town.network.script = swallow
        town.network.at(1, lambda: town.network.cut(TRANSIT, BROKER))
        assert said(await town.read(FAR_CLINIC, consent)) != RELEASED
        town.network.script = None
        assert len(town.provisions(CLINIC)) == 2
        await town.sleep(2 * SETTLED_S)
        ours = journal(town, TRANSIT, BROKER, OWN)
        (doubtful,) = [e for e, outcome in ours.items() if outcome is Outcome.LOST]
        theirs = journal(town, TRANSIT, BROKER, PEER)
        assert theirs[doubtful] is Outcome.ANSWERED
        assert quiet(town)

    play(story)


@pytest.mark.parametrize("victim", [TRANSIT, BROKER, CLINIC, FAR_CLINIC])
def test_crash_loses_notes_and_the_peers_signature_replaces_them(victim: str) -> None:
    """Killed before its batch was made: it takes over what its peers have signed."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.sleep(SETTLED_S)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == RELEASED
        exchange = exchange_of(answer)
        await town.federation.restart(victim)
        await town.sleep(3 * SETTLED_S)
        for one, other in LINKS:
            if victim in (one, other):
                peer = other if victim == one else one
                assert exchange in journal(town, victim, peer, OWN), (one, other)
                assert agree(town, one, other), (one, other)
        assert quiet(town)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.sleep(SETTLED_S)
        assert quiet(town)

    play(story)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("write", range(1, 5))
def test_death_at_a_write_of_the_evidence_breaks_no_chain(
    write: int, keeps: bool
) -> None:
    """Whichever write it dies at, before or after the disk has it: the chains go on."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.sleep(SETTLED_S)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        database = town.federation.nodes[TRANSIT].database
        database.dies_at, database.keeps = database.writes + write, keeps
        await town.sleep(10)
        assert database.dead
        await town.federation.restart(TRANSIT)
        await town.sleep(2 * SETTLED_S)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.sleep(SETTLED_S)
        for one, other in LINKS:
            assert agree(town, one, other), (one, other)
        assert quiet(town)

    play(story)


def test_orderly_stop_keeps_what_was_noted() -> None:
    """A node that is told to stop signs first; nothing is taken over from others."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.sleep(SETTLED_S)
        exchange = exchange_of(await town.read(FAR_CLINIC, consent))
        await town.federation.stop(TRANSIT)
        parts = town.parts(TRANSIT)
        batches = parts.database.read(
            lambda c: parts.evidence.store.between(c, NodeId(BROKER), OWN, 0, 1 << 50)
        )
        leaves = [leaf for batch in batches for leaf in batch.read()]
        assert [leaf.adopted for leaf in leaves if leaf.id == exchange] == [False]
        await town.federation.restart(TRANSIT)
        await town.sleep(2 * SETTLED_S)
        assert agree(town, TRANSIT, BROKER)
        assert agree(town, TRANSIT, FAR_BROKER)
        assert quiet(town)

    play(story)


def test_clocks_apart_do_not_matter() -> None:
    """Batches are compared by what they hold, not by when."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        for node, skew_ms in ((TRANSIT, 4_000), (FAR_BROKER, -4_000)):
            town.network.clock(node).skew_ms = skew_ms
        for _ in range(3):
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.sleep(2 * SETTLED_S)
        for one, other in LINKS:
            assert agree(town, one, other), (one, other)
        assert quiet(town)

    play(story)
