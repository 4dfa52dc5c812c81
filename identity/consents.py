# SPDX-License-Identifier: Apache-2.0
"""The life of consents at their home node: given, changed, paused, resumed, withdrawn.

Rules:
 1. Every change is a new signed version that names the digest of the one before.
 2. A change of state keeps the consent's place in the status list and sets the bit in
    the same transaction. A change of content takes a new place and marks the old one
    superseded, so the old text is worth nothing from then on.
 3. Giving, changing and resuming need evidence of the resident's will at the level that
    the dataset types ask for. Pausing and withdrawing need none: stopping is never
    harder than allowing. Withdrawing is final.
 4. The consent names the person by salted commitments only, sorted, so their order says
    nothing. Versions are sealed under the account's key; with the account they are gone.

Stores over an explicit connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from identity.accounts import Accounts
from identity.drafts import ConsentDraft
from identity.entropy import Entropy, new_id
from identity.errors import Conflict, EvidenceTooLow, LegalLimit, NotFound
from identity.notice import notice_of
from identity.residents import Residents
from identity.status_lists import StatusLists
from identity.tables import consent_versions, consents
from protocol.box import NONCE_BYTES
from protocol.canonical import b64url
from protocol.consent import (
    ANY,
    CONSENT,
    Consent,
    Evidence,
    State,
    StatusReference,
    legal_limits,
)
from protocol.errors import Misuse
from protocol.ids import NodeId
from protocol.model import ANYONE, Document
from protocol.pseudonym import SALT_BYTES, commitment
from protocol.signature import Received, Signed, digest_of, sign
from protocol.status import Status
from protocol.suites import Signer

_DAY_S = 86_400
_STATUS = {
    State.ACTIVE: Status.VALID,
    State.PAUSED: Status.PAUSED,
    State.WITHDRAWN: Status.WITHDRAWN,
}


class _Version(Document):
    """What is kept of a version, sealed."""

    token: str
    draft: ConsentDraft
    salts: dict[str, str]


@dataclass(frozen=True)
class ConsentEntry:
    """The newest version of a consent.

    Attributes:
        account: whose.
        token: the signed consent.
        consent: its claims.
        draft: what it was made from; names the holders also where they are hidden.
        salts: party to the salt of its commitment, base64url.
    """

    account: str
    token: str
    consent: Consent
    draft: ConsentDraft
    salts: Mapping[str, str]


class Consents:
    """All consents of a home node."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        accounts: Accounts,
        residents: Residents,
        statuses: StatusLists,
        entropy: Entropy,
        document_days: int = 1826,
    ) -> None:
        """Take the parts.

        Args:
            node: this home node.
            signer: its key; signs consents.
            accounts: seal versions.
            residents: handles and links.
            statuses: places in status lists.
            entropy: source of random bytes.
            document_days: longest life of a signed version; a consent without end must
                be renewed after it.
        """
        self._node = node
        self._signer = signer
        self._accounts = accounts
        self._residents = residents
        self._statuses = statuses
        self._entropy = entropy
        self._document_days = document_days

    def issue(
        self,
        connection: Connection,
        account: str,
        draft: ConsentDraft,
        evidence: Evidence,
        *,
        now: int,
    ) -> Signed[Consent]:
        """Sign a new consent.

        Args:
            connection: transaction of the caller.
            account: who consents.
            draft: what was shown.
            evidence: from the session, or `identity.sessions.assisted`.
            now: seconds since 1970.

        Raises:
            Misuse: a draft that makes no sense, or a holder that is not linked.
            EvidenceTooLow, LegalLimit: as named.
            NotFound: no such account.
        """
        identifier = new_id(now, self._entropy)
        status = self._statuses.allocate(connection, identifier)
        salts = self._salts(draft)
        consent = self._consent(
            connection, account, identifier, draft, evidence, salts, status, now
        )
        connection.execute(
            insert(consents).values(
                id=identifier,
                account=account,
                version=1,
                state=State.ACTIVE.value,
                changed=now,
            )
        )
        return self._keep(connection, account, consent, draft, salts)

    def amend(
        self,
        connection: Connection,
        account: str,
        identifier: str,
        draft: ConsentDraft,
        evidence: Evidence,
        *,
        now: int,
    ) -> Signed[Consent]:
        """Replace the content of a consent; the old version is void at once.

        Raises:
            Conflict: withdrawn.
            Misuse, EvidenceTooLow, LegalLimit, NotFound: as for `issue`.
        """
        entry = self.owned(connection, account, identifier)
        if entry.consent.state is State.WITHDRAWN:
            raise Conflict("a withdrawn consent stays withdrawn")
        status = self._statuses.allocate(connection, identifier)
        salts = self._salts(draft)
        consent = self._consent(
            connection, account, identifier, draft, evidence, salts, status, now
        )
        self._statuses.set(connection, entry.consent.status, Status.SUPERSEDED)
        following = consent.model_copy(update=_after(entry))
        return self._keep(connection, account, following, draft, salts)

    def pause(
        self, connection: Connection, account: str, identifier: str, *, now: int
    ) -> Signed[Consent]:
        """Stop releases until the resident resumes.

        Raises:
            Conflict: not active.
            NotFound: no such consent of this account.
        """
        entry = self.owned(connection, account, identifier)
        return self._change(connection, entry, State.PAUSED, (State.ACTIVE,), {}, now)

    def resume(
        self,
        connection: Connection,
        account: str,
        identifier: str,
        evidence: Evidence,
        *,
        now: int,
    ) -> Signed[Consent]:
        """Allow releases again; takes evidence as giving does.

        Raises:
            Conflict: not paused.
            EvidenceTooLow, NotFound: as named.
        """
        entry = self.owned(connection, account, identifier)
        _check_evidence(entry.draft, evidence)
        proven = {"evidence": evidence}
        return self._change(
            connection, entry, State.ACTIVE, (State.PAUSED,), proven, now
        )

    def withdraw(
        self, connection: Connection, account: str, identifier: str, *, now: int
    ) -> Signed[Consent]:
        """End the consent for good.

        Raises:
            Conflict: withdrawn already.
            NotFound: no such consent of this account.
        """
        entry = self.owned(connection, account, identifier)
        before = (State.ACTIVE, State.PAUSED)
        return self._change(connection, entry, State.WITHDRAWN, before, {}, now)

    def get(self, connection: Connection, identifier: str) -> ConsentEntry:
        """Return a consent's newest version; raises `NotFound`."""
        return self._entry(connection, self._row(connection, identifier))

    def owned(
        self, connection: Connection, account: str, identifier: str
    ) -> ConsentEntry:
        """Return a consent of this account; another's looks like none (`NotFound`)."""
        row = self._row(connection, identifier)
        if row.account != account:
            raise NotFound("no such consent")
        return self._entry(connection, row)

    def of_account(
        self, connection: Connection, account: str
    ) -> tuple[ConsentEntry, ...]:
        """Return all consents of an account, oldest first."""
        query = select(consents).where(consents.c.account == account)
        rows = connection.execute(query.order_by(consents.c.id)).all()
        return tuple(self._entry(connection, row) for row in rows)

    def history(self, connection: Connection, identifier: str) -> tuple[str, ...]:
        """Return all signed versions of a consent, oldest first."""
        row = self._row(connection, identifier)
        return tuple(v.token for v in self._versions(connection, row))

    def parties(self, connection: Connection, identifier: str) -> tuple[NodeId, ...]:
        """Return everybody that any version named: who must be told of an end."""
        row = self._row(connection, identifier)
        named = {
            party
            for version in self._versions(connection, row)
            for party in version.draft.parties
        }
        return tuple(sorted(named))

    def _consent(
        self,
        connection: Connection,
        account: str,
        identifier: str,
        draft: ConsentDraft,
        evidence: Evidence,
        salts: Mapping[str, str],
        status: StatusReference,
        now: int,
    ) -> Consent:
        draft.check(now)
        _check_evidence(draft, evidence)
        for holder in draft.holders:
            if not self._residents.is_linked(connection, account, holder):
                raise Misuse(f"{holder} is not linked")
        longest = now + self._document_days * _DAY_S
        consent = Consent(
            iss=self._node,
            aud=ANYONE,
            jti=identifier,
            iat=now,
            exp=longest if draft.ends is None else min(draft.ends, longest),
            version=1,
            state=State.ACTIVE,
            recipients=draft.recipients,
            holders=(ANY,) if draft.hidden_holder else draft.holders,
            subjects=self._commitments(connection, account, salts),
            operations=draft.operations,
            scope=tuple(scope.scope() for scope in draft.scope),
            purposes=draft.purposes,
            opt=draft.opt,
            starts=draft.starts,
            ends=draft.ends,
            retention_days=draft.retention_days,
            hidden_holder=draft.hidden_holder,
            notice=notice_of(draft),
            evidence=evidence,
            status=status,
        )
        broken = legal_limits(consent)
        if broken is not None:
            raise LegalLimit(broken)
        return consent

    def _salts(self, draft: ConsentDraft) -> dict[str, str]:
        return {
            str(party): b64url(self._entropy(SALT_BYTES)) for party in draft.parties
        }
