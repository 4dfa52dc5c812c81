# SPDX-License-Identifier: Apache-2.0
"""The home node's side of exchanges: link codes, freshness proofs, consents sent.

Consents and withdrawals are put into the outbox in the transaction that makes them.
A consent's package is built anew each time it is sent, so its tickets and tokens are
fresh however long the other side was away. Where the holder is to stay hidden, it first
makes nameless keys that its city certifies (requirement 7).
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from federation.exchange import Answer, Asked, Endpoint, Handler, Refused, Reply
from federation.outbox import Message, Outbox
from identity.consent_store import ConsentEntry
from identity.errors import NotActive, NotFound
from identity.packages import HiddenWay, OpenWay, Way
from identity.trust import TrustStore
from node.addressbook import Addressbook, NoWay
from node.database import Database
from node.deliveries import Deliveries, HeldUp
from node.home_parts import HomeParts
from node.standing import Standing
from protocol.answer import Acknowledged, LinkGranted, OneToken, Package
from protocol.consent import State
from protocol.envelope import Kind
from protocol.errors import MachikuraError, Malformed, UnknownKey
from protocol.ids import NodeId
from protocol.location import LinkGrant
from protocol.membership import Membership
from protocol.problem import ProblemBody, Refusal
from protocol.request import (
    ConsentNotice,
    ConsentPackage,
    GrantQuery,
    LinkClaim,
    MemberKeyQuery,
    Revoke,
    StatusQuery,
    TicketsQuery,
)

_CONSENT, _REVOKE = "consent", "revoke"
_MEMBER_KEY_LIFE_S = 86_400


class HomeDesk:
    """Answers holders and recipients, and sends them what residents decide."""

    def __init__(
        self,
        *,
        parts: HomeParts,
        exchanges: Endpoint,
        addressbook: Addressbook,
        trust: TrustStore,
        standing: Standing,
        outbox: Outbox,
        deliveries: Deliveries,
        database: Database,
    ) -> None:
        """Take the parts and say how consents and withdrawals are sent."""
        self._parts = parts
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._trust = trust
        self._standing = standing
        self._outbox = outbox
        self._database = database
        deliveries.on(_CONSENT, self._send_consent)
        deliveries.on(_REVOKE, self._send_withdrawal)

    def handlers(self) -> dict[str, Handler]:
        """Return what a home node answers."""
        return {
            "link-claim": self._link,
            "location-grant": self._grant,
            "status-list": self._status,
            "tickets": self._tickets,
        }

    # -------------------------------------------------------------- answering

    async def _link(self, asked: Asked) -> Reply:
        """Redeem the one-time code that a resident showed at a holder."""
        query, holder = asked.expect(LinkClaim), asked.sender.sub
        redeem = partial(
            self._parts.linking.redeem,
            code=query.code,
            holder=holder,
            now=asked.now,
            credentials=self._standing.credentials(),
        )
        outcome = await self._database.write(redeem)
        if isinstance(outcome, Refusal):
            return Reply(
                ProblemBody(
                    code=outcome.code,
                    detail=outcome.detail,
                    retry_after_ms=outcome.retry_after_ms,
                )
            )
        return Reply(LinkGranted(link=outcome))

    async def _grant(self, asked: Asked) -> Reply:
        """Give a holder that the resident has linked a fresh location grant.

        A handle that was never given to this holder and one that the resident has
        unlinked look alike.
        """
        query, holder = asked.expect(GrantQuery), asked.sender.sub
        parts, shown = self._parts, self._standing.credentials()

        def fresh(connection: Connection) -> LinkGrant:
            account = parts.residents.find(connection, holder, query.handle)
            if account is None:
                raise NotFound("no such link")
            locator = parts.residents.locator_in(connection, account, holder.city)
            return LinkGrant(
                home=parts.node,
                handle=query.handle,
                grant=parts.linking.grant(holder, locator, now=asked.now),
                credentials=shown,
            )

        return Reply(LinkGranted(link=self._database.read(fresh)))

    async def _status(self, asked: Asked) -> Reply:
        """Give out the status list of a block: bits without names."""
        token = await self._proof(asked.expect(StatusQuery).list, asked.now)
        return Reply(OneToken(token=token))

    async def _proof(self, number: int, now: int) -> str:
        """Return a status list, signed anew where the last signature is too old."""
        statuses = self._parts.statuses
        serving = self._database.read(partial(statuses.peek, number=number, now=now))
        if serving is None:
            serving = await self._database.write(
                partial(statuses.current, number=number, now=now)
            )
        return serving.token

    async def _tickets(self, asked: Asked) -> Reply:
        """Give a party of a consent a fresh package."""
        query = asked.expect(TicketsQuery)
        entry = self._database.read(lambda c: self._parts.store.get(c, query.consent))
        package = await self._package(entry, asked.sender, asked.now)
        return Reply(Package(package=package))

    # ---------------------------------------------------------------- sending

    def announce(self, connection: Connection, entry: ConsentEntry) -> None:
        """Queue a consent for everybody who must have it; `wake` after the commit."""
        told = set(entry.draft.recipients)
        if not entry.draft.hidden_holder:
            told.update(entry.draft.holders)
        identifier, ends_ms = entry.consent.jti.encode(), entry.consent.exp * 1000
        for party in sorted(told):
            self._outbox.put(
                connection, party, _CONSENT, identifier, expires_ms=ends_ms
            )

    def revoke(
        self,
        connection: Connection,
        identifier: str,
        obligation: Literal["stop", "delete"],
        now: int,
    ) -> None:
        """Queue the word of a change for everybody concerned; `wake` after."""
        told = self._parts.withdrawals.tell(
            connection, identifier, now=now, obligation=obligation
        )
        for party, notice in told:
            token = notice.token.encode()
            self._outbox.put(connection, party, _REVOKE, token, always=True)

    def wake(self) -> None:
        """Send what was queued."""
        self._outbox.wake()

    async def _send_consent(self, message: Message) -> Answer | Refused | None:
        identifier, destination = message.content.decode(), message.destination
        entry = self._database.read(lambda c: self._parts.store.get(c, identifier))
        if entry.consent.state is not State.ACTIVE:
            return None
        party = await self._addressbook.member(destination)
        try:
            package = await self._package(entry, party, self._now())
        except NotActive:
            return None  # It has ended while the ways were found.
        target = await self._addressbook.target(destination)
        return await self._exchanges.ask(
            target, Kind.NOTIFY, ConsentNotice(package=package), wait=message.wait
        )

    async def _package(
        self, entry: ConsentEntry, party: Membership, now: int
    ) -> ConsentPackage:
        identifier = entry.consent.jti
        if not self._parts.consents.is_signed_now(entry):
            await self._database.write(
                lambda c: self._parts.consents.sign_anew(c, identifier)
            )
        try:
            ways = await self._ways(entry, party.sub)
        except MachikuraError as error:
            raise HeldUp(error) from error
        proof = await self._proof(entry.consent.status.list, now)
        return self._database.read(
            lambda c: self._parts.packages.package(
                c,
                identifier,
                party,
                ways,
                now=now,
                proof=proof,
                home=self._standing.credentials(),
            )
        )

    async def _ways(self, entry: ConsentEntry, party: NodeId) -> dict[NodeId, Way]:
        """Find the ways to the other side; each asks somebody else."""
        draft = entry.draft
        if party in draft.recipients:
            make = self._hidden_way if draft.hidden_holder else self._open_way
            return {other: await make(entry, other) for other in draft.holders}
        if party in draft.holders and not draft.hidden_holder:
            return {
                other: await self._open_way(entry, other) for other in draft.recipients
            }
        return {}

    async def _open_way(self, entry: ConsentEntry, other: NodeId) -> Way:
        return OpenWay(await self._addressbook.signed_member(other))

    async def _hidden_way(self, entry: ConsentEntry, holder: NodeId) -> Way:
        """Ask a holder for fresh nameless keys, certified by its city."""
        target = await self._addressbook.target(holder)
        now, identifier = self._now(), entry.consent.jti
        until = min(entry.consent.exp, now + _MEMBER_KEY_LIFE_S)
        asked = await self._exchanges.ask(
            target, Kind.MANAGE, MemberKeyQuery(consent=identifier, until=until)
        )
        if isinstance(asked, Refused):
            raise NoWay(asked.refusal.code, "the holder gave no nameless key")
        if not isinstance(asked.result, OneToken):
            raise Malformed("a member key was asked for")
        # By the time now: the key may have been certified while we waited for it.
        key = self._trust.verify_member_key(
            asked.result.token, holder.city, identifier, self._now()
        )
        city = self._addressbook.city(holder.city)
        return HiddenWay(key, self._addressbook.token_key(city))

    async def _send_withdrawal(self, message: Message) -> Answer | Refused | None:
        """Tell one party; its signed answer is kept for the resident to see."""
        destination = message.destination
        target = await self._addressbook.target(destination)
        notice = self._parts.withdrawals.sign_anew(message.content.decode())
        asked = await self._exchanges.ask(
            target, Kind.REVOKE, Revoke(withdrawal=notice), wait=message.wait
        )
        if isinstance(asked, Refused):
            return asked
        if not isinstance(asked.result, Acknowledged):
            raise Malformed("a withdrawal is answered by an acknowledgement")
        token = asked.result.acknowledgement
        try:
            await self._acknowledged(destination, token)
        except UnknownKey:
            # It has changed its keys since its city told us who it is.
            self._addressbook.forget(destination)
            await self._acknowledged(destination, token)
        return asked

    async def _acknowledged(self, destination: NodeId, token: str) -> None:
        party = await self._addressbook.member(destination)
        with suppress(NotFound):
            # Not found: a later notice, of which this party is told next, has taken
            # the place of this one, and waits for its own answer.
            await self._database.write(
                lambda c: self._parts.withdrawals.acknowledge(
                    c, party, token, now=self._now()
                )
            )

    def _now(self) -> int:
        return self._exchanges.now_ms() // 1000
