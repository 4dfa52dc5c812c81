# SPDX-License-Identifier: Apache-2.0
"""The only way into the vault: check, seal, store.

    stored = intake.store(connection, "health.checkup", subject, content, now_ms=now)

Storing the same record of a source again changes nothing (`known`); changed content
becomes a new version (`updated`). A source that now names another person for a record
corrects itself: the record leaves the one and comes to the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection

from protocol.answer import Stored
from protocol.canonical import Json
from protocol.consent import Consent
from protocol.dataset import DatasetType
from protocol.ids import ExchangeId, RecordId
from protocol.request import WireRecord
from vault.checks import Checked, check, fault, partial_schema, same_content
from vault.dataset_types import DatasetTypes
from vault.errors import Conflict, Rejected
from vault.keyring import SubjectId
from vault.received import ReceivedRecords
from vault.records import Records
from vault.schema import Validator, compile_schema
from vault.sealed_record import Draft, OpenRecord, Origin
from vault.search import Search

DAY_S = 86_400


class Outcome(StrEnum):
    """What became of a record that came in."""

    STORED = "stored"
    KNOWN = "known"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record that came in."""

    record: RecordId
    version: int
    outcome: Outcome


@dataclass(frozen=True)
class Delivery:
    """Under what another organization pushes records; all of it verified before.

    Attributes:
        provider: who sends (the city when the provider is hidden).
        exchange: by which exchange.
        consent: under which consent.
        dataset_type: of the routing header, the one that was decided on.
        fields: what may come in (`protocol.decision.Permit.fields`).
    """

    provider: str
    exchange: ExchangeId
    consent: Consent
    dataset_type: str
    fields: frozenset[str]


