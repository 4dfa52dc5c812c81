# SPDX-License-Identifier: Apache-2.0
"""Proof of a route: what honest brokers prove, and what hostile ones cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from federation.peers import Carrier
from node.simulate.meddler import Meddle, give_back, take_over
from protocol import hop
from protocol.envelope import Envelope, Kind
from protocol.hop import HopRecord
from protocol.ids import ExchangeId, NodeId
from protocol.request import HopProofQuery
from protocol.route_proof import Verdict
from protocol.signature import digest_of
from tests.simulation.test_evidence import SETTLED_S, alarms, exchange_of, quiet
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BOSAI,
    FAR_BROKER,
    FAR_CLINIC,
    MARKET,
    RELEASED,
    TRANSIT,
    Town,
    play,
    said,
)

pytestmark = pytest.mark.slow


async def prove(
    town: Town, node: str, exchange: str, *, asked: bool
) -> list[tuple[str, Verdict]]:
    """Let a party prove a route; return each broker with the verdict."""
    ways = town.parts(node).ways
    proven = await ways.prove(ExchangeId(exchange), asked)
    assert proven is not None
    return [(str(one.record.by), one.verdict) for one in proven.hops]


def test_both_ends_get_a_proof_from_every_broker() -> None:
    """Three brokers, each its own word; offline the same verdicts again."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        answer = await town.read(FAR_CLINIC, consent)
        assert said(answer) == RELEASED
        exchange = exchange_of(answer)
        expected = [
            (FAR_BROKER, Verdict.PROVEN),
            (TRANSIT, Verdict.PROVEN),
            (BROKER, Verdict.PROVEN),
        ]
        assert await prove(town, FAR_CLINIC, exchange, asked=True) == expected
        assert await prove(town, CLINIC, exchange, asked=False) == expected
        for node in (FAR_CLINIC, CLINIC):
            (shown,) = town.parts(node).ways.shown(ExchangeId(exchange))
            assert shown.worst is Verdict.PROVEN
        await town.sleep(SETTLED_S)
        assert quiet(town)

    play(story)


# ------------------------------------------------------------------- hostile brokers


