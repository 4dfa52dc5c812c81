# SPDX-License-Identifier: Apache-2.0
"""A large attachment through two brokers, beside a plain download through two proxies.

    python3 run.py bench stream [--mib 1024] [--rounds 3] [--json FILE]

Five processes of ours (holder, two brokers, requester, home node) as they run in
earnest; the attachment is sealed at rest, fetched by the requester's local application
over its API, and compared with what was stored. Memory is the peak of each process
during the transfers above what it held before.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from aiohttp import ClientSession, ClientTimeout, UnixConnector

from node.demo.cities import free_port
from protocol.suites import Suite
from tests.bench import cpu
from tests.bench.world import CHECKUP, HOLDER, PATH, REQUESTER, World

FIELD = "chest_xray_finding"
GOAL_MB = 40
_MIB = 1 << 20
_UNLIMITED = ClientTimeout(total=None, sock_read=300)


@dataclass(frozen=True)
class Round:
    """One transfer of each kind.

    Attributes:
        ours_s, plain_s: seconds.
        ours_cpu_s: processor seconds of each of our parties.
        plain_cpu_s: of the yardstick's three processes together.
        ratio: our throughput in the plain one's.
    """

    ours_s: float
    plain_s: float
    ours_cpu_s: dict[str, float]
    plain_cpu_s: float

    @property
    def ratio(self) -> float:
        """Our throughput divided by the yardstick's."""
        return self.plain_s / self.ours_s


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="run.py bench stream", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the attachment")
    parser.add_argument("--rounds", type=int, default=3, help="transfers of each kind")
    parser.add_argument("--suite", choices=[s.value for s in Suite], default=None)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    suite = next(iter(Suite)) if options.suite is None else Suite(options.suite)
    with tempfile.TemporaryDirectory(prefix="machikura-bench-") as folder:
        world = World(Path(folder), suite)
        _tell("founding two cities")
        world.found()
        report = asyncio.run(_measure(world, options.mib * _MIB, options.rounds))
    _show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


async def _measure(world: World, size: int, rounds: int) -> dict[str, Any]:
    try:
        _tell("starting five nodes")
        await world.start()
        await world.fill()
        file = world.folder / "plain.bin"
        digest = await asyncio.to_thread(_write, file, size)
        _tell(f"storing {size // _MIB} MiB")
        stored_s, order = await _store(world, file, digest)
        pids = {node: world.pid(node) for node in world.nodes}
        before = {n: _start_peak(pid) for n, pid in pids.items()}
        measured = []
        async with _proxies(file) as (url, proxies):
            for number in range(rounds):
                _tell(f"transfer {number + 1} of {rounds}")
                plain_cpu = sum(map(cpu.cpu_s, proxies))
                plain_s = await _plain(url, digest)
                plain_cpu = sum(map(cpu.cpu_s, proxies)) - plain_cpu
                spent = {n: cpu.cpu_s(pids[n]) for n in PATH}
                ours_s = await _ours(world, order, digest)
                spent = {n: cpu.cpu_s(pids[n]) - s for n, s in spent.items()}
                measured.append(Round(ours_s, plain_s, spent, plain_cpu))
        peak = {n: cpu.memory_kib(pid, "VmHWM") for n, pid in pids.items()}
        return {
            "bytes": size,
            "pace": asdict(cpu.pace()),
            "stored_s": stored_s,
            "rounds": [{**asdict(r), "ratio": r.ratio} for r in measured],
            "ratio": median(r.ratio for r in measured),
            "extra_mb": {n: (peak[n] - before[n]) * 1024 / 1e6 for n in pids},
            "before_mb": {n: before[n] * 1024 / 1e6 for n in pids},
        }
    finally:
        await world.stop()


