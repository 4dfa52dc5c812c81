# SPDX-License-Identifier: Apache-2.0
"""A pipe in memory, whose packets travel as long as the network says."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from federation.ports import PipeClosed

PIPE_BYTES: Final = 1_048_576
"""What one direction of a pipe holds before its sender waits, as sockets do."""


class Path(Protocol):
    """What decides how packets travel from one party to another."""

    def fate(self, source: str, target: str, packet: bytes, /) -> float:
        """Returns the seconds a packet travels; may cut the pipe meanwhile."""
        ...

    def stalled(self, one: str, other: str, /) -> bool:
        """Returns whether nothing arrives between two parties now."""
        ...

    def note(self, event: str, source: str, target: str, size: int, /) -> None:
        """Is told what happens."""
        ...


class Lane:
    """One direction of a pipe: what travels, what has arrived, and whether it ended."""

    def __init__(self, path: Path, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.ended = False
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._last_due = 0.0
        self._travelling: deque[bytes | None] = deque()
        self._held = 0
        self._arrived: deque[bytes] = deque()
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None

    async def send(self, packet: bytes) -> None:
        """Puts a packet on its way; waits while the lane is full."""
        while self._bytes >= PIPE_BYTES and not self.ended:
            await self._wait()
        delay_s = self._path.fate(self.source, self.target, packet)
        if self.ended:
            raise PipeClosed
        self._bytes += len(packet)
        self._depart(packet, delay_s)

    async def receive(self) -> bytes:
        """Returns the next packet that has arrived."""
        while not self._arrived:
            if self.ended:
                raise PipeClosed
            await self._wait()
        packet = self._arrived.popleft()
        self._bytes -= len(packet)
        self._wake()
        return packet

    def hang_up(self) -> None:
        """Ends the lane behind the packets that travel."""
        if not self.ended:
            self._depart(None, self._path.fate(self.source, self.target, b""))

    def break_off(self) -> None:
        """Ends the lane now; what travels is lost."""
        self.ended = True
        self._travelling.clear()
        self._wake()

    def release(self) -> None:
        """Lets packets arrive that a stall has held, if it is over."""
        while self._held and not self._path.stalled(self.source, self.target):
            self._held -= 1
            self._deliver()

    def _depart(self, packet: bytes | None, delay_s: float) -> None:
        # Never before the packet ahead: a pipe keeps the order.
        self._last_due = max(self._last_due, self._loop.time() + delay_s)
        if self.ended:
            return  # Its fate was to be cut.
        self._travelling.append(packet)
        self._loop.call_at(self._last_due, self._arrive)

    def _arrive(self) -> None:
        if self._held or self._path.stalled(self.source, self.target):
            self._held += 1
        else:
            self._deliver()

    def _deliver(self) -> None:
        if not self._travelling:
            return  # The pipe was cut.
        packet = self._travelling.popleft()
        if packet is None:
            self.ended = True
        else:
            self._arrived.append(packet)
        self._path.note("arrives", self.source, self.target, len(packet or b""))
        self._wake()

    async def _wait(self) -> None:
        """Returns when the lane has changed; sender and receiver may both wait."""
        if self._changed is None:
            self._changed = self._loop.create_future()
        await asyncio.shield(self._changed)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None


class MemoryPipe:
    """One end of a pipe: a lane in, a lane out."""

    def __init__(self, inward: Lane, outward: Lane, certificate_hash: bytes) -> None:
        self._inward = inward
        self._outward = outward
        self._certificate_hash = certificate_hash

    @property
    def certificate_hash(self) -> bytes:
        """What stands for the listener's TLS certificate."""
        return self._certificate_hash

    async def send(self, packet: bytes, /) -> None:
        """See `Pipe.send`."""
        if self._inward.ended:
            raise PipeClosed
        await self._outward.send(packet)

    async def receive(self) -> bytes:
        """See `Pipe.receive`."""
        return await self._inward.receive()

    async def close(self) -> None:
        """See `Pipe.close`."""
        self._outward.hang_up()
        self._inward.break_off()
