# SPDX-License-Identifier: Apache-2.0
"""Blind indexes of records: what the source calls them, and searchable attributes.

Equality only. Text is compared without regard to width and case (NFKC, case folding);
of a list every element is found. An index tells nothing without the node's index key;
it is no part of a backup and is made anew after a restore.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import orjson
from sqlalchemy import Connection, delete, select

from protocol.canonical import Json
from protocol.dataset import DatasetType
from vault.dataset_types import DatasetTypes
from vault.errors import NotFound, UnknownDatasetType
from vault.keyring import Keyring, SubjectId
from vault.records import Records
from vault.sealed_record import OpenRecord
from vault.tables import record_attributes, record_sources, records


class Search:
    """Makes the indexes and finds by them."""

    def __init__(self, *, keyring: Keyring, store: Records) -> None:
        self._keyring = keyring
        self._store = store

    def attributes(
        self, dataset: DatasetType, content: Mapping[str, Json]
    ) -> tuple[bytes, ...]:
        """Return the blind indexes of a record's searchable fields."""
        found = {
            self._index(dataset.name, field, element)
            for field in dataset.searchable
            for element in _elements(content.get(field))
        }
        return tuple(sorted(found))

    def source(self, dataset_type: str, source_id: str) -> bytes:
        """Return by what a record of a source of our own is known again."""
        return self._keyring.index("source", dataset_type, source_id)

    def received(self, provider: str, record: str, consent: str) -> bytes:
        """Return by what a record from another organization is known again."""
        return self._keyring.index("received", provider, record, consent)

    def find(
        self,
        connection: Connection,
        dataset: DatasetType,
        field: str,
        value: Json,
        *,
        subject: SubjectId | None = None,
        limit: int = 100,
    ) -> list[OpenRecord]:
        """Return own and received records whose `field` is, or contains, `value`.

        Raises:
            NotFound: the dataset type does not declare the field searchable.
        """
        if field not in dataset.searchable:
            raise NotFound(f"{dataset.name} is not searched by this field")
        columns, entries = records.c, record_attributes.c
        query = (
            select(columns.id)
            .join(record_attributes, entries.record == columns.id)
            .where(
                entries.attribute_index == self._index(dataset.name, field, value),
                columns.stopped == 0,
            )
            .order_by(columns.time_s, columns.id)
            .limit(limit)
        )
        if subject is not None:
            query = query.where(columns.subject == subject)
        serials = list(connection.execute(query).scalars())
        return [self._store.get_serial(connection, serial) for serial in serials]

    def rebuild(self, connection: Connection, types: DatasetTypes) -> int:
        """Make every index anew, after a restore; return the number of records."""
        connection.execute(delete(record_attributes))
        connection.execute(delete(record_sources))
        count = 0
        for record in self._store.all(connection):
            source = self._source_of(record)
            attributes = self._attributes_of(record, types)
            self._store.index(connection, record.id, source, attributes)
            count += 1
        return count

    def _source_of(self, record: OpenRecord) -> bytes | None:
        origin = record.origin
        if origin is not None:
            return self.received(origin.provider, origin.record, origin.consent)
        if record.source is None:
            return None
        return self.source(record.dataset_type, record.source)

    def _attributes_of(
        self, record: OpenRecord, types: DatasetTypes
    ) -> tuple[bytes, ...]:
        try:
            dataset = types.get(record.dataset_type)
        except UnknownDatasetType:
            return ()
        return self.attributes(dataset, orjson.loads(record.content))

    def _index(self, dataset_type: str, field: str, value: Json) -> bytes:
        if isinstance(value, str):
            plain = unicodedata.normalize("NFKC", value).casefold().strip()
            return self._keyring.index("attribute", dataset_type, field, plain)
        text = orjson.dumps(value).decode()
        return self._keyring.index("attribute", dataset_type, field, "json", text)


def _elements(value: Json) -> list[Json]:
    """Return the scalars to index: the value, or each of a list."""
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, str | int | float)]
