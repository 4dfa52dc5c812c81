# SPDX-License-Identifier: Apache-2.0
"""The demo from nothing to its first read across cities.

    python3 run.py bench fresh [--json FILE]

The demo runs in a copy of this checkout without its environment and caches, as a fresh
clone would be: `python3 run.py demo --once` makes the environment, installs the locked
packages (from the package index, or pip's cache) and plays the story.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FIRST_WORDS = b"Machikura"
_LONGEST_S = 900
_NOT_CLONED = shutil.ignore_patterns(".venv", ".git", ".coverage*", ".*_cache", "__py*")


@dataclass(frozen=True)
class Fresh:
    """The demo from nothing, in seconds since the command.

    Attributes:
        installed: when the demo itself began.
        first_read: when the first read across cities had come back.
    """

    installed: float
    first_read: float


async def fresh_demo() -> Fresh:
    """Play the demo in a fresh copy of this checkout.

    Raises:
        RuntimeError: it failed, with the end of what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="machikura-fresh-") as folder:
        clone, result = Path(folder) / "clone", Path(folder) / "result.json"
        await asyncio.to_thread(shutil.copytree, ROOT, clone, ignore=_NOT_CLONED)
        started = time.perf_counter()
        demo = await asyncio.create_subprocess_exec(
            # Not this environment's own interpreter: a fresh machine has none.
            getattr(sys, "_base_executable", sys.executable),
            *("run.py", "demo", "--once", "--json", str(result)),
            cwd=clone,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_LONGEST_S):
                installed, printed = await _follow(demo, started)
        finally:
            if demo.returncode is None:
                demo.terminate()
                await demo.wait()
        if demo.returncode != 0 or installed is None:
            raise RuntimeError(printed[-2000:].decode("utf-8", "replace"))
        figures = json.loads(result.read_text(encoding="utf-8"))["figures"]
        return Fresh(installed, installed + figures["first_cross_city_read_s"])


async def _follow(
    demo: asyncio.subprocess.Process, started: float
) -> tuple[float | None, bytes]:
    """Return when the demo began, and what was printed; ends with the process."""
    installed: float | None = None
    printed = b""
    if demo.stdout is not None:
        async for line in demo.stdout:
            printed += line
            if installed is None and line.startswith(_FIRST_WORDS):
                installed = time.perf_counter() - started
    await demo.wait()
    return installed, printed


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="run.py bench fresh", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    print("... the demo in a fresh copy, some minutes", file=sys.stderr, flush=True)
    fresh = asyncio.run(fresh_demo())
    print(f"installed after {fresh.installed:.0f} s")
    print(f"first read across cities after {fresh.first_read:.0f} s (goal: 120)")
    if options.json:
        options.json.write_text(json.dumps(asdict(fresh), indent=2) + "\n")