class Intake:
    """Takes records in."""

    def __init__(
        self,
        *,
        types: DatasetTypes,
        store: Records,
        search: Search,
        received: ReceivedRecords,
        max_record_bytes: int = 1 << 20,
    ) -> None:
        self._types = types
        self._store = store
        self._search = search
        self._received = received
        self._max_bytes = max_record_bytes
        self._partial: dict[tuple[str, int], Validator] = {}

    def store(
        self,
        connection: Connection,
        dataset_type: str,
        subject: SubjectId,
        content: bytes | Mapping[str, Json],
        *,
        now_ms: int,
        source_id: str | None = None,
    ) -> Arrival:
        """Store one record of our own.

        Args:
            connection: a write transaction.
            dataset_type: its type.
            subject: whose; `keyring.NOBODY` for data about no person.
            content: JSON text (kept byte for byte) or what it means.
            now_ms: the time.
            source_id: what the source calls the record, the same each time.

        Raises:
            UnknownDatasetType, Rejected, RecordTooLarge: the record.
            NotFound, Erased: the subject.
        """
        checked = self.check(dataset_type, content)
        return self.store_checked(
            connection, checked, subject, now_ms=now_ms, source_id=source_id
        )

    def check(self, dataset_type: str, content: bytes | Mapping[str, Json]) -> Checked:
        """Check a record without storing it.

        Raises:
            UnknownDatasetType, Rejected, RecordTooLarge: the record.
        """
        dataset = self._types.get(dataset_type)
        validator = self._types.validator(dataset)
        return check(dataset, validator, content, self._max_bytes)

    def store_checked(
        self,
        connection: Connection,
        checked: Checked,
        subject: SubjectId,
        *,
        now_ms: int,
        source_id: str | None,
    ) -> Arrival:
        """Store what `check` let pass; otherwise as `store`."""
        draft = self._draft(checked, subject, now_ms)
        if source_id is not None:
            index = self._search.source(draft.dataset_type, source_id)
            draft = replace(draft, source=source_id, source_index=index)
        return self._put(connection, draft, now_ms)

    def change(
        self,
        connection: Connection,
        record: RecordId,
        content: bytes | Mapping[str, Json],
        *,
        expected_version: int,
        now_ms: int,
    ) -> Arrival:
        """Replace the content of an own record (訂正).

        Raises:
            Conflict: another version is there, or the record was received from another
                organization, which alone may correct it.
            NotFound, Rejected, RecordTooLarge: as `store`.
        """
        known = self._store.get(connection, record)
        if known.origin is not None:
            raise Conflict("a received record is corrected where it came from")
        checked = self.check(known.dataset_type, content)
        draft = replace(
            self._draft(checked, known.subject, now_ms), source=known.source
        )
        version = self._store.replace(
            connection, record, draft, now_ms, expected_version=expected_version
        )
        return Arrival(record, version, Outcome.UPDATED)

    def receive(
        self,
        connection: Connection,
        wire: Sequence[WireRecord],
        *,
        subject: SubjectId,
        delivery: Delivery,
        now_ms: int,
    ) -> Stored:
        """Store records that another organization pushed; all of them or none.

        Delivered again, they are known. The consent's retention counts from now.

        Raises:
            Rejected: a record of another type, with a field beyond the permit, or not
                fitting the schema. The savepoint MUST be rolled back.
            UnknownDatasetType, RecordTooLarge: as named.
        """
        outcomes = [
            self._receive(connection, record, subject, delivery, now_ms)
            for record in wire
        ]
        known = outcomes.count(Outcome.KNOWN)
        return Stored(stored=len(outcomes) - known, known=known)

    def _receive(
        self,
        connection: Connection,
        wire: WireRecord,
        subject: SubjectId,
        delivery: Delivery,
        now_ms: int,
    ) -> Outcome:
        if wire.dataset_type != delivery.dataset_type:
            raise Rejected((fault("data-class-mismatch"),))
        dataset = self._types.get(wire.dataset_type)
        text = wire.content.encode()
        checked = check(dataset, self._partial_of(dataset), text, self._max_bytes)
        beyond = checked.content.keys() - delivery.fields
        if beyond:
            raise Rejected(
                tuple(fault("field-outside-purpose", name) for name in sorted(beyond))
            )
        consent = delivery.consent
        days = consent.retention_days
        origin = Origin(
            provider=delivery.provider,
            record=wire.id,
            version=wire.version,
            consent=consent.jti,
            exchange=delivery.exchange,
        )
        draft = replace(
            self._draft(checked, subject, now_ms),
            source_index=self._search.received(delivery.provider, wire.id, consent.jti),
            origin=origin,
            consent_index=self._received.index(consent.iss, consent.jti),
            retain_until=None if days is None else now_ms // 1000 + days * DAY_S,
        )
        return self._put(connection, draft, now_ms).outcome

    def _put(self, connection: Connection, draft: Draft, now_ms: int) -> Arrival:
        known = None
        if draft.source_index is not None:
            known = self._store.by_source(connection, draft.source_index)
        if known is not None and known.subject != draft.subject:
            self._store.delete(connection, known.id)
            record = self._store.add(connection, draft, now_ms)
            return Arrival(record, 1, Outcome.UPDATED)
        if known is None:
            record = self._store.add(connection, draft, now_ms)
            return Arrival(record, 1, Outcome.STORED)
        if _is_known(known, draft):
            return Arrival(known.id, known.version, Outcome.KNOWN)
        version = self._store.replace(connection, known.id, draft, now_ms)
        return Arrival(known.id, version, Outcome.UPDATED)

    def _draft(self, checked: Checked, subject: SubjectId, now_ms: int) -> Draft:
        dataset, time_s = checked.dataset, checked.time_s
        return Draft(
            subject=subject,
            dataset_type=dataset.name,
            content=checked.text,
            time=checked.time,
            time_s=now_ms // 1000 if time_s is None else time_s,
            attributes=self._search.attributes(dataset, checked.content),
        )

    def _partial_of(self, dataset: DatasetType) -> Validator:
        key = (dataset.name, dataset.version)
        found = self._partial.get(key)
        if found is None:
            found = compile_schema(partial_schema(dataset.json_schema))
            self._partial[key] = found
        return found


def content_source_id(dataset_type: str, subject: str, content: bytes) -> str:
    """Return a source id for a row whose source has none: its own digest.

    So that importing a file twice stores it once. Two equal rows of one person count as
    one record.
    """
    text = f"{dataset_type}\0{subject}\0".encode() + content
    return f"content:{hashlib.sha256(text).hexdigest()}"


def _is_known(known: OpenRecord, draft: Draft) -> bool:
    """Tell whether the source says nothing new: same content, or an older version."""
    ours, theirs = known.origin, draft.origin
    if ours is not None and theirs is not None and ours.version != theirs.version:
        return ours.version > theirs.version
    return same_content(known.content, draft.content)