def _write(file: Path, size: int) -> str:
    """Write random bytes; return their SHA-256."""
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(0, size, _MIB):
            block = os.urandom(_MIB)
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _start_peak(pid: int) -> int:
    """Let the kernel count the highest memory anew; return what is held now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return cpu.memory_kib(pid, "VmRSS")


async def _store(world: World, file: Path, digest: str) -> tuple[float, dict[str, Any]]:
    """Attach the file at the holder; return seconds, and what fetches it."""
    listed = await asyncio.to_thread(
        world.nodes[HOLDER].api.get,
        "/v1/records",
        {"dataset_type": CHECKUP, "subject": "H-0001"},
    )
    record = listed["records"][0]["id"]
    socket = str(world.settings[HOLDER].admin_socket)
    started = time.perf_counter()
    async with ClientSession(
        connector=UnixConnector(socket), timeout=_UNLIMITED
    ) as session:
        with file.open("rb") as content:
            async with session.post(
                f"http://node/v1/records/{record}/attachments",
                params={"field": FIELD, "sha256": digest},
                data=content,
                headers={"Content-Type": "application/dicom"},
            ) as answer:
                stored = await answer.json()
                if answer.status != 201:
                    raise RuntimeError(stored)
    order = {
        "dataset_type": CHECKUP,
        "purpose": "treatment",
        "consent": world.consent,
        "record": record,
        "attachment": stored["id"],
    }
    return time.perf_counter() - started, order


async def _ours(world: World, order: dict[str, Any], digest: str) -> float:
    """Fetch the attachment as the requester's application; return seconds."""
    headers = {"Authorization": f"Bearer {world.token}"}
    url = f"{world.api_url(REQUESTER)}/v1/exchanges/fetch"
    async with ClientSession(timeout=_UNLIMITED) as session:
        started = time.perf_counter()
        async with session.post(url, json=order, headers=headers) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())
            return await _take(answer.content.iter_chunked(_MIB), digest, started)


async def _plain(url: str, digest: str) -> float:
    """Download the file through the proxies; return seconds."""
    async with ClientSession(timeout=_UNLIMITED) as session:
        started = time.perf_counter()
        async with session.get(url) as answer:
            return await _take(answer.content.iter_chunked(_MIB), digest, started)


async def _take(pieces: AsyncIterator[bytes], digest: str, started: float) -> float:
    """Take everything; return the seconds, if it is what it should be."""
    came = hashlib.sha256()
    async for piece in pieces:
        came.update(piece)
    took_s = time.perf_counter() - started
    if came.hexdigest() != digest:
        raise RuntimeError("what arrived is not what was stored")
    return took_s


@asynccontextmanager
async def _proxies(file: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """Run the yardstick: a server and two proxies; yields the URL and process ids."""
    ports = [free_port() for _ in range(3)]
    words = [str(file), str(ports[0]), str(ports[1])]
    script = str(Path(__file__).with_name("proxy.py"))
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, script, str(port), word)
        for port, word in zip(ports, words, strict=True)
    ]
    url = f"http://127.0.0.1:{ports[-1]}/"
    try:
        await _answering(ports)
        yield url, [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
            await process.wait()


async def _answering(ports: list[int]) -> None:
    """Wait until every process listens."""
    for port in ports:
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                break


def _tell(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)


def _show(report: dict[str, Any]) -> None:
    size = report["bytes"]
    print(f"\nAttachment of {size // _MIB} MiB through two brokers, MB a second")
    print(f"  stored at the holder {size / 1e6 / report['stored_s']:8.0f}")
    print(f"  {'':14}{'ours':>8}{'plain':>8}{'ratio':>8}   processor s, each of ours")
    for number, row in enumerate(report["rounds"], 1):
        spent = ", ".join(f"{n} {s:.1f}" for n, s in row["ours_cpu_s"].items())
        print(
            f"  round {number:<8}{size / 1e6 / row['ours_s']:8.0f}"
            f"{size / 1e6 / row['plain_s']:8.0f}{row['ratio']:8.2f}   {spent}"
            f" (plain, all three: {row['plain_cpu_s']:.1f})"
        )
    print(f"  median ratio{report['ratio']:18.2f}")
    print(f"Memory above what was held before, MB (goal: at most {GOAL_MB})")
    for node, extra in report["extra_mb"].items():
        print(f"  {node:18}{extra:7.1f}   before {report['before_mb'][node]:6.1f}")
