# SPDX-License-Identifier: Apache-2.0
"""Federated reads beside a bare chain, start and memory of a node.

    python3 run.py bench reads [--quick] [--suite strict] [--json FILE]

Federated reads through four processes against a bare chain of four; how long a node
takes from its start to ready; what an idle node keeps in memory; and the processor
time of each party by phase. Prints tables; `--json` writes every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from protocol.suites import Suite
from tests.bench import cpu, phases, read
from tests.bench.show import Report, show
from tests.bench.world import HOLDER, World, record_bytes

LOADS = ((1, 150), (32, 640))
"""In flight, and requests per run."""


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="run.py bench reads", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, not five")
    parser.add_argument("--suite", choices=[s.value for s in Suite], default=None)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    suite = next(iter(Suite)) if options.suite is None else Suite(options.suite)
    with tempfile.TemporaryDirectory(prefix="machikura-bench-") as folder:
        world = World(Path(folder), suite)
        _tell("founding two cities")
        world.found()
        report = asyncio.run(_measure(world, rounds=1 if options.quick else 5))
        _tell("profiling the parties")
        report["phases_us"] = asyncio.run(phases.measure(world))
    report["suite"] = suite.value
    show(report, Console(width=max(120, Console().width)))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


async def _measure(world: World, rounds: int) -> Report:
    try:
        _tell("starting five nodes")
        await world.start()
        await world.fill()
        report: Report = {
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "pace": asdict(cpu.pace()),
            },
            "record_bytes": record_bytes(),
            "idle_mib": _memory(world, "VmRSS"),
            "reads": await _reads(world, rounds),
            "peak_mib": _memory(world, "VmHWM"),
            "start_s": await _start(world, rounds),
        }
    finally:
        await world.stop()
    return report


def _memory(world: World, line: str) -> dict[str, float]:
    return {node: cpu.memory_kib(world.pid(node), line) / 1024 for node in world.nodes}


async def _reads(world: World, rounds: int) -> list[Report]:
    done = []
    async with read.federated(world) as ours, read.bare_chain() as yardstick:
        for in_flight, requests in LOADS:
            _tell(f"reads, {in_flight} in flight, {rounds} rounds")
            compared = await read.compare(
                ours, yardstick, in_flight=in_flight, requests=requests, rounds=rounds
            )
            done.append(
                {
                    "in_flight": in_flight,
                    "throughput_ratio": compared.throughput_ratio,
                    "latency_ratio": compared.latency_ratio,
                    "cpu_ratio": compared.cpu_ratio,
                    "ours": _side(compared.ours),
                    "yardstick": _side(compared.yardstick),
                }
            )
    return done


def _side(samples: list[read.Sample]) -> Report:
    return {
        **asdict(read.middle(samples)),
        "cpu_us": read.middle_cpu(samples),
        "pace_slower": [sample.pace.slower for sample in samples],
    }


async def _start(world: World, rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of a process to its being ready, beside an empty one."""
    taken: dict[str, list[float]] = {"node": [], "interpreter": []}
    node = world.nodes[HOLDER]
    for _ in range(rounds):
        _tell("starting a node")
        await node.stop()
        started = time.perf_counter()
        await node.start()
        await world.ready(HOLDER)
        taken["node"].append(time.perf_counter() - started)
        started = time.perf_counter()
        empty = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import aiohttp, pydantic, sqlalchemy, cryptography"
        )
        await empty.wait()
        taken["interpreter"].append(time.perf_counter() - started)
    return taken


def _tell(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)
