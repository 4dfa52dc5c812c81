# SPDX-License-Identifier: Apache-2.0
"""Seeded storms: delay, cuts, stalls, partitions, wrong clocks, killed nodes.

While it storms, residents consent, pause and withdraw, organizations read and push.
Whatever the seed:

1. no release later than T plus skew after its consent was withdrawn;
2. no release outside the intersection of consent, purpose and policy;
3. nothing is executed twice, nothing arrives that was not written down first;
4. every request ends by its deadline;
5. after the storm everything drains and works, and nobody helps.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from itertools import chain

import pytest

from federation.simulation import Weather
from federation.virtual import SeededEntropy
from protocol.errors import MachikuraError
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MAX_AGE_S,
    RELEASED,
    SKEW_S,
    TRANSIT,
    TWO_FACTORS,
    Resident,
    Town,
    play,
    said,
)
from vault.queries import Held

pytestmark = pytest.mark.slow

STORM = Weather(
    delay_s=(0.001, 0.3), stall_rate=0.004, stall_s=20, cut_rate=0.001, refuse_rate=0.2
)
CALM = Weather()
TIMEOUT_MS = 5_000
ISLANDS = ({HALL}, {CLINIC}, {BROKER, CLINIC, HALL}, {TRANSIT}, {FAR_BROKER})


@dataclass
class Ledger:
    """What was done, to hold against what happened.

    Attributes:
        given: consents in force and when their last allowing act was, true time.
        ended: consents and when they were withdrawn, true time in milliseconds.
        late_ms: how much longer than its deadline each request took, at most.
    """

    given: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    late_ms: int = 0


class Storm:
    """Lets residents, organizations and the weather act at random."""

    def __init__(self, town: Town, seed: int) -> None:
        """Take the seed: the same one brings the same storm."""
        self.town = town
        self.chance = SeededEntropy(f"storm {seed}")
        self.ledger = Ledger()
        self.end_ms = 0

    def pick(self, size: int) -> int:
        """Return a number below `size`."""
        return int(self.chance.chance() * size)

    async def rage(self, hanako: Resident, seconds: float = 900) -> None:
        """Do everything at once for a while, then calm down."""
        town = self.town
        for name in (HALL, CLINIC, FAR_CLINIC):
            skew_ms = int(self.chance.between(-SKEW_S / 2, SKEW_S / 2) * 1000)
            town.network.clock(name).skew_ms = skew_ms
        town.network.weather = STORM
        self.end_ms = town.clock.now_ms() + int(seconds * 1000)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._residents(hanako))
            group.create_task(self._requesters())
            group.create_task(self._holders())
            group.create_task(self._world())
        town.network.weather = CALM
        town.network.heal()
        for name, node in town.federation.nodes.items():
            if not node.running:
                await town.federation.restart(name)

    def _over(self) -> bool:
        return self.town.clock.now_ms() >= self.end_ms

    async def _residents(self, hanako: Resident) -> None:
        """Give, pause, resume, withdraw."""
        town, ledger = self.town, self.ledger
        while not self._over():
            await town.sleep(self.chance.between(5, 40))
            if not town.federation.nodes[HALL].running:
                continue
            desk, act = town.desk(), self.pick(6)
            if act > 3 or not ledger.given:
                await self._give(hanako)
                continue
            consent = ledger.given[self.pick(len(ledger.given))]
            if act == 1:
                ledger.given.remove(consent)
                ledger.ended[consent] = town.clock.now_ms()
                obligation = "delete" if self.pick(2) else "stop"
                await town.withdraw(hanako, consent, obligation)
            elif act == 2:
                await desk.pause(hanako.account, consent)
                await town.sleep(self.chance.between(1, 10))
                if town.federation.nodes[HALL].running:
                    await desk.resume(hanako.account, consent, TWO_FACTORS)
                else:
                    ledger.given.remove(consent)

    async def _give(self, hanako: Resident) -> None:
        store = bool(self.pick(2))
        hidden = not store and bool(self.pick(2))
        entry = await self.town.give(
            hanako,
            operations=["store", "share"] if store else ["share"],
            hidden_holder=hidden,
        )
        self.ledger.given.append(entry.consent.jti)
        if store:
            self.ledger.stored.append(entry.consent.jti)

    async def _requesters(self) -> None:
        """Read again and again, also under what has ended."""
        town, ledger = self.town, self.ledger
        while not self._over():
            await town.sleep(self.chance.between(0.5, 6))
            known = [*ledger.given, *ledger.given, *ledger.ended]
            if not known or not town.federation.nodes[FAR_CLINIC].running:
                continue
            consent = known[self.pick(len(known))]
            began = town.clock.now_ms()
            try:
                outcome = said(
                    await town.read(FAR_CLINIC, consent, timeout_ms=TIMEOUT_MS)
                )
            except MachikuraError as error:
                outcome = error.slug
            took = town.clock.now_ms() - began
            ledger.late_ms = max(ledger.late_ms, took - TIMEOUT_MS)
            ledger.outcomes[outcome] = ledger.outcomes.get(outcome, 0) + 1

    async def _holders(self) -> None:
        """Push under whatever consent allows it."""
        town = self.town
        while not self._over():
            await town.sleep(self.chance.between(20, 90))
            running = town.federation.nodes[CLINIC].running
            for consent in self.ledger.stored:
                if running and town.kept(CLINIC, consent) is not None:
                    await town.push(consent)

    async def _world(self) -> None:
        """Cut off islands, kill nodes, start them again."""
        town = self.town
        while not self._over():
            await town.sleep(self.chance.between(20, 80))
            if self.pick(3):
                town.network.partition(ISLANDS[self.pick(len(ISLANDS))])
                await town.sleep(self.chance.between(5, 120))
                town.network.heal()
            else:
                victims = (HALL, CLINIC, FAR_CLINIC, BROKER, TRANSIT, FAR_BROKER)
                victim = victims[self.pick(len(victims))]
                await town.federation.crash(victim)
                await town.sleep(self.chance.between(1, 60))
                await town.federation.restart(victim)


async def _play(town: Town, seed: int) -> None:
    hanako = await town.resident_with_checkups(2)
    storm = Storm(town, seed)
    await storm._give(hanako)
    await storm.rage(hanako)
    await town.federation.settled(300)
    await town.federation.drained(2_000)
    _no_late_release(town, storm.ledger)
    _nothing_beyond_the_intersection(town)
    _nothing_unwritten(town)
    _pushed_once(town, storm.ledger)
    for letter in chain(*town.federation.dead_letters().values()):
        # Only what the resident has forbidden meanwhile is given up.
        assert letter in _FORBIDDEN, letter
    assert storm.ledger.late_ms <= 500
    for consent in storm.ledger.ended:
        await town.acknowledged(hanako, consent, 10)
    for consent in storm.ledger.given:
        await town.received(FAR_CLINIC, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
    for consent in storm.ledger.ended:
        if town.kept(FAR_CLINIC, consent) is not None:
            assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"
    assert storm.ledger.outcomes.get(RELEASED), storm.ledger.outcomes


_FORBIDDEN = {
    "push: consent-withdrawn",
    "push: consent-paused",
    "push: consent-superseded",
    "push: not-found",  # The consent was deleted with all that came under it.
}


def _no_late_release(town: Town, ledger: Ledger) -> None:
    """Rule 1, in the holder's own words, by the right time."""
    skew_ms = town.network.clock(CLINIC).skew_ms
    for record in town.provisions(CLINIC):
        ended = ledger.ended.get(record.consent)
        if ended is not None:
            late_s = (record.at_ms - skew_ms - ended) / 1000
            assert late_s <= MAX_AGE_S + SKEW_S


