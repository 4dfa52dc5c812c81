# SPDX-License-Identifier: Apache-2.0
"""Delay and stalls on loopback, for machines whose kernel has no `netem`.

Both clinics hang on cables that hold every piece back for a while, now and then for as
long as TCP takes to repeat a lost one; nothing is ever out of order, as with TCP.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial

import pytest

from node.city_root import CityCard
from node.demo.cities import CLOCK
from tests.network.pair import CLINIC, READER, TwoCities, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DELAY_S, LOST_RATE, REPEATED_S = (0.01, 0.03), 0.05, 0.3


class SlowCable:
    """Forwards TCP to a port on loopback, slowly."""

    def __init__(self, seed: int) -> None:
        """Decide every delay by the seed."""
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._target = 0

    async def plug(self, target: int) -> int:
        """Start forwarding; return the port to dial."""
        self._target = target
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far = await asyncio.open_connection("127.0.0.1", self._target)
        for source, target in ((reader, far[1]), (far[0], writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                lost = self._chance.random() < LOST_RATE
                delay_s = self._chance.uniform(*DELAY_S)
                await CLOCK.sleep(delay_s + (REPEATED_S if lost else 0))
                target.write(data)
                await target.drain()
        with suppress(OSError):
            target.close()


class Slow(TwoCities):
    """Two cities whose clinics hang on slow cables."""

    ports: dict[str, int]
    cables: dict[str, SlowCable]

    async def federate(self) -> None:
        """Lay the cables before anybody dials."""
        await super().federate()
        self.cables = {node: SlowCable(n) for n, node in enumerate((CLINIC, READER))}
        self.ports = {}
        for node, cable in self.cables.items():
            city = node.partition("/")[0]
            self.ports[node] = await cable.plug(self._link_port(city))

    def _broker_url(self, node: str, card: CityCard) -> str:
        if node not in self.ports:
            return super()._broker_url(node, card)
        city = node.partition("/")[0]
        return f"{city}/broker@wss://127.0.0.1:{self.ports[node]}/link"

    async def stop(self) -> None:
        """End the processes, then the cables."""
        await super().stop()
        for cable in self.cables.values():
            await cable.close()


async def test_exchanges_work_over_slow_cables_and_a_withdrawal_arrives() -> None:
    """Every kind of message takes its time and gets there; none is done twice."""
    async with started(make=Slow.at) as pair:
        consent = await pair.give(operations=["share", "store"])
        await pair.until_read(consent)
        reads = await asyncio.gather(*(pair.read(consent) for _ in range(20)))
        assert set(reads) == {"released"}
        await pair.push(consent)
        await pair.until(pair.drained, "the push has arrived")
        await pair.withdraw(consent)
        await pair.until(partial(pair.told, consent), "the withdrawal is acknowledged")
        await pair.until(pair.drained, "every outbox is empty")
        assert await pair.read(consent) == "consent-withdrawn"
        released = [entry["exchange"] for entry in await pair.history("provision")]
        assert len(released) == len(set(released))
