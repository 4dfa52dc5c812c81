# SPDX-License-Identifier: Apache-2.0
"""Records of one person: by type and time, and how many there are.

`of_subject` is the hot read: one statement returns the rows with their wrapped keys, in
order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from protocol.ids import DatasetTypeName
from vault.errors import NotFound
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
class Place:
    """Where a record stands in the order of time: a page goes on behind it."""

    time_s: int
    serial: str


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


_BEHIND = or_(
    _c.time_s > bindparam("after_s"),
    and_(_c.time_s == bindparam("after_s"), _c.id > bindparam("after_id")),
)


def _rows(*conditions: Any) -> Hot:
    query = select(*ROW).where(*conditions).order_by(_c.time_s, _c.id)
    return Hot(query.limit(bindparam("limit")))


def _serials(*conditions: Any) -> Hot:
    return Hot(select(_c.id).where(*conditions).order_by(_c.time_s, _c.id))


_ROWS = {held: _rows(*_conditions(held)) for held in Held}
_ROWS_BEHIND = {held: _rows(*_conditions(held), _BEHIND) for held in Held}
_SERIALS = {held: _serials(*_conditions(held)) for held in Held}
_SERIALS_BEHIND = {held: _serials(*_conditions(held), _BEHIND) for held in Held}
_TIME = Hot(select(_c.time_s).where(_c.id == bindparam("id")))


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
        after: Place | None = None,
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
            after: only what stands behind this place.

        Raises:
            CannotOpen: a row was altered.
            Erased: the rows outlived the person's key.
        """
        statement = _ROWS[held] if after is None else _ROWS_BEHIND[held]
        cursor = statement.run(
            connection,
            subject=subject,
            dataset_type=dataset_type,
            since_s=since_s,
            until_s=until_s,
            limit=limit,
            **_behind(after),
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
        after: Place | None = None,
    ) -> list[str]:
        """Return the serials of the same records, oldest first, unopened."""
        statement = _SERIALS[held] if after is None else _SERIALS_BEHIND[held]
        rows = statement.run(
            connection,
            subject=subject,
            dataset_type=dataset_type,
            since_s=since_s,
            until_s=until_s,
            **_behind(after),
        )
        return [row[0] for row in rows.fetchall()]

    def place(self, connection: Connection, serial: str) -> Place:
        """Return where a record stands.

        Raises:
            NotFound: no such record.
        """
        row = _TIME.run(connection, id=serial).fetchone()
        if row is None:
            raise NotFound("no such record")
        return Place(row[0], serial)

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


def _behind(after: Place | None) -> dict[str, object]:
    if after is None:
        return {}
    return {"after_s": after.time_s, "after_id": after.serial}
