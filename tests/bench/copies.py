# SPDX-License-Identifier: Apache-2.0
"""The nodes of a stopped world once more, in this process and without links.

Each is assembled by the production code from its own data folder, keys and database
included. Bytes go from one to the next by a call instead of a TLS link, and the clock
stands still, so that a proof of a minute ago stays fresh: what is measured here is the
work of the parties themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

from federation.peers import Peer
from federation.ports import Pipe, PipeClosed
from node.assemble import assemble
from node.city_root import read_root
from node.config import Settings
from node.database import GroupDatabase
from node.keys import open_keys
from node.parts import Parts
from node.system import SystemClock, system_entropy
from node.world import World as Outside
from tests.bench.world import HOLDER, HOME, PATH, REQUESTER, World

HOLDER_BROKER, REQUESTER_BROKER = PATH[2], PATH[1]


class StoppedClock:
    """Time as it was when the copies were made."""

    def __init__(self) -> None:
        """Read the machine's clock once."""
        self._now_ms = SystemClock().now_ms()

    def now_ms(self) -> int:
        """Return the same time again."""
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        """Wait; the clock does not move."""
        await asyncio.sleep(seconds)


@dataclass(eq=False)
class DirectLink:
    """A link that is a call. Satisfies `federation.peers.Carrier`.

    Attributes:
        near, far: whose link it is, and to whom.
        within: entered with the far side's id while that side works.
        up: until it is ended.
    """

    near: Parts
    far: Parts
    within: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    up: bool = True
    rtt_ms: float | None = None
    _told: list[asyncio.Task[None]] = field(default_factory=list)

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Have the other side answer."""
        with self.within(self.far.node):
            if self.far.broker is not None:
                return await self.far.broker.carry(_peer(self.near), payload)
            return await self.far.exchanges.answer(payload)

    def end(self) -> None:
        """End the link."""
        self.up = False

    def notify(self, payload: bytes) -> None:
        """Tell the other side: a trust bundle for members, a route for brokers."""
        told: Awaitable[object]
        if self.far.city is None:
            told = self.far.member.on_notice(_peer(self.near), payload)
        elif self.near.city is not None:
            told = self.far.city.on_notice(_peer(self.near), self, payload)
        else:
            return
        self._told.append(asyncio.get_running_loop().create_task(_run(told)))

    async def settled(self) -> None:
        """Wait until everything that was told has been taken."""
        await asyncio.gather(*self._told)


async def _run(work: Awaitable[object]) -> None:
    await work


def _peer(parts: Parts) -> Peer:
    own = parts.standing.own()
    shown = own.credentials
    return Peer(parts.node, own.body, shown.membership, shown.operating)


@dataclass(frozen=True)
class Copies:
    """The parties of a read.

    Attributes:
        parts: by node.
        links: by the nodes at their ends.
    """

    parts: dict[str, Parts]
    links: dict[tuple[str, str], DirectLink]

    @property
    def requester(self) -> Parts:
        """Who asks."""
        return self.parts[REQUESTER]

    @property
    def holder(self) -> Parts:
        """Who answers."""
        return self.parts[HOLDER]


_LINKED = (
    (REQUESTER_BROKER, HOLDER_BROKER),
    (HOME, HOLDER_BROKER),
    (HOLDER, HOLDER_BROKER),
    (REQUESTER, REQUESTER_BROKER),
)


@asynccontextmanager
async def copies(world: World) -> AsyncIterator[Copies]:
    """Assemble all nodes of a stopped world and link them."""
    clock = StoppedClock()
    databases: list[GroupDatabase] = []
    parts: dict[str, Parts] = {}
    try:
        for node, settings in world.settings.items():
            database = GroupDatabase(settings.database_file)
            databases.append(database)
            parts[node] = await _loaded(settings, database, clock)
        yield Copies(parts, await _linked(parts))
    finally:
        for database in databases:
            await database.close()


async def _loaded(
    settings: Settings, database: GroupDatabase, clock: StoppedClock
) -> Parts:
    keys = open_keys(settings, system_entropy)
    root = read_root(settings.root_key_file)
    outside = Outside(clock, system_entropy, _nowhere)
    parts = assemble(settings, keys, root, database, outside)
    await parts.load()
    return parts


async def _nowhere(url: str) -> Pipe:
    raise PipeClosed(url)


async def _linked(parts: dict[str, Parts]) -> dict[tuple[str, str], DirectLink]:
    links: dict[tuple[str, str], DirectLink] = {}
    for a, b in _LINKED:
        for near, far in ((a, b), (b, a)):
            link = links[near, far] = DirectLink(parts[near], parts[far])
            parts[near].peers.add(_peer(parts[far]), link)
    for (near, far), link in links.items():
        city = parts[near].city
        if city is not None:
            city.on_up(_peer(parts[far]), link)
    for link in links.values():
        await link.settled()
    return links
