# SPDX-License-Identifier: Apache-2.0
"""Three hours without a broker, and a peer that stands still: both heal by themselves.

Every node is a process of its own with a wall clock that the test moves
(`tests/network/moved.py`), so the three hours are real for every date in every
document, and for every back-off that is kept on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from node.config import Settings
from node.demo.cities import CLOCK
from tests.network.pair import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    RELEASED,
    Pair,
    TwoCities,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

THREE_HOURS_S = 3 * 3600
MOVED = Path(__file__).with_name("moved.py")
HEARTBEAT_S = 15
"""As `federation.limits` has it: a ping must be answered before the next."""


class Clocks(TwoCities):
    """Two cities whose machines all have one clock, which can be set."""

    @property
    def file(self) -> Path:
        """Seconds that the clock is ahead."""
        return self.folder / "clock"

    def set(self, seconds: int) -> None:
        """Set every machine's clock."""
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self.file)

    def found(self) -> None:
        """Let every node run under the moved clock."""
        self.set(0)
        super().found()

    def _add(self, node: str, settings: Settings) -> None:
        super()._add(node, settings)
        self.nodes[node].command = (sys.executable, str(MOVED), str(self.file))


async def test_three_hours_without_brokers_are_caught_up_with_by_themselves() -> None:
    """Given, withdrawn and pushed meanwhile: all arrives, and reads work again."""
    async with started(make=Clocks.at) as pair:
        assert isinstance(pair.cities, Clocks)
        kept = await pair.give(operations=["share", "store"])
        ended = await pair.give()
        await pair.until_read(kept)
        await pair.until_read(ended)
        for broker in (FAR_BROKER, BROKER):
            await pair.cities.nodes[broker].kill()
        await pair.withdraw(ended)
        fresh = await pair.give()
        await pair.push(kept)
        assert await pair.read(kept, 1_000) != RELEASED
        for part in (1, 2, 3):
            pair.cities.set(THREE_HOURS_S * part // 3)
            await CLOCK.sleep(0.5)
            assert await pair.read(ended, 500) != RELEASED
        for broker in (FAR_BROKER, BROKER):
            await pair.cities.nodes[broker].start()
        await pair.sign_in(THREE_HOURS_S)
        await pair.until_read(kept)
        await pair.until_read(fresh)
        await pair.until(lambda: pair.told(ended), "the withdrawal is acknowledged")
        await pair.until(pair.drained, "every outbox is empty")
        assert await pair.read(ended) == "consent-withdrawn"


async def test_peer_that_stands_still_is_noticed_and_taken_back() -> None:
    """Requests end by their deadline, its link by the heartbeat, and SIGCONT heals."""
    async with started() as pair:
        consent = await pair.give()
        await pair.until_read(consent)
        for victim in (CLINIC, FAR_BROKER):
            await _stands_still(pair, victim, consent)


async def _stands_still(pair: Pair, victim: str, consent: str) -> None:
    node = pair.cities.nodes[victim]
    node.pause()
    try:
        started_s = CLOCK.monotonic()
        answer = await pair.read(consent, 1_500)
        took_s = CLOCK.monotonic() - started_s
        assert answer in ("timeout", "peer-unreachable", "no-route"), answer
        assert took_s < 1.5 + 2

        async def noticed() -> bool:
            return await pair.read(consent, 1_000) in ("peer-unreachable", "no-route")

        await pair.until(noticed, "the link is given up", 2 * HEARTBEAT_S + 20)
    finally:
        node.resume()
    await pair.until_read(consent)
    await pair.until(pair.drained, "every outbox is empty")
