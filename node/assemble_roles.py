# SPDX-License-Identifier: Apache-2.0
"""What each role adds to a node (requirement 1: roles are configuration)."""

from __future__ import annotations

from federation.announcer import Announcer
from federation.broker import Broker, BrokerLimits
from federation.directory import Directory
from federation.peers import Peer
from federation.routing import RouteTable
from identity.city import Authority
from identity.entropy import new_id
from identity.errors import NotFound
from identity.member_keys import MemberKeys
from identity.nameless import NamelessKeys
from node.builder import Builder
from node.home_parts import HomeParts
from node.keys import IDENTITY, INDEX, OPERATING, VAULT
from node.limits import RateLimit
from node.locator import Locator
from node.residents import ResidentDesk
from node.roles.city import CityDesk
from node.roles.directory import DirectoryDesk
from node.roles.holder import HolderDesk
from node.roles.home import HomeDesk
from node.roles.locations import LocationDesk
from node.roles.provider import ProviderDesk
from node.roles.recipient import RecipientDesk
from node.warrants import Warrants
from protocol.ids import NodeId

_DAY_S = 86_400


def add_broker(b: Builder) -> None:
    """Add the broker and the city's desk."""
    settings, world, parts = b.settings, b.world, b.parts
    operating = b.keys.signing(OPERATING)
    rate = RateLimit(
        per_s=settings.limits.peer_rate_per_s, burst=settings.limits.peer_burst
    )
    routes = RouteTable(b.node.city)
    authority = Authority(
        city=b.node.city,
        operating=operating,
        entropy=world.entropy,
        membership_s=settings.trust.membership_life_days * _DAY_S,
        skew_s=b.skew_s,
        suites=settings.accepts,
    )

    member_keys = MemberKeys(
        city=b.node.city,
        operating=operating,
        secret=b.keys.secret(IDENTITY),
        entropy=world.entropy,
        suites=settings.accepts,
    )

    def behind(kid: str) -> NodeId | None:
        try:
            return b.database.read(lambda c: member_keys.node_behind(c, kid))
        except NotFound:
            return None

    def certificate() -> str:
        return b.standing.credentials().operating

    def own_membership() -> str:
        return b.standing.credentials().membership

    announcer = Announcer(
        city=b.node.city,
        operating=operating,
        keys=lambda: desk.keys(),
        routes=routes,
        agreed=b.agreed,
        now_ms=b.now_ms,
        entropy=world.entropy,
    )
    desk = CityDesk(
        node=b.node,
        operating=operating,
        operating_certificate=certificate,
        own_membership=own_membership,
        authority=authority,
        member_keys=member_keys,
        trust=b.trust,
        routes=routes,
        announcer=announcer,
        peers=b.peers,
        agreed=b.agreed,
        database=b.database,
        now_ms=b.now_ms,
        entropy=world.entropy,
        bundle_life_s=_DAY_S,
        skew_s=b.skew_s,
    )

    async def local(peer: Peer, payload: bytes) -> bytes:
        return await b.exchanges.answer(payload)

    parts.authority, parts.routes, parts.city = authority, routes, desk
    parts.broker = Broker(
        node=b.node,
        signer=b.signer,
        opening=b.opening,
        membership=own_membership,
        peers=b.peers,
        routes=routes,
        agreed=b.agreed,
        allow=lambda peer: rate.take(peer, b.now_ms()) or None,
        local=local,
        now_ms=b.now_ms,
        limits=BrokerLimits(
            max_envelope_bytes=settings.limits.max_body_bytes,
            max_hops=settings.limits.hops,
            longest_ms=settings.limits.deadline_max_ms,
            skew_ms=b.skew_s * 1000,
        ),
        observe=lambda code: parts.observe("relay", code),
        tap=b.capture or (lambda opened: None),
        member_behind=behind,
    )
    b.exchanges.on(desk.handlers())


def add_directory(b: Builder) -> None:
    """Add the location directory."""
    directory = Directory(city=b.node.city, index_key=b.keys.secret(INDEX))
    desk = DirectoryDesk(directory=directory, trust=b.trust, database=b.database)
    b.exchanges.on(desk.handlers())


def add_vault(b: Builder) -> None:
    """Add holder, recipient, provider and the registration of locations."""
    settings, parts, trust = b.settings, b.parts, b.trust
    nameless = NamelessKeys(secret=b.keys.secret(VAULT), entropy=b.world.entropy)
    warrants = Warrants(node=b.node, opening=b.opening, trust=trust, proofs=b.proofs)
    parts.holder = HolderDesk(
        node=b.node,
        suite=settings.suite,
        vault=b.vault,
        warrants=warrants,
        nameless=nameless,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        now_ms=b.now_ms,
    )
    parts.recipient = RecipientDesk(
        node=b.node,
        signer=b.signer,
        opening=b.opening,
        membership=b.standing.membership,
        vault=b.vault,
        trust=trust,
        warrants=warrants,
        proofs=b.proofs,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        new_id=lambda: new_id(b.now_ms() // 1000, b.world.entropy),
    )
    parts.locations = LocationDesk(
        node=b.node,
        vault=b.vault,
        trust=trust,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
        now_ms=b.now_ms,
    )
    parts.provider = ProviderDesk(
        node=b.node,
        vault=b.vault,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        proofs=b.proofs,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        now_ms=b.now_ms,
        entropy=b.world.entropy,
    )
    parts.reader.refresh = parts.recipient.refresh
    b.exchanges.member_secret = parts.holder.member_secret
    b.exchanges.on(parts.holder.handlers())
    b.exchanges.on(parts.recipient.handlers())


def add_identity(b: Builder) -> None:
    """Add the home node."""
    trust = b.settings.trust
    home = HomeParts.assemble(
        node=b.node,
        signer=b.signer,
        identity_key=b.keys.secret(IDENTITY),
        index_key=b.keys.secret(INDEX),
        entropy=b.world.entropy,
        max_age_s=trust.status_max_age_s,
        epoch_s=trust.status_epoch_s,
    )
    desk = HomeDesk(
        parts=home,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        trust=b.trust,
        standing=b.standing,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
    )
    b.parts.residents = ResidentDesk(
        parts=home, desk=desk, database=b.database, now_ms=b.now_ms
    )
    b.parts.locator = Locator(
        parts=home,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        trust=b.trust,
        database=b.database,
        now_ms=b.now_ms,
    )
    b.exchanges.on(desk.handlers())
