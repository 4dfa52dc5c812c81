# SPDX-License-Identifier: Apache-2.0
"""A small world: whole nodes of several cities in one process, on virtual time.

The production code of every node runs; only the pipes, the clock and the entropy are
simulated (`federation.simulation`), and the databases are in memory. A node can be
stopped, crashed (also at a chosen write) and started again on its database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine

from federation.simulation import SCHEME, Network
from identity.agreements import AgreementStore
from identity.city import Allowance, Authority
from identity.join import request_to_join
from identity.keys import KeyStore, MasterKey
from identity.root import RootKey
from node.assemble import assemble
from node.config import Settings
from node.core import Core
from node.database import Database, InlineDatabase
from node.founding import found_city
from node.keys import IDENTITY, INDEX, OPERATING, SEALING, SIGNING, TOKENS, VAULT
from node.parts import Parts
from node.schema import create_all
from node.sqlite import driver, memory_engine
from node.world import World
from protocol.agreement import Agreement, AgreementBody, Party, Terms
from protocol.errors import MachikuraError, Misuse
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Qualification, Role
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite, VerifyingKey

T = TypeVar("T")

YEAR_S = 366 * 86_400
EVERYTHING = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=(DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE),
    transit=True,
    hop_limit=6,
)


class NotInTime(MachikuraError):
    """What a story waited for did not come true."""

    slug = "internal"


_MANY_PAGES = 1 << 30

_COMPILED: dict[Any, Any] = {}
"""Statements compiled once for all nodes of all worlds: half of a world's cost."""


@cache
def _empty_database() -> bytes:
    engine = memory_engine()
    create_all(engine)
    with engine.connect() as connection:
        empty = driver(connection).serialize()
    engine.dispose()
    return empty


def _database() -> Engine:
    """Return a fresh database in memory with all tables."""
    engine = memory_engine().execution_options(compiled_cache=_COMPILED)
    with engine.connect() as connection:
        driver(connection).deserialize(_empty_database())
    return engine


class Chance:
    """Seeded entropy in both shapes."""

    def __init__(self, network: Network, party: str) -> None:
        """Start the stream of a party; a node keeps its own over restarts."""
        self._entropy = network.entropy(party)

    def __call__(self, size: int, /) -> bytes:
        """Return the next bytes."""
        return self._entropy.token_bytes(size)

    def token_bytes(self, size: int, /) -> bytes:
        """Return the next bytes."""
        return self._entropy.token_bytes(size)


