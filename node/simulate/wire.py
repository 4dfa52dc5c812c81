# SPDX-License-Identifier: Apache-2.0
"""Watches exchanges on their way, in every node of a simulated federation.

The nodes are the production ones; three places report here: what an endpoint sends,
what a node is handed by a link, and which handlers have carried something out.

1. Every exchange ends by its deadline.
2. No broker stands twice on an exchange's way.
3. No process carries out an exchange twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import orjson

from federation.exchange import Asked, Handler, Reply
from federation.link import Link
from federation.virtual import VirtualClock
from identity.keys import KeyStore
from node.assemble import assemble
from node.builder import Builder
from node.config import Settings
from node.core import Core
from node.database import Database
from node.parts import Parts
from node.simulate.federation import Compose
from node.world import World
from protocol.envelope import Envelope, Kind, RoutingHeader
from protocol.errors import MachikuraError
from protocol.problem import ProblemBody
from protocol.suites import VerifyingKey

_MOST_BYTES = 1 << 24
GRACE_S = 0.25
"""An exchange may end this much after its deadline: timers have a grain."""

Complain = Callable[[str, str], None]
"""Takes the rule that was broken and how."""


@dataclass
class Sent:
    """One exchange of an endpoint.

    Attributes:
        sender: who asked.
        kind: kind of exchange.
        began_ms: when it was sent, by the right time.
        by_s: its deadline, on the loop's clock.
        done: nodes (and which life of theirs) that carried it out.
    """

    sender: str
    kind: Kind
    began_ms: int
    by_s: float
    done: set[tuple[str, int]]


class Wire:
    """Everything that is asked in one story."""

    def __init__(self, complain: Complain) -> None:
        """Nothing was asked yet.

        Args:
            complain: is told what goes wrong.
        """
        self.exchanges: dict[str, Sent] = {}
        self.open = 0
        self.meddled = False
        self.distrusted: set[str] = set()
        self._complain = complain
        self._clock = VirtualClock()
        self._lives = 0

    def compose(self, kind: type[Builder] = Builder) -> Compose:
        """Return what puts a watched node together.

        Args:
            kind: builds what every node has.
        """

        def watched(
            settings: Settings,
            keys: KeyStore,
            root: VerifyingKey,
            database: Database,
            world: World,
            capture: Callable[[bytes], None],
        ) -> Core:
            # What a node learns is not kept: a story is long, memory is short.
            parts = assemble(settings, keys, root, database, world, kind=kind)
            self._lives += 1
            self._watch(parts, self._lives)
            return _WatchedCore(parts, self)

        return watched

    def forget(self) -> None:
        """Start a new story."""
        self.exchanges.clear()

    # ------------------------------------------------------------ what is watched

    def _watch(self, parts: Parts, life: int) -> None:
        endpoint, node = parts.exchanges, str(parts.node)
        inner = endpoint.send

        async def send(payload: bytes, deadline_ms: int) -> bytes:
            left_s = max(0, deadline_ms - endpoint.now_ms()) / 1000
            by_s = _now_s() + left_s
            sent = self._note(node, _header(payload), by_s)
            self.open += 1
            try:
                return await inner(payload, deadline_ms)
            except asyncio.CancelledError:
                sent.by_s = float("inf")  # Whoever asked has gone away, or died.
                raise
            finally:
                self.open -= 1
                self._in_time(sent, _now_s())

        endpoint.send = send
        for name, handler in endpoint.handlers.items():
            endpoint.handlers[name] = self._counted(handler, node, life)

    def _note(self, node: str, header: RoutingHeader | None, by_s: float) -> Sent:
        kind = Kind.MANAGE if header is None else header.kind
        sent = Sent(node, kind, self._clock.now_ms(), by_s, set())
        if header is not None:
            self.exchanges[header.id] = sent
        return sent

    def _in_time(self, sent: Sent, now_s: float) -> None:
        if now_s > sent.by_s + GRACE_S and sent.sender not in self.distrusted:
            late_s = now_s - sent.by_s
            self._complain("deadline", f"{sent.kind} of {sent.sender}: {late_s:.3f} s")

    def arrives(self, node: str, payload: bytes) -> None:
        """Look at what a node is handed by a link."""
        if self.meddled:
            return  # Repetitions and forged routes are what hostile brokers send.
        header = _header(payload)
        if header is None:
            return
        with suppress(MachikuraError, ValueError):
            lines = Envelope.unpack(payload, _MOST_BYTES).hops.splitlines()
            way = [str(orjson.loads(line)["by"]) for line in lines]
            if len(set(way)) != len(way):
                self._complain("loop", f"{header.kind} came {' > '.join(way)} > {node}")

    def _counted(self, handler: Handler, node: str, life: int) -> Handler:
        async def handle(asked: Asked) -> Reply:
            reply = await handler(asked)
            if isinstance(reply.outcome, ProblemBody):
                return reply
            sent = self.exchanges.get(asked.header.id)
            if sent is not None and sent.sender == asked.sender.sub:
                if (node, life) in sent.done:
                    self._complain("twice", f"{node} carried out one {sent.kind} twice")
                sent.done.add((node, life))
            return reply

        return handle


class _WatchedCore(Core):
    """A production node whose incoming requests are shown to the wire."""

    def __init__(self, parts: Parts, wire: Wire) -> None:
        super().__init__(parts)
        self._wire = wire

    async def _on_request(self, link: Link, payload: bytes) -> bytes:
        self._wire.arrives(str(self.parts.node), payload)
        return await super()._on_request(link, payload)


def _header(payload: bytes) -> RoutingHeader | None:
    try:
        return Envelope.unpack(payload, _MOST_BYTES).header
    except MachikuraError:
        return None


def _now_s() -> float:
    return asyncio.get_running_loop().time()
