# SPDX-License-Identifier: Apache-2.0
"""A network in memory, with faults that a seed decides.

    async def world(network: Network) -> None:
        network.listen("hoshino/broker", broker_hub.serve)
        dialer = Dialer(clinic_hub, connect=network.connector("hoshino/clinic"), …)
        network.at(60.0, partial(network.partition, {"hoshino/broker"}))
        …

    run(world, seed=7)

Links, handshakes and back-off above it are the production code. A pipe here behaves
as a WebSocket does: reliable and in order, so its faults are delay, a stall (nothing
arrives, nothing breaks: a dead cable), a cut (both sides learn of it), and refusal to
connect. What is reordered are packets of different pipes, each with its own delay.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from federation.memory import Lane, MemoryPipe
from federation.ports import Connect, Pipe
from federation.virtual import SeededEntropy, VirtualClock, VirtualLoop

T = TypeVar("T")

_logger = logging.getLogger(__name__)

SCHEME: Final = "memory://"

Serve: TypeAlias = Callable[[Pipe], Awaitable[None]]
Script: TypeAlias = Callable[[str, str, bytes], float]
"""Sees each packet (from, to, bytes) and returns seconds of extra delay.

The end of a pipe counts as an empty packet. A script may cut, stall and so on.
"""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How bad the network is; rates are per packet or per attempt, in [0, 1]."""

    delay_s: tuple[float, float] = (0.001, 0.010)
    """Least and most seconds that a packet travels."""
    stall_rate: float = 0.0
    stall_s: float = 1.0
    """Seconds that a stalled packet, and all behind it, are late."""
    cut_rate: float = 0.0
    """Chance that sending a packet finds the pipe cut."""
    refuse_rate: float = 0.0
    """Chance that an attempt to connect is refused."""


