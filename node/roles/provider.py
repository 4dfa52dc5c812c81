# SPDX-License-Identifier: Apache-2.0
"""The holder that pushes: records go to a recipient under a consent to store.

A push is queued with the record ids only; content, proof and target are taken when it
is sent. The holder decides before anything leaves, exactly as for a read: the recipient
gets the intersection of consent, purpose and policy, and a provision record is on disk
before the records are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from federation.exchange import About, Answer, Endpoint, Refused
from federation.outbox import Message, Outbox
from federation.taken import MAX_LIFE_MS
from node.addressbook import Addressbook
from node.database import Database
from node.deliveries import Deliveries
from node.freshening import Freshener
from node.proofs import Proofs
from protocol.answer import Taken
from protocol.consent import Operation
from protocol.decision import Case, Deny, Freshness
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import ExchangeId, NodeId, PurposeName, RecordId, uuid7
from protocol.model import Document
from protocol.request import Push, Read, TakenQuery, Warrant
from protocol.signature import Received, digest_of
from protocol.status import STATUS_LIST, StatusList
from vault import release
from vault.errors import NotFound
from vault.ledger import KeptConsent
from vault.parts import Vault

_PATIENCE_S = 10.0
"""For a fresh package, where the kept one names a key that is gone."""
_KIND = "push"
_THERE_MS: Final = 2_000
"""So long after an answer a recipient counts as being there."""
_MAX_THERE: Final = 1_000


class _Order(Document):
    """What waits in the outbox."""

    consent: str
    purpose: PurposeName
    dataset_type: str
    records: tuple[RecordId, ...] | None = None


class PushDenied(MachikuraError):
    """Our own decision against a push; `slug` says why."""

    def __init__(self, deny: Deny) -> None:
        super().__init__(deny.detail)
        self.slug = deny.reason


class ProviderDesk:
    """Pushes records to recipients."""

    def __init__(
        self,
        *,
        node: NodeId,
        vault: Vault,
        exchanges: Endpoint,
        addressbook: Addressbook,
        proofs: Proofs,
        fresh: Freshener,
        outbox: Outbox,
        deliveries: Deliveries,
        database: Database,
        max_age_s: int,
        skew_s: int,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
    ) -> None:
        """Take the parts and say how pushes are sent."""
        self._node = node
        self._vault = vault
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._proofs = proofs
        self._fresh = fresh
        self._outbox = outbox
        self._database = database
        self._max_age_s = max_age_s
        self._skew_s = skew_s
        self._now_ms = now_ms
        self._entropy = entropy
        self._there: dict[NodeId, int] = {}
        deliveries.on(_KIND, self._send)

    async def push(
        self,
        *,
        consent: str,
        recipient: NodeId,
        purpose: PurposeName,
        dataset_type: str,
        records: tuple[RecordId, ...] | None = None,
    ) -> None:
        """Queue a push; it is sent as soon as the recipient can be reached.

        Raises:
            NotFound: no such consent here, or it does not name the recipient.
            UnknownDatasetType: as named.
        """
        self._vault.types.get(dataset_type)
        kept = self._kept(consent)
        if recipient not in kept.consent.recipients:
            raise NotFound("the consent names no such recipient")
        order = _Order(
            consent=consent,
            purpose=purpose,
            dataset_type=dataset_type,
            records=records,
        )
        message = order.encode()
        await self._database.write(
            lambda c: self._outbox.put(c, recipient, _KIND, message)
        )
        self._outbox.wake()

    def _kept(self, consent: str) -> KeptConsent:
        kept = self._database.read(lambda c: self._vault.ledger.package(c, consent))
        if kept is None:
            raise NotFound("no such consent was received here")
        return kept

    async def _send(self, message: Message) -> Answer | Refused | None:
        order, destination = _Order.decode(message.content), message.destination
        kept = await self._fresh.ready(self._kept(order.consent), _PATIENCE_S)
        ticket = next(t for t in kept.package.holders if t.node == destination)
        target = await self._addressbook.target(destination)
        if message.tried or not self._was_there(destination):
            # Each attempt that carries records is a release, written down for the
            # resident: one is made only where somebody is there to receive it, and
            # none where an earlier attempt got through and its answer was lost.
            asked = await self._exchanges.ask(
                target,
                Kind.MANAGE,
                TakenQuery(message=message.id),
                wait=message.wait,
            )
            if isinstance(asked, Refused):
                return asked
            if isinstance(asked.result, Taken) and asked.result.taken:
                return asked
        member = await self._addressbook.member(destination)
        proof = await self._proofs.fresh(kept.consent)
        now_ms = self._now_ms()
        dataset = self._vault.types.get(order.dataset_type)
        revoked, newest = self._vault.ledger.revocation_of(kept.consent)
        case = Case(
            now=now_ms // 1000,
            holder=self._node,
            recipient=member,
            dataset=dataset,
            operation=Operation.STORE,
            purpose=order.purpose,
            data_class=dataset.data_class,
            consent=kept.consent,
            subject_bound=True,
            freshness=Freshness(
                proof=_body(proof),
                max_age_s=dataset.freshness_s or self._max_age_s,
                skew_s=self._skew_s,
                revoked=revoked,
                newest_version=newest,
            ),
            policy=self._vault.types.policy(dataset.name),
        )
        digest = digest_of(kept.package.consent.encode("ascii"))
        facts = release.Asked(
            exchange=ExchangeId(str(uuid7(now_ms, self._entropy(10)))),
            request=digest,
            route=(),
            at_ms=now_ms,
        )
        prepared = self._database.read(
            lambda c: self._vault.release.prepare(
                c, case, kept.subject, Read(records=order.records, limit=1000), facts
            )
        )
        if isinstance(prepared, Deny):
            raise PushDenied(prepared)
        if not prepared.result.records:
            return None
        ready = prepared

        async def record(exchange: ExchangeId, request: str) -> None:
            """Record the release under the exchange that carries it, before it goes."""
            sent = replace(
                ready, asked=replace(ready.asked, exchange=exchange, request=request)
            )
            await self._database.write(
                lambda c: self._vault.release.commit(c, sent, request)
            )

        warrant = Warrant(
            consent=kept.package.consent,
            ticket=ticket.ticket,
            proof=proof,
            home=await self._addressbook.credentials(
                NodeId(kept.consent.iss), kept.package.home
            ),
        )
        pushed = await self._exchanges.ask(
            target,
            Kind.PUSH,
            Push(
                warrant=warrant,
                records=prepared.result.records,
                message=message.id,
                until_ms=message.expires_ms or now_ms + MAX_LIFE_MS,
            ),
            About(dataset.name, order.purpose, dataset.data_class, digest),
            before=record,
            wait=message.wait,
        )
        if isinstance(pushed, Answer):
            self._there[destination] = self._now_ms()
            if len(self._there) > _MAX_THERE:
                self._there.pop(next(iter(self._there)))
        return pushed

    def _was_there(self, destination: NodeId) -> bool:
        """Tell whether a recipient has answered a push just now."""
        return self._now_ms() < self._there.get(destination, 0) + _THERE_MS


def _body(proof: str | None) -> StatusList | None:
    """Return a proof's claims; `Proofs` has verified it."""
    if proof is None:
        return None
    return Received.parse(proof, STATUS_LIST).peek(StatusList)
