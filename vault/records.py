# SPDX-License-Identifier: Apache-2.0
"""Sealed records (データ実体) with versions.

A record's content is sealed under a fresh key of its own, which is wrapped by the
person's key. Both ciphertexts are bound to record id, version, dataset type and the
vault's own subject id, so nothing opens in another row. The subject id and not the
handle is bound, since records are imported before their person is linked.

Inside the seal stands one line of JSON (the record's time as written, and where a
received record came from), a line feed, and the content as JSON text, byte for byte as
it came in. In clear: the time in whole seconds, for range queries.

Changes carry the version they were made on; a stale one is a `Conflict`. Former
versions are kept until the record is deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from protocol.box import KEY_BYTES, NONCE_BYTES, Box
from protocol.errors import CannotOpen
from protocol.ids import DatasetTypeName, ExchangeId, NodeId, RecordId, uuid7
from protocol.model import Document, ShortText
from vault.errors import Conflict, NotFound
from vault.keyring import Entropy, Keyring, SubjectId
from vault.moments import EARLIEST, LATEST, text_of
from vault.statements import Hot
from vault.tables import record_attributes, record_versions, records


class Origin(Document):
    """Where a received record came from.

    Attributes:
        provider: who sent it (the city when the provider is hidden).
        record: its id there.
        version: its version there.
        consent: under which consent.
        exchange: by which exchange.
    """

    provider: ShortText
    record: RecordId
    version: int
    consent: ShortText
    exchange: ExchangeId


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be stored, checked before (`vault.intake`).

    Attributes:
        subject, dataset_type: whose, of what type.
        content: JSON text of an object.
        time: the record's time as written; None where the type has none.
        time_s: the same in seconds, or when it came in.
        source_index: blind index of what the source calls it; unique.
        attributes: blind indexes of searchable fields.
        origin, consent_index, retain_until: of received records.
    """

    subject: SubjectId
    dataset_type: DatasetTypeName
    content: bytes
    time: str | None
    time_s: int
    source_index: bytes | None = None
    attributes: tuple[bytes, ...] = ()
    origin: Origin | None = None
    consent_index: bytes | None = None
    retain_until: int | None = None


@dataclass(frozen=True, slots=True)
class OpenRecord:
    """A record in clear, for as long as it is needed."""

    id: RecordId
    subject: SubjectId
    dataset_type: DatasetTypeName
    version: int
    time: str | None
    content: bytes
    origin: Origin | None
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is of one dataset type; times as ISO 8601, UTC."""

    dataset_type: DatasetTypeName
    count: int
    first: str
    last: str


_c = records.c
_ROW = (
    _c.id,
    _c.subject,
    _c.dataset_type,
    _c.version,
    _c.changed_ms,
    _c.wrapped,
    _c.sealed,
)
_BY_ID = Hot(select(*_ROW).where(_c.id == bindparam("id")))
_BY_SOURCE = Hot(select(*_ROW).where(_c.source_index == bindparam("source_index")))
_BY_TIME = Hot(
    select(*_ROW)
    .where(
        _c.subject == bindparam("subject"),
        _c.dataset_type == bindparam("dataset_type"),
        _c.time_s >= bindparam("since_s"),
        _c.time_s < bindparam("until_s"),
        _c.stopped == literal_column("0"),
        # Own records, received ones, or both.
        (_c.consent_index.is_(None)).in_([bindparam("own"), bindparam("own_too")]),
    )
    .order_by(_c.time_s, _c.id)
    .limit(bindparam("limit"))
)
_INSERT = Hot(insert(records))
_ATTRIBUTE = Hot(insert(record_attributes))
