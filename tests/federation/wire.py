# SPDX-License-Identifier: Apache-2.0
"""What moves in the small world of the tests: its clock, and the links in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.peers import Peer
from federation.virtual import START_MS


class SetClock:
    """Time that moves when it is told to."""

    def __init__(self, now_ms: int = START_MS) -> None:
        """Stand at `now_ms`."""
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return self._now_ms

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return self._now_ms // 1000

    def move(self, ms: int) -> None:
        """Move by so many milliseconds."""
        self._now_ms += ms

    def move_to(self, now_ms: int) -> None:
        """Move to a later time; an earlier one changes nothing."""
        self._now_ms = max(self._now_ms, now_ms)

    async def sleep(self, seconds: float) -> None:
        """Let the others run; the time asked for has passed then."""
        self.move(round(seconds * 1000))
        await asyncio.sleep(0)


def unchanged(data: bytes) -> bytes:
    """Return what came."""
    return data


class End(Protocol):
    """What a link needs of the nodes at its ends."""

    clock: SetClock
    received: list[bytes]

    @property
    def peer(self) -> Peer:
        """How the other side knows this node."""

    async def serve(self, peer: Peer, payload: bytes) -> bytes:
        """Answer a request."""

    def notice(self, peer: Peer, payload: bytes) -> None:
        """Take a notice."""


@dataclass(eq=False)
class Wire:
    """One direction of a link in memory. Satisfies `federation.peers.Carrier`.

    Attributes:
        source, target: the two nodes.
        up: False once it is cut.
        silent: takes requests and never answers them.
        delay_ms: how long an answer takes.
        on_request, on_answer: may alter what passes.
        carried: how many requests went through.
        rtt_ms: as a heartbeat would have measured it.
    """

    source: End
    target: End
    up: bool = True
    silent: bool = False
    delay_ms: int = 0
    on_request: Callable[[bytes], bytes] = unchanged
    on_answer: Callable[[bytes], bytes] = unchanged
    carried: int = 0
    rtt_ms: float | None = None

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Carry one request and return its answer."""
        clock = self.source.clock
        if not self.up:
            raise LinkLost("closed")
        self.carried += 1
        payload = self.on_request(payload)
        self.target.received.append(payload)
        if self.silent:
            clock.move_to(deadline_ms)
        if clock.now_ms() >= deadline_ms:
            raise DeadlinePassed
        try:
            answer = await self.target.serve(self.source.peer, payload)
        except LinkProblem as problem:
            raise LinkProblem.decode(problem.encode()) from problem
        clock.move(self.delay_ms)
        if clock.now_ms() >= deadline_ms:
            raise DeadlinePassed
        answer = self.on_answer(answer)
        self.source.received.append(answer)
        return answer

    def notify(self, payload: bytes) -> None:
        """Carry one notice."""
        if not self.up:
            raise LinkLost("closed")
        self.target.received.append(payload)
        self.target.notice(self.source.peer, payload)

    def end(self) -> None:
        """End the link."""
        self.up = False
