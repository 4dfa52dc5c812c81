# SPDX-License-Identifier: Apache-2.0
"""To whom, what, when, under which consent (APPI articles 29 and 30, requirement 45).

One row per release (`provision`), arrival (`reception`) and refusal (`refusal`), sealed
under the person's key. In clear: exchange id, role, time. A blind index over recipient,
purpose, consent and dataset type lets releases be counted without opening each.

The exchange id is unique per role: a second release of one exchange is a replay, also
after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from protocol.answer import Sharing
from protocol.errors import Replayed
from protocol.ids import DatasetTypeName, ExchangeId, PurposeName
from protocol.model import Digest, Document, Millis, ShortText
from protocol.provision import ProvisionRecord
from vault.errors import Conflict
from vault.keyring import NOBODY, Keyring, SubjectId
from vault.statements import Hot
from vault.tables import provisions

Role: TypeAlias = Literal["provision", "reception", "refusal"]


class RefusalRecord(Document):
    """A request that was refused, so that the person can see who tried.

    Attributes:
        exchange: the exchange.
        at_ms: when.
        requester: who asked.
        reason: slug of the refusal.
        consent: id of the consent that was shown, empty without.
        purpose, dataset_type: what was asked for.
        request: digest of the request.
    """

    role: Literal["refusal"] = "refusal"
    exchange: ExchangeId
    at_ms: Millis
    requester: ShortText
    reason: ShortText
    consent: ShortText = ""
    purpose: PurposeName | None = None
    dataset_type: DatasetTypeName | None = None
    request: Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """One row in clear."""

    subject: SubjectId
    record: ProvisionRecord | RefusalRecord


_c = provisions.c
_INSERT = Hot(insert(provisions))
_FIND = Hot(
    select(_c.exchange).where(
        _c.exchange == bindparam("exchange"), _c.role == bindparam("role")
    )
)
_ROW = (_c.exchange, _c.role, _c.subject, _c.at_ms, _c.group_index, _c.sealed)


class Provisions:
    """Writes the rows and reads them for the person and the operator."""

    def __init__(self, *, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(
        self, connection: Connection, subject: SubjectId, record: ProvisionRecord
    ) -> bytes:
        """Write a release or an arrival; return the bytes that were sealed.

        The caller MUST have committed before the answer leaves.

        Raises:
            Replayed: the exchange is in already; the savepoint MUST be rolled back.
        """
        group = self._group(
            record.counterparty,
            record.purpose or "",
            record.consent,
            record.dataset_type,
        )
        document = record.encode()
        self._insert(
            connection,
            subject,
            record.exchange,
            record.role,
            record.at_ms,
            group,
            document,
        )
        return document

    def refuse(
        self, connection: Connection, subject: SubjectId | None, record: RefusalRecord
    ) -> bool:
        """Write a refusal; return False if this exchange was refused before.

        Args:
            connection: a write transaction.
            subject: whom it was about; None where the request did not prove it.
            record: what was refused.
        """
        if _FIND.run(connection, exchange=record.exchange, role=record.role).fetchone():
            return False
        self._insert(
            connection,
            NOBODY if subject is None else subject,
            record.exchange,
            record.role,
            record.at_ms,
            self._group(record.requester, record.reason, "", ""),
            record.encode(),
        )
        return True

    def is_known(self, connection: Connection, exchange: str, role: Role) -> bool:
        """Tell whether the exchange is in: a quick look before the work is done."""
        row = _FIND.run(connection, exchange=exchange, role=role).fetchone()
        return row is not None

    def find(
        self, connection: Connection, exchange: str, role: Role
    ) -> ProvisionRecord | RefusalRecord | None:
        """Return one row, None if there is none: to compare histories of both sides.

        Raises:
            Erased: its person is gone.
        """
        row = connection.execute(
            select(*_ROW).where(_c.exchange == exchange, _c.role == role)
        ).first()
        return None if row is None else self._open(connection, *row)

    def of_subject(
        self,
        connection: Connection,
        subject: SubjectId,
        *,
        before_ms: int = 1 << 50,
        limit: int = 100,
    ) -> list[ProvisionRecord | RefusalRecord]:
        """Return the person's history, newest first.

        Args:
            connection: a read connection.
            subject: whose.
            before_ms: only what is older, to page on.
            limit: at most so many.
        """
        query = (
            select(*_ROW)
            .where(_c.subject == subject, _c.at_ms < before_ms)
            .order_by(_c.at_ms.desc(), _c.exchange.desc())
            .limit(limit)
        )
        rows = connection.execute(query).fetchall()
        return [self._open(connection, *row) for row in rows]

    def between(
        self, connection: Connection, since_ms: int, until_ms: int, limit: int = 1000
    ) -> list[Entry]:
        """Return rows of a period, oldest first: for incidents and reconciliation.

        Rows that outlived their person's key are passed over.
        """
        query = (
            select(*_ROW)
            .where(_c.at_ms >= since_ms, _c.at_ms < until_ms)
            .order_by(_c.at_ms, _c.exchange)
            .limit(limit)
        )
        rows = connection.execute(query).fetchall()
        erased = {
            subject
            for subject in {row.subject for row in rows}
            if self._keyring.is_erased(connection, SubjectId(subject))
        }
        return [
            Entry(SubjectId(row.subject), self._open(connection, *row))
            for row in rows
            if row.subject not in erased
        ]

    def sharing(
        self, connection: Connection, subject: SubjectId
    ) -> dict[DatasetTypeName, tuple[Sharing, ...]]:
        """Count the person's releases by dataset type, recipient, purpose, consent.

        One row of each group is opened, the others are only counted.
        """
        groups = connection.execute(
            select(func.max(_c.exchange), func.count(), func.max(_c.at_ms))
            .where(_c.subject == subject, _c.role == "provision")
            .group_by(_c.group_index)
        ).fetchall()
        found: dict[DatasetTypeName, list[Sharing]] = {}
        for exchange, count, last_ms in groups:
            record = self.find(connection, exchange, "provision")
            if isinstance(record, ProvisionRecord) and record.purpose is not None:
                shared = Sharing.model_validate(
                    {
                        "recipient": record.counterparty,
                        "purpose": record.purpose,
                        "consent": record.consent,
                        "releases": count,
                        "last": last_ms // 1000,
                    }
                )
                found.setdefault(record.dataset_type, []).append(shared)
        return {
            name: tuple(sorted(shared, key=lambda s: (s.recipient, s.purpose)))
            for name, shared in sorted(found.items())
        }

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Seal every row of `source` anew as one of `target`."""
        rows = connection.execute(select(*_ROW).where(_c.subject == source)).fetchall()
        for exchange, role, subject, at_ms, group, sealed in rows:
            place = _place(exchange, role, at_ms, group)
            document = self._keyring.open(
                connection, SubjectId(subject), sealed, "provision", place
            )
            again = self._keyring.seal(connection, target, document, "provision", place)
            connection.execute(
                update(provisions)
                .where(_c.exchange == exchange, _c.role == role)
                .values(subject=target, sealed=again)
            )

    def purge(self, connection: Connection, before_ms: int) -> int:
        """Delete rows older than the legal period; return how many."""
        older: ColumnElement[bool] = _c.at_ms < before_ms
        return connection.execute(delete(provisions).where(older)).rowcount

    def _group(self, *words: str) -> bytes:
        return self._keyring.index("provision", *words)

    def _insert(
        self,
        connection: Connection,
        subject: SubjectId,
        exchange: str,
        role: Role,
        at_ms: int,
        group: bytes,
        document: bytes,
    ) -> None:
        place = _place(exchange, role, at_ms, group)
        sealed = self._keyring.seal(connection, subject, document, "provision", place)
        try:
            _INSERT.run(
                connection,
                exchange=exchange,
                role=role,
                subject=subject,
                at_ms=at_ms,
                group_index=group,
                sealed=sealed,
            )
        except Conflict as error:
            raise Replayed("this exchange was answered before") from error

    def _open(
        self,
        connection: Connection,
        exchange: str,
        role: str,
        subject: str,
        at_ms: int,
        group: bytes,
        sealed: bytes,
    ) -> ProvisionRecord | RefusalRecord:
        place = _place(exchange, role, at_ms, group)
        document = self._keyring.open(
            connection, SubjectId(subject), sealed, "provision", place
        )
        if role == "refusal":
            return RefusalRecord.decode(document)
        return ProvisionRecord.decode(document)


def _place(exchange: str, role: str, at_ms: int, group: bytes) -> str:
    """Say where a ciphertext belongs: all that stands in clear beside it."""
    return f"{exchange}|{role}|{at_ms}|{bytes(group).hex()}"
