# SPDX-License-Identifier: Apache-2.0
"""A small world: cities, brokers and members in memory, with the real code.

    world = World()
    hoshino, minato = world.chain("hoshino", "minato")
    clinic = minato.admit("clinic")
    answer = await hoshino.admit("hall").read(clinic)

A link is a `Wire`: it hands bytes to the other side's `Broker.carry` or
`Endpoint.answer` and can be cut, silenced, or told to alter what passes. Each node
keeps every byte string that reached it, so that tests can search what it has learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from federation.announcer import Announcer
from federation.broker import Broker, BrokerLimits
from federation.exchange import (
    About,
    Answer,
    Asked,
    Endpoint,
    MemberSecret,
    Refused,
    Reply,
    Target,
    target_of,
)
from federation.limits import Paced
from federation.notice import MAX_NOTICE_BYTES, Notice
from federation.outcome import LinkLost
from federation.peers import Peer, Peers
from federation.presence import Presence
from federation.routing import RoutePolicy, RouteTable
from federation.virtual import SeededEntropy
from protocol.agreement import AgreementBody, Party, Terms
from protocol.answer import Done, ReadResult
from protocol.canonical import b64url
from protocol.envelope import Address, Kind
from protocol.errors import MachikuraError, Malformed
from protocol.ids import (
    CityId,
    DatasetTypeName,
    NodeId,
    PurposeName,
    RecordId,
    uuid7,
)
from protocol.location import TokenBody
from protocol.membership import (
    MEMBERSHIP,
    OPERATING,
    Credentials,
    DataClass,
    Membership,
    OperatingCertificate,
    Role,
    verify_membership,
    verify_operating,
)
from protocol.model import ANYONE
from protocol.request import Ping, Query, Read, WireRecord
from protocol.route import CityKeys, verify_announcement
from protocol.sealed import SEALING_SEED_BYTES, OpeningKey
from protocol.signature import Owner, Received, Signed, SingleKey, sign
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite
from tests.federation.wire import SetClock, Wire

SKEW_S = 5
DAY_S = 86_400
CHECKUP = DatasetTypeName("health.checkup")
TREATMENT = PurposeName("treatment")
CONSENT = "c" * 43
"""Stands for the digest of a consent."""
ABOUT = About(CHECKUP, TREATMENT, DataClass.SPECIAL_CARE, CONSENT)
CONTENT = '{"note":"CANARY-CONTENT"}'
SHARED = (DataClass.OPEN, DataClass.PERSONAL, DataClass.SPECIAL_CARE)
ALL_CLASSES = (*SHARED, DataClass.CLOSED)
EVERYTHING = Terms(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=SHARED,
    transit=True,
    hop_limit=8,
)


class Judge:
    """Knows the root keys of all cities of a world. Satisfies `exchange.Trust`."""

    def __init__(self, cities: dict[CityId, City]) -> None:
        """Take the cities, present and future."""
        self._cities = cities

    def verify_sender(self, membership: str, operating: str, now: int) -> Membership:
        """Return the membership that these credentials prove."""
        city = self._city_of(membership)
        root = city.root.public
        key = verify_operating(operating, city.id, root, now, SKEW_S)
        return verify_membership(
            membership, city.id, key.body.verifying_key(), now, SKEW_S
        ).body

    def verify_broker(self, membership: str, now: int) -> Membership:
        """Return the membership if it is a broker's."""
        city = self._city_of(membership)
        proven = self.verify_sender(membership, city.certificate, now)
        if Role.BROKER not in proven.roles:
            raise Malformed("no broker")
        return proven

    def key_directory_for(self, membership: Membership) -> SingleKey:
        """Return the one key of a member."""
        return SingleKey(membership.sub, membership.verifying_key())

    def _city_of(self, membership: str) -> City:
        claimed = Received.parse(membership, MEMBERSHIP).peek(Membership).sub.city
        if claimed not in self._cities:
            raise Malformed("nobody knows that city")
        return self._cities[claimed]


