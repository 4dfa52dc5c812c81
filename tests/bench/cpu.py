# SPDX-License-Identifier: Apache-2.0
"""Processor time of processes, and how fast the machine is just now.

Wall time on a shared machine says little; processor time leaves out what other jobs
took, but not what they did to caches and clock rates. So the pace of the machine is
taken as well, by the yardsticks of the cost model: a pure Python loop, and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
QUIET_LOOP_US = 377.0
"""What `_loop` took on the quiet reference machine of the cost model."""
QUIET_SHA_US = 46.5
"""What SHA-256 over 64 KiB took there."""


def cpu_s(pid: int) -> float:
    """Return the processor seconds, user and system, that a process has used."""
    # The name in parentheses may hold spaces: count from its end.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def memory_kib(pid: int, name: str = "VmRSS") -> int:
    """Return a line of a process's status in KiB: `VmRSS` now, `VmHWM` its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(f"the kernel tells no {name}")


@dataclass(frozen=True)
class Pace:
    """How long the two yardsticks take now, in microseconds of processor time."""

    loop_us: float
    sha_us: float

    @property
    def slower(self) -> float:
        """How many times slower than the quiet reference machine, by the loop."""
        return self.loop_us / QUIET_LOOP_US


def pace(samples: int = 25) -> Pace:
    """Measure the machine's pace now."""
    block = bytes(65_536)
    loops, shas = [], []
    for _ in range(samples):
        started = time.process_time_ns()
        _loop()
        between = time.process_time_ns()
        hashlib.sha256(block).digest()
        loops.append(between - started)
        shas.append(time.process_time_ns() - between)
    return Pace(median(loops) / 1000, median(shas) / 1000)


def _loop() -> int:
    total = 0
    for number in range(10_000):
        total += number & 7
    return total
