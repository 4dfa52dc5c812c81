# SPDX-License-Identifier: Apache-2.0
"""Runs the command line under a wall clock that can be moved while it runs.

    python tests/network/moved.py OFFSET_FILE serve --config …

The file holds seconds to add to the machine's time. Only the time of day moves, as when
somebody sets a machine's clock: what counts seconds, such as timers, does not notice.
The product is not changed: `node.system` asks `time.time_ns`, which answers here.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Move the clock, then be the product."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    offset = Path(sys.argv[1])
    real_ns = time.time_ns

    def moved_ns() -> int:
        return real_ns() + int(offset.read_text(encoding="ascii")) * 1_000_000_000

    time.time_ns = moved_ns
    time.time = lambda: moved_ns() / 1_000_000_000
    sys.argv = ["machikura", *sys.argv[2:]]
    runpy.run_module("node.cli", run_name="__main__")


if __name__ == "__main__":
    main()