class Network:
    """Parties by name, the pipes between them, and the faults."""

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        """Starts with nobody listening; needs a running event loop.

        Args:
            seed: decides every delay and fault.
            weather: how bad the network is; may be set anew at any time.
        """
        self.weather = weather or Weather()
        self.script: Script | None = None
        self._seed = seed
        self._chance = SeededEntropy(f"network {seed}")
        self._clocks: dict[str, VirtualClock] = {}
        self._listeners: dict[str, tuple[Serve, bytes]] = {}
        self._refusing: set[str] = set()
        self._stalled: set[frozenset[str]] = set()
        self._islands: tuple[frozenset[str], ...] = ()
        self._pipes: list[tuple[Lane, Lane]] = []
        self._serving: dict[asyncio.Task[None], None] = {}
        self._healed: asyncio.Future[None] | None = None
        self._trace = hashlib.sha256()
        self._streams: dict[str, SeededEntropy] = {}
        self.events = 0

    def reseed(self, seed: int) -> None:
        """Goes on as another seed decides: delays, faults, every party's entropy.

        The fingerprint starts anew. Worlds that begin alike are built once and told
        apart here.
        """
        self._seed = seed
        self._chance.restart(f"network {seed}")
        for party, stream in self._streams.items():
            stream.restart(f"{party} {seed}")
        self._trace = hashlib.sha256()
        self.events = 0

    # ------------------------------------------------------------------- parties

    def clock(self, party: str) -> VirtualClock:
        """Returns the clock of a party, whose skew may be set."""
        return self._clocks.setdefault(party, VirtualClock())

    def entropy(self, party: str) -> SeededEntropy:
        """Returns entropy for a party, the same for the same seed."""
        stream = SeededEntropy(f"{party} {self._seed}")
        return self._streams.setdefault(party, stream)

    def listen(self, party: str, serve: Serve, certificate: bytes | None = None) -> str:
        """Serves pipes to a party.

        Args:
            party: who listens.
            serve: runs as a task for each pipe, e.g. `LinkHub.serve`.
            certificate: what its TLS certificate would be.

        Returns:
            The URL to dial.
        """
        shown = hashlib.sha256(certificate or party.encode()).digest()
        self._listeners[party] = (serve, shown)
        return SCHEME + party

    def connector(self, party: str) -> Connect:
        """Returns what opens pipes from a party to the URLs of listeners."""

        async def connect(url: str) -> Pipe:
            return await self._connect(party, url.removeprefix(SCHEME))

        return connect

    # -------------------------------------------------------------------- faults

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something that many virtual seconds from now."""
        asyncio.get_running_loop().call_later(seconds, action)

    def cut(self, one: str, other: str | None = None) -> None:
        """Breaks the pipes between two parties, or all pipes of one; both learn it."""
        for there, back in list(self._pipes):
            ends = {there.source, there.target}
            if one in ends and (other is None or other in ends):
                self._pipes.remove((there, back))
                there.break_off()
                back.break_off()
                self.note("cut", there.source, there.target, 0)

    def stall(self, one: str, other: str) -> None:
        """Lets nothing arrive between two parties; neither learns it."""
        self._stalled.add(frozenset((one, other)))

    def unstall(self, one: str, other: str) -> None:
        """Ends one stall; what was held arrives, in order."""
        self._stalled.discard(frozenset((one, other)))
        self._release()

    def partition(self, *islands: Collection[str]) -> None:
        """Lets nothing arrive between islands; whoever is on none is on one more.

        Takes the place of the partition before it; without islands there is none.
        """
        self._islands = tuple(frozenset(island) for island in islands)
        self._release()

    def heal(self) -> None:
        """Ends stalls and partitions; what was held arrives, in order."""
        self._stalled.clear()
        self._islands = ()
        self._release()

    def _release(self) -> None:
        """Lets go of what is held no longer."""
        if self._healed is not None:
            self._healed.set_result(None)
            self._healed = None
        for there, back in list(self._pipes):
            there.release()
            back.release()

    def refuse(self, party: str) -> None:
        """Lets attempts to connect to a party fail."""
        self._refusing.add(party)

    def welcome(self, party: str) -> None:
        """Ends `refuse`."""
        self._refusing.discard(party)

    def stalled(self, one: str, other: str) -> bool:
        """Returns whether nothing arrives between two parties now."""
        if frozenset((one, other)) in self._stalled:
            return True
        return self._island(one) != self._island(other)

    # --------------------------------------------------------------- inner workings

    def fate(self, source: str, target: str, packet: bytes) -> float:
        """Returns the seconds that a packet will travel; it may find the pipe cut."""
        weather = self.weather
        delay_s = self._chance.between(*weather.delay_s)
        if weather.stall_rate and self._chance.chance() < weather.stall_rate:
            delay_s += weather.stall_s
        if weather.cut_rate and self._chance.chance() < weather.cut_rate:
            self.cut(source, target)
        if self.script is not None:
            delay_s += self.script(source, target, packet)
        return delay_s

    def note(self, event: str, source: str, target: str, size: int) -> None:
        """Adds an event to the fingerprint."""
        at_s = asyncio.get_running_loop().time()
        self._trace.update(f"{at_s:.6f} {event} {source} {target} {size}\n".encode())
        self.events += 1

    def fingerprint(self) -> str:
        """Returns a digest over all that happened: the same for the same seed."""
        return self._trace.hexdigest()

    async def close(self) -> None:
        """Cuts every pipe and returns when nobody serves any more."""
        for there, back in self._pipes:
            there.break_off()
            back.break_off()
        self._pipes.clear()
        for task in list(self._serving):
            task.cancel()
            await asyncio.wait([task])

    def _island(self, party: str) -> int:
        for number, island in enumerate(self._islands):
            if party in island:
                return number
        return -1

    async def _connect(self, source: str, target: str) -> Pipe:
        """Opens a pipe; waits through a partition, as a lost SYN would."""
        await self.clock(source).sleep(self._chance.between(*self.weather.delay_s))
        while self.stalled(source, target):
            if self._healed is None:
                self._healed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._healed)
        refused = self._chance.chance() < self.weather.refuse_rate
        if refused or target in self._refusing or target not in self._listeners:
            self.note("refuses", source, target, 0)
            raise ConnectionRefusedError(f"{target} refuses to connect")
        serve, certificate_hash = self._listeners[target]
        there = Lane(self, source, target)
        back = Lane(self, target, source)
        self._pipes = [
            (one, other)
            for one, other in self._pipes
            if not (one.ended and other.ended)
        ]
        self._pipes.append((there, back))
        self.note("connects", source, target, 0)
        task = asyncio.ensure_future(
            self._serve(serve, MemoryPipe(there, back, certificate_hash))
        )
        self._serving[task] = None
        task.add_done_callback(self._serving.pop)
        return MemoryPipe(back, there, certificate_hash)

    async def _serve(self, serve: Serve, pipe: Pipe) -> None:
        try:
            await serve(pipe)
        except Exception:
            _logger.exception("a simulated listener failed")
        finally:
            await pipe.close()


def run(
    world: Callable[[Network], Awaitable[T]],
    *,
    seed: int = 0,
    weather: Weather | None = None,
    limit_s: float = 86_400.0,
) -> T:
    """Runs a world to completion on virtual time.

    Args:
        world: builds parties on the network given, and returns what it found.
        seed: decides every delay, fault and random byte.
        weather: how bad the network is.
        limit_s: virtual seconds after which the world is taken to hang.

    Returns:
        What the world returns.

    Raises:
        TimeoutError: the world did not end in time.
        Stuck: everything waits for nothing.
    """

    async def bounded() -> T:
        network = Network(seed, weather)
        try:
            async with asyncio.timeout(limit_s):
                return await world(network)
        finally:
            await network.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(bounded())
