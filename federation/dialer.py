# SPDX-License-Identifier: Apache-2.0
"""Keeping one link to each configured peer.

A peer that cannot be reached is tried again after a delay that doubles up to a
bound, with jitter, so that a broker that comes back is not met by all its nodes at
once. The state of that back-off is handed to a store: a node that restarts in a loop
does not hammer its peers. A peer that calls us is plainly alive: its back-off ends,
and as long as its link is up there is no need to dial.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from federation.hub import LinkHub
from federation.link import Link
from federation.ports import Clock, Connect, Entropy
from protocol.errors import MachikuraError

_logger = logging.getLogger(__name__)

_MAX_DOUBLINGS = 32


@dataclass(frozen=True)
class DialTarget:
    """A peer to keep a link to.

    Attributes:
        node: who must answer, e.g. `hoshino/broker`.
        url: where, e.g. `wss://broker.example:8443/link`.
    """

    node: str
    url: str


@dataclass(frozen=True, kw_only=True)
class BackoffPolicy:
    """How patient dialing is."""

    first_s: float = 0.5
    """Seconds before the second try; each further delay is twice the last."""
    max_s: float = 60.0
    """Seconds of the longest delay."""
    connect_s: float = 10.0
    """Seconds that opening the pipe may take."""
    stable_s: float = 10.0
    """Seconds a link must last for earlier failures to be forgotten."""


@dataclass(frozen=True)
class Backoff:
    """How often dialing a peer has failed in a row, and when to try again.

    Attributes:
        failures: in a row; 0 when there is nothing to wait for.
        next_ms: epoch milliseconds before which the peer is not dialed.
    """

    failures: int = 0
    next_ms: int = 0


class BackoffStore(Protocol):
    """Where back-off states outlive the process; a lost write costs one early try."""

    async def load(self, node: str) -> Backoff | None:
        """Returns what was saved last for a node."""
        ...

    async def save(self, node: str, backoff: Backoff) -> None:
        """Keeps the state of a node."""
        ...


@dataclass(frozen=True)
class PeerStatus:
    """What the console shows of one configured peer."""

    target: DialTarget
    up: bool
    backoff: Backoff
    last_error: str | None


def after_failure(
    backoff: Backoff, policy: BackoffPolicy, *, now_ms: int, chance: float
) -> Backoff:
    """Returns the state after one more failure.

    Args:
        backoff: the state before.
        policy: the bounds.
        now_ms: epoch milliseconds.
        chance: in [0, 1); puts the delay between half and all of its nominal length.
    """
    doublings = min(backoff.failures, _MAX_DOUBLINGS)
    nominal_s = min(policy.max_s, policy.first_s * 2**doublings)
    delay_ms = round(nominal_s * 1000 * (0.5 + chance / 2))
    return Backoff(backoff.failures + 1, now_ms + delay_ms)


class _Kept:
    """What is known of one target while it is kept."""

    def __init__(self, target: DialTarget) -> None:
        self.target = target
        self.backoff = Backoff()
        self.last_error: str | None = None
        self.called = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Dialer:
    """Dials configured peers and dials them again."""

    def __init__(
        self,
        hub: LinkHub,
        *,
        connect: Connect,
        clock: Clock,
        entropy: Entropy,
        store: BackoffStore,
        policy: BackoffPolicy | None = None,
    ) -> None:
        """Starts without targets.

        Args:
            hub: opens the links; its observers learn of them.
            connect: opens a pipe to a URL.
            clock: for back-off.
            entropy: for jitter.
            store: keeps back-off states.
            policy: bounds of back-off.
        """
        self._hub = hub
        self._connect = connect
        self._clock = clock
        self._entropy = entropy
        self._store = store
        self._policy = policy or BackoffPolicy()
        self._kept: dict[str, _Kept] = {}
        hub.watch(on_up=self._on_up, on_down=lambda _link, _reason: None)

    def add(self, target: DialTarget) -> None:
        """Keeps a link to the target from now on; replaces one of the same node."""
        self._stop(target.node)
        kept = self._kept[target.node] = _Kept(target)
        kept.task = asyncio.get_running_loop().create_task(self._keep(kept))

    async def remove(self, node: str) -> None:
        """Dials the node no more and ends the link that we have dialed to it."""
        self._stop(node)
        link = self._hub.link_to(node)
        if link is not None and link.dialed:
            await link.close()

    async def close(self) -> None:
        """Dials no more. Links stay up until the hub closes."""
        for node in list(self._kept):
            self._stop(node)

    def status(self) -> tuple[PeerStatus, ...]:
        """Returns the state of every target, in the order added."""
        return tuple(
            PeerStatus(
                kept.target,
                self._hub.link_to(node) is not None,
                kept.backoff,
                kept.last_error,
            )
            for node, kept in self._kept.items()
        )

    def _stop(self, node: str) -> None:
        """Ends the task of a target."""
        kept = self._kept.pop(node, None)
        if kept is not None and kept.task is not None:
            kept.task.cancel()

    def _on_up(self, link: Link) -> None:
        """Ends the back-off of a peer that calls us."""
        kept = self._kept.get(link.peer.node)
        if kept is not None and not link.dialed:
            kept.called.set()

    async def _keep(self, kept: _Kept) -> None:
        """Dials, waits for the end of the link, waits a while, and dials again."""
        node = kept.target.node
        kept.backoff = await self._store.load(node) or Backoff()
        while True:
            await self._pause(kept)
            link = self._hub.link_to(node) or await self._dial(kept)
            if link is not None:
                up_ms = self._clock.now_ms()
                kept.last_error = f"link lost: {await link.wait_closed()}"
                lasted_s = (self._clock.now_ms() - up_ms) / 1000
                if lasted_s >= self._policy.stable_s:
                    kept.backoff = Backoff()
                # A call that came before this loss says nothing about now.
                kept.called.clear()
            kept.backoff = after_failure(
                kept.backoff,
                self._policy,
                now_ms=self._clock.now_ms(),
                chance=self._chance(),
            )
            await self._store.save(node, kept.backoff)

    async def _pause(self, kept: _Kept) -> None:
        """Waits until the back-off is over, or until the peer calls."""
        # Bounded here too: the clock may have been set back since the state was saved.
        delay_s = (kept.backoff.next_ms - self._clock.now_ms()) / 1000
        delay_s = min(max(delay_s, 0.0), self._policy.max_s)
        try:
            async with asyncio.timeout(delay_s):
                await kept.called.wait()
        except TimeoutError:
            return
        kept.backoff = Backoff()
        await self._store.save(kept.target.node, kept.backoff)

    async def _dial(self, kept: _Kept) -> Link | None:
        """Returns a link, or None after noting why there is none."""
        target = kept.target
        try:
            async with asyncio.timeout(self._policy.connect_s):
                pipe = await self._connect(target.url)
            return await self._hub.dial(pipe, expected=target.node)
        except (MachikuraError, OSError, TimeoutError) as error:
            kept.last_error = str(error) or type(error).__name__
            _logger.info("no link to %s: %s", target.node, kept.last_error)
        except Exception as error:
            # Not foreseen; yet a node that stops dialing is cut off for good.
            kept.last_error = type(error).__name__
            _logger.exception("dialing %s failed", target.node)
        return None

    def _chance(self) -> float:
        """Returns a number in [0, 1)."""
        return int.from_bytes(self._entropy.token_bytes(6), "big") / 2**48
