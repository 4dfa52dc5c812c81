# SPDX-License-Identifier: Apache-2.0
"""The records (データ実体) of one node, with versions; content is sealed.

Changes carry the version they were made on; a stale one is a `Conflict`. Former
versions are kept until the record is deleted. In clear stands the record's time in
whole seconds, for range queries; see `vault.sealed_record` for what is inside the seal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from protocol.ids import NodeId, RecordId, uuid7
from vault import discards
from vault.errors import Conflict, NotFound
from vault.keyring import Entropy, Keyring, SubjectId
from vault.sealed_record import Draft, OpenRecord, open_record, seal_record
from vault.statements import Hot
from vault.tables import (
    attachments,
    record_attributes,
    record_sources,
    record_versions,
    records,
)

_c = records.c
ROW = (
    _c.id,
    _c.subject,
    _c.dataset_type,
    _c.version,
    _c.time_s,
    _c.changed_ms,
    _c.consent_index,
    _c.retain_until,
    _c.wrapped,
    _c.sealed,
)
_BY_ID = Hot(select(*ROW).where(_c.id == bindparam("id")))
_BY_SOURCE = Hot(
    select(*ROW)
    .join(record_sources, record_sources.c.record == _c.id)
    .where(record_sources.c.source_index == bindparam("source_index"))
)


_OF_RECORD = (
    record_attributes.c.record,
    record_sources.c.record,
    record_versions.c.id,
    _c.id,
)
_INSERT = Hot(insert(records))
_SOURCE = Hot(insert(record_sources))
_ATTRIBUTE = Hot(insert(record_attributes))


class Records:
    """The records of one node."""

    def __init__(self, *, node: NodeId, keyring: Keyring, entropy: Entropy) -> None:
        self._prefix = f"urn:machikura:{node.city}:{node.label}:"
        self._keyring = keyring
        self._entropy = entropy

    def add(self, connection: Connection, draft: Draft, now_ms: int) -> RecordId:
        """Store a new record as version 1.

        Raises:
            Conflict: the source id is taken.
            NotFound, Erased: no such subject.
        """
        serial = str(uuid7(now_ms, self._entropy(10)))
        wrapped, sealed = self._seal(connection, draft, serial, 1, now_ms)
        _INSERT.run(
            connection,
            id=serial,
            subject=draft.subject,
            dataset_type=draft.dataset_type,
            version=1,
            time_s=draft.time_s,
            changed_ms=now_ms,
            consent_index=draft.consent_index,
            retain_until=draft.retain_until,
            stopped=0,
            wrapped=wrapped,
            sealed=sealed,
        )
        self._index(connection, serial, draft.source_index, draft.attributes)
        return RecordId(self._prefix + serial)

    def replace(
        self,
        connection: Connection,
        record: RecordId,
        draft: Draft,
        now_ms: int,
        *,
        expected_version: int | None = None,
    ) -> int:
        """Store the next version and keep the former one; return its number.

        Args:
            connection: the caller's transaction.
            record: which.
            draft: new content, of the same subject and type.
            now_ms: the time.
            expected_version: the version the change was made on; None means whichever.

        Raises:
            NotFound: no such record.
            Conflict: another version is there, or the draft is of another subject or
                type.
        """
        known = self.get(connection, record)
        if expected_version not in (None, known.version):
            raise Conflict(f"version {known.version} is there")
        if (known.subject, known.dataset_type) != (draft.subject, draft.dataset_type):
            raise Conflict("a record keeps its subject and dataset type")
        serial, version = self._serial(record), known.version + 1
        columns = [column.name for column in record_versions.c]
        connection.execute(
            insert(record_versions).from_select(
                columns,
                select(*(records.c[name] for name in columns)).where(_c.id == serial),
            )
        )
        wrapped, sealed = self._seal(connection, draft, serial, version, now_ms)
        changed = connection.execute(
            update(records)
            .where(_c.id == serial, _c.version == known.version)
            .values(
                version=version,
                time_s=draft.time_s,
                changed_ms=now_ms,
                consent_index=draft.consent_index,
                retain_until=draft.retain_until,
                wrapped=wrapped,
                sealed=sealed,
            )
        )
        if changed.rowcount != 1:
            raise Conflict("the record changed in the meantime")
        connection.execute(
            delete(record_attributes).where(record_attributes.c.record == serial)
        )
        self._index(connection, serial, None, draft.attributes)
        return version

    def get(self, connection: Connection, record: RecordId) -> OpenRecord:
        """Return a record in clear.

        Raises:
            NotFound: not here, of another node, or its person was erased.
            CannotOpen: the row was altered.
        """
        return self.get_serial(connection, self._serial(record))

    def get_serial(self, connection: Connection, serial: str) -> OpenRecord:
        """Return the record with this serial; as `get`."""
        row = _BY_ID.run(connection, id=serial).fetchone()
        if row is None:
            raise NotFound("no such record")
        return self.open(connection, row)

    def by_source(
        self, connection: Connection, source_index: bytes
    ) -> OpenRecord | None:
        """Return the record that the source calls so, None if there is none."""
        row = _BY_SOURCE.run(connection, source_index=source_index).fetchone()
        return None if row is None else self.open(connection, row)

    def versions(self, connection: Connection, record: RecordId) -> list[OpenRecord]:
        """Return the former versions, oldest first, and the present one last."""
        present, columns = self.get(connection, record), record_versions.c
        rows = connection.execute(
            select(*(record_versions.c[column.name] for column in ROW))
            .where(columns.id == self._serial(record))
            .order_by(columns.version)
        )
        former = [self.open(connection, tuple(row)) for row in rows.fetchall()]
        return [*former, present]

    def delete(
        self,
        connection: Connection,
        record: RecordId,
        *,
        expected_version: int | None = None,
    ) -> None:
        """Delete a record with all its versions.

        Raises:
            NotFound: no such record.
            Conflict: another version than expected is there.
        """
        serial = self._serial(record)
        row = _BY_ID.run(connection, id=serial).fetchone()
        if row is None:
            raise NotFound("no such record")
        if expected_version not in (None, row[3]):
            raise Conflict(f"version {row[3]} is there")
        self.delete_serials(connection, [serial])

    def delete_serials(self, connection: Connection, serials: list[str]) -> None:
        """Delete records by their serials, with all that belongs to them."""
        for start in range(0, len(serials), 500):
            some = serials[start : start + 500]
            discards.discard(connection, attachments.c.record.in_(some))
            for column in _OF_RECORD:
                connection.execute(delete(column.table).where(column.in_(some)))

    def remove(self, connection: Connection, subject: SubjectId) -> int:
        """Delete every record of a subject; return how many there were."""
        query = select(_c.id).where(_c.subject == subject)
        serials = list(connection.execute(query).scalars())
        self.delete_serials(connection, serials)
        return len(serials)

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Seal every record of `source` anew as one of `target`, versions included."""
        for table in (records, record_versions):
            columns = [table.c[column.name] for column in ROW]
            rows = connection.execute(
                select(*columns).where(table.c.subject == source)
            ).fetchall()
            for row in rows:
                opened = self.open(connection, tuple(row))
                draft = Draft(
                    target,
                    opened.dataset_type,
                    opened.content,
                    opened.time,
                    row.time_s,
                    source=opened.source,
                    origin=opened.origin,
                    consent_index=row.consent_index,
                    retain_until=row.retain_until,
                )
                sealed = self._seal(
                    connection, draft, row.id, row.version, row.changed_ms
                )
                connection.execute(
                    update(table)
                    .where(table.c.id == row.id, table.c.version == row.version)
                    .values(subject=target, wrapped=sealed[0], sealed=sealed[1])
                )

    def all(self, connection: Connection) -> Iterator[OpenRecord]:
        """Yield every record that opens, by subject: to build indexes anew.

        Rows that outlived their person's key are passed over.
        """
        rows = connection.execute(select(*ROW).order_by(_c.subject))
        for row in rows:
            try:
                yield self.open(connection, tuple(row))
            except NotFound:
                continue

    def index(
        self,
        connection: Connection,
        record: RecordId,
        source_index: bytes | None,
        attributes: tuple[bytes, ...],
    ) -> None:
        """Put the blind indexes of a record in place, after they were dropped."""
        self._index(connection, self._serial(record), source_index, attributes)

    def _index(
        self,
        connection: Connection,
        serial: str,
        source_index: bytes | None,
        attributes: tuple[bytes, ...],
    ) -> None:
        if source_index is not None:
            _SOURCE.run(connection, source_index=source_index, record=serial)
        for attribute in attributes:
            _ATTRIBUTE.run(connection, attribute_index=attribute, record=serial)

    def _serial(self, record: str) -> str:
        if not record.startswith(self._prefix):
            raise NotFound("no such record")
        return record[len(self._prefix) :]

    def _seal(
        self,
        connection: Connection,
        draft: Draft,
        serial: str,
        version: int,
        changed_ms: int,
    ) -> tuple[bytes, bytes]:
        person = self._keyring.person(connection, draft.subject)
        return seal_record(person, self._entropy, draft, serial, version, changed_ms)

    def open(self, connection: Connection, row: Any) -> OpenRecord:
        """Open one row of the columns `ROW`.

        Raises:
            CannotOpen: altered, or moved from another row.
            NotFound, Erased: its person has no key.
        """
        person = self._keyring.person(connection, row[1])
        return open_record(person, row, self._prefix)
