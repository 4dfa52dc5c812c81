# SPDX-License-Identifier: Apache-2.0
"""Real processes: brokers are killed while reads run; none is lost, none doubled.

python3 -m pytest -n0 -s tests/scenarios/test_brokers.py       prints the figures
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from node.admission import accept_offline
from node.demo.acts import CHECKUP, CLINIC, FAR_CLINIC, HALL, Read, Stage
from node.demo.acts_data import fill_vaults
from node.demo.cities import CLOCK, MEMBERS, Cities, free_port
from node.demo.processes import NodeProcess
from node.demo.report import Report
from node.new_city import RelayAnswers, create_relay
from node.system import system_entropy
from protocol.ids import NodeId
from protocol.membership import Credentials
from protocol.suites import Suite
from tests.scenarios.test_processes import until_read

RELAYS = ("hoshino/broker-2", "yamanami/broker-2")
READS, IN_FLIGHT = 160, 8


async def add_relay(cities: Cities, name: str) -> None:
    """Set up, admit and start a further broker, as docs/operations.md tells it."""
    node = NodeId(name)
    folder = cities.folder / node.city / node.label
    made = create_relay(
        RelayAnswers(
            node=node,
            card=cities.card(node.city),
            hosts=("127.0.0.1",),
            port=free_port(),
            key_file=cities.folder / node.city / f"{node.label}.key",
            settings=(
                ("api.host", "127.0.0.1"),
                ("api.port", free_port()),
                ("link.host", "127.0.0.1"),
            ),
        ),
        folder,
        now_ms=CLOCK.now_ms(),
        entropy=system_entropy,
    )
    admitted = await asyncio.to_thread(
        cities.nodes[f"{node.city}/broker"].api.post,
        "/v1/members",
        {"request": made.join_request.read_text(), "roles": ["broker"]},
    )
    now = CLOCK.now_ms() // 1000
    await asyncio.to_thread(
        accept_offline,
        made.settings,
        Credentials(**admitted),
        now=now,
        entropy=system_entropy,
    )
    cities.nodes[name] = NodeProcess(name, made.settings.data_dir)
    await cities.nodes[name].start()
    await cities.ready(name)


async def until_linked(stage: Stage, node: str, seconds: float = 60) -> None:
    """Wait until a node is linked with both brokers of its city."""
    end = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < end:
        status = await asyncio.to_thread(stage.api(node).get, "/v1/status")
        if [broker["linked"] for broker in status["brokers"]] == [True, True]:
            return
        await CLOCK.sleep(0.1)
    raise TimeoutError(f"{node} is not linked with every broker of its city")


class Load:
    """Reads at a constant number in flight, and a broker that is killed meanwhile."""

    def __init__(self, stage: Stage, consent: str) -> None:
        """Nothing has been read yet."""
        self._stage = stage
        self._consent = consent
        self.done: list[Read] = []
        self._started = 0

    async def run(self, kills: dict[int, NodeProcess]) -> None:
        """Read; when so many reads are done, kill that broker."""

        async def reader() -> None:
            while self._started < READS:
                self._started += 1
                read = await self._stage.read(
                    FAR_CLINIC,
                    consent=self._consent,
                    dataset_type=CHECKUP,
                    purpose="treatment",
                )
                self.done.append(read)
                broker = kills.pop(len(self.done), None)
                if broker is not None:
                    await broker.kill()

        await asyncio.gather(*(reader() for _ in range(IN_FLIGHT)))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_brokers_lose_no_read_and_double_none() -> None:
    """The brokers on the path are killed one by one, the authority among them."""
    cast = tuple(m for m in MEMBERS if m.node in (HALL, CLINIC, FAR_CLINIC))
    cities = Cities(Path(tempfile.mkdtemp(prefix="mk")), Suite.HYBRID, members=cast)
    await asyncio.to_thread(cities.found)
    stage = Stage(cities, Report(Console(quiet=True)), CLOCK.monotonic())
    try:
        await cities.start()
        for relay in RELAYS:
            await add_relay(cities, relay)
        for node in (CLINIC, FAR_CLINIC):
            await until_linked(stage, node)
        await fill_vaults(stage)
        consent = await stage.consent(FAR_CLINIC)
        path = (await until_read(stage, consent)).hops
        assert len(path) == 3
        # Home and destination city, one after the other; the transit city has one.
        kills = {40: cities.nodes[path[0]], 100: cities.nodes[path[2]]}
        load = Load(stage, consent)
        await load.run(kills)
        codes = [read.code for read in load.done if read.code is not None]
        assert (codes, kills) == ([], {})
        exchanges = {read.first["exchange"] for read in load.done}
        assert len(exchanges) == len(load.done) == READS
        Console().print(_figures(load, path))
        after = await until_read(stage, consent)
        assert not set(after.hops) & {path[0], path[2]}
        await _released_once(stage, exchanges)
    finally:
        await cities.stop()
        shutil.rmtree(cities.folder, ignore_errors=True)


def _figures(load: Load, path: list[str]) -> str:
    took = sorted(read.took_ms for read in load.done)
    return (
        f"\n{len(took)} reads, {IN_FLIGHT} in flight, killed {path[0]} and {path[2]}: "
        f"median {took[len(took) // 2]:.0f} ms, longest {took[-1]:.0f} ms"
    )


async def _released_once(stage: Stage, exchanges: set[str]) -> None:
    """Compare with what the holder has written down: each exchange once."""
    found = await asyncio.to_thread(
        stage.api(CLINIC).get, "/v1/provisions", {"subject": "H-0001", "limit": 1000}
    )
    released = [
        entry["exchange"]
        for entry in found["provisions"]
        if entry["role"] == "provision"
    ]
    assert len(released) == len(set(released))
    assert exchanges <= set(released)