def _nothing_beyond_the_intersection(town: Town) -> None:
    """Rule 2: nothing that the purpose does not need has left or arrived."""
    allowed = set(
        town.parts(CLINIC)
        .vault.types.get("health.checkup")
        .purposes["treatment"]  # type: ignore[index]  # a name written as text
        .fields
    )
    for node, role in ((CLINIC, "provision"), (FAR_CLINIC, "reception")):
        for record in town.provisions(node, role):
            assert set(record.fields) <= allowed
            assert record.purpose == "treatment"


def _nothing_unwritten(town: Town) -> None:
    """Rule 3: each arrival has its release, once, under the same exchange."""
    given = [record.exchange for record in town.provisions(CLINIC)]
    got = [record.exchange for record in town.provisions(FAR_CLINIC, "reception")]
    assert len(set(given)) == len(given)
    assert len(set(got)) == len(got)
    assert set(got) <= set(given)


def _pushed_once(town: Town, ledger: Ledger) -> None:
    """Rule 3: however often a push was delivered, there are two records, version 1."""
    for consent in ledger.stored:
        kept = town.kept(FAR_CLINIC, consent)
        if kept is None:
            continue
        found = town.records_of(FAR_CLINIC, kept.subject, held=Held.RECEIVED)
        of_consent = [r for r in found if r.origin and r.origin.consent == consent]
        assert len(of_consent) in (0, 2)
        assert all(record.version == 1 for record in of_consent)
        assert all("note" not in json.loads(record.content) for record in of_consent)


@pytest.mark.parametrize("seed", [1, 2])
def test_storm_breaks_no_promise(seed: int) -> None:
    """Five rules, a quarter of an hour of storm each."""
    play(lambda town: _play(town, seed), seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_more_storms_break_no_promise(seed: int) -> None:
    """The same with more seeds."""
    play(lambda town: _play(town, seed), seed=seed)


def test_same_seed_is_the_same_storm() -> None:
    """A failing seed reproduces."""

    async def story(town: Town) -> tuple[str, dict[str, int]]:
        hanako = await town.resident_with_checkups()
        storm = Storm(town, 1)
        await storm._give(hanako)
        await storm.rage(hanako, 200)
        return town.network.fingerprint(), storm.ledger.outcomes

    assert play(story, seed=1) == play(story, seed=1)
