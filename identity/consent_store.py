# SPDX-License-Identifier: Apache-2.0
"""The signed versions of all consents, sealed under their accounts' keys.

In clear stand only random ids, version numbers, states and times. "There is no such
consent" and "it is not yours" look alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from identity.accounts import Accounts
from identity.drafts import ConsentDraft
from identity.entropy import Entropy
from identity.errors import NotFound
from identity.tables import consent_versions, consents
from protocol.box import NONCE_BYTES
from protocol.consent import CONSENT, Consent
from protocol.ids import NodeId
from protocol.model import Document
from protocol.signature import Received, Signed


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


class ConsentStore:
    """Keeps and finds consents."""

    def __init__(self, *, accounts: Accounts, entropy: Entropy) -> None:
        """Take the parts; `accounts` seal versions."""
        self._accounts = accounts
        self._entropy = entropy

    def keep(
        self,
        connection: Connection,
        account: str,
        signed: Signed[Consent],
        draft: ConsentDraft,
        salts: Mapping[str, str],
    ) -> None:
        """Add a signed version; the first one opens the consent.

        Args:
            connection: transaction of the caller.
            account: whose.
            signed: the consent.
            draft: what it was made from.
            salts: party to the salt of its commitment, base64url.
        """
        consent = signed.body
        sealed = self._sealed(connection, account, signed, draft, salts)
        connection.execute(
            insert(consent_versions).values(
                consent=consent.jti, version=consent.version, sealed=sealed
            )
        )
        values = {
            "version": consent.version,
            "state": consent.state.value,
            "changed": consent.iat,
        }
        if consent.version == 1:
            opened = insert(consents).values(id=consent.jti, account=account, **values)
            connection.execute(opened)
        else:
            of_consent = consents.c.id == consent.jti
            connection.execute(update(consents).where(of_consent).values(**values))

    def replace(
        self, connection: Connection, entry: ConsentEntry, signed: Signed[Consent]
    ) -> None:
        """Keep a newest version under another signature; what it says is the same."""
        table, consent = consent_versions, signed.body
        sealed = self._sealed(
            connection, entry.account, signed, entry.draft, entry.salts
        )
        connection.execute(
            update(table)
            .where(table.c.consent == consent.jti, table.c.version == consent.version)
            .values(sealed=sealed)
        )

    def _sealed(
        self,
        connection: Connection,
        account: str,
        signed: Signed[Consent],
        draft: ConsentDraft,
        salts: Mapping[str, str],
    ) -> bytes:
        version = _Version(token=signed.token, draft=draft, salts=dict(salts))
        return self._accounts.box(connection, account).seal(
            self._entropy(NONCE_BYTES),
            version.encode(),
            "consent",
            signed.body.jti,
            str(signed.body.version),
        )

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
        versions = self._versions(connection, self._row(connection, identifier))
        return tuple(sorted({p for v in versions for p in v.draft.parties}))

    def _row(self, connection: Connection, identifier: str) -> Row[Any]:
        query = select(consents).where(consents.c.id == identifier)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("no such consent")
        return row

    def _entry(self, connection: Connection, row: Row[Any]) -> ConsentEntry:
        kept = self._versions(connection, row, since=row.version)[0]
        consent = Received.parse(kept.token, CONSENT).peek(Consent)
        return ConsentEntry(row.account, kept.token, consent, kept.draft, kept.salts)

    def _versions(
        self, connection: Connection, row: Row[Any], since: int = 1
    ) -> tuple[_Version, ...]:
        identifier, table = row.id, consent_versions
        query = select(table.c.version, table.c.sealed).where(
            table.c.consent == identifier, table.c.version >= since
        )
        box = self._accounts.box(connection, row.account)
        return tuple(
            _Version.decode(box.open(v.sealed, "consent", identifier, str(v.version)))
            for v in connection.execute(query.order_by(table.c.version))
        )
