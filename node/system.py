# SPDX-License-Identifier: Apache-2.0
"""The clock and the entropy of the process: the only module that owns them.

Everything else is handed a clock or bytes, so that rules are tested at any hour and a
simulation runs twice the same way. `node/app.py` and the command line pass them on.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class SystemClock:
    """The machine's clock. Satisfies `federation.ports.Clock`."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970, UTC; may step when the clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that only grow: for measuring, never for dates."""
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The kernel's random bytes, in both shapes that our code asks for."""

    def __call__(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes."""
        return secrets.token_bytes(size)

    def token_bytes(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes (`federation.ports.Entropy`)."""
        return secrets.token_bytes(size)


async def in_thread(work: Callable[[], T], /) -> T:
    """Do work in a thread (`node.world.Aside`); the loop goes on meanwhile."""
    return await asyncio.to_thread(work)


system_entropy = SystemEntropy()
