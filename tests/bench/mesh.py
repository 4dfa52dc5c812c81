# SPDX-License-Identifier: Apache-2.0
"""Four brokers, all connected both ways, aliases spoofed: who is asked how often."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from node.simulate.mesh import Counted, count


def main(arguments: Sequence[str]) -> None:
    """Count, print, and fail if anybody was asked twice, or not at all."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        counted = count(Path(folder), seed=options.seed)
    print(_text(counted))
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(counted), indent=2), "utf-8")
    if set(counted.asked.values()) != {1} or counted.loops or counted.misled:
        sys.exit("some party was not asked exactly once")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py bench mesh", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="decides every delay")
    parser.add_argument("--json", type=Path, help="write every figure to a file")
    return parser.parse_args(arguments)


def _text(counted: Counted) -> str:
    lines = ["times asked, by party:"]
    lines += [f"  {name:20} {times}" for name, times in counted.asked.items()]
    lines.append("exchanges carried, by broker:")
    lines += [f"  {name:20} {times}" for name, times in counted.carried.items()]
    lines += [
        f"neighbors linked, by broker: {sorted(counted.links.values())}",
        f"repetitions and loops: {counted.loops}; dialed by a false name: "
        f"{counted.misled}",
        f"answered: {counted.answered} of {counted.parties} parties,"
        f" {counted.took_ms} ms of virtual time",
    ]
    return "\n".join(lines)