class MortalDatabase(InlineDatabase):
    """A database whose process can die at any write, on a disk that can be full.

    Attributes:
        writes: how many were asked for so far.
        dies_at: the write at which the process dies; None lets it live.
        keeps: that write reaches the disk, and still nobody learns that it did.
        on_death: told at that moment.
    """

    def __init__(self, engine: Engine, on_death: Callable[[], None]) -> None:
        """Open the database."""
        super().__init__(engine)
        self.writes = 0
        self.dies_at: int | None = None
        self.keeps = False
        self.dead = False
        self._on_death = on_death

    def write(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """See `Database.write`; a dead process never comes back from it."""
        self.writes += 1
        if not self.dead and self.writes != self.dies_at:
            return super().write(job)
        if not self.dead:
            self.dead = True
            if self.keeps:
                super().write(job)
            self._on_death()
        return asyncio.get_running_loop().create_future()

    def fill_disk(self) -> None:
        """Let the file grow no further: SQLite's own error, from its own code."""
        raw = driver(self._connection)
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count = {int(pages)}")

    def free_disk(self) -> None:
        """Let the file grow again."""
        driver(self._connection).execute(f"PRAGMA max_page_count = {_MANY_PAGES}")


@dataclass
class SimulatedNode:
    """One node: what outlives its process, and the process.

    Attributes:
        learned: every byte that it received, and everything that it opened.
    """

    settings: Settings
    keys: KeyStore
    root: RootKey
    engine: Engine
    chance: Chance
    database: MortalDatabase
    core: Core
    running: bool = False
    learned: bytearray = field(default_factory=bytearray)


Compose: TypeAlias = Callable[
    [Settings, KeyStore, VerifyingKey, Database, World, Callable[[bytes], None]], Core
]
"""Puts a node together; the last argument takes every byte that it learns."""


def compose(
    settings: Settings,
    keys: KeyStore,
    root: VerifyingKey,
    database: Database,
    world: World,
    capture: Callable[[bytes], None],
) -> Core:
    """Put a node together as `machikura serve` does. Satisfies `Compose`."""
    return Core(assemble(settings, keys, root, database, world, capture))


class Federation:
    """Cities and nodes on one simulated network."""

    def __init__(
        self,
        network: Network,
        folder: Path,
        suite: Suite = Suite.HYBRID,
        trust: Mapping[str, int] | None = None,
        evidence: Mapping[str, float] | None = None,
        compose: Compose = compose,
    ) -> None:
        """Start without cities.

        Args:
            network: time, pipes and chance.
            folder: keeps the key files.
            suite: of every node that names no other.
            trust: settings of the table `trust`, for every node.
            evidence: settings of the table `evidence`, for every node.
            compose: puts each node together, also after a restart.
        """
        self.network = network
        self.clock = network.clock("world")
        self.suite = suite
        self._compose = compose
        self._trust = dict(trust or {})
        self._evidence = dict(evidence or {})
        self.nodes: dict[str, SimulatedNode] = {}
        self.deaths: list[str] = []
        self._folder = folder
        self._roots: dict[str, RootKey] = {}

    def now(self) -> int:
        """Seconds since 1970, by the right time."""
        return self.clock.now_ms() // 1000

    # ---------------------------------------------------------------- set-up

    async def city(
        self,
        name: str,
        *,
        suite: Suite | None = None,
        accepts: Collection[Suite] = (),
    ) -> None:
        """Found a city with a broker that is its directory too."""
        chance = Chance(self.network, f"{name} root")
        seed = chance(SIGNING_SEED_BYTES)
        root = RootKey(CityId(name), SigningKey(suite or self.suite, seed))
        self._roots[name] = root
        broker = self._make(
            f"{name}/broker",
            (Role.BROKER, Role.DIRECTORY),
            root,
            suite or self.suite,
            accepts,
        )
        await found_city(
            broker.settings,
            broker.keys,
            root,
            broker.database,
            now=self.now(),
            entropy=chance,
        )

    async def node(
        self,
        name: str,
        *roles: Role,
        qualifications: tuple[str, ...] = (),
        data_classes: tuple[DataClass, ...] = tuple(DataClass),
        suite: Suite | None = None,
        accepts: Collection[Suite] = (),
        admitted: bool = True,
    ) -> SimulatedNode:
        """Add a node that its city has admitted."""
        made = self._make(
            name,
            roles or (Role.VAULT,),
            self._roots[NodeId(name).city],
            suite or self.suite,
            accepts,
        )
        if admitted:
            await self.admit(name, qualifications, data_classes)
        return made

    async def admit(
        self,
        name: str,
        qualifications: tuple[str, ...] = (),
        data_classes: tuple[DataClass, ...] = tuple(DataClass),
    ) -> None:
        """Let a node's city admit it, and the node take the membership."""
        made, node = self.nodes[name], NodeId(name)
        broker = self.nodes[f"{node.city}/broker"]
        request = request_to_join(
            node,
            made.keys.signing(SIGNING),
            made.keys.opening(SEALING).public,
            title={"en": name},
            roles=made.settings.node.roles,
            now=self.now(),
            entropy=Chance(self.network, f"{name} request"),
        )
        allowance = Allowance(
            roles=made.settings.node.roles,
            qualifications=tuple(
                Qualification(scheme=q, until=self.now() + YEAR_S)
                for q in qualifications
            ),
            data_classes=data_classes,
        )
        authority = self.authority(node.city)
        membership = await broker.database.write(
            lambda c: authority.admit(c, request.token, allowance, now=self.now())
        )
        if not broker.running:
            broker.core.parts.standing.load(self.now())
        await made.core.parts.standing.accept(
            Credentials(
                membership=membership.token,
                operating=broker.core.parts.standing.credentials().operating,
            ),
            self.now(),
        )

    def _make(
        self,
        node: str,
        roles: tuple[Role, ...],
        root: RootKey,
        suite: Suite,
        accepts: Collection[Suite],
    ) -> SimulatedNode:
        name = NodeId(node)
        folder = self._folder / name.city / name.label
        home = NodeId(f"{name.city}/broker")
        leads = name == home
        settings = Settings.model_validate(
            {
                "data_dir": folder,
                "suite": suite,
                "accepted_suites": tuple(accepts),
                "node": {"id": name, "roles": roles},
                "brokers": () if leads else (f"{home}@{SCHEME}{home}",),
                "link": {"public_url": f"{SCHEME}{name}"},
                "trust": self._trust,
                "evidence": self._evidence,
            },
            strict=False,
        )
        chance = Chance(self.network, node)
        keys = KeyStore(folder / "keys", MasterKey(chance(32)), entropy=chance)
        keys.create_signing(SIGNING, suite)
        keys.create_opening(SEALING, suite)
        if leads:
            keys.create_signing(OPERATING, suite)
            keys.create_opening(TOKENS, suite)
        for secret in (VAULT, IDENTITY, INDEX):
            keys.create_secret(secret)
        engine = _database()
        learned = bytearray()
        database = MortalDatabase(engine, lambda: self._died(node))
        core = self._core(settings, keys, root, database, chance, learned)
        made = SimulatedNode(
            settings, keys, root, engine, chance, database, core, learned=learned
        )
        self.nodes[node] = made
        return made

    def _core(
        self,
        settings: Settings,
        keys: KeyStore,
        root: RootKey,
        database: Database,
        chance: Chance,
        learned: bytearray,
    ) -> Core:
        node = settings.node.id
        world = World(self.network.clock(node), chance, self.network.connector(node))
        public = root.signer.public
        return self._compose(settings, keys, public, database, world, learned.extend)

    async def agree(
        self,
        a: str,
        b: str,
        a_to_b: Terms = EVERYTHING,
        b_to_a: Terms = EVERYTHING,
        days: int = 365,
    ) -> None:
        """Let two cities agree; both brokers then dial each other."""
        body = AgreementBody(
            id=f"{a}-{b}",
            a=self._party(a),
            b=self._party(b),
            a_to_b=a_to_b,
            b_to_a=b_to_a,
            starts=self.now() - 60,
            ends=self.now() + days * 86_400,
        )
        proposal = Agreement.propose(body, CityId(a), self._roots[a].signer)
        both = proposal.countersign(CityId(b), self._roots[b].signer)
        for city in (a, b):
            await self._install(city, both.wire)

    async def _install(self, city: str, wire: bytes) -> None:
        broker, root = self.nodes[f"{city}/broker"], self._roots[city]
        store = AgreementStore(city=CityId(city), root=root.signer.public)
        await broker.database.write(lambda c: store.install(c, wire, now=self.now()))

    def _party(self, city: str) -> Party:
        broker = self.nodes[f"{city}/broker"]
        if not broker.running:
            broker.core.parts.standing.load(self.now())
        return Party(
            city=CityId(city),
            root=self._roots[city].signer.public.jwk,
            operating=broker.core.parts.standing.credentials().operating,
            links=(f"{city}/broker@{SCHEME}{city}/broker",),
        )

    # ----------------------------------------------------------- coming, going

    async def start(self) -> None:
        """Start every node that does not run, brokers first."""
        for name in sorted(self.nodes, key=lambda n: not n.endswith("/broker")):
            if not self.nodes[name].running:
                await self._start(name)

    async def _start(self, name: str) -> None:
        node = self.nodes[name]
        node.running = True
        if node.core.parts.broker is not None:
            self.network.listen(name, node.core.links.serve)
        self.network.welcome(name)
        await node.core.start()

    async def stop(self, name: str) -> None:
        """End a node in order: its links say good-bye."""
        node = self.nodes[name]
        node.running = False
        self.network.refuse(name)
        await node.core.close()

    async def crash(self, name: str) -> None:
        """End a node without warning: whatever it was doing is not finished."""
        node = self.nodes[name]
        node.running = False
        node.database.dead = True
        self._died(name)
        await node.core.close(in_order=False)

    def kill(self, name: str) -> None:
        """Let a node's process be gone at this very moment; `crash` tidies up."""
        self.nodes[name].database.dead = True
        self._died(name)

    def _died(self, name: str) -> None:
        self.deaths.append(name)
        self.network.refuse(name)
        self.network.cut(name)

    async def restart(self, name: str) -> None:
        """Start a node anew on the database and the keys that it left."""
        node = self.nodes[name]
        if node.running:
            await self.crash(name)
        await node.database.close()
        node.database = MortalDatabase(node.engine, lambda: self._died(name))
        node.core = self._core(
            node.settings,
            node.keys,
            node.root,
            node.database,
            node.chance,
            node.learned,
        )
        await self._start(name)

    async def close(self) -> None:
        """Stop every node."""
        for node in self.nodes.values():
            with suppress(asyncio.CancelledError):
                await node.core.close(in_order=not node.database.dead)
            await node.database.close()
            node.engine.dispose()

    async def remove(self, name: str) -> None:
        """Let a node's city remove it, as its operator does."""
        node = NodeId(name)
        await self.nodes[f"{node.city}/broker"].core.remove_member(node)

    # ---------------------------------------------------------------- looking

    def parts(self, node: str) -> Parts:
        """Return a node's parts."""
        return self.nodes[node].core.parts

    def authority(self, city: str) -> Authority:
        """Return a city's authority."""
        found = self.parts(f"{city}/broker").authority
        if found is None:
            raise Misuse("the city's broker has no authority")
        return found

    def on_disk(self, node: str) -> bytes:
        """Return a node's database as a thief of its disk would see it."""
        with self.nodes[node].engine.connect() as connection:
            return driver(connection).serialize()

    def waiting(self) -> dict[str, int]:
        """Return how many messages wait in each outbox that is not empty."""
        counts = {}
        for name, node in self.nodes.items():
            if node.running:
                parts = node.core.parts
                waiting = sum(parts.database.read(parts.outbox.waiting).values())
                if waiting:
                    counts[name] = waiting
        return counts

    def dead_letters(self) -> dict[str, list[str]]:
        """Return what each node could not deliver for good, with the reason."""
        found = {}
        for name, node in self.nodes.items():
            parts = node.core.parts
            letters = parts.database.read(parts.outbox.dead_letters)
            if letters:
                found[name] = [f"{one.kind}: {one.reason}" for one in letters]
        return found

    def knows(self, node: str, cities: Collection[str]) -> bool:
        """Tell whether a node is linked to its city and can address all of these."""
        parts, now = self.parts(node), self.now()
        if parts.broker is None and parts.peers.broker_of(parts.node.city) is None:
            return False
        try:
            return all(parts.trust.city_of(CityId(city), now) for city in cities)
        except MachikuraError:
            return False

    # ------------------------------------------------------------------- time

    async def pass_days(self, days: int) -> None:
        """Let days pass; every other day the brokers are started anew.

        Memberships are looked at whenever a link comes up, so nodes renew as they
        would by their own clocks, without the heartbeats of days.
        """
        for day in range(days):
            self.jump(86_400)
            if day % 2:
                for name, node in self.nodes.items():
                    if node.core.parts.city is not None:
                        await self.restart(name)
            await self.clock.sleep(60)
        await self.settled()

    def jump(self, seconds: float) -> None:
        """Let much time pass at once on every clock, as if all machines had slept."""
        for party in ("world", *self.nodes):
            self.network.clock(party).skew_ms += int(seconds * 1000)

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> float:
        """Wait, in virtual time, until something is true; return how long it took."""
        started = self.clock.now_ms()
        while not true():
            if self.clock.now_ms() > started + seconds * 1000:
                raise NotInTime(f"it did not come true within {seconds} s")
            waited_ms = self.clock.now_ms() - started
            await self.clock.sleep(0.05 if waited_ms < 3_000 else 2.0)
        return (self.clock.now_ms() - started) / 1000

    async def settled(self, seconds: float = 60) -> None:
        """Wait until every running node knows every city."""
        cities = tuple(self._roots)
        running = [name for name, node in self.nodes.items() if node.running]
        await self.until(lambda: all(self.knows(n, cities) for n in running), seconds)

    async def drained(self, seconds: float = 900) -> float:
        """Wait until no message waits anywhere."""
        return await self.until(lambda: not self.waiting(), seconds)
