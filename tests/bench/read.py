# SPDX-License-Identifier: Apache-2.0
"""Federated reads and the bare chain in turns: throughput, latency, CPU per request.

Both have four processes and one client on one event loop here, kept connections and a
body of some 1.5 kB. A round measures both at one load, one right after the other, in
changing order, so that what else the machine does meets both.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiohttp import ClientSession

from node.demo.cities import free_port
from tests.bench import chain
from tests.bench.cpu import Pace, cpu_s, pace
from tests.bench.load import Call, Measured, run
from tests.bench.world import PATH, REQUESTER, World, kept_connections

HERE = Path(__file__).resolve().parent
CHAIN_PARTIES = ("first", "second", "third", "last")


@dataclass(frozen=True)
class Sides:
    """What is measured: how to make one call, and the processes it passes."""

    name: str
    call: Call
    pids: dict[str, int]


@dataclass(frozen=True)
class Sample:
    """One run of one side.

    Attributes:
        measured: throughput and latency.
        cpu_us: CPU per request by party, the client too.
        pace: of the machine around the run.
    """

    measured: Measured
    cpu_us: dict[str, float]
    pace: Pace


@dataclass(frozen=True)
class Compared:
    """Medians over the rounds at one load.

    Attributes:
        in_flight: requests at once.
        ours, yardstick: every sample.
    """

    in_flight: int
    ours: list[Sample]
    yardstick: list[Sample]

    @property
    def throughput_ratio(self) -> float:
        """Ours to the yardstick's, median of the rounds' ratios."""
        return median(
            a.measured.per_s / b.measured.per_s
            for a, b in zip(self.ours, self.yardstick, strict=True)
        )

    @property
    def latency_ratio(self) -> float:
        """Median latency, ours to the yardstick's, median of the rounds' ratios."""
        return median(
            a.measured.median_ms / b.measured.median_ms
            for a, b in zip(self.ours, self.yardstick, strict=True)
        )

    @property
    def cpu_ratio(self) -> float:
        """CPU of the four processes, ours to the yardstick's."""
        return median(
            _parties(a) / _parties(b)
            for a, b in zip(self.ours, self.yardstick, strict=True)
        )


def _parties(sample: Sample) -> float:
    return sum(us for party, us in sample.cpu_us.items() if party != "client")


def middle(samples: Sequence[Sample]) -> Measured:
    """Return the medians of several runs."""
    runs = [sample.measured for sample in samples]
    return Measured(
        runs[0].in_flight,
        sum(run.requests for run in runs),
        sum(run.failed for run in runs),
        median(run.per_s for run in runs),
        median(run.median_ms for run in runs),
        median(run.p99_ms for run in runs),
    )


def middle_cpu(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median CPU per request by party, in microseconds."""
    return {
        party: median(sample.cpu_us[party] for sample in samples)
        for party in samples[0].cpu_us
    }


async def compare(
    ours: Sides, yardstick: Sides, *, in_flight: int, requests: int, rounds: int
) -> Compared:
    """Measure both in turns."""
    compared = Compared(in_flight, [], [])
    for number in range(rounds):
        turns = [(ours, compared.ours), (yardstick, compared.yardstick)]
        for side, samples in turns if number % 2 == 0 else reversed(turns):
            samples.append(await _sample(side, in_flight, requests))
    return compared


async def _sample(side: Sides, in_flight: int, requests: int) -> Sample:
    pids = {**side.pids, "client": os.getpid()}
    # Kept connections, and what a first request of this load makes, are not counted.
    await run(side.call, requests=max(in_flight * 2, 10), in_flight=in_flight)
    before = pace(10)
    start = {party: cpu_s(pid) for party, pid in pids.items()}
    measured = await run(side.call, requests=requests, in_flight=in_flight)
    used = {party: cpu_s(pid) - start[party] for party, pid in pids.items()}
    if measured.failed:
        raise RuntimeError(f"{side.name}: {measured.failed} requests failed")
    after = pace(10)
    return Sample(
        measured,
        {party: 1e6 * seconds / requests for party, seconds in used.items()},
        Pace((before.loop_us + after.loop_us) / 2, (before.sha_us + after.sha_us) / 2),
    )


@asynccontextmanager
async def federated(world: World) -> AsyncIterator[Sides]:
    """Read through the requester's API, as its local application does."""
    headers = {
        "Authorization": f"Bearer {world.token}",
        "Content-Type": "application/json",
    }
    url, wish = f"{world.api_url(REQUESTER)}/v1/exchanges/read", world.wish
    async with ClientSession(connector=kept_connections(), headers=headers) as session:

        async def call() -> bool:
            async with session.post(url, data=wish) as answer:
                body = await answer.read()
                return answer.status == 200 and b'"records":[{"id":"urn:' in body

        pids = {node: world.pid(node) for node in PATH}
        yield Sides("federated read", call, pids)


@asynccontextmanager
async def bare_chain() -> AsyncIterator[Sides]:
    """Start the yardstick's four processes and talk to the first."""
    ports = [free_port() for _ in CHAIN_PARTIES]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "chain.py"), *map(str, ports[at : at + 2])
        )
        for at in range(len(ports))
    ]
    try:
        for port in ports[: len(processes)]:
            await _listening(port)
        body = chain.RECORD
        url = f"http://127.0.0.1:{ports[0]}/"
        async with chain.session() as session:

            async def call() -> bool:
                headers = {chain.SIGNATURE: chain.sign(body)}
                async with session.post(url, data=body, headers=headers) as answer:
                    record = await answer.read()
                    return answer.status == 200 and len(record) == chain.BODY_BYTES

            pids = {
                party: process.pid
                for party, process in zip(CHAIN_PARTIES, processes, strict=True)
            }
            yield Sides("bare chain", call, pids)
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        for process in processes:
            await process.wait()


async def _listening(port: int) -> None:
    """Wait until a process of the chain listens."""
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise TimeoutError("the chain did not start")
