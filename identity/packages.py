# SPDX-License-Identifier: Apache-2.0
"""Consent packages: what a party needs to use a consent, made fresh each time.

A recipient gets the consent, a ticket of its own, and per holder a ticket sealed to
that holder with a way to reach it: its membership, or, where the holder is to stay
hidden, a location token and a nameless member key. A holder that is to push gets the
same about the recipients; where it is to stay hidden it gets no such ways, since a push
would show who it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection

from identity.consent_store import ConsentEntry, ConsentStore
from identity.entropy import Entropy
from identity.errors import NotActive, NotFound
from identity.residents import Residents
from protocol.canonical import b64url
from protocol.consent import State, Ticket
from protocol.errors import Misuse
from protocol.ids import CityId, NodeId
from protocol.location import TokenBody
from protocol.membership import Credentials, MemberKey, Membership
from protocol.request import ConsentPackage, HolderTicket
from protocol.sealed import SealingKey
from protocol.signature import Signed, digest_of

_REASONS = {
    State.PAUSED: "consent-paused",
    State.WITHDRAWN: "consent-withdrawn",
    State.REFUSED: "consent-withdrawn",
}


@dataclass(frozen=True)
class OpenWay:
    """To a party that may be named: its verified membership."""

    membership: Signed[Membership]


@dataclass(frozen=True)
class HiddenWay:
    """To a holder that must not be named.

    Attributes:
        member_key: certified by the holder's city for this consent, verified.
        broker: sealing key of that city's broker, which alone reads the token.
    """

    member_key: Signed[MemberKey]
    broker: SealingKey


Way: TypeAlias = OpenWay | HiddenWay


class Packages:
    """Makes packages at a home node."""

    def __init__(
        self,
        *,
        store: ConsentStore,
        residents: Residents,
        entropy: Entropy,
        token_life_s: int = 86_400,
    ) -> None:
        """Take the parts.

        Args:
            store: what was agreed to.
            residents: handles.
            entropy: source of random bytes.
            token_life_s: longest life of a location token, in seconds.
        """
        self._store = store
        self._residents = residents
        self._entropy = entropy
        self._token_life_s = token_life_s

    def package(
        self,
        connection: Connection,
        identifier: str,
        party: Membership,
        ways: Mapping[NodeId, Way],
        *,
        now: int,
        proof: str | None = None,
        home: Credentials | None = None,
    ) -> ConsentPackage:
        """Make the package for one party.

        Args:
            connection: transaction of the caller.
            identifier: the consent.
            party: verified membership of who gets it.
            ways: to parties of the other side; whoever is missing is left out.
            now: seconds since 1970.
            proof: newest status list.
            home: this home node's credentials.

        Raises:
            NotFound: no such consent, or `party` is none of its parties: alike.
            NotActive: paused, withdrawn or over.
            Misuse: a way to somebody else, or an open way to a hidden holder.
        """
        entry = self._store.get(connection, identifier)
        draft = entry.draft
        if party.sub not in draft.parties:
            raise NotFound("no such consent")
        _check_active(entry, now)
        others = draft.holders if party.sub in draft.recipients else draft.recipients
        if party.sub in draft.holders and draft.hidden_holder:
            others = ()
        handle_at = self._residents.handles_of(connection, entry.account)
        tickets = []
        for node, way in ways.items():
            if node not in others:
                raise Misuse("a way to somebody who is not on the other side")
            ticket = _ticket(entry, node, handle_at(node))
            tickets.append(self._holder_ticket(entry, ticket, way, now))
        # Sealed tickets are random: their order says nothing about who is who.
        tickets.sort(key=lambda ticket: ticket.ticket)
        own = _ticket(entry, party.sub, handle_at(party.sub))
        return ConsentPackage(
            consent=entry.token,
            own_ticket=own.seal(party.sealing.load()),
            holders=tuple(tickets),
            proof=proof,
            home=home,
        )

    def _holder_ticket(
        self, entry: ConsentEntry, ticket: Ticket, way: Way, now: int
    ) -> HolderTicket:
        node, consent = ticket.party, entry.consent
        if isinstance(way, OpenWay):
            if consent.hidden_holder:
                raise Misuse("this holder must stay hidden")
            member = way.membership.body
            if member.sub != node:
                raise Misuse("the membership is another node's")
            return HolderTicket(
                city=node.city,
                ticket=ticket.seal(member.sealing.load()),
                node=node,
                membership=way.membership.token,
            )
        key = way.member_key
        if not consent.hidden_holder or key.owner != node.city:
            raise Misuse("no member key of that city belongs here")
        if key.body.aud != consent.jti:
            # One key in two consents would link them (`protocol.membership`).
            raise Misuse("the member key was made for another consent")
        ends = min(key.body.exp, now + self._token_life_s, consent.exp)
        return HolderTicket(
            city=node.city,
            ticket=ticket.seal(key.body.sealing.load()),
            token=self._token(node, digest_of(entry.token.encode()), ends, way.broker),
            member_key=key.token,
        )

    def _token(self, node: NodeId, consent: str, ends: int, broker: SealingKey) -> str:
        nonce = b64url(self._entropy(12))
        body = TokenBody(node=node, exp=ends, consent=consent, nonce=nonce)
        return body.seal(CityId(node.city), broker)


def _ticket(entry: ConsentEntry, party: NodeId, handle: str) -> Ticket:
    return Ticket(
        consent=entry.consent.jti, party=party, handle=handle, salt=entry.salts[party]
    )


def _check_active(entry: ConsentEntry, now: int) -> None:
    consent = entry.consent
    if consent.state is not State.ACTIVE:
        raise NotActive(_REASONS[consent.state])
    # The document never outlives the consent's end (`identity.compose`).
    if consent.exp <= now:
        raise NotActive("consent-expired")
