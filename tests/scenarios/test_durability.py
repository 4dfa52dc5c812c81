# SPDX-License-Identifier: Apache-2.0
"""What a node has acknowledged is on disk: `kill -9` while it is being written to.

One real process; many applications store records at once; it is killed in the middle
and started again. Every record whose storing was answered is there, whole; what was not
answered is there or not.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.demo.cities import CLOCK, free_port
from node.demo.processes import NodeProcess
from node.new_city import CityAnswers, create_city
from node.system import system_entropy
from protocol.ids import CityId

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WRITERS, ROUNDS = 8, 3


def _found(folder: Path) -> NodeProcess:
    """Set up a node that is a city by itself."""
    made = create_city(
        CityAnswers(
            city=CityId("hoshino"),
            hosts=("127.0.0.1",),
            port=free_port(),
            key_file=folder / "broker.key",
            settings=(
                ("api.port", free_port()),
                ("link.host", "127.0.0.1"),
                ("node.roles", ("broker", "directory", "vault")),
            ),
        ),
        folder,
        b"a passphrase for a test",
        now_ms=CLOCK.now_ms(),
        entropy=system_entropy,
    )
    return NodeProcess("hoshino/broker", made.broker.data_dir)


async def _answering(node: NodeProcess, seconds: float = 30) -> None:
    end = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < end:
        try:
            await asyncio.to_thread(node.api.get, "/readyz")
        except (NodeUnreachable, NodeProblem):
            assert node.running, node.log.read_text()[-2000:]
            await CLOCK.sleep(0.05)
        else:
            return
    raise TimeoutError("the node is not ready")


def _content(number: int) -> dict[str, Any]:
    return {"date": "2026-04-01", "systolic_mmhg": 80 + number % 100}


async def _write(node: NodeProcess, writer: int, stored: dict[str, int]) -> None:
    """Store records one after the other until the node is gone."""
    number = 0
    while True:
        number += 1
        body = {
            "dataset_type": "health.checkup",
            "subject": f"W-{writer}",
            "content": _content(number),
        }
        try:
            made = await asyncio.to_thread(node.api.post, "/v1/records", body)
        except (NodeUnreachable, OSError):
            return
        stored[str(made["id"])] = number


async def test_acknowledged_records_survive_a_kill() -> None:
    """All of them, in each of several rounds, with their content."""
    folder = Path(tempfile.mkdtemp(prefix="mk"))
    node = await asyncio.to_thread(_found, folder)
    stored: dict[str, int] = {}
    try:
        for _ in range(ROUNDS):
            await node.start()
            await _answering(node)
            known = len(stored)
            writers = [
                asyncio.create_task(_write(node, writer, stored))
                for writer in range(WRITERS)
            ]
            end = CLOCK.monotonic() + 30
            while len(stored) < known + 60:
                assert CLOCK.monotonic() < end, "nothing is stored"
                await CLOCK.sleep(0.01)
            await node.kill()
            await asyncio.gather(*writers)
        await node.start()
        await _answering(node)
        for identifier, number in stored.items():
            kept = await asyncio.to_thread(node.api.get, f"/v1/records/{identifier}")
            assert kept["content"] == _content(number)
        assert len(stored) >= 60 * ROUNDS
    finally:
        await node.stop()
        shutil.rmtree(folder, ignore_errors=True)
