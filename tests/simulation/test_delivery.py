# SPDX-License-Identifier: Apache-2.0
"""Durable delivery between whole nodes: lost answers, long outages, late callers."""

from __future__ import annotations

from sqlalchemy import select

from federation.letters import Queue, queues
from federation.outcome import LinkLost
from federation.peers import Carrier
from federation.tables import received_messages, waits
from node.simulate.meddler import give_back, take_over
from protocol.answer import Taken
from protocol.envelope import Envelope, Kind
from protocol.request import Ping, TakenQuery
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MARKET,
    RELEASED,
    TRANSIT,
    Town,
    outcome,
    play,
)


def _lose_one_answer(town: Town, kind: Kind, broker: str, link: str) -> list[bytes]:
    """Let the first answer to an exchange of a kind get lost; return what was lost."""
    lost: list[bytes] = []
    parts = town.parts(broker)

    async def lose(carrier: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        answer = await carrier.request(payload, deadline_ms=deadline_ms)
        if Envelope.unpack(payload, 1 << 24).header.kind is not kind:
            return answer
        lost.append(answer)
        give_back(parts, link)
        raise LinkLost("closed")

    take_over(parts, link, lose)
    return lost


def _queue(town: Town, node: str, destination: str) -> Queue | None:
    found = town.parts(node).database.read(queues)
    return next((q for q in found if q.destination == destination), None)


def test_every_kind_of_message_may_arrive_twice() -> None:
    """Consent, withdrawal, registration: a lost answer repeats it, changing nothing."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.federation.drained()
        # A node that was started anew registers what it holds again.
        await town.federation.restart(CLINIC)
        await town.federation.settled()
        lost = _lose_one_answer(town, Kind.MANAGE, CLINIC, BROKER)
        assert await town.locations(CLINIC).refresh() == 1
        await town.federation.drained()
        assert len(lost) == 1
        found = await town.locate(hanako)
        assert [str(place.holder) for place in found.found] == [CLINIC]

        lost = _lose_one_answer(town, Kind.NOTIFY, BROKER, TRANSIT)
        consent = await town.consent(hanako)
        await town.federation.drained()
        assert len(lost) == 1
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        assert kept.consent.version == 1

        lost = _lose_one_answer(town, Kind.REVOKE, BROKER, TRANSIT)
        await town.withdraw(hanako, consent, "delete")
        await town.acknowledged(hanako, consent)
        assert len(lost) == 1
        assert set(town.told(hanako, consent)) == {CLINIC, FAR_CLINIC}
        assert town.federation.waiting() == {}
        assert town.federation.dead_letters() == {}

    play(story)


async def _outage(town: Town) -> str:
    """Let a recipient be away for three hours while a consent waits for it."""
    hanako = await town.resident_with_checkups()
    await town.federation.crash(FAR_CLINIC)
    consent = (await town.give(hanako)).consent.jti
    town.federation.jump(3 * 3600)
    await town.federation.until(lambda: _left_ms(town) > 100_000, 1_800)
    queue = _queue(town, HALL, FAR_CLINIC)
    assert queue is not None
    assert (queue.waiting, queue.reason) == (1, "node-away")
    return consent


def _left_ms(town: Town) -> int:
    queue = _queue(town, HALL, FAR_CLINIC)
    return 0 if queue is None else queue.next_ms - town.clock.now_ms()


def test_node_that_is_back_gets_at_once_what_waits_for_it() -> None:
    """The pause is minutes long by now; the broker of its city tells the sender."""

    async def story(town: Town) -> None:
        consent = await _outage(town)
        await town.federation.restart(FAR_CLINIC)
        assert _left_ms(town) > 60_000
        took = await town.federation.until(lambda: not town.federation.waiting(), 60)
        assert took < 20
        assert town.kept(FAR_CLINIC, consent) is not None

    play(story)


def test_node_that_calls_gets_at_once_what_waits_for_it() -> None:
    """Where its broker does not tell: the first word that it says ends the pause."""

    async def story(town: Town) -> None:
        consent = await _outage(town)
        broker = town.parts(FAR_BROKER)
        await broker.database.write(lambda c: c.execute(waits.delete()).rowcount)
        await town.federation.restart(FAR_CLINIC)
        await town.federation.settled()
        assert _left_ms(town) > 30_000
        assert town.kept(FAR_CLINIC, consent) is None
        asked = await town.ask(FAR_CLINIC, HALL, Kind.MANAGE, Ping())
        assert outcome(asked) == RELEASED
        await town.federation.until(lambda: not town.federation.waiting(), 5)
        assert town.kept(FAR_CLINIC, consent) is not None

    play(story)


def test_push_whose_answer_was_lost_is_released_and_stored_once() -> None:
    """The sender asks for its message before it lets records leave a second time."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, operations=["store"])
        await town.received(CLINIC, consent)
        lost = _lose_one_answer(town, Kind.PUSH, BROKER, TRANSIT)
        await town.push(consent)
        await town.federation.drained()
        assert len(lost) == 1
        (given,) = town.provisions(CLINIC)
        (got,) = town.provisions(FAR_CLINIC, "reception")
        assert given.exchange == got.exchange
        # Nobody else learns what was carried out here.
        pushed = _messages_taken(town)
        assert len(pushed) == 1
        query = TakenQuery(message=pushed[0])
        asked = await town.ask(MARKET, FAR_CLINIC, Kind.MANAGE, query)
        assert getattr(asked, "result", None) == Taken(taken=False)
        asked = await town.ask(CLINIC, FAR_CLINIC, Kind.MANAGE, query)
        assert getattr(asked, "result", None) == Taken(taken=True)

    play(story)


def _messages_taken(town: Town) -> list[str]:
    query = select(received_messages.c.message)
    parts = town.parts(FAR_CLINIC)
    return parts.database.read(lambda c: list(c.execute(query).scalars()))
