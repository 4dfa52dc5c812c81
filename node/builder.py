# SPDX-License-Identifier: Apache-2.0
"""What every node has, whatever its roles: trust, exchanges, vault, outbox, links.

Nothing here decides anything; it only says what is made of what.
"""

from __future__ import annotations

from collections.abc import Callable

from federation.evidence_store import EvidenceStore
from federation.exchange import Endpoint, ExchangeLimits, MemberSecret
from federation.outbox import Outbox, OutboxLimits
from federation.peers import Peer, Peers
from federation.route_store import RouteStore
from federation.way_out import WayOut
from identity.agreements import AgreementStore
from identity.errors import NotAMember
from identity.keys import KeyStore
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.attachments import AttachmentDesk
from node.config import Settings
from node.database import Database
from node.deliveries import Deliveries
from node.dial_state import DialState
from node.evidence.alarms import Alarms
from node.evidence.desk import EvidenceDesk
from node.evidence.parties import EvidenceLimits, Journal
from node.evidence.routes import RouteDesk
from node.fetcher import Fetcher
from node.freshening import Freshener
from node.keys import INDEX, VAULT, node_keys
from node.links import NodeLinkIdentity
from node.parts import Parts
from node.proofs import Proofs
from node.reader import Reader
from node.roles.back import BackDesk
from node.roles.member import MemberDesk
from node.standing import Standing
from node.transfers import Transfers
from node.world import World
from protocol.agreement import AgreementBody
from protocol.box import Box
from protocol.ids import CityId, NodeId
from protocol.membership import Membership, Role
from protocol.suites import VerifyingKey, thumbprint
from vault.attachment_files import AttachmentFiles
from vault.parts import Vault

_DAY_MS = 86_400_000