class Node:
    """A member: its keys, its membership, its endpoint, and what has reached it."""

    def __init__(self, city: City, label: str, membership: Signed[Membership]) -> None:
        """Start with the keys that the city has just certified for this label."""
        self.city = city
        self.node = NodeId(f"{city.id}/{label}")
        self.clock = city.world.clock
        self.signing = city.world.signing(self.node)
        self.opening = city.world.opening(self.node)
        self.membership = membership
        self.received: list[bytes] = []
        self.asked: list[Asked] = []
        self.secrets: dict[str, MemberSecret] = {}
        self.home: Wire | None = None
        self.endpoint = Endpoint(
            node=self.node,
            signer=self.signing,
            opening=self.opening,
            credentials=self.credentials,
            trust=Judge(city.world.cities),
            send=self._send,
            now_ms=self.clock.now_ms,
            entropy=city.world.entropy,
            member_secret=self.secrets.get,
            handlers={"read": self._released, "ping": self._done},
        )

    @property
    def peer(self) -> Peer:
        """How the other side of a link knows this node."""
        return Peer(self.node, self.membership.body, self.membership.token)

    def credentials(self) -> Credentials:
        """Return membership and operating certificate."""
        return Credentials(
            membership=self.membership.token, operating=self.city.certificate
        )

    def target(self, *, consent: str = CONSENT) -> Target:
        """Return how to reach this node: by a token of its city."""
        token = self.city.token(self.node, consent=consent)
        return target_of(self.membership.body, token)

    def hidden(self) -> Target:
        """Make a member key for `CONSENT`; return how to reach us without a name."""
        world = self.city.world
        secret = MemberSecret(world.signing(), world.opening())
        key = secret.signer.public
        self.secrets[key.kid] = secret
        self.city.behind[key.kid] = self.node
        return Target(
            Address(city=self.city.id, token=self.city.token(self.node)),
            secret.opening.public,
            Owner(self.city.id, key),
            member=key.kid,
        )

    async def read(
        self,
        holder: Node | Target,
        about: About = ABOUT,
        *,
        hops: int | None = None,
        timeout_ms: int | None = None,
    ) -> Answer | Refused:
        """Ask a holder for records."""
        target = holder.target() if isinstance(holder, Node) else holder
        return await self.endpoint.ask(
            target, Kind.READ, Read(), about, hops=hops, timeout_ms=timeout_ms
        )

    async def ask(
        self, other: Node | Target, query: Query, kind: Kind = Kind.MANAGE
    ) -> Answer | Refused:
        """Ask something that is about no dataset."""
        target = other.target(consent="") if isinstance(other, Node) else other
        return await self.endpoint.ask(target, kind, query)

    async def ping(self, other: Node | Target) -> Answer | Refused:
        """Prove the way."""
        return await self.ask(other, Ping())

    async def serve(self, peer: Peer, payload: bytes) -> bytes:
        """Answer what comes over a link."""
        return await self.endpoint.answer(payload)

    def notice(self, peer: Peer, payload: bytes) -> None:
        """Take a notice; members of this world need none."""

    async def _send(self, payload: bytes, deadline_ms: int) -> bytes:
        if self.home is None:
            raise LinkLost("closed")
        return await self.home.request(payload, deadline_ms=deadline_ms)

    async def _released(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        serial = uuid7(asked.now_ms, self.city.world.entropy(10))
        nameless = RecordId(f"urn:machikura:{self.city.id}::{serial}")
        record = WireRecord(
            id=nameless if asked.header.member else RecordId.of(self.node, serial),
            dataset_type=CHECKUP,
            version=1,
            content=CONTENT,
        )
        return Reply(ReadResult(records=(record,), fields=("note",), cut={}))

    async def _done(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        return Reply(Done())


class BrokerNode(Node):
    """A city's broker: links to members and neighbors, routes, announcements."""

    def __init__(self, city: City, label: str, membership: Signed[Membership]) -> None:
        """Start without links."""
        super().__init__(city, label, membership)
        world = city.world
        self.peers = Peers()
        self.routes = RouteTable(city.id, policy=RoutePolicy(rtt_ms=self.peers.rtt_ms))
        self.waits: dict[str, int] = {}
        self.pace: dict[str, Paced] = {}
        self.delays: list[float] = []
        self.outcomes: list[str] = []
        self.announcer = Announcer(
            city=city.id,
            operating=city.operating,
            keys=self.keys,
            routes=self.routes,
            agreed=partial(world.agreed, city.id),
            now_ms=self.clock.now_ms,
            entropy=world.entropy,
            brokers=lambda: (f"{self.node}@wss://{self.node}",),
            tokens=city.tokens.public.document,
        )
        self.presence = Presence()
        self.broker = Broker(
            node=self.node,
            signer=self.signing,
            opening=city.tokens,
            membership=lambda: self.membership.token,
            peers=self.peers,
            routes=self.routes,
            agreed=partial(world.agreed, city.id),
            allow=lambda peer: self.pace.get(peer) or Paced(0, self.waits.get(peer, 0)),
            local=self._local,
            now_ms=self.clock.now_ms,
            limits=world.limits,
            sleep=self._delayed,
            observe=self.outcomes.append,
            member_behind=city.behind.get,
            presence=self.presence,
        )

    async def _delayed(self, seconds: float) -> None:
        self.delays.append(seconds)

    def keys(self) -> CityKeys:
        """Return the city's keys as others must know them."""
        return CityKeys(
            city=self.city.id,
            root=self.city.root.public.jwk,
            operating=self.city.certificate,
            broker=self.membership.token,
            directory=self.membership.token,
        )

    def named(self) -> Target:
        """Return how to reach this broker: by name."""
        return target_of(self.membership.body, None)

    async def serve(self, peer: Peer, payload: bytes) -> bytes:
        """Carry what comes over a link."""
        return await self.broker.carry(peer, payload)

    def notice(self, peer: Peer, payload: bytes) -> None:
        """Take a neighbor's announcement or withdrawal."""
        notice = Notice.decode(payload, MAX_NOTICE_BYTES)
        if notice.kind == "withdraw" and notice.origin is not None:
            self.routes.withdraw(peer.city, notice.origin)
        elif notice.token is not None:
            neighbor = self.city.world.cities[peer.city]
            key = neighbor.operating.public
            announced = verify_announcement(
                notice.token, peer.city, key, self.city.id, self.clock.now, SKEW_S
            )
            self.routes.learn(peer.city, announced)

    def wire(self, target: Node) -> Wire:
        """Return our live link to a node."""
        found = self.peers.find(target.node)
        assert found is not None and isinstance(found[1], Wire)
        return found[1]

    async def _local(self, peer: Peer, payload: bytes, until_ms: int) -> bytes:
        return await self.endpoint.answer(payload)

    async def _send(self, payload: bytes, deadline_ms: int) -> bytes:
        return await self.broker.carry(self.peer, payload)


class City:
    """A city: root key, operating key, and the nodes that it admitted."""

    def __init__(self, world: World, name: str, suite: Suite) -> None:
        """Set up the keys and the broker."""
        self.world = world
        self.id = CityId(name)
        self.suite = suite
        self.root = world.signing(f"{name} root")
        self.operating = world.signing(f"{name} operating")
        self.tokens = world.opening(f"{name} tokens")
        self.behind: dict[str, NodeId] = {}
        now = world.clock.now
        self.certificate = sign(
            self.root,
            OPERATING,
            OperatingCertificate(
                iss=name,
                aud=ANYONE,
                jti=world.id(),
                iat=now,
                exp=now + 30 * DAY_S,
                sub=self.id,
                key=self.operating.public.jwk,
            ),
        ).token
        world.cities[self.id] = self
        roles = (Role.BROKER, Role.DIRECTORY)
        self.broker = BrokerNode(self, "broker", self.certify("broker", roles=roles))

    def certify(
        self,
        label: str,
        *,
        roles: tuple[Role, ...] = (Role.VAULT,),
        classes: tuple[DataClass, ...] = ALL_CLASSES,
    ) -> Signed[Membership]:
        """Sign a membership for a node of ours."""
        node, now = NodeId(f"{self.id}/{label}"), self.world.clock.now
        membership = Membership(
            iss=self.id,
            aud=ANYONE,
            jti=self.world.id(),
            iat=now,
            exp=now + DAY_S,
            sub=node,
            key=self.world.signing(node).public.jwk,
            sealing=self.world.opening(node).public.document,
            roles=roles,
            data_classes=classes,
        )
        return sign(self.operating, MEMBERSHIP, membership)

    def admit(
        self,
        label: str,
        *,
        roles: tuple[Role, ...] = (Role.VAULT,),
        classes: tuple[DataClass, ...] = ALL_CLASSES,
    ) -> Node:
        """Admit a member and link it to the broker, both ways."""
        node = Node(self, label, self.certify(label, roles=roles, classes=classes))
        node.home = Wire(node, self.broker)
        self.broker.peers.add(node.peer, Wire(self.broker, node))
        return node

    def token(self, node: NodeId, *, consent: str = CONSENT, life_s: int = 600) -> str:
        """Return a location token for a node, sealed to our brokers."""
        body = TokenBody(
            node=node,
            exp=self.world.clock.now + life_s,
            consent=consent,
            nonce=self.world.id(),
        )
        return body.seal(self.id, self.tokens.public)


@dataclass
class World:
    """All cities, the agreements between them, one clock and one source of chance."""

    suite: Suite = Suite.HYBRID
    seed: str = "world"
    clock: SetClock = field(default_factory=SetClock)
    limits: BrokerLimits = field(default_factory=BrokerLimits)
    cities: dict[CityId, City] = field(default_factory=dict)
    agreements: dict[frozenset[CityId], AgreementBody] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the stream of chance."""
        self.entropy = SeededEntropy(self.seed).token_bytes

    def id(self) -> str:
        """Return a fresh id."""
        return b64url(self.entropy(12))

    def signing(self, name: str | None = None) -> SigningKey:
        """Return the signing key of a name, always the same; a fresh one without."""
        seed = self._seed("signing", name)
        return SigningKey(self.suite, seed[:SIGNING_SEED_BYTES])

    def opening(self, name: str | None = None) -> OpeningKey:
        """Return the opening key of a name, always the same; a fresh one without."""
        return OpeningKey(self.suite, self._seed("opening", name))

    def _seed(self, use: str, name: str | None) -> bytes:
        stream = f"{self.seed} {use} {name or self.id()}"
        return SeededEntropy(stream).token_bytes(SEALING_SEED_BYTES)

    def city(self, name: str) -> City:
        """Found a city."""
        return City(self, name, self.suite)

    def agreed(self, one: CityId, other: CityId) -> AgreementBody | None:
        """Return the agreement in force between two cities."""
        found = self.agreements.get(frozenset((one, other)))
        return found if found and found.starts <= self.clock.now < found.ends else None

    def agree(
        self, a: City, b: City, a_to_b: Terms = EVERYTHING, b_to_a: Terms = EVERYTHING
    ) -> None:
        """Conclude an agreement for a year; replaces an earlier one."""
        parties = [
            Party(city=c.id, root=c.root.public.jwk, operating=c.certificate)
            for c in (a, b)
        ]
        self.agreements[frozenset((a.id, b.id))] = AgreementBody(
            id=f"{a.id}-{b.id}",
            a=parties[0],
            b=parties[1],
            a_to_b=a_to_b,
            b_to_a=b_to_a,
            starts=self.clock.now,
            ends=self.clock.now + 365 * DAY_S,
        )

    def connect(self, a: City, b: City) -> None:
        """Link two brokers, both ways."""
        for one, other in ((a.broker, b.broker), (b.broker, a.broker)):
            one.peers.add(other.peer, Wire(one, other))

    def cut(self, a: City, b: City) -> None:
        """Cut the link between two brokers; both forget what the other announced."""
        for one, other in ((a.broker, b.broker), (b.broker, a.broker)):
            link = one.wire(other)
            link.up = False
            one.peers.remove(other.peer, link)
            one.announcer.forget(other.city.id)
            one.routes.drop(other.city.id)

    def settle(self, rounds: int = 50) -> int:
        """Let brokers announce until nobody has news; return how many rounds it took.

        Within a round the brokers speak in the order of their founding, so news
        travels unevenly, as it does between real brokers.
        """
        for number in range(rounds):
            news = 0
            for city in self.cities.values():
                for peer, link in list(city.broker.peers.all()):
                    if peer.city == city.id:
                        continue
                    self.clock.move(1)
                    for notice in city.broker.announcer.for_neighbor(peer.city):
                        link.notify(notice)
                        news += 1
            if not news:
                return number
        raise MachikuraError(f"the routes have not settled in {rounds} rounds")

    def join(self, a: City, b: City) -> None:
        """Agree on everything, and link."""
        self.agree(a, b)
        self.connect(a, b)

    def chain(self, *names: str) -> list[City]:
        """Found cities in a row, each joined with the next, and let them announce."""
        cities = [self.city(name) for name in names]
        for one, other in pairwise(cities):
            self.join(one, other)
        self.settle()
        return cities
