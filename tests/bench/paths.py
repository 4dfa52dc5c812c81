# SPDX-License-Identifier: Apache-2.0
"""A path fails in the middle of 1,000 reads at 32 in flight: none lost, none doubled.

    requester -> its broker -> kyoto/broker or nara/broker -> hoshino/broker -> holder

Seven processes with TLS links and durable databases on one machine. When half of the
reads have ended, the broker on the way that is taken is killed (`kill -9`, while all
reads in flight stand on it), or stopped where it stands (SIGSTOP: nothing breaks, it is
only silent). Every read must end with its record; the holder's register must have one
release for each, the requester's one arrival with the same exchange id.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from protocol.suites import Suite
from tests.bench.load import run
from tests.bench.read import federated
from tests.bench.world import (
    CITIES,
    HOLDER,
    HOLDER_CITY,
    REQUESTER,
    REQUESTER_CITY,
    TERMS,
    World,
)

BETWEEN = (("kyoto", "京市", "Kyoto"), ("nara", "奈良市", "Nara"))
READS, IN_FLIGHT = 1_000, 32
_GATHER_S = 1.0
"""So long a broker holds what comes before it is killed: then all is in flight."""


@dataclass(frozen=True)
class Failed:
    """What became of the reads around one failure.

    Attributes:
        how: `kill -9` or SIGSTOP.
        broker: which one failed.
        reads, answered: how many were made, and ended with their record.
        releases, arrivals: new entries of the holder and of the requester.
        matched: exchange ids that stand in both.
        new_path_ms: from the failure to the end of the first read begun after it.
        longest_ms: of a read that was in flight at the failure.
        median_ms: of all reads.
        rerouted: reads that a broker sent over another path.
    """

    how: str
    broker: str
    reads: int
    answered: int
    releases: int
    arrivals: int
    matched: int
    new_path_ms: float
    longest_ms: float
    median_ms: float
    rerouted: int

    @property
    def whole(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        counts = {self.answered, self.releases, self.arrivals, self.matched}
        return counts == {self.reads}


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and fail if a read was lost or doubled."""
    parser = argparse.ArgumentParser(prog="run.py bench paths", description=__doc__)
    parser.add_argument("--reads", type=int, default=READS, help="for each failure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="machikura-paths-") as folder:
        world = _world(Path(folder))
        world.found()
        found = asyncio.run(_measure(world, options.reads))
    for failed in found:
        print(_text(failed))
    if options.json is not None:
        figures = [asdict(failed) for failed in found]
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if not all(failed.whole for failed in found):
        sys.exit("reads were lost or doubled")


def _world(folder: Path) -> World:
    middle = [city for city, *_ in BETWEEN]
    return World(
        folder,
        Suite.HYBRID,
        places=(*CITIES, *BETWEEN),
        agreed=tuple(
            (city, end) for city in middle for end in (HOLDER_CITY, REQUESTER_CITY)
        ),
        terms=TERMS.model_copy(update={"transit": True, "hop_limit": 4}),
    )


async def _measure(world: World, reads: int) -> list[Failed]:
    try:
        await world.start()
        await world.fill()
        await _both_ways(world)
        found = [await _fail(world, "kill -9", reads)]
        await _both_ways(world)
        return [*found, await _fail(world, "SIGSTOP", reads)]
    finally:
        for node in world.nodes.values():
            node.resume()
        await world.stop()


async def _both_ways(world: World) -> None:
    """Wait until the requester's broker has both ways with a link up."""
    end = time.monotonic() + 90
    while len(await _ways(world)) < len(BETWEEN):
        if time.monotonic() > end:
            raise TimeoutError("the second way has not come up")
        await asyncio.sleep(0.1)


async def _ways(world: World) -> list[str]:
    """Return the brokers between, the one that is taken first."""
    api = world.nodes[f"{REQUESTER_CITY}/broker"].api
    routes = (await asyncio.to_thread(api.get, "/v1/routes"))["routes"]
    ways = [r for r in routes if r["city"] == HOLDER_CITY and r["up"]]
    ways.sort(key=lambda way: not way["chosen"])
    return [f"{way['neighbor']}/broker" for way in ways]


async def _fail(world: World, how: str, reads: int) -> Failed:
    """Let the broker on the way fail in the middle of the reads."""
    broker = (await _ways(world))[0]
    before = {n: _exchanges(world, n) for n in (HOLDER, REQUESTER)}
    rerouted = await _rerouted(world)
    times: list[tuple[float, float]] = []
    failure: list[float] = []
    async with federated(world) as sides:

        async def read() -> bool:
            began = time.perf_counter()
            good = await sides.call()
            times.append((began, time.perf_counter()))
            if len(times) == reads // 2:
                failure.append(await _strike(world, broker, how))
            return good

        measured = await run(read, requests=reads, in_flight=IN_FLIGHT)
    after = {n: _exchanges(world, n) - before[n] for n in (HOLDER, REQUESTER)}
    struck = failure[0]
    found = Failed(
        how=how,
        broker=broker,
        reads=reads,
        answered=reads - measured.failed,
        releases=len(after[HOLDER]),
        arrivals=len(after[REQUESTER]),
        matched=len(after[HOLDER] & after[REQUESTER]),
        new_path_ms=1000 * (min(e for b, e in times if b > struck) - struck),
        longest_ms=1000 * max(e - b for b, e in times if b <= struck < e),
        median_ms=measured.median_ms,
        rerouted=await _rerouted(world) - rerouted,
    )
    await _mend(world, broker, how)
    return found


async def _strike(world: World, broker: str, how: str) -> float:
    """Let a broker fail; return when. All reads in flight stand on it by then."""
    world.nodes[broker].pause()
    if how == "SIGSTOP":
        return time.perf_counter()
    await asyncio.sleep(_GATHER_S)
    struck = time.perf_counter()
    await world.nodes[broker].kill()
    return struck


async def _mend(world: World, broker: str, how: str) -> None:
    if how == "SIGSTOP":
        world.nodes[broker].resume()
    else:
        await world.nodes[broker].start()


async def _rerouted(world: World) -> int:
    """Return how many requests the requester's broker sent over another path."""
    api = world.nodes[f"{REQUESTER_CITY}/broker"].api
    status = await asyncio.to_thread(api.get, "/v1/status")
    return int(status["outcomes"].get("relay path-lost", 0))


def _exchanges(world: World, node: str) -> set[str]:
    """Return the exchange ids in a node's register of releases and arrivals."""
    file = world.settings[node].database_file
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT exchange FROM provisions WHERE role IN ('provision', 'reception')"
        )
        return {str(row[0]) for row in rows}


def _text(failed: Failed) -> str:
    verdict = "none lost, none doubled" if failed.whole else "LOST OR DOUBLED"
    return (
        f"{failed.how} of {failed.broker} in the middle of {failed.reads} reads"
        f" at {IN_FLIGHT} in flight: {verdict}\n"
        f"  answered {failed.answered}, releases {failed.releases}, arrivals"
        f" {failed.arrivals}, in both {failed.matched}; sent again {failed.rerouted}\n"
        f"  to the new path {failed.new_path_ms:.0f} ms; longest read in flight at the"
        f" failure {failed.longest_ms:.0f} ms (median of all {failed.median_ms:.0f})"
    )
