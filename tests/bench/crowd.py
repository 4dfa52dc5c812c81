# SPDX-License-Identifier: Apache-2.0
"""Many whole nodes in one process: `python -m tests.bench.crowd NODE.TOML ...`.

Each has its own keys, TLS link, durable database and API, as in a process of its own;
only the memory for the program is shared. Prints `ready` when all are, and ends when
its input does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from node.app import start
from node.config_file import load
from node.core import Core
from node.system import SystemClock

CLOCK = SystemClock()


async def main(files: list[str]) -> None:
    """Run the nodes until the standard input ends."""
    async with AsyncExitStack() as stack:
        cores = [await start(load(Path(file), {}), stack) for file in files]
        while not all(map(_linked, cores)):
            await CLOCK.sleep(0.05)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _linked(core: Core) -> bool:
    parts = core.parts
    return parts.addressbook.knows(parts.node.city) and bool(core.links.links)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
