# SPDX-License-Identifier: Apache-2.0
"""A withdrawal works at once where it is heard, and within T plus skew everywhere.

T is the greatest age of a freshness proof (60 s), the skew what nodes allow between two
clocks (5 s): DESIGN section 7.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.consent import State
from tests.simulation.town import (
    CLINIC,
    FAR_CLINIC,
    HALL,
    MAX_AGE_S,
    MEDICAL,
    RELEASED,
    SKEW_S,
    Resident,
    Town,
    play,
    said,
)
from vault.queries import Held

pytestmark = pytest.mark.slow


async def _read_until_refused(town: Town, consent: str, seconds: float = 200) -> str:
    """Read every half second; return the first refusal."""
    end = town.clock.now_ms() + seconds * 1000
    while town.clock.now_ms() < end:
        answer = said(await town.read(FAR_CLINIC, consent, timeout_ms=2_000))
        if answer != RELEASED:
            return answer
        await town.sleep(0.5)
    return RELEASED


def _last_release_s(town: Town, since_ms: int) -> float:
    """Return how long after a moment the holder released for the last time."""
    skew_ms = town.network.clock(CLINIC).skew_ms
    times = [record.at_ms - skew_ms for record in town.provisions(CLINIC)]
    return (max(times) - since_ms) / 1000


@pytest.mark.parametrize("hidden", [False, True])
def test_withdrawal_reaches_the_holder_within_a_second(hidden: bool) -> None:
    """With pushes on; a hidden holder is told as well as a named one."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako, hidden_holder=hidden)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        started = town.clock.now_ms()
        await town.withdraw(hanako, consent)
        assert await _read_until_refused(town, consent) == "consent-withdrawn"
        assert town.clock.now_ms() - started < 1_000
        assert _last_release_s(town, started) < 1

    play(story)


def test_resident_sees_who_has_acknowledged() -> None:
    """Holder and recipient each sign for what they did."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.withdraw(hanako, consent)
        assert {t.done for t in town.told(hanako, consent).values()} == {None}
        await town.acknowledged(hanako, consent, 5)
        told = town.told(hanako, consent)
        assert {party: t.done for party, t in told.items()} == {
            CLINIC: "stopped",
            FAR_CLINIC: "stopped",
        }
        assert all(t.acknowledgement for t in told.values())

    play(story)


def _cable(town: Town) -> None:
    """The home node's cable is cut; everybody notices."""
    town.network.refuse("hoshino/broker")
    town.network.cut(HALL)


def _stall(town: Town) -> None:
    """Nothing arrives from the home node any more, and nobody notices at first."""
    town.network.partition({HALL})


@pytest.mark.parametrize("break_off", [_cable, _stall])
@pytest.mark.parametrize("skew_s", [0, SKEW_S, -SKEW_S])
def test_withdrawal_is_bounded_with_the_home_node_cut_off(
    break_off: Callable[[Town], None], skew_s: int
) -> None:
    """No release later than T plus skew after it, however the clocks stand."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        # What the home node's clock is ahead lengthens the life of its proofs.
        town.network.clock(HALL).skew_ms = 1000 * skew_s
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        break_off(town)
        withdrawn = town.clock.now_ms()
        await town.withdraw(hanako, consent)
        assert await _read_until_refused(town, consent) == "proof-stale"
        late = _last_release_s(town, withdrawn)
        assert late <= MAX_AGE_S + SKEW_S
        if skew_s == 0:
            assert late > MAX_AGE_S / 2, "the outage was not felt at all"
        town.network.heal()
        town.network.welcome("hoshino/broker")
        await town.acknowledged(hanako, consent, 120)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"
        assert town.federation.waiting() == {}

    play(story)


def test_requester_gains_nothing_from_keeping_an_old_proof() -> None:
    """A recipient that never fetches a new one is refused after T all the same."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        warrant = await town.warrant(FAR_CLINIC, consent)
        assert await town.read_by_hand(FAR_CLINIC, warrant) == RELEASED
        await town.federation.crash(CLINIC)
        await town.withdraw(hanako, consent)
        await town.federation.restart(CLINIC)
        town.network.stall(HALL, "hoshino/broker")
        await town.federation.until(
            lambda: town.federation.knows(CLINIC, ["hoshino"]), 60
        )
        await town.sleep(MAX_AGE_S)
        assert await town.read_by_hand(FAR_CLINIC, warrant) == "proof-stale"

    play(story)


