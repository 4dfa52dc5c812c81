# SPDX-License-Identifier: Apache-2.0
"""What events act upon: people and nodes, the truth about them, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from federation.peers import Carrier, Peer
from federation.simulation import Weather
from node.parts import Parts
from node.simulate.cast import Cast
from node.simulate.federation import Federation
from node.simulate.meddler import Meddle, Meddler
from node.simulate.people import People, Resident
from node.simulate.truth import Agreed, Truth
from node.simulate.wire import Wire
from protocol.envelope import Envelope, Kind
from protocol.errors import MachikuraError
from protocol.ids import NodeId

T = TypeVar("T")

CALM = Weather()
ABSENT = "absent"
"""How an act ends whose node does not run, or whose ground another event took."""


class Lost(MachikuraError):
    """An act that did not end; whether it happened is not known."""

    slug = "timeout"


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: which; see `docs/simulation.md`.
        detail: by whom and how.
        at_ms: when it was noticed, from the beginning of the story.
    """

    rule: str
    detail: str
    at_ms: int


@dataclass(frozen=True)
class WasRead:
    """A read that ended with records in the requester's hands."""

    exchange: str
    recipient: str
    consent: str


@dataclass(frozen=True)
class WasPushed:
    """A push that was queued."""

    consent: str
    holder: str
    recipient: str
    name: str
    purpose: str
    records: frozenset[str]
    at_ms: int


@dataclass
class Scene:
    """Everything at hand.

    Attributes:
        federation, people: the nodes, and what can be done at them.
        cast: who is who.
        truth: what was decided.
        wire: what was asked.
        persons: residents by their name in the story.
        consents: consent ids by their key in the story.
        villain: the node in hostile hands; empty without.
        look: reads what the nodes wrote down, and judges it.
        violations: what went wrong.
    """

    federation: Federation
    people: People
    cast: Cast
    truth: Truth
    wire: Wire
    persons: dict[str, Resident] = field(default_factory=dict)
    consents: dict[str, str] = field(default_factory=dict)
    reads: list[WasRead] = field(default_factory=list)
    pushes: list[WasPushed] = field(default_factory=list)
    islands: list[frozenset[str]] = field(default_factory=list)
    full_disks: set[str] = field(default_factory=set)
    villain: str = ""
    violations: list[Violation] = field(default_factory=list)
    look: Callable[[], None] = lambda: None
    began_ms: int = 0
    over: bool = False

    # -------------------------------------------------------------------- time

    def now_ms(self) -> int:
        """Return the right time, in milliseconds since 1970."""
        return self.federation.clock.now_ms()

    def story_ms(self) -> int:
        """Return milliseconds since the story began."""
        return self.now_ms() - self.began_ms

    async def sleep(self, seconds: float) -> None:
        """Let time pass; ends early when the story is over."""
        until_ms = self.now_ms() + int(seconds * 1000)
        while not self.over and self.now_ms() < until_ms:
            left_s = (until_ms - self.now_ms()) / 1000
            await self.federation.clock.sleep(min(left_s, 2.0))

    async def within(self, seconds: float, work: Awaitable[T]) -> T:
        """Wait for an act whose node may die under it.

        Raises:
            Lost: it did not end.
        """
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:
            raise Lost("cut off") from error

    # ------------------------------------------------------------------- rules

    def complain(self, rule: str, detail: str) -> None:
        """Note that a promise was not kept."""
        self.violations.append(Violation(rule, detail, self.story_ms()))

    # ------------------------------------------------------------------- nodes

    def runs(self, node: str) -> bool:
        """Tell whether a node's process lives."""
        found = self.federation.nodes[node]
        return found.running and not found.database.dead

    def parts(self, node: str) -> Parts:
        """Return a node's parts."""
        return self.federation.parts(node)

    async def kill(self, node: str, down_s: float) -> None:
        """End a node without warning and start it again after a while."""
        await self.federation.crash(node)
        await self.sleep(down_s)
        await self.revive(node)

    async def revive(self, node: str) -> None:
        """Start a node again, as a service manager does: until it runs."""
        while not self.runs(node):
            try:
                await self.federation.restart(node)
            except MachikuraError:
                # Its disk is full: it ends at once and is started again later.
                await self.federation.crash(node)
                await self.federation.clock.sleep(5)

    def divide(self, island: frozenset[str], *, off: bool) -> None:
        """Cut an island off from everybody else, or join it again."""
        if off:
            self.islands.append(island)
        elif island in self.islands:
            self.islands.remove(island)
        self.federation.network.partition(*self.islands)

    def skew(self, node: str, skew_ms: int) -> None:
        """Set a node's clock wrong; what was noted by it so far is read before."""
        self.look()
        self.truth.skewed(node, skew_ms)
        self.federation.network.clock(node).skew_ms = skew_ms

    # ------------------------------------------------------------------- links

    def meddle(
        self, broker: str, peer: str, meddle: Meddle, kind: Kind | None = None
    ) -> tuple[Peer, Meddler] | None:
        """Let what a broker sends to a peer pass through somebody's hands.

        Returns:
            What `unhand` takes; None if there is no such link now.
        """
        found = self.parts(broker).peers.find(NodeId(peer))
        if found is None:
            return None
        owner, link = found

        async def choose(inner: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if (
                kind is not None
                and Envelope.unpack(payload, 1 << 24).header.kind != kind
            ):
                return await inner.request(payload, deadline_ms=deadline_ms)
            return await meddle(inner, payload, deadline_ms)

        self.wire.meddled = True
        meddler = Meddler(link, choose)
        self.parts(broker).peers.add(owner, meddler)
        return owner, meddler

    def unhand(self, broker: str, hand: tuple[Peer, Meddler]) -> None:
        """Let an honest link carry again."""
        self.parts(broker).peers.remove(*hand)

    # ---------------------------------------------------------------- consents

    def agreed(self, key: str) -> tuple[str, Agreed] | None:
        """Return a consent by its key in the story: its id and what was meant."""
        consent = self.consents.get(key)
        return None if consent is None else (consent, self.truth.consents[consent])
