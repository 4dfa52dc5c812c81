# SPDX-License-Identifier: Apache-2.0
"""Records of one person: by type and time, and how many there are.

`of_subject` is the hot read: one statement returns the rows with their wrapped keys, in
order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from protocol.ids import DatasetTypeName
from vault.keyring import SubjectId
from vault.moments import EARLIEST, LATEST, text_of
from vault.records import ROW, Records
from vault.sealed_record import OpenRecord
from vault.statements import Hot
from vault.tables import records


class Held(StrEnum):
    """Which records are meant: those of this organization, or received ones."""

    OWN = "own"
    RECEIVED = "received"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is of one dataset type; times as ISO 8601, UTC."""

    dataset_type: DatasetTypeName
    count: int
    first: str
    last: str


_c = records.c


def _conditions(held: Held) -> list[Any]:  # SQL conditions have no narrower type
    conditions: list[Any] = [
        _c.subject == bindparam("subject"),
        _c.dataset_type == bindparam("dataset_type"),
        _c.time_s >= bindparam("since_s"),
        _c.time_s < bindparam("until_s"),
        _c.stopped == 0,
    ]
    if held is not Held.BOTH:
        own = _c.consent_index.is_(None)
        conditions.append(own if held is Held.OWN else ~own)
    return conditions


_ROWS = {
    held: Hot(
        select(*ROW)
        .where(*_conditions(held))
        .order_by(_c.time_s, _c.id)
        .limit(bindparam("limit"))
    )
    for held in Held
}
_SERIALS = {
    held: Hot(select(_c.id).where(*_conditions(held)).order_by(_c.time_s, _c.id))
    for held in Held
}


class Queries:
    """Reads over many records."""

    def __init__(self, *, store: Records) -> None:
        self._store = store

    def of_subject(
        self,
        connection: Connection,
        subject: SubjectId,
        dataset_type: str,
        *,
        since_s: int = EARLIEST,
        until_s: int = LATEST,
        limit: int = 1000,
        max_bytes: int = 1 << 30,
        held: Held = Held.OWN,
    ) -> list[OpenRecord]:
        """Return records of one subject and type, oldest first. One statement.

        Args:
            connection: a read connection.
            subject: whose.
            dataset_type: of which type.
            since_s: earliest record time.
            until_s: record time before which it ends.
            limit: at most so many.
            max_bytes: ends after the record that goes beyond, so that large records
                do not fill the memory.
            held: own records or received ones; stopped ones never.

        Raises:
            CannotOpen: a row was altered.
            Erased: the rows outlived the person's key.
        """
        cursor = _ROWS[held].run(
            connection,
            subject=subject,
            dataset_type=dataset_type,
            since_s=since_s,
            until_s=until_s,
            limit=limit,
        )
        found, size = [], 0
        while size <= max_bytes and (row := cursor.fetchone()) is not None:
            record = self._store.open(connection, row)
            size += len(record.content)
            found.append(record)
        cursor.close()
        return found

    def serials(
        self,
        connection: Connection,
        subject: SubjectId,
        dataset_type: str,
        *,
        since_s: int = EARLIEST,
        until_s: int = LATEST,
        held: Held = Held.OWN,
    ) -> list[str]:
        """Return the serials of the same records, oldest first, unopened."""
        rows = _SERIALS[held].run(
            connection,
            subject=subject,
            dataset_type=dataset_type,
            since_s=since_s,
            until_s=until_s,
        )
        return [row[0] for row in rows.fetchall()]

    def counts(
        self, connection: Connection, subject: SubjectId, held: Held = Held.BOTH
    ) -> tuple[Count, ...]:
        """Return what there is of a subject, by dataset type."""
        query = (
            select(
                _c.dataset_type, func.count(), func.min(_c.time_s), func.max(_c.time_s)
            )
            .where(_c.subject == subject)
            .group_by(_c.dataset_type)
            .order_by(_c.dataset_type)
        )
        if held is not Held.BOTH:
            null = _c.consent_index.is_(None)
            query = query.where(null if held is Held.OWN else ~null)
        return tuple(
            Count(DatasetTypeName(name), count, text_of(first), text_of(last))
            for name, count, first, last in connection.execute(query)
        )
