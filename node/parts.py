# SPDX-License-Identifier: Apache-2.0
"""Every part of one node, by name, and what they do together: load, renew, purge.

Parts that a role does not need are None. `node.assemble` builds them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from federation.broker import Broker
from federation.exchange import Endpoint
from federation.outbox import Outbox
from federation.peers import Peers
from federation.presence import Presence
from federation.routing import RouteTable
from identity.agreements import AgreementStore
from identity.city import Authority
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.attachments import AttachmentDesk
from node.callbacks import Callbacks
from node.config import Settings
from node.database import Database
from node.deliveries import Deliveries
from node.dial_state import DialState
from node.evidence.desk import EvidenceDesk
from node.evidence.hops import HopDesk
from node.evidence.routes import RouteDesk
from node.fetcher import Fetcher
from node.links import NodeLinkIdentity
from node.locator import Locator
from node.proofs import Proofs
from node.reader import Reader
from node.residents import ResidentDesk
from node.roles.city import CityDesk
from node.roles.holder import HolderDesk
from node.roles.locations import LocationDesk
from node.roles.member import MemberDesk
from node.roles.provider import ProviderDesk
from node.roles.recipient import RecipientDesk
from node.roles.relay import RelayDesk
from node.roles.waits import WaitsDesk
from node.standing import Standing
from node.transfers import Transfers
from node.waiting import WaitingDesk
from node.world import World
from protocol.agreement import Agreement
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, Membership
from vault.parts import Vault

_DAY_S = 86_400


@dataclass
class Parts:
    """Every part of a node, by name."""

    settings: Settings
    world: World
    database: Database
    node: NodeId
    trust: TrustStore
    standing: Standing
    agreements: AgreementStore
    peers: Peers
    exchanges: Endpoint
    addressbook: Addressbook
    proofs: Proofs
    vault: Vault
    attachments: AttachmentDesk
    deliveries: Deliveries
    outbox: Outbox
    evidence: EvidenceDesk
    ways: RouteDesk
    dial_state: DialState
    link_identity: NodeLinkIdentity
    member: MemberDesk
    reader: Reader
    fetcher: Fetcher
    transfers: Transfers
    capture: Callable[[bytes], None] | None
    authority: Authority | None = None
    routes: RouteTable | None = None
    city: CityDesk | None = None
    relay: RelayDesk | None = None
    presence: Presence | None = None
    broker: Broker | None = None
    hops: HopDesk | None = None
    holder: HolderDesk | None = None
    recipient: RecipientDesk | None = None
    provider: ProviderDesk | None = None
    locations: LocationDesk | None = None
    residents: ResidentDesk | None = None
    locator: Locator | None = None
    waits: WaitsDesk | None = None
    waiting: WaitingDesk | None = None
    callbacks: Callbacks | None = None
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    on_outcome: Callable[[str, str], None] = lambda what, code: None
    found_brokers: Callable[[CityId, tuple[str, ...]], None] = lambda city, urls: None
    agreements_changed: Callable[[], None] = lambda: None
    soon: Callable[[Awaitable[None]], None] = lambda work: None

    @property
    def desk(self) -> CityDesk | RelayDesk | None:
        """What makes this node a broker: the city's authority, or a relay."""
        return self.city or self.relay

    def now(self) -> int:
        """Seconds since 1970."""
        return self.world.clock.now_ms() // 1000

    async def load(self) -> None:
        """Take up everything that was kept."""
        now_ms = self.world.clock.now_ms()
        self.standing.load(self.now())
        await self.evidence.load()
        if self.hops is not None:
            self.hops.load()
        if self.desk is not None:
            self.desk.load()
        await self.take_agreements()
        await self.database.write(lambda c: self.vault.start(c, now_ms))
        self.database.read(self.vault.load)
        await self.attachments.tidy()
        await self.renew_own()
        if self.city is not None and self.standing.admitted:
            self.city.changed()

    async def take_agreements(self) -> None:
        """Let trust and routes know which agreements are in force now."""
        before = set(self.trust.agreements)
        self.trust.agree(self.agreements_in_force(), self.now())
        if set(self.trust.agreements) != before:
            self.agreements_changed()

    def agreements_in_force(self) -> tuple[Agreement, ...]:
        """Return the agreements of our city that are in force (brokers only)."""
        now = self.now()
        if self.relay is not None:
            return self.relay.agreements(now)
        if self.city is None:
            return ()
        return self.database.read(lambda c: self.agreements.in_force(c, now=now))

    async def renew_own(self) -> None:
        """Renew the broker's own membership, which it signs itself."""
        if self.authority is None or not self.standing.admitted:
            return
        own, authority, now = self.standing.own(), self.authority, self.now()
        if not own.renewal_due(now):
            return
        fresh = await self.database.write(
            lambda c: authority.renew(c, own.body, now=now)
        )
        await self.standing.accept(
            Credentials(membership=fresh.token, operating=own.credentials.operating),
            now,
        )
        if self.city is not None:
            self.city.changed()

    def keys_due(self) -> bool:
        """Tell whether our keys have reached the age at which they are changed."""
        life_s = self.settings.trust.rotation_age_days * _DAY_S
        since = self.standing.membership().since
        return bool(life_s) and since is not None and self.now() - since >= life_s

    async def rotate_keys(self) -> Membership:
        """Change this node's own keys; the old ones are accepted for an overlap.

        Raises:
            NotReady: the city did not answer, or refused; asking again is harmless.
            Conflict: too many keys are in overlap already.
        """
        suite = self.settings.suite
        if self.authority is None or self.city is None:
            return await self.member.rotate(suite)
        own, authority, now = self.standing.own(), self.authority, self.now()
        wish = self.member.wish(suite)
        fresh = await self.database.write(
            lambda c: authority.change(c, own.body, wish, now=now)
        )
        operating = own.credentials.operating
        body = await self.standing.accept(
            Credentials(membership=fresh.token, operating=operating), now
        )
        self.city.changed()
        return body

    async def purge(self) -> None:
        """Delete what has ended: retention, messages, nameless keys, sessions."""
        now = self.now()
        await self.evidence.purge()
        await self.ways.purge()
        await self.database.bulk(lambda c: self.vault.retention.purge(c, now))
        await self.database.write(self.outbox.purge)
        await self.attachments.tidy()
        for desk in (self.holder, self.recipient, self.desk, self.waits):
            if desk is not None:
                await self.database.write(partial(desk.forget, now=now))
        if self.waiting is not None:
            await self.waiting.purge()
        if self.residents is not None:
            await self.residents.forget(now)

    def observe(self, what: str, code: str) -> None:
        """Count an outcome, for metrics."""
        key = (what, code)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        self.on_outcome(what, code)
