# SPDX-License-Identifier: Apache-2.0
"""Virtual time and seeded chance: what makes a simulated world run the same twice.

`VirtualLoop` is an asyncio event loop that never waits: when nothing is ready, its
time jumps to the next timer. An hour of heartbeats and back-off passes in
milliseconds, and a timeout that is too short fails on every machine or on none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from protocol.errors import MachikuraError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_MS = 1_767_225_600_000
"""When virtual worlds begin unless told otherwise: 2026-01-01T00:00:00Z."""

_RESOLUTION_S = 1e-6
"""Timers this close together are due together; above the rounding of the sums."""


class Stuck(MachikuraError):
    """Everything waits, and nothing is scheduled that could end it."""

    slug = "internal"


class _Jump:
    """Stands where the event loop waits for sockets, and lets time jump instead."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance

    def select(self, timeout: float | None) -> tuple[()]:
        """Returns at once; there are no sockets to be ready."""
        if timeout is None:
            raise Stuck("the simulated world waits for something that never comes")
        if timeout > 0:
            self._advance(timeout)
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on virtual time, which starts at 0.

    It has timers, tasks and callbacks but neither sockets nor threads: a simulated
    world cannot touch the real one. Threads would race with virtual time, so what is
    meant for an executor runs at once, in the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._clock_resolution = _RESOLUTION_S
        self._selector = _Jump(self._advance)

    def time(self) -> float:
        """Returns virtual seconds."""
        return self._now_s

    def _advance(self, seconds: float) -> None:
        self._now_s += seconds

    def _process_events(self, _events: tuple[()]) -> None:
        """Has nothing to do: no sockets."""

    def _write_to_self(self) -> None:
        """Has nothing to wake: the loop never sleeps."""

    def run_in_executor(
        self, executor: object, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Runs a blocking function now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """The time of day of one party, counted by the running event loop.

    Attributes:
        skew_ms: how far this party's clock is wrong; may be set at any time.
    """

    def __init__(self, start_ms: int = START_MS, skew_ms: int = 0) -> None:
        """Starts now.

        Args:
            start_ms: epoch milliseconds when the loop's time was 0.
            skew_ms: added to the right time.
        """
        self._start_ms = start_ms
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Returns milliseconds since the Unix epoch, as this party believes."""
        passed_ms = round(asyncio.get_running_loop().time() * 1000)
        return self._start_ms + passed_ms + self.skew_ms

    async def sleep(self, seconds: float) -> None:
        """Returns after that many virtual seconds."""
        await asyncio.sleep(seconds)  # noqa: TID251  the one place where time is ours


class SeededEntropy:
    """Bytes that depend on the seed alone: SHA-256 over seed and a counter.

    For simulations and tests only: whoever knows the seed knows every byte.
    """

    def __init__(self, seed: int | str) -> None:
        """Starts the stream of a seed."""
        self.restart(seed)

    def restart(self, seed: int | str) -> None:
        """Goes on with the stream of another seed, from its beginning."""
        self._seed = str(seed).encode()
        self._counter = 0

    def token_bytes(self, size: int, /) -> bytes:
        """Returns the next `size` bytes."""
        out = bytearray()
        while len(out) < size:
            block = b"%d:%b:%d" % (len(self._seed), self._seed, self._counter)
            out += hashlib.sha256(block).digest()
            self._counter += 1
        return bytes(out[:size])

    def chance(self) -> float:
        """Returns the next number in [0, 1)."""
        return int.from_bytes(self.token_bytes(6), "big") / 2**48

    def between(self, low: float, high: float) -> float:
        """Returns the next number in [low, high)."""
        return low + (high - low) * self.chance()
