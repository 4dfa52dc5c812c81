# SPDX-License-Identifier: Apache-2.0
"""Telling the parties that a consent ended or paused, and who has answered.

Every party that any version named is told, in a document of its own; a party that a
change of content left out is told too. The signed acknowledgement is kept, so that the
resident sees who has answered and what it did (DESIGN section 7). Who was told is
sealed under the account's key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update

from identity.accounts import Accounts
from identity.consent_store import ConsentStore
from identity.entropy import Entropy, new_id
from identity.errors import NotFound
from identity.key_changes import KeysOf
from identity.tables import withdrawal_notices
from protocol.box import NONCE_BYTES, blind_index
from protocol.consent import Acknowledgement, State, Withdrawal
from protocol.errors import WrongAudience
from protocol.ids import NodeId
from protocol.membership import Membership
from protocol.model import Document
from protocol.signature import Received, Signed, sign
from protocol.suites import Signer

WITHDRAWAL = "withdrawal"
ACKNOWLEDGEMENT = "acknowledgement"
_LIFE_S = 400 * 86_400


class _Kept(Document):
    party: NodeId
    withdrawal: str
    acknowledgement: str | None = None


@dataclass(frozen=True)
class Told:
    """What became of telling one party.

    Attributes:
        party: who.
        version: version of the consent that it was told of.
        told: when the notice was made, seconds since 1970.
        withdrawal: the signed notice.
        acknowledged: when its answer arrived, None while there is none.
        done: `stopped`, `deleted` or `kept`, None while there is no answer.
        basis: the legal basis, where it kept the data.
        acknowledgement: its signed answer.
    """

    party: NodeId
    version: int
    told: int
    withdrawal: str
    acknowledged: int | None = None
    done: str | None = None
    basis: str = ""
    acknowledgement: str | None = None


class Withdrawals:
    """All notices of a home node."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        accounts: Accounts,
        store: ConsentStore,
        index: bytes,
        entropy: Entropy,
        skew_s: int = 10,
    ) -> None:
        """Take the parts.

        Args:
            node: this home node.
            signer: its key.
            accounts: seal notices.
            store: who is named.
            index: 32 bytes for blind indexes.
            entropy: source of random bytes.
            skew_s: how far two clocks may differ.
        """
        self._node = node
        self._signer = signer
        self._accounts = accounts
        self._store = store
        self._index = index
        self._entropy = entropy
        self._skew_s = skew_s

    def tell(
        self,
        connection: Connection,
        identifier: str,
        *,
        now: int,
        obligation: Literal["stop", "delete"] = "stop",
    ) -> tuple[tuple[NodeId, Signed[Withdrawal]], ...]:
        """Make the notices that the consent's present state asks for.

        Withdrawn or paused: one for each party of any version. Active: one for each
        party that only an earlier version named. Call it in the transaction of the
        change, and hand what it returns to the outbox in the same one. A party that was
        told the same before is not told again.

        Args:
            connection: transaction of the caller.
            identifier: the consent.
            now: seconds since 1970.
            obligation: what past recipients must do.

        Raises:
            NotFound: no such consent.
        """
        entry = self._store.get(connection, identifier)
        parties = self._store.parties(connection, identifier)
        state = entry.consent.state
        if state is State.ACTIVE:
            parties = tuple(p for p in parties if p not in entry.draft.parties)
            state = State.WITHDRAWN
        told = []
        for party in parties:
            claims = Withdrawal(
                iss=self._node,
                aud=party,
                jti=new_id(now, self._entropy),
                iat=now,
                exp=now + _LIFE_S,
                consent=identifier,
                version=entry.consent.version,
                state=state,
                at=now,
                obligation=obligation,
            )
            if self._was_told(connection, entry.account, claims):
                continue
            signed = sign(self._signer, WITHDRAWAL, claims)
            self._insert(connection, entry.account, party, signed, now)
            told.append((party, signed))
        return tuple(told)

    def sign_anew(self, token: str) -> str:
        """Return a notice under our present key; it may have waited for long."""
        received = Received.parse(token, WITHDRAWAL)
        if received.kid == self._signer.public.kid:
            return token
        return sign(self._signer, WITHDRAWAL, received.peek(Withdrawal)).token

    def acknowledge(
        self, connection: Connection, issuer: Membership, token: str, *, now: int
    ) -> Acknowledgement:
        """Keep a party's signed answer; again changes nothing.

        Args:
            connection: transaction of the caller.
            issuer: verified membership of who answered.
            token: the acknowledgement.
            now: seconds since 1970.

        Raises:
            NotFound: this party was told nothing of the kind.
            ProtocolViolation: any fault of the document.
        """
        keys = KeysOf(issuer, now)
        received = Received.parse(token, ACKNOWLEDGEMENT)
        answer = received.verify(Acknowledgement, keys).body
        keys.check_time(received.kid, answer, self._skew_s)
        answer.check_times(now, self._skew_s)
        if answer.aud != self._node:
            raise WrongAudience("the acknowledgement is for another home node")
        row = self._row(connection, answer.consent, issuer.sub)
        if row is None or row.version != answer.version:
            raise NotFound("nothing was asked of this party")
        if row.acknowledged is not None:
            return answer
        account = self._store.get(connection, answer.consent).account
        kept = self._open(connection, account, row)
        answered = kept.model_copy(update={"acknowledgement": token})
        sealed = self._seal(connection, account, answer.consent, answered)
        connection.execute(
            update(withdrawal_notices)
            .where(
                withdrawal_notices.c.consent == answer.consent,
                withdrawal_notices.c.party_index == row.party_index,
            )
            .values(acknowledged=now, sealed=sealed)
        )
        return answer

    def told(
        self, connection: Connection, account: str, identifier: str
    ) -> tuple[Told, ...]:
        """Return who was told and who has answered, by party.

        Raises:
            NotFound: no such consent of this account.
        """
        self._store.owned(connection, account, identifier)
        table = withdrawal_notices
        query = select(table).where(table.c.consent == identifier)
        found = [
            _told(row, self._open(connection, account, row))
            for row in connection.execute(query).all()
        ]
        return tuple(sorted(found, key=lambda told: told.party))

    def _was_told(
        self, connection: Connection, account: str, claims: Withdrawal
    ) -> bool:
        row = self._row(connection, claims.consent, NodeId(claims.aud))
        if row is None or row.version != claims.version:
            return False
        kept = self._open(connection, account, row)
        before = Received.parse(kept.withdrawal, WITHDRAWAL).peek(Withdrawal)
        return before.obligation == claims.obligation

    def _row(
        self, connection: Connection, consent: str, party: NodeId
    ) -> Row[Any] | None:
        table = withdrawal_notices
        query = select(table).where(
            table.c.consent == consent,
            table.c.party_index == self._party_index(consent, party),
        )
        return connection.execute(query).one_or_none()

    def _open(self, connection: Connection, account: str, row: Row[Any]) -> _Kept:
        box = self._accounts.box(connection, account)
        return _Kept.decode(box.open(row.sealed, "notice", row.consent))

    def _insert(
        self,
        connection: Connection,
        account: str,
        party: NodeId,
        signed: Signed[Withdrawal],
        now: int,
    ) -> None:
        consent, table = signed.body.consent, withdrawal_notices
        name = self._party_index(consent, party)
        connection.execute(
            delete(table).where(table.c.consent == consent, table.c.party_index == name)
        )
        kept = _Kept(party=party, withdrawal=signed.token)
        connection.execute(
            insert(table).values(
                consent=consent,
                party_index=name,
                version=signed.body.version,
                told=now,
                sealed=self._seal(connection, account, consent, kept),
            )
        )

    def _seal(
        self, connection: Connection, account: str, consent: str, kept: _Kept
    ) -> bytes:
        box = self._accounts.box(connection, account)
        nonce = self._entropy(NONCE_BYTES)
        return box.seal(nonce, kept.encode(), "notice", consent)

    def _party_index(self, consent: str, party: NodeId) -> bytes:
        return blind_index(self._index, "notice", f"{consent}\0{party}")


def _told(row: Row[Any], kept: _Kept) -> Told:
    told = Told(kept.party, row.version, row.told, kept.withdrawal)
    if kept.acknowledgement is None:
        return told
    # Verified when it came; sealed since.
    received = Received.parse(kept.acknowledgement, ACKNOWLEDGEMENT)
    answer = received.peek(Acknowledgement)
    return replace(
        told,
        acknowledged=row.acknowledged,
        done=answer.done,
        basis=answer.basis,
        acknowledgement=kept.acknowledgement,
    )
