# SPDX-License-Identifier: Apache-2.0
"""What the role broker adds: the broker, and the desk of an authority or of a relay.

The broker that has the operating key is the authority of its city; the others are its
relays. Nothing else decides it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from federation.announcer import Announcer
from federation.broker import Broker, BrokerLimits
from federation.limits import Paced
from federation.outcome import DeadlinePassed
from federation.peers import Peer
from federation.presence import Presence
from federation.routing import RoutePolicy, RouteTable
from federation.token_keys import TokenKeys
from federation.waits import WaitLimits, Waits
from identity.city import Authority
from identity.errors import NotFound
from identity.key_owners import MemberKeyOwners
from identity.member_keys import MemberKeys
from identity.operating_keys import OperatingKeys
from node.builder import Builder
from node.city_change import CityChanges
from node.evidence.hops import HopDesk
from node.keys import IDENTITY, OPERATING, TOKENS, has_operating
from node.limits import RateLimit
from node.roles.briefs import Briefs
from node.roles.city import CityDesk
from node.roles.relay import RelayDesk
from node.roles.siblings import Siblings
from node.roles.waits import WaitsDesk
from protocol.ids import NodeId

_DAY_S = 86_400
STAND_IN_S = _DAY_S
"""How long a city goes on without its authority: life of bundles, briefs, announcements
(`protocol.route.MAX_LIFE_S` bounds it)."""


_SIGNED_REFUSALS_PER_S = 100
"""Refusals for its rate that one peer gets signed; the others cost us nothing."""


@dataclass(frozen=True)
class _Common:
    """What every broker has, of whatever kind."""

    routes: RouteTable
    presence: Presence
    siblings: Siblings
    key_owners: MemberKeyOwners
    tokens: TokenKeys


def add_broker(b: Builder) -> None:
    """Add the broker and its desk."""
    parts = b.parts
    wishes, presence = b.settings.routing, Presence()
    policy = RoutePolicy(wishes.prefer, wishes.avoid, b.peers.rtt_ms)
    routes = RouteTable(b.node.city, policy=policy)
    common = _Common(
        routes=routes,
        presence=presence,
        siblings=Siblings(
            node=b.node,
            url=b.settings.link.public_url,
            trust=b.trust,
            routes=routes,
            peers=b.peers,
            presence=presence,
            agreed=b.agreed,
            database=b.database,
            found=lambda city, urls: parts.found_brokers(city, urls),
            now_ms=b.now_ms,
            skew_s=b.skew_s,
        ),
        key_owners=MemberKeyOwners(
            secret=b.keys.secret(IDENTITY), entropy=b.world.entropy
        ),
        tokens=TokenKeys(),
    )
    parts.routes, parts.presence = routes, presence
    if has_operating(b.keys):
        _add_authority(b, common)
    else:
        _add_relay(b, common)
    parts.broker = _broker(b, common)


def _broker(b: Builder, common: _Common) -> Broker:
    settings, parts, relay = b.settings, b.parts, b.parts.relay
    limits = settings.limits
    rate = RateLimit(per_s=limits.peer_rate_per_s, burst=limits.peer_burst)
    refusals = RateLimit(per_s=_SIGNED_REFUSALS_PER_S, burst=_SIGNED_REFUSALS_PER_S)

    def allow(peer: str) -> Paced:
        now_ms = b.now_ms()
        delay_ms, retry_ms = rate.pace(peer, now_ms, limits.delay_max_ms)
        curt = retry_ms > 0 and refusals.take(peer, now_ms) > 0
        return Paced(delay_ms, retry_ms, curt)

    def behind(kid: str) -> NodeId | None:
        try:
            return b.database.read(lambda c: common.key_owners.behind(c, kid))
        except NotFound:
            return None

    parts.waits = _waits(b)

    async def local(peer: Peer, payload: bytes, until_ms: int) -> bytes:
        left_ms = max(0, until_ms - b.now_ms())
        try:
            async with asyncio.timeout(left_ms / 1000):
                return await b.exchanges.answer(payload)
        except TimeoutError as error:
            raise DeadlinePassed from error

    return Broker(
        node=b.node,
        signer=b.signer,
        opening=common.tokens,
        membership=lambda: b.standing.credentials().membership,
        peers=b.peers,
        routes=common.routes,
        agreed=b.agreed,
        allow=allow,
        local=local,
        now_ms=b.now_ms,
        limits=BrokerLimits(
            max_envelope_bytes=settings.limits.max_body_bytes,
            max_hops=settings.limits.hops,
            longest_ms=settings.limits.deadline_max_ms,
            skew_ms=b.skew_s * 1000,
            in_flight=limits.broker_in_flight,
        ),
        sleep=b.world.clock.sleep,
        observe=lambda code: parts.observe("relay", code),
        tap=b.capture or (lambda opened: None),
        member_behind=behind,
        presence=common.presence,
        authority=(lambda: None) if relay is None else relay.authority,
        keep_wait=parts.waits.keep,
        noted=_hops(b).note,
    )


def _hops(b: Builder) -> HopDesk:
    """Return who signs and proves our hop records."""
    journal = b.evidence.journal
    desk = HopDesk(journal=journal, routes=b.route_store, ask=b.ways.ask)
    journal.hops = desk.newest
    b.evidence.besides.insert(0, desk.make)
    b.exchanges.on(desk.handlers())
    b.parts.hops = desk
    return desk


def _waits(b: Builder) -> WaitsDesk:
    """Return who tells requesters when a holder is back."""
    limits = b.settings.limits
    return WaitsDesk(
        waits=Waits(
            WaitLimits(
                per_requester=limits.waits_per_requester,
                per_city=limits.waits_per_city,
                per_holder=limits.waits_per_holder,
                longest_ms=limits.waiting_max_days * _DAY_S * 1000,
            )
        ),
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
        now_ms=b.now_ms,
    )


def _add_relay(b: Builder, common: _Common) -> None:
    """Add the desk of a broker that goes by what its authority signs."""
    parts = b.parts
    parts.relay = RelayDesk(
        node=b.node,
        opening=b.opening,
        trust=b.trust,
        routes=common.routes,
        peers=b.peers,
        siblings=common.siblings,
        member=parts.member,
        tokens=common.tokens,
        key_owners=common.key_owners,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        database=b.database,
        take_agreements=parts.take_agreements,
        soon=lambda work: parts.soon(work),
        now_ms=b.now_ms,
        skew_s=b.skew_s,
    )


def _add_authority(b: Builder, common: _Common) -> None:
    """Add the desk of the broker that speaks for its city."""
    settings, parts = b.settings, b.parts
    operating, entropy = OperatingKeys(b.keys, OPERATING), b.world.entropy
    if not b.keys.has(TOKENS):
        # A city that was founded when it had but one broker.
        b.keys.create_opening(TOKENS, settings.suite)
    common.tokens.keys = (b.keys.opening(TOKENS),)
    # Whoever has not heard of the token key seals to ours.
    common.tokens.own = b.opening
    shared = TokenKeys(b.keys.opening(TOKENS))
    tokens = b.keys.opening(TOKENS).public.document
    authority = Authority(
        city=b.node.city,
        operating=operating,
        entropy=entropy,
        membership_s=settings.trust.membership_life_days * _DAY_S,
        overlap_s=settings.trust.rotation_overlap_days * _DAY_S,
        skew_s=b.skew_s,
        suites=settings.accepts,
    )
    announcer = Announcer(
        city=b.node.city,
        operating=operating,
        keys=lambda: desk.keys(),
        routes=common.routes,
        agreed=b.agreed,
        now_ms=b.now_ms,
        entropy=entropy,
        life_s=STAND_IN_S,
        brokers=lambda: desk.brokers(),
        tokens=tokens,
    )
    desk = CityDesk(
        node=b.node,
        url=settings.link.public_url,
        operating=operating,
        operating_certificate=lambda: b.standing.credentials().operating,
        own_membership=lambda: b.standing.credentials().membership,
        authority=authority,
        member_keys=MemberKeys(
            city=b.node.city,
            operating=operating,
            owners=common.key_owners,
            entropy=entropy,
            suites=settings.accepts,
        ),
        key_owners=common.key_owners,
        trust=b.trust,
        routes=common.routes,
        announcer=announcer,
        peers=b.peers,
        siblings=common.siblings,
        briefs=Briefs(
            node=b.node,
            operating=operating,
            agreements=lambda: b.trust.agreements.values(),
            tokens=shared,
            now_ms=b.now_ms,
            entropy=entropy,
            life_s=STAND_IN_S,
        ),
        tokens=tokens,
        database=b.database,
        now_ms=b.now_ms,
        entropy=entropy,
        bundle_life_s=STAND_IN_S,
    )
    desk.changes = CityChanges(
        city=b.node.city,
        suite=settings.suite,
        operating=operating,
        authority=authority,
        trust=b.trust,
        standing=b.standing,
        peers=b.peers,
        database=b.database,
        changed=desk.changed,
        now_ms=b.now_ms,
        entropy=entropy,
    )
    parts.authority, parts.city = authority, desk
    b.exchanges.on(desk.handlers())