class Builder:
    """Builds what every node has, in the order in which parts need each other."""

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
        self.own_keys = node_keys(keys)
        self.signer, self.opening = self.own_keys.signer, self.own_keys.opening
        self.skew_s = settings.trust.skew_s
        self.trust = TrustStore(
            city=self.node.city,
            root=root,
            skew_s=self.skew_s,
            suites=settings.accepts,
        )
        self.standing = Standing(
            node=self.node, keys=self.own_keys, trust=self.trust, database=database
        )
        self.peers = Peers()
        self._way_out = WayOut(
            self.node, self.peers, lambda what, code: self.parts.observe(what, code)
        )

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
                answers_kept_bytes=settings.limits.answers_kept_bytes,
            ),
        )
        exchanges.pairs = lambda: [
            MemberSecret(pair.signer, pair.opening) for pair in self.own_keys.pairs
        ]
        self.exchanges = exchanges
        self.addressbook = Addressbook(
            exchanges=exchanges,
            trust=trust,
            now_ms=self.now_ms,
            entropy=world.entropy,
            skew_s=self.skew_s,
        )
        self.fresh = Freshener(addressbook=self.addressbook, now_ms=self.now_ms)
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
        self.attachments = AttachmentDesk(
            attachments=self.vault.attachments,
            files=AttachmentFiles(
                settings.attachments_folder, max_bytes=settings.limits.attachment_bytes
            ),
            database=self.database,
            aside=world.aside,
            now_ms=self.now_ms,
        )
        self.reader = Reader(
            exchanges=exchanges,
            addressbook=self.addressbook,
            proofs=self.proofs,
            fresh=self.fresh,
            types=self.vault.types,
            ledger=self.vault.ledger,
            provisions=self.vault.provisions,
            database=self.database,
            now_ms=self.now_ms,
        )
        self.transfers = Transfers(now_ms=self.now_ms)
        self.fetcher = Fetcher(
            reader=self.reader,
            exchanges=exchanges,
            types=self.vault.types,
            provisions=self.vault.provisions,
            transfers=self.transfers,
            database=self.database,
            world=world,
            segment_bytes=settings.segment_bytes,
            window=settings.limits.stream_window,
            patience_s=settings.limits.stream_patience_s,
        )
        self.deliveries = Deliveries()
        self.outbox = Outbox(
            store=self.database,
            box=Box(self.keys.secret(VAULT)),
            clock=world.clock,
            entropy=world.entropy,
            deliver=self.deliveries.deliver,
            limits=OutboxLimits(
                longest_ms=settings.limits.outbox_backoff_max_s * 1000,
                max_waiting=settings.limits.outbox_per_destination,
                life_ms=settings.limits.outbox_life_days * _DAY_MS,
                dead_ms=settings.limits.dead_letter_days * _DAY_MS,
            ),
        )
        self.evidence = self._evidence()
        self.ways = self._ways()
        self.parts = Parts(
            settings=settings,
            world=world,
            database=self.database,
            node=self.node,
            trust=trust,
            standing=self.standing,
            agreements=AgreementStore(
                city=self.node.city,
                root=trust.root,
                is_own_root=trust.is_own_root,
                chains=trust.chains,
                skew_s=self.skew_s,
            ),
            peers=self.peers,
            exchanges=exchanges,
            addressbook=self.addressbook,
            proofs=self.proofs,
            vault=self.vault,
            attachments=self.attachments,
            deliveries=self.deliveries,
            outbox=self.outbox,
            evidence=self.evidence,
            ways=self.ways,
            dial_state=DialState(self.database),
            link_identity=NodeLinkIdentity(
                node=self.node,
                is_broker=Role.BROKER in self.roles,
                signer=self.signer,
                credentials=self.standing.credentials,
                trust=trust,
                agreed=self.agreed,
                now_ms=self.now_ms,
                line=lambda: self.trust.chains.successions(self.node.city),
                follow=self.trust.follow_peer,
                registered=self._registered,
            ),
            member=MemberDesk(
                node=self.node,
                trust=trust,
                exchanges=exchanges,
                addressbook=self.addressbook,
                standing=self.standing,
                keys=self.own_keys,
                now_ms=self.now_ms,
                entropy=world.entropy,
                found=lambda city, urls: self.parts.found_brokers(city, urls),
            ),
            reader=self.reader,
            fetcher=self.fetcher,
            transfers=self.transfers,
            capture=self.capture,
        )
        exchanges.observe = self.parts.observe
        if self.capture is not None:
            exchanges.tap = self.capture
        exchanges.on(self.parts.member.handlers())
        self.back = BackDesk(outbox=self.outbox, database=self.database)
        exchanges.on(self.back.handlers())
        return self.parts

    def _evidence(self) -> EvidenceDesk:
        settings, world = self.settings, self.world
        table = settings.evidence
        store = EvidenceStore(box=Box(self.keys.secret(VAULT)), entropy=world.entropy)
        alarms = Alarms(
            store=store,
            database=self.database,
            now_ms=self.now_ms,
            raised=lambda kind: self.parts.observe("evidence", kind),
        )
        journal = Journal(
            node=self.node,
            signer=self.signer,
            credentials=self.standing.credentials,
            trust=self.trust,
            database=self.database,
            store=store,
            clock=world.clock,
            entropy=world.entropy,
            relays=Role.BROKER in self.roles,
            limits=EvidenceLimits(
                batch_s=table.batch_s,
                silent_s=table.silent_s,
                keep_s=table.keep_days * 86_400,
                skew_ms=self.skew_s * 1000,
                settle_ms=settings.limits.deadline_max_ms + table.silent_s * 500,
            ),
            alarms=alarms,
        )
        return EvidenceDesk(journal)

    def _ways(self) -> RouteDesk:
        box = Box(self.keys.secret(VAULT))
        self.route_store = RouteStore(box=box, entropy=self.world.entropy)
        ways = RouteDesk(
            journal=self.evidence.journal,
            routes=self.route_store,
            exchanges=self.exchanges,
            addressbook=self.addressbook,
            entropy=self.world.entropy,
            share=self.settings.evidence.audit_share,
        )
        self.exchanges.routed = ways.note
        self.evidence.besides.append(ways.make)
        return ways

    # -------------------------------------------------------------- what links need

    async def _send(self, payload: bytes, deadline_ms: int) -> bytes:
        """Hand an exchange to our broker, or carry it ourselves."""
        if self.parts.broker is not None:
            return await self.parts.broker.carry(self._self_peer(), payload)
        return await self._way_out.send(payload, deadline_ms)

    def _registered(self, node: NodeId, kid: str) -> Membership | None:
        """At the authority: return a member's newest membership, if its key fits."""
        authority = self.parts.authority
        if authority is None or node.city != self.node.city:
            return None
        try:
            found = self.database.read(
                lambda c: authority.membership_of(c, node, now=self.now_ms() // 1000)
            )
        except NotAMember:
            return None
        return found.body if thumbprint(found.body.key) == kid else None

    def _self_peer(self) -> Peer:
        own = self.standing.own()
        shown = own.credentials
        return Peer(self.node, own.body, shown.membership, shown.operating)

    def agreed(self, city: CityId) -> AgreementBody | None:
        """Return the agreement in force with a city, None if there is none."""
        agreement = self.trust.agreements.get(city)
        if agreement is None or not agreement.in_force(self.now_ms() // 1000):
            return None
        return agreement.body
