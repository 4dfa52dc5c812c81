# SPDX-License-Identifier: Apache-2.0
"""The holder's side of linking: redeem a code, register what is held in the directory.

A registration says which dataset types this node holds for a locator; it is sent
through the outbox, so it arrives after any outage, and again whenever the set of types
of a linked person has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from federation.exchange import Answer, Endpoint, Refused
from federation.outbox import Message, Outbox
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.database import Database
from node.deliveries import Deliveries
from protocol.answer import LinkGranted
from protocol.envelope import Kind
from protocol.errors import Malformed
from protocol.ids import DatasetTypeName, NodeId
from protocol.location import LOCATION_GRANT, LinkGrant, LocationGrant
from protocol.problem import Refusal
from protocol.request import GrantQuery, LinkClaim, RegisterLocation
from protocol.signature import Received
from protocol.suites import thumbprint
from vault.keyring import SubjectId
from vault.parts import Vault

_KIND = "register"
_GRANT_MARGIN_S = 60 * 86_400
"""A grant is renewed while so much of its life is left."""


@dataclass(frozen=True)
class Linked:
    """A resident who has linked us.

    Attributes:
        home: the home node.
        dataset_types: what will be registered in the directory.
    """

    home: NodeId
    dataset_types: tuple[DatasetTypeName, ...]


class LocationDesk:
    """Links residents and keeps the directory up to date."""

    def __init__(
        self,
        *,
        node: NodeId,
        vault: Vault,
        trust: TrustStore,
        exchanges: Endpoint,
        addressbook: Addressbook,
        outbox: Outbox,
        deliveries: Deliveries,
        database: Database,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts and say how registrations are sent."""
        self._node = node
        self._vault = vault
        self._trust = trust
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._outbox = outbox
        self._database = database
        self._now_ms = now_ms
        self._registered: dict[SubjectId, tuple[DatasetTypeName, ...]] = {}
        deliveries.on(_KIND, self._send)

    async def claim(self, home: NodeId, code: str, local_id: str) -> Linked | Refusal:
        """Redeem a resident's one-time code for the person with `local_id`.

        Raises:
            NoWay: the home node cannot be addressed.
            Misuse: the local id, or a person who is linked already.
        """
        target = await self._addressbook.target(home)
        asked = await self._exchanges.ask(target, Kind.MANAGE, LinkClaim(code=code))
        if isinstance(asked, Refused):
            return asked.refusal
        if not isinstance(asked.result, LinkGranted):
            return Refusal("answer-invalid", by=home)
        grant = asked.result.link
        self._check(grant, home)
        now_ms = self._now_ms()

        def link(connection: Connection) -> Linked:
            subject = self._vault.linking.link(connection, local_id, grant, now_ms)
            types = self._put(connection, subject)
            return Linked(home, types)

        linked = await self._database.write(link)
        self._outbox.wake()
        return linked

    def _check(self, grant: LinkGrant, home: NodeId) -> None:
        """Hold a grant to the home node that gave it, and to us."""
        if grant.home != home or grant.credentials is None:
            raise Malformed("the grant is another home node's")
        now = self._now_ms() // 1000
        shown = grant.credentials
        member = self._trust.verify_sender(shown.membership, shown.operating, now)
        if member.sub != home:
            raise Malformed("the grant's credentials are another node's")
        signed = self._trust.verify_home_document(
            grant.grant, LOCATION_GRANT, LocationGrant, member, now
        )
        if signed.body.holder != self._node or signed.body.aud != self._node.city:
            raise Malformed("the grant is for another holder")

    def _put(
        self, connection: Connection, subject: SubjectId
    ) -> tuple[DatasetTypeName, ...]:
        """Queue the registration of one person."""
        types = self._types(connection, subject)
        broker = NodeId(self._addressbook.city(self._node.city).directory.sub)
        self._outbox.put(connection, broker, _KIND, subject.encode())
        self._registered[subject] = types
        return types

    def _types(
        self, connection: Connection, subject: SubjectId
    ) -> tuple[DatasetTypeName, ...]:
        counts = self._vault.queries.counts(connection, subject)
        return tuple(sorted(DatasetTypeName(c.dataset_type) for c in counts))

    async def refresh(self) -> int:
        """Register every linked person whose dataset types have changed."""

        def changed(connection: Connection) -> list[SubjectId]:
            return [
                link.subject
                for link in self._vault.subjects.links(connection)
                if self._registered.get(link.subject)
                != self._types(connection, link.subject)
                or _ends(link.grant) <= self._now_ms() // 1000 + _GRANT_MARGIN_S
            ]

        people = await self._database.scan(changed)
        for subject in people:
            await self._database.write(partial(self._put, subject=subject))
        if people:
            self._outbox.wake()
        return len(people)

    async def _send(self, message: Message) -> Answer | Refused | None:
        subject = SubjectId(message.content.decode())
        link = self._database.read(lambda c: self._vault.subjects.link_of(c, subject))
        if link is None:
            return None
        types = self._database.read(lambda c: self._types(c, subject))
        grant = await self._lasting(subject, link.grant)
        home = await self._addressbook.credentials(grant.home, grant.credentials)
        return await self._exchanges.ask(
            self._addressbook.directory(message.destination.city),
            Kind.MANAGE,
            RegisterLocation(
                grant=grant.grant,
                home=home,
                dataset_types=types,
            ),
        )

    async def _lasting(self, subject: SubjectId, grant: LinkGrant) -> LinkGrant:
        """Return a grant that will hold: a fresh one if it ends soon, or its key does.

        Without an answer the old one is used: the directory judges it.
        """
        received = Received.parse(grant.grant, LOCATION_GRANT)
        ends = received.peek(LocationGrant).exp
        home = self._addressbook.newest(grant.home)
        replaced = home is not None and received.kid != thumbprint(home.key)
        if not replaced and ends - self._now_ms() // 1000 > _GRANT_MARGIN_S:
            return grant
        asked = await self._exchanges.ask(
            await self._addressbook.target(grant.home),
            Kind.MANAGE,
            GrantQuery(handle=grant.handle),
        )
        if not isinstance(asked, Answer) or not isinstance(asked.result, LinkGranted):
            return grant
        fresh = asked.result.link
        self._check(fresh, grant.home)
        if fresh.handle != grant.handle:
            raise Malformed("the grant is for another person")
        now_ms = self._now_ms()
        await self._database.write(
            lambda c: self._vault.subjects.link(c, subject, fresh, now_ms)
        )
        return fresh


def _ends(grant: LinkGrant) -> int:
    return Received.parse(grant.grant, LOCATION_GRANT).peek(LocationGrant).exp
