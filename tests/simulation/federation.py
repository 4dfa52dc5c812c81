# SPDX-License-Identifier: Apache-2.0
"""A small world: whole nodes of several cities in one process, on virtual time.

The production code of every node runs; only the pipes, the clock and the entropy are
simulated (`federation.simulation`), and the databases are in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from federation.simulation import SCHEME, Network
from identity.agreements import AgreementStore
from identity.city import Allowance
from identity.join import request_to_join
from identity.keys import KeyStore, MasterKey
from identity.root import RootKey
from node.config import Settings
from node.core import Core
from node.database import InlineDatabase
from node.founding import found_city
from node.keys import IDENTITY, INDEX, OPERATING, SEALING, SIGNING, VAULT
from node.parts import assemble
from node.schema import create_all
from node.sqlite import memory_engine
from node.world import World
from protocol.agreement import Agreement, AgreementBody, Party, Terms
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Qualification, Role
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite

YEAR_S = 366 * 86_400
EVERYTHING = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=(DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE),
    transit=True,
    hop_limit=6,
)


class Chance:
    """Seeded entropy in both shapes."""

    def __init__(self, network: Network, party: str) -> None:
        self._entropy = network.entropy(party)

    def __call__(self, size: int, /) -> bytes:
        """Return the next bytes."""
        return self._entropy.token_bytes(size)

    def token_bytes(self, size: int, /) -> bytes:
        """Return the next bytes."""
        return self._entropy.token_bytes(size)


@dataclass
class SimulatedNode:
    """One node."""

    settings: Settings
    keys: KeyStore
    database: InlineDatabase
    core: Core
    learned: bytearray = field(default_factory=bytearray)


class Federation:
    """Cities and nodes on one simulated network."""

    def __init__(
        self, network: Network, folder: Path, suite: Suite = Suite.HYBRID
    ) -> None:
        """Start without cities; `folder` keeps the key files."""
        self.network = network
        self.suite = suite
        self._folder = folder
        self._roots: dict[str, RootKey] = {}
        self.nodes: dict[str, SimulatedNode] = {}

    def now(self) -> int:
        """Seconds since 1970."""
        return self.network.clock("world").now_ms() // 1000

    def _make(
        self, node: str, roles: tuple[Role, ...], root: RootKey, **trust: int
    ) -> SimulatedNode:
        name = NodeId(node)
        folder = self._folder / name.city / name.label
        settings = Settings.model_validate(
            {
                "data_dir": folder,
                "suite": self.suite,
                "node": {"id": name, "roles": roles},
                "brokers": (f"{name.city}/broker@{SCHEME}{name.city}/broker",)
                if Role.BROKER not in roles
                else (),
                "trust": trust,
            },
            strict=False,
        )
        chance = Chance(self.network, node)
        store = KeyStore(folder / "keys", MasterKey(chance(32)), entropy=chance)
        store.create_signing(SIGNING, self.suite)
        store.create_opening(SEALING, self.suite)
        if Role.BROKER in roles:
            store.create_signing(OPERATING, self.suite)
        for secret in (VAULT, IDENTITY, INDEX):
            store.create_secret(secret)
        engine = memory_engine()
        create_all(engine)
        database = InlineDatabase(engine)
        world = World(
            self.network.clock(node), chance, self.network.connector(node)
        )
        learned = bytearray()
        parts = assemble(
            settings, store, root.signer.public, database, world, learned.extend
        )
        simulated = SimulatedNode(settings, store, database, Core(parts), learned)
        self.nodes[node] = simulated
        return simulated

    async def city(self, name: str, **trust: int) -> None:
        """Found a city with a broker that is its directory too."""
        chance = Chance(self.network, f"{name} root")
        root = RootKey(
            CityId(name), SigningKey(self.suite, chance(SIGNING_SEED_BYTES))
        )
        self._roots[name] = root
        broker = self._make(
            f"{name}/broker", (Role.BROKER, Role.DIRECTORY), root, **trust
        )
        await found_city(
            broker.settings,
            broker.keys,
            root,
            broker.database,
            now=self.now(),
            entropy=chance,
        )
        self.network.listen(f"{name}/broker", broker.core.links.serve)

    async def node(
        self,
        name: str,
        *roles: Role,
        qualifications: tuple[str, ...] = (),
        data_classes: tuple[DataClass, ...] = tuple(DataClass),
        **trust: int,
    ) -> SimulatedNode:
        """Add a node that its city has admitted."""
        node = NodeId(name)
        broker = self.nodes[f"{node.city}/broker"]
        made = self._make(name, roles or (Role.VAULT,), self._roots[node.city], **trust)
        request = request_to_join(
            node,
            made.keys.signing(SIGNING),
            made.keys.opening(SEALING).public,
            title={"en": name},
            roles=made.settings.node.roles,
            now=self.now(),
            entropy=Chance(self.network, f"{name} request"),
        )
        authority = broker.core.parts.authority
        if authority is None:
            raise AssertionError("the broker has no authority")
        allowance = Allowance(
            roles=made.settings.node.roles,
            qualifications=tuple(
                Qualification(scheme=q, until=self.now() + YEAR_S)
                for q in qualifications
            ),
            data_classes=data_classes,
        )
        membership = await broker.database.write(
            lambda c: authority.admit(c, request.token, allowance, now=self.now())
        )
        broker.core.parts.standing.load(self.now())
        await made.core.parts.standing.accept(
            Credentials(
                membership=membership.token,
                operating=broker.core.parts.standing.credentials().operating,
            ),
            self.now(),
        )
        return made

    async def agree(
        self,
        a: str,
        b: str,
        a_to_b: Terms = EVERYTHING,
        b_to_a: Terms = EVERYTHING,
        days: int = 365,
    ) -> None:
        """Let two cities agree; the broker of `a` dials that of `b`."""
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
            broker = self.nodes[f"{city}/broker"]
            store = AgreementStore(
                city=CityId(city), root=self._roots[city].signer.public
            )
            await broker.database.write(
                lambda c, s=store: s.install(c, both.wire, now=self.now())
            )

    def _party(self, city: str) -> Party:
        broker = self.nodes[f"{city}/broker"]
        broker.core.parts.standing.load(self.now())
        return Party(
            city=CityId(city),
            root=self._roots[city].signer.public.jwk,
            operating=broker.core.parts.standing.credentials().operating,
            links=(f"{city}/broker@{SCHEME}{city}/broker",),
        )

    async def start(self) -> None:
        """Start every node, brokers first."""
        for name in sorted(self.nodes, key=lambda n: not n.endswith("/broker")):
            await self.nodes[name].core.start()

    async def close(self) -> None:
        """Stop every node."""
        for node in self.nodes.values():
            await node.core.close()

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Wait, in virtual time, until something is true."""
        clock = self.network.clock("world")
        end = clock.now_ms() + int(seconds * 1000)
        while not true():
            if clock.now_ms() > end:
                raise AssertionError("it did not come true in time")
            await clock.sleep(0.05)

    def parts(self, node: str):  # type: ignore[no-untyped-def]
        """Return a node's parts."""
        return self.nodes[node].core.parts
