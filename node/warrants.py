# SPDX-License-Identifier: Apache-2.0
"""Verifies what makes a request lawful: home node, consent, ticket, freshness proof.

Everything comes with the request, so the decision needs nobody else. Verified documents
are cached by digest (`identity.trust`, and tickets here); dates and revocations are
looked at each time, by the decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from federation.exchange import Asked
from identity.cache import Cache
from identity.trust import TrustStore
from protocol.consent import CONSENT, Consent, Ticket, open_ticket
from protocol.decision import Deny
from protocol.errors import Expired, Malformed, NotYetValid, ProtocolViolation
from protocol.ids import NodeId
from protocol.membership import Membership, Role
from protocol.request import Warrant
from protocol.sealed import Opener
from protocol.signature import Signed
from protocol.status import STATUS_LIST, StatusList
from vault.seen_lists import SeenLists


@dataclass(frozen=True)
class Verified:
    """A warrant whose parts all verify; what it permits is for the decision.

    Attributes:
        home: membership of the home node.
        consent: signed by it.
        ticket: ours, opened; None when it does not open for us.
        proof: newest status list that we were shown, None when none came.
    """

    home: Membership
    consent: Signed[Consent]
    ticket: Ticket | None
    proof: StatusList | None


class Warrants:
    """Verifies warrants that were sent to us."""

    def __init__(
        self,
        *,
        node: NodeId,
        opening: Opener,
        trust: TrustStore,
        lists: SeenLists,
        cache: int = 4096,
    ) -> None:
        """Take the parts; at most `cache` opened tickets are kept."""
        self._node = node
        self._opening = opening
        self._trust = trust
        self._lists = lists
        self._tickets: Cache[Ticket] = Cache(cache)

    def verify(
        self, warrant: Warrant, asked: Asked, opening: Opener | None = None
    ) -> Verified | Deny:
        """Verify a warrant.

        Args:
            warrant: from the sealed body.
            asked: the verified request that it came in.
            opening: private half of the member key, in hidden reads.

        Returns:
            The verified parts, or a refusal where dates say no already.

        Raises:
            ProtocolViolation: a part is forged, or does not belong to the request.
        """
        now = asked.now
        if warrant.home is None:
            raise Malformed("the warrant lacks the home node's credentials")
        home = self._trust.verify_sender(
            warrant.home.membership, warrant.home.operating, now
        )
        if Role.IDENTITY not in home.roles:
            raise Malformed("consents come from nodes with the role identity")
        try:
            consent = self._trust.verify_home_document(
                warrant.consent, CONSENT, Consent, home, now
            )
        except Expired:
            return Deny("consent-expired")
        except NotYetValid:
            return Deny("consent-not-started")
        if asked.header.consent != consent.digest:
            raise Malformed("the routing header names another consent")
        proof: StatusList | None = None
        if warrant.proof is not None:
            try:
                signed = self._trust.verify_home_document(
                    warrant.proof, STATUS_LIST, StatusList, home, now
                )
            except Expired as error:
                return Deny("proof-stale", error.detail)
            except NotYetValid as error:
                return Deny("proof-from-future", error.detail)
            proof = self._lists.newest(signed.body, now)
        ticket = self._open(warrant.ticket, consent.body, opening or self._opening)
        return Verified(home, consent, ticket, proof)

    def _open(self, sealed: str, consent: Consent, opening: Opener) -> Ticket | None:
        """Open our ticket; None when it is not for us or for another person."""
        # The key is part of the place: a ticket opened once under a nameless key must
        # not open under this node's own, or the cache would name the hidden holder.
        place = sealed, opening.seed, str(consent.jti)
        known = self._tickets.get(*place)
        if known is not None and known.commitment() in consent.subjects:
            return known
        try:
            ticket = open_ticket(sealed, opening, self._node, consent)
        except ProtocolViolation:
            return None
        return self._tickets.put(ticket, *place)
