# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds every part of a node from settings, keys and a world.

Nothing here decides anything; it only says what is made of what, in the order in which
parts need each other.
"""

from __future__ import annotations

from collections.abc import Callable

from federation.announcer import Announcer
from federation.broker import Broker, BrokerLimits
from federation.directory import Directory
from federation.exchange import Endpoint, ExchangeLimits
from federation.outbox import Outbox, OutboxLimits
from federation.outcome import LinkLost
from federation.peers import Peer, Peers
from federation.routing import RouteTable
from identity.agreements import AgreementStore
from identity.city import Authority
from identity.entropy import new_id
from identity.errors import NotFound
from identity.keys import KeyStore
from identity.member_keys import MemberKeys
from identity.nameless import NamelessKeys
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.config import Settings
from node.database import Database
from node.deliveries import Deliveries
from node.dial_state import DialState
from node.home_parts import HomeParts
from node.keys import IDENTITY, INDEX, OPERATING, SEALING, SIGNING, VAULT
from node.limits import RateLimit
from node.links import NodeLinkIdentity
from node.locator import Locator
from node.parts import Parts
from node.proofs import Proofs
from node.reader import Reader
from node.residents import ResidentDesk
from node.roles.city import CityDesk
from node.roles.directory import DirectoryDesk
from node.roles.holder import HolderDesk
from node.roles.home import HomeDesk
from node.roles.locations import LocationDesk
from node.roles.member import MemberDesk
from node.roles.provider import ProviderDesk
from node.roles.recipient import RecipientDesk
from node.standing import Standing
from node.warrants import Warrants
from node.world import World
from protocol.agreement import AgreementBody
from protocol.box import Box
from protocol.ids import CityId, NodeId
from protocol.membership import Role
from protocol.suites import VerifyingKey
from vault.parts import Vault

_DAY_S = 86_400


def assemble(
    settings: Settings,
    keys: KeyStore,
    root: VerifyingKey,
    database: Database,
    world: World,
    capture: Callable[[bytes], None] | None = None,
) -> Parts:
    """Build a node.

    Args:
        settings: its settings.
        keys: its opened keys.
        root: its city's root key.
        database: with the current schema.
        world: time, chance, connections.
        capture: is given every byte received, to prove what was learned.
    """
    builder = _Builder(settings, keys, root, database, world, capture)
    return builder.build()


class _Builder:
    """Builds in the order in which parts need each other."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyStore,
        root: VerifyingKey,
        database: Database,
        world: World,
        capture: Callable[[bytes], None] | None,
    ) -> None:
        self.settings, self.keys, self.database = settings, keys, database
        self.world, self.capture = world, capture
        self.node, self.roles = settings.node.id, frozenset(settings.node.roles)
        self.now_ms = world.clock.now_ms
        self.signer, self.opening = keys.signing(SIGNING), keys.opening(SEALING)
        self.skew_s = settings.trust.skew_s
        self.trust = TrustStore(
            city=self.node.city,
            root=root,
            skew_s=self.skew_s,
            suites=settings.accepts,
        )
        self.standing = Standing(
            node=self.node, key=self.signer.public, trust=self.trust, database=database
        )
        self.peers = Peers()

    def build(self) -> Parts:
        """Return everything."""
        settings, world, trust = self.settings, self.world, self.trust
        exchanges = Endpoint(
            node=self.node,
            signer=self.signer,
            opening=self.opening,
            credentials=self.standing.credentials,
            trust=trust,
            send=self._send,
            now_ms=self.now_ms,
            entropy=world.entropy,
            limits=ExchangeLimits(
                max_answer_bytes=settings.limits.max_body_bytes,
                max_request_bytes=settings.limits.max_body_bytes,
                longest_ms=settings.limits.deadline_max_ms,
                skew_ms=self.skew_s * 1000,
                hops=settings.limits.hops,
                deadline_ms=settings.limits.deadline_ms,
            ),
        )
        self.exchanges = exchanges
        self.addressbook = Addressbook(
            exchanges=exchanges,
            trust=trust,
            now_ms=self.now_ms,
            entropy=world.entropy,
            skew_s=self.skew_s,
        )
        self.proofs = Proofs(
            exchanges=exchanges,
            addressbook=self.addressbook,
            trust=trust,
            now_ms=self.now_ms,
        )
        self.vault = Vault.assemble(
            node=self.node,
            vault_key=self.keys.secret(VAULT),
            index_key=self.keys.secret(INDEX),
            entropy=world.entropy,
        )
        self.deliveries = Deliveries()
        self.outbox = Outbox(
            store=self.database,
            box=Box(self.keys.secret(VAULT)),
            clock=world.clock,
            entropy=world.entropy,
            deliver=self.deliveries.deliver,
            limits=OutboxLimits(longest_ms=settings.limits.outbox_backoff_max_s * 1000),
        )
        self.parts = Parts(
            settings=settings,
            world=world,
            database=self.database,
            node=self.node,
            trust=trust,
            standing=self.standing,
            agreements=AgreementStore(city=self.node.city, root=trust.root),
            peers=self.peers,
            exchanges=exchanges,
            addressbook=self.addressbook,
            proofs=self.proofs,
            vault=self.vault,
            deliveries=self.deliveries,
            outbox=self.outbox,
            dial_state=DialState(self.database),
            link_identity=NodeLinkIdentity(
                node=self.node,
                is_broker=Role.BROKER in self.roles,
                signer=self.signer,
                credentials=self.standing.credentials,
                trust=trust,
                agreed=self._agreed,
                now_ms=self.now_ms,
            ),
            member=MemberDesk(
                node=self.node,
                trust=trust,
                exchanges=exchanges,
                addressbook=self.addressbook,
                standing=self.standing,
                now_ms=self.now_ms,
            ),
            reader=Reader(
                exchanges=exchanges,
                addressbook=self.addressbook,
                proofs=self.proofs,
                types=self.vault.types,
                ledger=self.vault.ledger,
                provisions=self.vault.provisions,
                database=self.database,
                now_ms=self.now_ms,
            ),
            capture=self.capture,
        )
        exchanges.observe = self.parts.observe
        if self.capture is not None:
            exchanges.tap = self.capture
        exchanges.on(self.parts.member.handlers())
        for role, add in (
            (Role.BROKER, self._broker),
            (Role.DIRECTORY, self._directory),
            (Role.VAULT, self._vault),
            (Role.IDENTITY, self._identity),
        ):
            if role in self.roles:
                add()
        return self.parts

    # -------------------------------------------------------------- what links need

    async def _send(self, payload: bytes, deadline_ms: int) -> bytes:
        """Hand an exchange to our broker, or carry it ourselves."""
        if self.parts.broker is not None:
            return await self.parts.broker.carry(self._self_peer(), payload)
        found = self.peers.broker_of(self.node.city)
        if found is None:
            raise LinkLost("closed", "no link to a broker of our city")
        return await found[1].request(payload, deadline_ms=deadline_ms)

    def _self_peer(self) -> Peer:
        own = self.standing.own()
        shown = own.credentials
        return Peer(self.node, own.body, shown.membership, shown.operating)

    def _agreed(self, city: CityId) -> AgreementBody | None:
        agreement = self.trust.agreements.get(city)
        if agreement is None or not agreement.in_force(self.now_ms() // 1000):
            return None
        return agreement.body

    # ---------------------------------------------------------------------- roles

    def _broker(self) -> None:
        settings, world, parts = self.settings, self.world, self.parts
        operating = self.keys.signing(OPERATING)
        rate = RateLimit(
            per_s=settings.limits.peer_rate_per_s, burst=settings.limits.peer_burst
        )
        routes = RouteTable(self.node.city)
        authority = Authority(
            city=self.node.city,
            operating=operating,
            entropy=world.entropy,
            membership_s=settings.trust.membership_life_days * _DAY_S,
            skew_s=self.skew_s,
            suites=settings.accepts,
        )

        member_keys = MemberKeys(
            city=self.node.city,
            operating=operating,
            secret=self.keys.secret(IDENTITY),
            entropy=world.entropy,
            suites=settings.accepts,
        )

        def behind(kid: str) -> NodeId | None:
            try:
                return self.database.read(lambda c: member_keys.node_behind(c, kid))
            except NotFound:
                return None

        def certificate() -> str:
            return self.standing.credentials().operating

        def own_membership() -> str:
            return self.standing.credentials().membership

        announcer = Announcer(
            city=self.node.city,
            operating=operating,
            keys=lambda: desk.keys(),
            routes=routes,
            agreed=self._agreed,
            now_ms=self.now_ms,
            entropy=world.entropy,
        )
        desk = CityDesk(
            node=self.node,
            operating=operating,
            operating_certificate=certificate,
            own_membership=own_membership,
            authority=authority,
            member_keys=member_keys,
            trust=self.trust,
            routes=routes,
            announcer=announcer,
            peers=self.peers,
            agreed=self._agreed,
            database=self.database,
            now_ms=self.now_ms,
            entropy=world.entropy,
            bundle_life_s=_DAY_S,
            skew_s=self.skew_s,
        )

        async def local(peer: Peer, payload: bytes) -> bytes:
            return await self.exchanges.answer(payload)

        parts.authority, parts.routes, parts.city = authority, routes, desk
        parts.broker = Broker(
            node=self.node,
            signer=self.signer,
            opening=self.opening,
            membership=own_membership,
            peers=self.peers,
            routes=routes,
            agreed=self._agreed,
            allow=lambda peer: rate.take(peer, self.now_ms()) or None,
            local=local,
            now_ms=self.now_ms,
            limits=BrokerLimits(
                max_envelope_bytes=settings.limits.max_body_bytes,
                max_hops=settings.limits.hops,
                longest_ms=settings.limits.deadline_max_ms,
                skew_ms=self.skew_s * 1000,
            ),
            observe=lambda code: parts.observe("relay", code),
            tap=self.capture or (lambda opened: None),
            member_behind=behind,
        )
        self.exchanges.on(desk.handlers())

    def _directory(self) -> None:
        directory = Directory(city=self.node.city, index_key=self.keys.secret(INDEX))
        desk = DirectoryDesk(
            directory=directory, trust=self.trust, database=self.database
        )
        self.exchanges.on(desk.handlers())

    def _vault(self) -> None:
        settings, parts, trust = self.settings, self.parts, self.trust
        nameless = NamelessKeys(
            secret=self.keys.secret(VAULT), entropy=self.world.entropy
        )
        warrants = Warrants(
            node=self.node, opening=self.opening, trust=trust, proofs=self.proofs
        )
        parts.holder = HolderDesk(
            node=self.node,
            suite=settings.suite,
            vault=self.vault,
            warrants=warrants,
            nameless=nameless,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            database=self.database,
            max_age_s=settings.trust.status_max_age_s,
            skew_s=self.skew_s,
            now_ms=self.now_ms,
        )
        parts.recipient = RecipientDesk(
            node=self.node,
            signer=self.signer,
            opening=self.opening,
            membership=self.standing.membership,
            vault=self.vault,
            trust=trust,
            warrants=warrants,
            proofs=self.proofs,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            database=self.database,
            max_age_s=settings.trust.status_max_age_s,
            skew_s=self.skew_s,
            new_id=lambda: new_id(self.now_ms() // 1000, self.world.entropy),
        )
        parts.locations = LocationDesk(
            node=self.node,
            vault=self.vault,
            trust=trust,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            outbox=self.outbox,
            deliveries=self.deliveries,
            database=self.database,
            now_ms=self.now_ms,
        )
        parts.provider = ProviderDesk(
            node=self.node,
            vault=self.vault,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            proofs=self.proofs,
            outbox=self.outbox,
            deliveries=self.deliveries,
            database=self.database,
            max_age_s=settings.trust.status_max_age_s,
            skew_s=self.skew_s,
            now_ms=self.now_ms,
            entropy=self.world.entropy,
        )
        parts.reader.refresh = parts.recipient.refresh
        self.exchanges.member_secret = parts.holder.member_secret
        self.exchanges.on(parts.holder.handlers())
        self.exchanges.on(parts.recipient.handlers())

    def _identity(self) -> None:
        trust = self.settings.trust
        home = HomeParts.assemble(
            node=self.node,
            signer=self.signer,
            identity_key=self.keys.secret(IDENTITY),
            index_key=self.keys.secret(INDEX),
            entropy=self.world.entropy,
            max_age_s=trust.status_max_age_s,
            epoch_s=trust.status_epoch_s,
        )
        desk = HomeDesk(
            parts=home,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            trust=self.trust,
            standing=self.standing,
            outbox=self.outbox,
            deliveries=self.deliveries,
            database=self.database,
        )
        self.parts.residents = ResidentDesk(
            parts=home, desk=desk, database=self.database, now_ms=self.now_ms
        )
        self.parts.locator = Locator(
            parts=home,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            trust=self.trust,
            database=self.database,
            now_ms=self.now_ms,
        )
        self.exchanges.on(desk.handlers())
