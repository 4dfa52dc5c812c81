# SPDX-License-Identifier: Apache-2.0
"""A large attachment between processes: killed in the middle, resumed, memory bound."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.suites import Suite
from tests.bench.cpu import memory_kib
from tests.bench.world import CHECKUP, CLOCK, HOLDER, LOCAL_ID, REQUESTER, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SIZE = 64 * (1 << 20) + 777
MOST_EXTRA_KIB = 40_000_000 // 1024
MEMORY_WATCHED = ("minato/broker", "hoshino/broker", HOLDER)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Run two cities with a resident's consent."""
    world = World(Path(tempfile.mkdtemp(prefix="mk")), Suite.HYBRID)
    try:
        await asyncio.to_thread(world.found)
        await world.start()
        await world.fill()
        yield world
    finally:
        await world.stop()
        shutil.rmtree(world.folder, ignore_errors=True)


async def command(world: World, node: str, *words: str) -> asyncio.subprocess.Process:
    """Start `machikura` at a node."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "node.cli",
        *words,
        "--config",
        str(world.nodes[node].directory / "node.toml"),
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def done(process: asyncio.subprocess.Process) -> Any:
    """Return the document that a command printed, and its lines of progress."""
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:] + out.decode()
    return json.loads(out), [json.loads(line) for line in err.splitlines()]


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = CLOCK.monotonic() + seconds
    while not true():
        assert CLOCK.monotonic() < end, "it did not happen"
        await CLOCK.sleep(0.005)


def write(file: Path) -> str:
    """Write a large file; return its SHA-256."""
    content = os.urandom(SIZE)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def kept(file: Path) -> int:
    """Return how much of a file is on disk for good, by its note."""
    note = file.with_name(file.name + ".part.json")
    try:
        return int(json.loads(note.read_bytes())["kept"])
    except FileNotFoundError:
        return 0


async def test_killed_command_and_killed_node_cost_only_time(world: World) -> None:
    """From the last chunk on disk; each party holds a few parts; both sides show it."""
    scan, copy = world.folder / "scan.dcm", world.folder / "copy.dcm"
    written = await asyncio.to_thread(write, scan)
    holder, requester = world.nodes[HOLDER], world.nodes[REQUESTER]
    query = {"dataset_type": CHECKUP, "subject": LOCAL_ID}
    listed = await asyncio.to_thread(holder.api.get, "/v1/records", query)
    record = str(listed["records"][0]["id"])
    words = "attachment", "add", record, str(scan), "--field", "chest_xray_finding"
    added, progress = await done(await command(world, HOLDER, *words))
    assert added["intact"]
    assert progress[-1] == {"position": SIZE, "size": SIZE}
    fetch = (
        *("fetch", added["id"], "--record", record, "--consent", world.consent),
        *("--type", CHECKUP, "--purpose", "treatment", "--to", str(copy)),
    )
    pids = {node: world.pid(node) for node in MEMORY_WATCHED}
    before = {node: memory_kib(pid) for node, pid in pids.items()}

    killed = await command(world, REQUESTER, *fetch)
    await until(lambda: kept(copy) > 0)
    killed.kill()
    await killed.communicate()
    first = kept(copy)
    assert 0 < first < SIZE
    assert not copy.exists()

    again = await command(world, REQUESTER, *fetch)
    await until(lambda: kept(copy) > first)
    await requester.kill()
    await requester.start()
    saved, progress = await done(again)
    assert digest(copy) == saved["sha256"] == written
    assert 0 < saved["resumed_at"] <= first
    assert saved["attempts"] > 1
    assert progress[-1] == {"position": SIZE, "size": SIZE}
    left = [path.name for path in world.folder.glob("copy*")]
    assert left == ["copy.dcm"]

    for node, pid in pids.items():
        extra = memory_kib(pid, "VmHWM") - before[node]
        assert extra <= MOST_EXTRA_KIB, (node, extra)
    sent, _ = await done(await command(world, HOLDER, "transfers"))
    came, _ = await done(await command(world, REQUESTER, "transfers"))
    (last,) = came["transfers"]
    assert (last["state"], last["position"]) == ("done", SIZE)
    same = next(t for t in sent["transfers"] if t["id"] == last["id"])
    assert (same["side"], same["counterparty"]) == ("holder", REQUESTER)
    assert (same["state"], same["position"]) == ("done", SIZE)
    assert len(sent["transfers"]) == 3
