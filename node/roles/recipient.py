# SPDX-License-Identifier: Apache-2.0
"""What a node does when consents, withdrawals and pushed records arrive.

All three are delivered at least once, so each is idempotent: consents and withdrawals
by version, pushes by the id of the message. Everything is on disk before it is
acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from federation import taken
from federation.exchange import Answer, Asked, Endpoint, Handler, Reply
from identity.trust import TrustStore
from node.addressbook import Addressbook
from node.database import Database
from node.proofs import Proofs
from node.warrants import Verified, Warrants
from protocol.answer import Acknowledged, Done, Package, Stored, Taken
from protocol.consent import (
    ACKNOWLEDGEMENT,
    CONSENT,
    WITHDRAWAL,
    Acknowledgement,
    Consent,
    Operation,
    Ticket,
    Withdrawal,
    open_ticket,
)
from protocol.decision import Case, Deny, Freshness, decide
from protocol.envelope import Kind
from protocol.errors import Malformed, WrongAudience
from protocol.ids import NodeId
from protocol.membership import Membership, Role
from protocol.problem import ProblemBody
from protocol.provision import ProvisionRecord
from protocol.request import (
    ConsentNotice,
    ConsentPackage,
    Push,
    Revoke,
    TakenQuery,
    TicketsQuery,
)
from protocol.sealed import Opener
from protocol.signature import sign
from protocol.status import STATUS_LIST, StatusList
from protocol.suites import Signer
from vault.intake import Delivery
from vault.keyring import SubjectId
from vault.ledger import KeptConsent
from vault.parts import Vault


class RecipientDesk:
    """Takes consents, withdrawals and pushed records."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        opening: Opener,
        membership: Callable[[], Membership],
        vault: Vault,
        trust: TrustStore,
        warrants: Warrants,
        proofs: Proofs,
        exchanges: Endpoint,
        addressbook: Addressbook,
        database: Database,
        max_age_s: int,
        skew_s: int,
        new_id: Callable[[], str],
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            signer: our key, for acknowledgements.
            opening: opens tickets that were sealed to us.
            membership: our present membership.
            vault: the vault's parts.
            trust: verifies documents.
            warrants: verifies consents that come with records.
            proofs: takes status lists that come along.
            exchanges: our end of exchanges.
            addressbook: remembers home nodes.
            database: where everything is kept.
            max_age_s: T, the greatest age of a freshness proof.
            skew_s: how far two clocks may differ.
            new_id: makes fresh ids.
        """
        self._node = node
        self._signer = signer
        self._opening = opening
        self._membership = membership
        self._vault = vault
        self._trust = trust
        self._warrants = warrants
        self._proofs = proofs
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._database = database
        self._max_age_s = max_age_s
        self._skew_s = skew_s
        self._new_id = new_id

    def handlers(self) -> dict[str, Handler]:
        """Return what a recipient answers."""
        return {
            "consent-notice": self._consent,
            "revoke": self._revoke,
            "push": self._push,
            "taken": self._taken,
        }

    def forget(self, connection: Connection, now: int) -> None:
        """Forget the ids of messages that their senders have given up."""
        taken.forget(connection, (now - self._skew_s) * 1000)

    # --------------------------------------------------------------- consents

    async def _consent(self, asked: Asked) -> Reply:
        """Keep a consent that names us, from the home node that signed it."""
        package, sender = asked.expect(ConsentNotice).package, asked.sender
        if Role.IDENTITY not in sender.roles:
            return Reply(ProblemBody(code="forbidden", detail="not a home node"))
        await self._keep(package, sender, asked.now_ms)
        return Reply(Done())

    async def _keep(
        self, package: ConsentPackage, sender: Membership, now_ms: int
    ) -> None:
        """Check everything in a package and keep it.

        Raises:
            ProtocolViolation: a part is forged, or not for us.
        """
        now = now_ms // 1000
        consent = self._trust.verify_home_document(
            package.consent, CONSENT, Consent, sender, now
        ).body
        if self._node not in consent.recipients and self._node not in consent.holders:
            raise WrongAudience("the consent does not concern this node")
        if package.home is None:
            raise Malformed("the package lacks the home node's credentials")
        home = self._trust.verify_sender(
            package.home.membership, package.home.operating, now
        )
        if home.sub != sender.sub:
            raise Malformed("the credentials are another node's")
        ticket = open_ticket(package.own_ticket, self._opening, self._node, consent)
        if package.proof is not None:
            self._offer(package.proof, home, now)
        self._addressbook.note(home)

        def keep(connection: Connection) -> bool:
            subject = self._subject(connection, ticket, sender.sub, now_ms)
            return self._vault.ledger.keep_package(
                connection,
                subject=subject,
                consent=consent,
                package=package,
                now_ms=now_ms,
            )

        await self._database.write(keep)

    async def refresh(self, kept: KeptConsent) -> KeptConsent | None:
        """Ask the home node for fresh tickets of a consent that we have.

        Location tokens and member keys of hidden holders are short-lived.

        Returns:
            The consent with its fresh package; None if the home node gave none.
        """
        home = NodeId(kept.consent.iss)
        target = await self._addressbook.target(home)
        asked = await self._exchanges.ask(
            target, Kind.MANAGE, TicketsQuery(consent=kept.consent.jti)
        )
        if not isinstance(asked, Answer) or not isinstance(asked.result, Package):
            return None
        member = await self._addressbook.member(home)
        await self._keep(asked.result.package, member, self._exchanges.now_ms())
        return self._database.read(
            lambda c: self._vault.ledger.package(c, kept.consent.jti)
        )

    def _subject(
        self, connection: Connection, ticket: Ticket, home: NodeId, now_ms: int
    ) -> SubjectId:
        """Return whom the ticket names; a person we have not met is made.

        Raises:
            Malformed: the person is linked through another home node.
        """
        subjects = self._vault.subjects
        subject = subjects.ensure_handle(connection, ticket.handle, now_ms)
        link = subjects.link_of(connection, subject)
        if link is not None and link.grant.home != home:
            raise Malformed("the person is linked through another home node")
        return subject

    def _offer(self, token: str, home: Membership, now: int) -> None:
        proof = self._trust.verify_home_document(
            token, STATUS_LIST, StatusList, home, now
        )
        self._proofs.offer(home.sub, proof)

    # ------------------------------------------------------------ withdrawals

    async def _revoke(self, asked: Asked) -> Reply:
        """Stop at once, do what is asked with what we received, and sign for it."""
        query, sender = asked.expect(Revoke), asked.sender
        if Role.IDENTITY not in sender.roles:
            return Reply(ProblemBody(code="forbidden", detail="not a home node"))
        signed = self._trust.verify_home_document(
            query.withdrawal, WITHDRAWAL, Withdrawal, sender, asked.now
        )
        withdrawal = signed.body
        if withdrawal.aud != self._node:
            raise WrongAudience("the withdrawal is addressed to another node")
        token = await self._database.write(
            lambda c: self._carry_out(c, withdrawal, asked)
        )
        if query.proof is not None:
            self._offer(query.proof, sender, asked.now)
        return Reply(Acknowledged(acknowledgement=token))

    def _carry_out(
        self, connection: Connection, withdrawal: Withdrawal, asked: Asked
    ) -> str:
        ledger = self._vault.ledger
        known = ledger.acknowledgement_of(connection, withdrawal)
        if known is not None:
            return known
        kept = ledger.package(connection, withdrawal.consent)
        if kept is not None and kept.consent.iss != withdrawal.iss:
            raise Malformed("the consent is another home node's")
        ledger.mark_revoked(connection, withdrawal, asked.now_ms)
        obligation = ledger.carry_out(connection, withdrawal)
        self._vault.waiting.end_consent(
            connection,
            withdrawal.iss,
            withdrawal.consent,
            reason=f"consent-{withdrawal.state}",
            now_ms=asked.now_ms,
        )
        acknowledgement = Acknowledgement(
            iss=self._node,
            aud=withdrawal.iss,
            jti=self._new_id(),
            iat=asked.now,
            exp=asked.now + 366 * 86_400,
            consent=withdrawal.consent,
            version=withdrawal.version,
            done="deleted" if obligation.done == "deleted" else "stopped",
        )
        token = sign(self._signer, ACKNOWLEDGEMENT, acknowledgement).token
        ledger.keep_acknowledgement(connection, withdrawal, token, asked.now_ms)
        return token

    # ------------------------------------------------------------------ pushes

    async def _push(self, asked: Asked) -> Reply:
        """Store records that a holder pushes to us under a consent that names us."""
        query = asked.expect(Push)
        if (query.message is None) != (query.until_ms is None):
            raise Malformed("a message has an id and an end, or neither")
        if query.until_ms is not None and query.until_ms <= asked.now_ms:
            return Reply(ProblemBody(code="message-expired"))
        verified: Verified | Deny | None = None
        if query.warrant is not None:
            verified = self._warrants.verify(query.warrant, asked)
        if isinstance(verified, Deny):
            return Reply(ProblemBody(code=verified.reason, detail=verified.detail))
        case = self._case(asked, verified)
        permit = decide(case)
        if isinstance(permit, Deny):
            return Reply(ProblemBody(code=permit.reason, detail=permit.detail[:512]))
        if verified is None or verified.ticket is None:
            return Reply(ProblemBody(code="consent-missing"))
        if permit.records is not None and any(
            record.id not in permit.records for record in query.records
        ):
            return Reply(ProblemBody(code="consent-record"))
        delivery = Delivery(
            provider=asked.sender.sub,
            exchange=asked.header.id,
            consent=verified.consent.body,
            dataset_type=case.dataset.name,
            fields=permit.fields,
        )
        ticket, home = verified.ticket, verified.home.sub

        def store(connection: Connection) -> Stored:
            if not self._take(connection, asked, query):
                return Stored(stored=0, known=len(query.records))
            subject = self._subject(connection, ticket, home, asked.now_ms)
            stored = self._vault.intake.receive(
                connection,
                query.records,
                subject=subject,
                delivery=delivery,
                now_ms=asked.now_ms,
            )
            record = self._reception(asked, delivery, query)
            self._vault.provisions.write(connection, subject, record)
            return stored

        return Reply(await self._database.write(store))

    def _take(self, connection: Connection, asked: Asked, query: Push) -> bool:
        """Note the message; False if it was carried out before."""
        if query.message is None or query.until_ms is None:
            return True
        return taken.take(
            connection,
            asked.sender.sub,
            query.message,
            until_ms=query.until_ms,
            now_ms=asked.now_ms,
        )

    async def _taken(self, asked: Asked) -> Reply:
        """Tell a sender whether its message got through; others' look like unknown."""
        message, sender = asked.expect(TakenQuery).message, asked.sender.sub
        known = self._database.read(lambda c: taken.is_taken(c, sender, message))
        return Reply(Taken(taken=known))

    def _case(self, asked: Asked, verified: Verified | None) -> Case:
        """Judge a push with us as recipient and the sender as holder."""
        header = asked.header
        if header.dataset_type is None:
            raise Malformed("a push needs a dataset type")
        dataset = self._vault.types.get(header.dataset_type)
        consent = None if verified is None else verified.consent.body
        revoked, newest = None, 0
        if consent is not None:
            revoked, newest = self._vault.ledger.revocation_of(consent)
        return Case(
            now=asked.now,
            holder=asked.sender.sub,
            recipient=self._membership(),
            dataset=dataset,
            operation=Operation.STORE,
            purpose=header.purpose,
            data_class=header.data_class,
            consent=consent,
            subject_bound=verified is not None and verified.ticket is not None,
            freshness=Freshness(
                proof=None if verified is None else verified.proof,
                max_age_s=dataset.freshness_s or self._max_age_s,
                skew_s=self._skew_s,
                revoked=revoked,
                newest_version=newest,
            ),
        )

    def _reception(
        self, asked: Asked, delivery: Delivery, query: Push
    ) -> ProvisionRecord:
        return ProvisionRecord(
            role="reception",
            exchange=asked.header.id,
            at_ms=asked.now_ms,
            counterparty=delivery.provider,
            basis=delivery.consent.legal_basis,
            consent=delivery.consent.jti,
            consent_version=delivery.consent.version,
            purpose=asked.header.purpose,
            dataset_type=query.records[0].dataset_type,
            fields=tuple(sorted(delivery.fields)),
            records=tuple(record.id for record in query.records),
            request=asked.request,
            answer=asked.request,
            route=tuple(str(hop.by) for hop in asked.hops),
        )
