# SPDX-License-Identifier: Apache-2.0
"""Reads whose holder is away: they wait, durably, and are judged when carried out."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
from sqlalchemy import select

from federation.tables import waits
from node.demo.canaries import unfolded
from node.reader import ReadRequest
from node.waiting import WaitingDesk
from protocol.answer import Done
from protocol.envelope import Kind
from protocol.ids import DatasetTypeName, PurposeName
from protocol.request import NodeBack
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MARKET,
    Town,
    play,
    stands_in,
)
from vault.tables import waiting_reads

HOUR_S = 3_600


def _desk(town: Town, node: str = FAR_CLINIC) -> WaitingDesk:
    found = town.parts(node).waiting
    assert found is not None
    return found


async def _begin(
    town: Town, consent: str, *, hours: float = 48, node: str = FAR_CLINIC
) -> str:
    request = ReadRequest(
        DatasetTypeName(CHECKUP), PurposeName("treatment"), consent=consent
    )
    until_ms = town.clock.now_ms() + int(hours * HOUR_S * 1000)
    return await _desk(town, node).begin(request, client="app", until_ms=until_ms)


def _state(town: Town, read: str, node: str = FAR_CLINIC) -> tuple[str, str]:
    """Return state and reason of the one holder."""
    parts = town.parts(node)
    (place,) = parts.database.read(lambda c: parts.vault.waiting.places(c, read))
    return place.state, place.reason


def _outcome(town: Town, read: str, node: str = FAR_CLINIC) -> dict[str, Any]:
    parts = town.parts(node)
    store = parts.vault.waiting

    def load(connection: Any) -> bytes | None:
        kept = store.get(connection, read)
        assert kept is not None
        (place,) = store.places(connection, read)
        return store.outcome(connection, kept, place.number)

    found = parts.database.read(load)
    assert found is not None
    loaded: dict[str, Any] = orjson.loads(found)
    return loaded


async def _ended(town: Town, read: str, seconds: float = 60) -> float:
    return await town.federation.until(
        lambda: _state(town, read)[0] != "waiting", seconds
    )


def _kept_waits(town: Town, broker: str = BROKER) -> list[str]:
    parts = town.parts(broker)
    query = select(waits.c.holder)
    return parts.database.read(lambda c: list(c.execute(query).scalars()))


def test_read_waits_for_its_holder_through_the_restart_of_everybody() -> None:
    """Ten hours; then requester and broker die, the holder comes back: one release.

    The proof of freshness that was young when the read was asked for is ten hours old:
    the attempt that is carried out has a fresh one.
    """

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent)
        await town.federation.until(lambda: _state(town, read)[1] == "node-away")
        assert _kept_waits(town) == [CLINIC]
        town.federation.jump(10 * HOUR_S)
        for node in (FAR_CLINIC, BROKER, FAR_BROKER):
            await town.federation.restart(node)
        await town.federation.settled()
        assert _state(town, read)[0] == "waiting"
        assert _kept_waits(town) == [CLINIC]
        await town.federation.restart(CLINIC)
        # The broker tells; nobody waits for the next attempt, minutes away.
        assert await _ended(town, read) < 30
        assert _state(town, read) == ("answered", "")
        assert len(_outcome(town, read)["records"]) == 2
        assert len(town.provisions(CLINIC)) == 1
        (got,) = town.provisions(FAR_CLINIC, "reception")
        assert got.exchange == town.provisions(CLINIC)[0].exchange
        assert _kept_waits(town) == []
        assert town.federation.dead_letters() == {}

    play(story)


def test_consent_that_ends_while_a_read_waits_is_not_used() -> None:
    """Also where the requester never hears of the withdrawal: the holder refuses."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent)
        told = await _begin(town, consent)
        await town.federation.until(lambda: _state(town, told)[1] == "node-away")
        await town.withdraw(hanako, consent)
        await _ended(town, read)
        for one in (read, told):
            assert _state(town, one) == ("refused", "consent-withdrawn")
        await town.federation.restart(CLINIC)
        await town.federation.drained()
        await town.sleep(400)
        assert town.provisions(CLINIC) == []

    play(story)