def rewrite(change: Callable[[list[HopRecord]], list[HopRecord]]) -> Meddle:
    """Let the transit broker change the chain before it hands on, and hide it.

    It writes every record after the changed one anew, so that the chain holds. What
    comes back it cannot change: the receiver has signed the chain that it saw.
    """

    async def meddle(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        envelope = Envelope.unpack(payload, 1 << 24)
        records = list(hop.parse(envelope.hops, envelope.digest))
        chain, before = b"", envelope.digest
        for record in change(records):
            line = hop.line(record.model_copy(update={"prev": before}))
            chain, before = chain + line, digest_of(line)
        forged = replace(envelope, hops=chain)
        return await link.request(forged.pack(), deadline_ms=deadline_ms)

    return meddle


async def attacked(
    town: Town, change: Callable[[list[HopRecord]], list[HopRecord]]
) -> tuple[str, list[str]]:
    """Read past a hostile transit broker; return the outcome, and what is released."""
    hanako = await town.resident_with_checkups()
    consent = await town.consent(hanako)
    assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
    before = {str(p.exchange) for p in town.provisions(CLINIC)}
    take_over(town.parts(TRANSIT), BROKER, rewrite(change), Kind.READ)
    outcome = said(await town.read(FAR_CLINIC, consent, timeout_ms=4_000))
    give_back(town.parts(TRANSIT), BROKER)
    after = {str(p.exchange) for p in town.provisions(CLINIC)}
    return outcome, sorted(after - before)


def _altered_time(records: list[HopRecord]) -> list[HopRecord]:
    first = records[0].model_copy(update={"at_ms": records[0].at_ms - 60_000})
    return [first, *records[1:]]


def _forged_name(records: list[HopRecord]) -> list[HopRecord]:
    return [records[0].model_copy(update={"by": FORGED}), *records[1:]]


FORGED = NodeId("yamanami/other")


@pytest.mark.parametrize(
    ("change", "verdict", "kind"),
    [
        (_altered_time, Verdict.OTHER, "route-contradicted"),
        (_forged_name, Verdict.SILENT, "route-unproven"),
    ],
)
def test_forged_record_of_another_broker_is_not_proven(
    change: Callable[[list[HopRecord]], list[HopRecord]], verdict: Verdict, kind: str
) -> None:
    """Attack: rewrite what a broker before wrote, time or name, and chain it anew.

    The requester refuses the answer at once. The holder has released to a false
    chain; its proof, asked for through its own broker, names the record, and the
    forger cannot prove its own line either: that one followed the true record.
    """

    async def story(town: Town) -> None:
        outcome, (exchange,) = await attacked(town, change)
        assert outcome == "answer-invalid"
        first, second, third = await prove(town, CLINIC, exchange, asked=False)
        assert first[1] is verdict
        assert second == (TRANSIT, Verdict.UNKNOWN)
        assert third == (BROKER, Verdict.PROVEN)
        found = {(a.kind, a.peer, a.subject) for a in alarms(town.parts(CLINIC))}
        assert found == {
            (kind, first[0], exchange),
            ("route-denied", TRANSIT, exchange),
        }

    play(story)


def _missing(records: list[HopRecord]) -> list[HopRecord]:
    return records[1:]


def _reordered(records: list[HopRecord]) -> list[HopRecord]:
    return records[::-1]


@pytest.mark.parametrize("change", [_missing, _reordered])
def test_missing_or_reordered_records_release_nothing(
    change: Callable[[list[HopRecord]], list[HopRecord]],
) -> None:
    """Attack: leave out where a request came from, or turn the way around."""

    async def story(town: Town) -> None:
        outcome, released = await attacked(town, change)
        assert outcome != RELEASED
        assert released == []

    play(story)


def test_chain_without_any_record_is_named() -> None:
    """Attack: the last broker, ours, hands on as if nobody had carried it."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        take_over(town.parts(BROKER), CLINIC, rewrite(lambda records: []), Kind.READ)
        outcome = said(await town.read(FAR_CLINIC, consent, timeout_ms=4_000))
        give_back(town.parts(BROKER), CLINIC)
        assert outcome != RELEASED
        await town.sleep(SETTLED_S)
        kinds = {a.kind for a in alarms(town.parts(CLINIC))}
        assert "route-missing" in kinds

    play(story)


def test_broker_cannot_prove_another_record_than_it_sent() -> None:
    """Attack: hand on one line of one's own, and sign another into the batch."""

    async def story(town: Town) -> None:
        def later(records: list[HopRecord]) -> list[HopRecord]:
            own = records[-1].model_copy(update={"at_ms": records[-1].at_ms + 7})
            return [*records[:-1], own]

        outcome, (exchange,) = await attacked(town, later)
        assert outcome == "answer-invalid"
        verdicts = await prove(town, CLINIC, exchange, asked=False)
        assert verdicts == [
            (FAR_BROKER, Verdict.PROVEN),
            (TRANSIT, Verdict.OTHER),
            (BROKER, Verdict.PROVEN),
        ]
        (alarm,) = alarms(town.parts(CLINIC))
        assert (alarm.kind, alarm.peer) == ("route-contradicted", TRANSIT)
        assert alarm.has_proof

    play(story)


def test_broker_that_lost_its_records_denies_and_is_named() -> None:
    """Killed before its batch was made: it cannot prove, and does not pretend."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        answer = await town.read(FAR_CLINIC, consent)
        exchange = exchange_of(answer)
        await town.federation.restart(TRANSIT)
        await town.sleep(SETTLED_S)
        verdicts = dict(await prove(town, FAR_CLINIC, exchange, asked=True))
        assert verdicts[TRANSIT] is Verdict.UNKNOWN
        assert [a.kind for a in alarms(town.parts(FAR_CLINIC))] == ["route-denied"]

    play(story)


def test_only_parties_get_a_proof() -> None:
    """Attack: somebody who has seen the chain asks for its proof."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        exchange = exchange_of(await town.read(FAR_CLINIC, consent))
        await town.sleep(SETTLED_S)
        (kept,) = town.parts(FAR_CLINIC).ways.shown(ExchangeId(exchange))
        query = HopProofQuery(request=kept.kept.request, chain=kept.kept.chain)
        for node in (FAR_BOSAI, MARKET):
            for broker in (FAR_BROKER, TRANSIT, BROKER):
                every = query.model_copy(update={"all": True})
                proof = await town.parts(node).ways.ask(NodeId(broker), every)
                assert (proof.word, proof.code) == (None, "forbidden")
        # The holder may ask its own broker; a far one would learn who it is.
        proof = await town.parts(CLINIC).ways.ask(NodeId(BROKER), query)
        assert proof.word is not None
        proof = await town.parts(CLINIC).ways.ask(NodeId(TRANSIT), query)
        assert proof.code == "forbidden"

    play(story)


def test_audit_proves_routes_by_itself() -> None:
    """Every exchange is drawn; what is proven is stored, nobody is alarmed."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        exchange = exchange_of(await town.read(FAR_CLINIC, consent))
        await town.sleep(2 * SETTLED_S)
        for node in (FAR_CLINIC, CLINIC):
            (shown,) = town.parts(node).ways.shown(ExchangeId(exchange))
            assert shown.kept.checked_ms is not None
            assert shown.worst is Verdict.PROVEN
        assert quiet(town)

    play(story, evidence={"audit_share": 1.0})


def test_audit_raises_an_alarm_by_itself() -> None:
    """A forged record is found without anybody asking."""

    async def story(town: Town) -> None:
        _, (exchange,) = await attacked(town, _altered_time)
        await town.sleep(2 * SETTLED_S)
        found = {(a.kind, a.peer, a.subject) for a in alarms(town.parts(CLINIC))}
        assert ("route-contradicted", FAR_BROKER, exchange) in found

    play(story, evidence={"audit_share": 1.0})


def test_audit_of_a_broker_that_is_away_waits_and_then_tells() -> None:
    """An outage is tried again; who never answers is named."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.read(FAR_CLINIC, consent)
        await town.sleep(6)
        await town.federation.stop(BROKER)
        await town.sleep(60)
        assert not alarms(town.parts(FAR_CLINIC))
        await town.sleep(3_600)
        kinds = {(a.kind, a.peer) for a in alarms(town.parts(FAR_CLINIC))}
        assert kinds == {("route-unproven", BROKER)}

    play(story, evidence={"audit_share": 1.0})
