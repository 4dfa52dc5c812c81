# SPDX-License-Identifier: Apache-2.0
"""What goes wrong without malice: network, losses, crashes, full disks, wrong clocks.

Each fault ends by itself after a while, or when the story is over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar, Self

from federation.peers import Carrier
from federation.simulation import Weather
from node.simulate.draft import Draft
from node.simulate.events import Event, Group, event
from node.simulate.scene import ABSENT, CALM, Scene

ALLOWED_SKEW_MS = 2_400
"""Two clocks that are each this wrong differ by less than nodes allow."""


@event
@dataclass(frozen=True, kw_only=True)
class Storm(Event):
    """Every packet may be slow, held up or the last one of its pipe."""

    seconds: int
    slow_s: float
    stall_rate: float
    cut_rate: float
    refuse_rate: float
    group: ClassVar[Group] = Group.NETWORK
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose how bad."""
        return cls(
            at_ms=at_ms,
            seconds=int(draft.between(5, 40)),
            slow_s=round(draft.between(0.02, 0.6), 3),
            stall_rate=draft.pick((0.0, 0.004, 0.02)),
            cut_rate=draft.pick((0.0, 0.001, 0.003)),
            refuse_rate=draft.pick((0.0, 0.2, 0.6)),
        )

    async def happen(self, scene: Scene) -> str:
        """Let it storm."""
        scene.federation.network.weather = Weather(
            delay_s=(0.001, self.slow_s),
            stall_rate=self.stall_rate,
            stall_s=12,
            cut_rate=self.cut_rate,
            refuse_rate=self.refuse_rate,
        )
        await scene.sleep(self.seconds)
        scene.federation.network.weather = CALM
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Island(Event):
    """Some nodes are cut off from the others; nobody learns it but by silence."""

    nodes: tuple[str, ...]
    seconds: int
    group: ClassVar[Group] = Group.NETWORK
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a node, a broker, or a whole city."""
        cast = draft.cast
        city = draft.pick(cast.city_names)
        whole = tuple(n for n in cast.everybody if n.startswith(f"{city}/"))
        party = draft.consent()
        concerned = cast.halls if party is None else (*party.holders, *party.recipients)
        alone = draft.pick((cast.halls, cast.brokers, concerned))
        nodes = whole if draft.often(0.2) else (draft.pick(alone),)
        seconds = int(draft.between(5, 60))
        return cls(at_ms=at_ms, nodes=nodes, seconds=seconds)

    async def happen(self, scene: Scene) -> str:
        """Cut them off and join them again."""
        island = frozenset(self.nodes)
        scene.divide(island, off=True)
        await scene.sleep(self.seconds)
        scene.divide(island, off=False)
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class DeadCable(Event):
    """Nothing arrives between a node and its broker, or between two brokers."""

    one: str
    other: str
    seconds: int
    group: ClassVar[Group] = Group.NETWORK

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a link."""
        one, other = _link(draft)
        seconds = int(draft.between(5, 60))
        return cls(at_ms=at_ms, one=one, other=other, seconds=seconds)

    async def happen(self, scene: Scene) -> str:
        """Hold everything, then let it go."""
        scene.federation.network.stall(self.one, self.other)
        await scene.sleep(self.seconds)
        scene.federation.network.unstall(self.one, self.other)
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Cut(Event):
    """A link breaks, and both ends know it; it may come up at once."""

    one: str
    other: str
    group: ClassVar[Group] = Group.NETWORK
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a link."""
        one, other = _link(draft)
        return cls(at_ms=at_ms, one=one, other=other)

    async def happen(self, scene: Scene) -> str:
        """Break it."""
        scene.federation.network.cut(self.one, self.other)
        return "cut"


@event
@dataclass(frozen=True, kw_only=True)
class Lose(Event):
    """A broker loses what it should hand on: requests, or the answers to them."""

    broker: str
    peer: str
    answers: bool
    seconds: int
    group: ClassVar[Group] = Group.LOSS

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a link of a broker."""
        peer, broker = _link(draft)
        return cls(
            at_ms=at_ms,
            broker=broker,
            peer=peer,
            answers=draft.often(0.5),
            seconds=int(draft.between(3, 20)),
        )

    async def happen(self, scene: Scene) -> str:
        """Let everything on this link end in silence."""

        async def lose(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if self.answers:
                await link.request(payload, deadline_ms=deadline_ms)
            await asyncio.get_running_loop().create_future()
            return b""

        hand = scene.meddle(self.broker, self.peer, lose)
        if hand is None:
            return ABSENT
        await scene.sleep(self.seconds)
        scene.unhand(self.broker, hand)
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Repeat(Event):
    """A broker hands on everything several times, at once or one after another."""

    broker: str
    peer: str
    times: int
    later: bool
    seconds: int
    group: ClassVar[Group] = Group.LOSS

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a link of a broker."""
        peer, broker = _link(draft)
        return cls(
            at_ms=at_ms,
            broker=broker,
            peer=peer,
            times=2 + draft.below(2),
            later=draft.often(0.5),
            seconds=int(draft.between(3, 20)),
        )

    async def happen(self, scene: Scene) -> str:
        """Repeat; the first answer counts."""

        async def repeat(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
            if self.later:
                first = await link.request(payload, deadline_ms=deadline_ms)
                for _ in range(self.times - 1):
                    await link.request(payload, deadline_ms=deadline_ms)
                return first
            copies = (
                link.request(payload, deadline_ms=deadline_ms)
                for _ in range(self.times)
            )
            return (await asyncio.gather(*copies))[0]

        hand = scene.meddle(self.broker, self.peer, repeat)
        if hand is None:
            return ABSENT
        await scene.sleep(self.seconds)
        scene.unhand(self.broker, hand)
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class Crash(Event):
    """A node ends without warning and is started again."""

    node: str
    down_s: int
    group: ClassVar[Group] = Group.CRASH
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a node that has something to do."""
        down_s = int(draft.between(1, 40))
        return cls(at_ms=at_ms, node=_busy(draft), down_s=down_s)

    async def happen(self, scene: Scene) -> str:
        """Kill it."""
        if not scene.runs(self.node):
            return ABSENT
        await scene.kill(self.node, self.down_s)
        return "back"


@event
@dataclass(frozen=True, kw_only=True)
class CrashAtWrite(Event):
    """A node ends at its k-th write from now: before it is on disk, or just after."""

    node: str
    writes: int
    keeps: bool
    down_s: int
    group: ClassVar[Group] = Group.CRASH
    weight = 4.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose node and write."""
        return cls(
            at_ms=at_ms,
            node=_busy(draft),
            writes=1 + draft.below(6),
            keeps=draft.often(0.5),
            down_s=int(draft.between(1, 30)),
        )

    async def happen(self, scene: Scene) -> str:
        """Wait for the write, at most a minute; then see to it that it ends whole."""
        if not scene.runs(self.node):
            return ABSENT
        database = scene.federation.nodes[self.node].database
        database.keeps, database.dies_at = self.keeps, database.writes + self.writes
        for _ in range(240):
            if database.dead or scene.over:
                break
            await scene.federation.clock.sleep(0.25)
        database.dies_at = None
        if not database.dead:
            return "no such write"
        if database is scene.federation.nodes[self.node].database:
            await scene.kill(self.node, self.down_s)
        return "back"


@event
@dataclass(frozen=True, kw_only=True)
class Stop(Event):
    """A node is stopped in order, for an update say."""

    node: str
    down_s: int
    group: ClassVar[Group] = Group.CRASH

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a node that has something to do."""
        down_s = int(draft.between(1, 20))
        return cls(at_ms=at_ms, node=_busy(draft), down_s=down_s)

    async def happen(self, scene: Scene) -> str:
        """Stop it and start it."""
        if not scene.runs(self.node):
            return ABSENT
        await scene.federation.stop(self.node)
        await scene.sleep(self.down_s)
        await scene.revive(self.node)
        return "back"


@event
@dataclass(frozen=True, kw_only=True)
class FullDisk(Event):
    """A node's disk takes no more for a while."""

    node: str
    seconds: int
    group: ClassVar[Group] = Group.DISK
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a node that has something to do."""
        seconds = int(draft.between(5, 50))
        return cls(at_ms=at_ms, node=_busy(draft), seconds=seconds)

    async def happen(self, scene: Scene) -> str:
        """Fill it; a restart meanwhile does not help."""
        scene.federation.nodes[self.node].database.fill_disk()
        scene.full_disks.add(self.node)
        await scene.sleep(self.seconds)
        scene.full_disks.discard(self.node)
        scene.federation.nodes[self.node].database.free_disk()
        return "over"


@event
@dataclass(frozen=True, kw_only=True)
class WrongClock(Event):
    """A node's clock goes wrong: within what nodes allow, or far beyond."""

    node: str
    skew_ms: int
    seconds: int
    group: ClassVar[Group] = Group.CLOCK
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a node and how wrong."""
        skew_ms = int(draft.between(-ALLOWED_SKEW_MS, ALLOWED_SKEW_MS))
        if draft.often(0.25):
            skew_ms = draft.pick((-3_600_000, -90_000, -15_000, 15_000, 90_000))
        return cls(
            at_ms=at_ms,
            node=_busy(draft),
            skew_ms=skew_ms,
            seconds=int(draft.between(10, 90)),
        )

    async def happen(self, scene: Scene) -> str:
        """Set it, and set it right again."""
        scene.skew(self.node, self.skew_ms)
        await scene.sleep(self.seconds)
        scene.skew(self.node, 0)
        return "right again"


def _link(draft: Draft) -> tuple[str, str]:
    """Return a node and its broker, or the brokers of two neighbors."""
    if draft.often(0.5):
        one, other = draft.pick(draft.cast.neighbors)
        names = (f"{one}/broker", f"{other}/broker")
        return names if draft.often(0.5) else names[::-1]
    node = _busy(draft)
    while node in draft.cast.brokers:
        node = _busy(draft)
    return node, f"{node.partition('/')[0]}/broker"


def _busy(draft: Draft) -> str:
    """Return a node that has something to do in this story."""
    planned = draft.consent()
    if planned is None or draft.often(0.3):
        return draft.pick((*draft.cast.brokers, *draft.cast.halls))
    home = draft.people[planned.resident].home
    return draft.pick((home, *planned.holders, *planned.recipients))