def test_hidden_holder_that_is_away_stays_hidden() -> None:
    """It is waited for by the name of a wait; fresh keys are got for each attempt."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(
            hanako, recipients=[FAR_CLINIC, MARKET], hidden_holder=True
        )
        # What was sent when the consent was given is not about the waiting.
        town.federation.nodes[FAR_CLINIC].learned.clear()
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent, hours=100)
        await town.federation.until(lambda: _state(town, read)[1] == "node-away")
        assert _kept_waits(town) == [CLINIC]
        town.federation.jump(30 * HOUR_S)
        await town.sleep(600)
        assert _state(town, read)[0] == "waiting"
        await town.federation.restart(CLINIC)
        await _ended(town, read, 900)
        assert _state(town, read)[0] == "answered"
        assert _outcome(town, read)["holder"] is None
        learned = unfolded(bytes(town.federation.nodes[FAR_CLINIC].learned))
        disk = town.federation.on_disk(FAR_CLINIC)
        assert not stands_in(CLINIC, learned)
        assert CLINIC.encode() not in disk

    play(story)


def test_read_that_nobody_answers_ends_when_it_was_to_end() -> None:
    """With the reason; the broker forgets the wait as well."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent, hours=0.2)
        took = await _ended(town, read, HOUR_S)
        assert abs(took - 720) < 30
        assert _state(town, read) == ("refused", "wait-over")
        assert "node-away" in _outcome(town, read)["problem"]["detail"]
        await town.parts(BROKER).purge()
        assert _kept_waits(town) == []
        town.federation.jump(25 * HOUR_S)
        await town.parts(FAR_CLINIC).purge()
        query = select(waiting_reads.c.id)
        parts = town.parts(FAR_CLINIC)
        assert parts.database.read(lambda c: c.execute(query).first()) is None

    play(story)


def test_only_the_broker_of_the_holders_city_is_believed() -> None:
    """And even it can only make the requester ask; nothing is released twice."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent)
        await town.federation.until(lambda: _state(town, read)[1] == "node-away")
        parts = town.parts(FAR_CLINIC)

        def place() -> Any:
            return parts.database.read(lambda c: parts.vault.waiting.places(c, read))[0]

        due_ms, wait = place().next_ms, place().wait
        word = NodeBack(wait=wait)
        for liar in (MARKET, FAR_BROKER):
            await town.ask(liar, FAR_CLINIC, Kind.NOTIFY, word)
            assert place().next_ms == due_ms
        await town.sleep(5)
        told = await town.ask(BROKER, FAR_CLINIC, Kind.NOTIFY, word)
        assert getattr(told, "result", None) == Done()
        await town.federation.until(lambda: place().failures == 1)
        assert _state(town, read) == ("waiting", "node-away")
        await town.federation.restart(CLINIC)
        await _ended(town, read)
        for _ in range(3):
            await town.ask(BROKER, FAR_CLINIC, Kind.NOTIFY, word)
        await town.sleep(400)
        assert len(town.provisions(CLINIC)) == 1

    play(story)


def test_broker_that_never_tells_only_makes_it_take_longer() -> None:
    """The word is lost: the requester tries by itself, at most minutes apart."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        read = await _begin(town, consent)
        await town.federation.until(lambda: _state(town, read)[1] == "node-away")
        broker = town.parts(BROKER)
        await broker.database.write(lambda c: c.execute(waits.delete()).rowcount)
        await town.federation.restart(CLINIC)
        took = await _ended(town, read, 900)
        assert 30 < took <= 310
        assert _state(town, read)[0] == "answered"

    play(story)


def test_what_waits_is_sealed_and_dies_with_the_person() -> None:
    """On the requester's disk; the brokers have nothing of the read at all."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        read = await _begin(town, consent)
        await _ended(town, read)
        waiting = await _begin(town, consent)
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        for node in (FAR_CLINIC, BROKER, FAR_BROKER, HALL):
            disk = town.federation.on_disk(node)
            for secret in ("systolic_mmhg", "2026-01-01"):
                assert secret.encode() not in disk, (node, secret)
        assert consent.encode() not in town.federation.on_disk(FAR_CLINIC)
        parts = town.parts(FAR_CLINIC)
        await parts.database.write(
            lambda c: parts.vault.erasure.erase(c, kept.subject, town.clock.now_ms())
        )
        store = parts.vault.waiting
        for one in (read, waiting):
            assert parts.database.read(partial(store.get, read=one)) is None

    play(story)
