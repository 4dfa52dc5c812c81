# SPDX-License-Identifier: Apache-2.0
"""A bounded load: so many requests, so many in flight; times and failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median, quantiles

Call = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        in_flight: requests at once.
        requests: how many were made.
        failed: how many did not succeed.
        per_s: throughput.
        median_ms, p99_ms: latency.
    """

    in_flight: int
    requests: int
    failed: int
    per_s: float
    median_ms: float
    p99_ms: float


async def run(call: Call, *, requests: int, in_flight: int) -> Measured:
    """Make `requests` calls, `in_flight` at a time; each tells whether it was good.

    The next call starts when one has ended, so an overloaded server is not asked more.
    """
    left = iter(range(requests))
    times: list[float] = []
    failed = 0

    async def worker() -> None:
        nonlocal failed
        for _ in left:
            started = time.perf_counter()
            good = await call()
            times.append(time.perf_counter() - started)
            failed += not good

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    took = time.perf_counter() - started
    return Measured(
        in_flight,
        requests,
        failed,
        requests / took,
        1000 * median(times),
        1000 * quantiles(times, n=100)[98],
    )