def test_silent_home_node_delays_few_reads_and_then_stops_them() -> None:
    """Within T its last proof serves, and not every read waits for a newer one."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        # Half of its life the proof is shown as it is; then a newer one is due.
        await town.sleep(MAX_AGE_S / 2)
        town.network.partition({HALL})
        times = []
        for _ in range(10):
            began = town.clock.now_ms()
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
            times.append(town.clock.now_ms() - began)
        assert max(times) < 6_000
        assert sum(took > 1_000 for took in times) == 1

    play(story)


def test_withdrawal_counts_through_the_proof_where_the_word_did_not_arrive() -> None:
    """The holder was away when it was told, and the status list says so too."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        await town.withdraw(hanako, consent)
        # The home node cannot call the clinic, but the clinic can be called.
        town.desk()
        await town.sleep(MAX_AGE_S)
        await town.federation.restart(CLINIC)
        await town.federation.settled()
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"

    play(story)


def test_acknowledgements_come_by_themselves_after_an_outage() -> None:
    """An hour later the recipient is back, and nobody had to do anything."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(FAR_CLINIC)
        await town.withdraw(hanako, consent)
        await town.sleep(600)
        told = town.told(hanako, consent)
        assert told[CLINIC].done == "stopped"
        assert told[FAR_CLINIC].done is None
        await town.federation.restart(FAR_CLINIC)
        # The longest back-off of the outbox.
        await town.acknowledged(hanako, consent, 330)
        kept = town.kept(FAR_CLINIC, consent)
        assert kept is not None
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"

    play(story)


def test_withdrawal_does_not_wait_behind_a_consent_that_waits_for_a_third_party() -> (
    None
):
    """A hidden consent needs keys of its holder; it lets others pass meanwhile."""
    away = "minato/clinic"

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node(away, qualifications=MEDICAL)

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.link(hanako, away, "M-1")
        consent = await town.consent(hanako)
        await town.federation.crash(away)
        waits = [
            (await town.give(hanako, holders=[away], hidden_holder=True)).consent.jti
            for _ in range(2)
        ]
        # Long enough that the queue of the far clinic has come to rest.
        await town.sleep(60)
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent, 5)
        await town.federation.restart(away)
        await town.federation.drained()
        for waiting in waits:
            assert town.kept(FAR_CLINIC, waiting) is not None

    play(story, build=build)


def test_pause_that_a_withdrawal_has_overtaken_is_no_fault() -> None:
    """Both wait for a party that is away; both arrive, and the last one counts."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.crash(CLINIC)
        await town.desk().pause(hanako.account, consent)
        await town.withdraw(hanako, consent)
        await town.federation.restart(CLINIC)
        await town.acknowledged(hanako, consent)
        assert town.federation.dead_letters() == {}
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"

    play(story)


def test_obligation_to_delete_removes_what_was_received() -> None:
    """Records and consent are gone at the recipient, and it signs for that."""

    async def story(town: Town) -> None:
        hanako, consent, subject = await _pushed(town)
        assert len(town.records_of(FAR_CLINIC, subject, held=Held.RECEIVED)) == 2
        await town.withdraw(hanako, consent, "delete")
        await town.acknowledged(hanako, consent)
        assert town.told(hanako, consent)[FAR_CLINIC].done == "deleted"
        assert town.records_of(FAR_CLINIC, subject) == []
        assert town.kept(FAR_CLINIC, consent) is None

    play(story)


def test_obligation_to_stop_keeps_what_was_received_unused() -> None:
    """Until its retention ends; a pause does the same, and resuming gives it back."""

    async def story(town: Town) -> None:
        hanako, consent, subject = await _pushed(town)
        desk = town.desk()
        await desk.pause(hanako.account, consent)
        await town.acknowledged(hanako, consent)
        assert town.records_of(FAR_CLINIC, subject) == []
        entry = desk.consents(hanako.account)[0]
        await desk.resume(hanako.account, consent, entry.consent.evidence)
        await town.received(FAR_CLINIC, consent, version=3)
        assert len(town.records_of(FAR_CLINIC, subject)) == 2
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent)
        assert town.records_of(FAR_CLINIC, subject) == []

    play(story)


async def _pushed(town: Town) -> tuple[Resident, str, str]:
    """Let two checkups be pushed; return resident, consent, subject there."""
    hanako = await town.resident_with_checkups(2)
    consent = await town.consent(hanako, operations=["store"])
    await town.received(CLINIC, consent)
    await town.push(consent)
    await town.federation.until(
        lambda: len(town.provisions(FAR_CLINIC, "reception")) == 1
    )
    kept = town.kept(FAR_CLINIC, consent)
    assert kept is not None
    return hanako, consent, kept.subject


def test_consent_withdrawn_before_it_arrived_never_comes_into_force() -> None:
    """The recipient was away for both; what it gets on return is the end."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.federation.crash(FAR_CLINIC)
        entry = await town.give(hanako)
        await town.sleep(5)
        await town.withdraw(hanako, entry.consent.jti)
        await town.federation.restart(FAR_CLINIC)
        await town.acknowledged(hanako, entry.consent.jti, 330)
        kept = town.kept(FAR_CLINIC, entry.consent.jti)
        assert kept is None or kept.consent.state is not State.ACTIVE
        assert town.federation.waiting() == {}

    play(story)
