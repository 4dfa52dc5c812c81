# SPDX-License-Identifier: Apache-2.0
"""Erasure (消去): the person's key is destroyed, the rows go with it.

    report = db.write(lambda c: erasure.erase(c, subject, now_ms))
    keyring.forget(subject)                    # after the commit
    PRAGMA wal_checkpoint(TRUNCATE)            # SQLite

Provision records stay as rows that nobody can open: they keep an exchange from being
answered twice. After a restore `sweep` removes what came back of erased persons; it
would not open in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from vault import discards
from vault.keyring import Keyring, SubjectId
from vault.ledger import Ledger
from vault.records import Records
from vault.subjects import Subjects
from vault.tables import (
    attachments,
    person_keys,
    received_consents,
    record_versions,
    records,
    subject_links,
    subject_names,
    waiting_reads,
)
from vault.waiting import WaitingReads


@dataclass(frozen=True, slots=True)
class Erased:
    """Proof of what was done; names nobody.

    Attributes:
        records: own and received records deleted.
        consents: received consents deleted.
        at_ms: when.
    """

    records: int
    consents: int
    at_ms: int


class Erasure:
    """Erases persons."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        subjects: Subjects,
        store: Records,
        ledger: Ledger,
        waiting: WaitingReads,
    ) -> None:
        self._keyring = keyring
        self._subjects = subjects
        self._store = store
        self._ledger = ledger
        self._waiting = waiting

    def erase(self, connection: Connection, subject: SubjectId, now_ms: int) -> Erased:
        """Destroy the person's key and delete the rows, in one transaction.

        The caller MUST then call `Keyring.forget` and truncate the write-ahead log.

        Raises:
            NotFound: no such person.
            Conflict: `keyring.NOBODY`.
        """
        self._keyring.erase(connection, subject, now_ms)
        records = self._store.remove(connection, subject)
        consents = self._ledger.remove(connection, subject)
        self._waiting.remove_person(connection, subject)
        self._subjects.remove(connection, subject)
        return Erased(records, consents, now_ms)

    def sweep(self, connection: Connection) -> int:
        """Delete rows of erased persons that a restore brought back; return how many.

        Search indexes are made anew afterwards (`vault.search.Search.rebuild`).
        """
        columns = person_keys.c
        erased = select(columns.subject).where(columns.erased_ms.is_not(None))
        brought_back = select(waiting_reads.c.subject).where(
            waiting_reads.c.subject.in_(erased)
        )
        reads = sum(
            self._waiting.remove_person(connection, SubjectId(subject))
            for subject in connection.execute(brought_back.distinct()).scalars().all()
        )
        tables = (
            records,
            record_versions,
            received_consents,
            subject_names,
            subject_links,
        )
        files = discards.discard(connection, attachments.c.subject.in_(erased))
        return (
            reads
            + files
            + sum(
                connection.execute(
                    delete(table).where(table.c.subject.in_(erased))
                ).rowcount
                for table in tables
            )
        )
