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

Stores over an explicit connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from identity.compose import Names, check_evidence, compose
from identity.consent_store import ConsentEntry, ConsentStore
from identity.drafts import ConsentDraft
from identity.entropy import Entropy, new_id
from identity.errors import Conflict
from identity.residents import Residents
from identity.status_lists import StatusLists
from protocol.canonical import b64url
from protocol.consent import CONSENT, Consent, Evidence, State
from protocol.errors import Misuse
from protocol.ids import NodeId
from protocol.pseudonym import SALT_BYTES
from protocol.signature import Received, Signed, digest_of, sign
from protocol.status import Status
from protocol.suites import Signer

_DAY_S = 86_400
_STATUS = {
    State.ACTIVE: Status.VALID,
    State.PAUSED: Status.PAUSED,
    State.WITHDRAWN: Status.WITHDRAWN,
}


class Consents:
    """All consents of a home node."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        store: ConsentStore,
        residents: Residents,
        statuses: StatusLists,
        entropy: Entropy,
        document_days: int = 1826,
    ) -> None:
        """Take the parts.

        Args:
            node: this home node.
            signer: its key; signs consents.
            store: keeps versions.
            residents: handles and links.
            statuses: places in status lists.
            entropy: source of random bytes.
            document_days: longest life of a signed version; a consent without end must
                be given anew after it.
        """
        self._node = node
        self._signer = signer
        self._store = store
        self._residents = residents
        self._statuses = statuses
        self._entropy = entropy
        self._longest_s = document_days * _DAY_S

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
        names = self._names(connection, account, draft)
        consent = self._compose(connection, identifier, draft, evidence, names, now)
        return self._sign(connection, account, consent, draft, _salts(names))

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
        entry = self._store.owned(connection, account, identifier)
        if entry.consent.state is State.WITHDRAWN:
            raise Conflict("a withdrawn consent stays withdrawn")
        names = self._names(connection, account, draft)
        consent = self._compose(connection, identifier, draft, evidence, names, now)
        self._statuses.set(connection, entry.consent.status, Status.SUPERSEDED)
        following = consent.model_copy(update=_after(entry))
        return self._sign(connection, account, following, draft, _salts(names))

    def pause(
        self, connection: Connection, account: str, identifier: str, *, now: int
    ) -> Signed[Consent]:
        """Stop releases until the resident resumes.

        Raises:
            Conflict: not active.
            NotFound: no such consent of this account.
        """
        entry = self._store.owned(connection, account, identifier)
        return self._change(connection, entry, State.PAUSED, (State.ACTIVE,), now)

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
            Conflict: not paused, or its end has passed.
            EvidenceTooLow, NotFound: as named.
        """
        entry = self._store.owned(connection, account, identifier)
        check_evidence(entry.draft, evidence)
        if entry.draft.ends is not None and entry.draft.ends <= now:
            raise Conflict("the consent has ended; give a new one")
        paused = (State.PAUSED,)
        return self._change(connection, entry, State.ACTIVE, paused, now, evidence)

    def withdraw(
        self, connection: Connection, account: str, identifier: str, *, now: int
    ) -> Signed[Consent]:
        """End the consent for good.

        Raises:
            Conflict: withdrawn already.
            NotFound: no such consent of this account.
        """
        entry = self._store.owned(connection, account, identifier)
        before = (State.ACTIVE, State.PAUSED)
        return self._change(connection, entry, State.WITHDRAWN, before, now)

    def sign_anew(self, connection: Connection, identifier: str) -> bool:
        """Sign the newest version with our present key, if an earlier one signed it.

        The same statement, byte for byte, under another signature: so nobody has to be
        asked again, and a change of keys touches no consent that nobody uses.

        Returns:
            Whether it was signed.

        Raises:
            NotFound: no such consent.
        """
        entry = self._store.get(connection, identifier)
        if self.is_signed_now(entry):
            return False
        self._store.replace(
            connection, entry, sign(self._signer, CONSENT, entry.consent)
        )
        return True

    def is_signed_now(self, entry: ConsentEntry) -> bool:
        """Tell whether our present key signed a consent's newest version."""
        return Received.parse(entry.token, CONSENT).kid == self._signer.public.kid

    def _names(
        self, connection: Connection, account: str, draft: ConsentDraft
    ) -> dict[NodeId, Names]:
        for holder in draft.holders:
            if not self._residents.is_linked(connection, account, holder):
                raise Misuse(f"{holder} is not linked")
        # Fresh salts for every version: two versions cannot be linked by them.
        return {
            party: Names(
                self._residents.handle_at(connection, account, party),
                b64url(self._entropy(SALT_BYTES)),
            )
            for party in draft.parties
        }

    def _compose(
        self,
        connection: Connection,
        identifier: str,
        draft: ConsentDraft,
        evidence: Evidence,
        names: Mapping[NodeId, Names],
        now: int,
    ) -> Consent:
        return compose(
            home=self._node,
            identifier=identifier,
            draft=draft,
            evidence=evidence,
            names=names,
            status=self._statuses.allocate(connection, identifier),
            longest_s=self._longest_s,
            now=now,
        )

    def _change(
        self,
        connection: Connection,
        entry: ConsentEntry,
        state: State,
        before: tuple[State, ...],
        now: int,
        evidence: Evidence | None = None,
    ) -> Signed[Consent]:
        consent = entry.consent
        if consent.state not in before:
            raise Conflict(f"the consent is {consent.state}")
        self._statuses.set(connection, consent.status, _STATUS[state])
        following = consent.model_copy(
            update={
                **_after(entry),
                "state": state,
                "iat": now,
                "evidence": evidence or consent.evidence,
            }
        )
        return self._sign(
            connection, entry.account, following, entry.draft, entry.salts
        )

    def _sign(
        self,
        connection: Connection,
        account: str,
        consent: Consent,
        draft: ConsentDraft,
        salts: Mapping[str, str],
    ) -> Signed[Consent]:
        signed = sign(self._signer, CONSENT, consent)
        self._store.keep(connection, account, signed, draft, salts)
        return signed


def _after(entry: ConsentEntry) -> dict[str, object]:
    previous = digest_of(entry.token.encode("ascii"))
    return {"version": entry.consent.version + 1, "previous": previous}


def _salts(names: Mapping[NodeId, Names]) -> dict[str, str]:
    return {str(party): name.salt for party, name in names.items()}
