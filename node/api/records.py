# SPDX-License-Identifier: Apache-2.0
"""The organization's own records: store, read, correct, delete; and who got them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.canonical import Json, parse_json
from protocol.ids import DatasetTypeName, RecordId
from protocol.model import Request, ShortText
from vault.errors import NotFound
from vault.keyring import NOBODY, SubjectId
from vault.moments import EARLIEST, LATEST, seconds_of
from vault.provisions import RefusalRecord
from vault.queries import Held
from vault.sealed_record import OpenRecord

_Content = Annotated[dict[str, Any], Field(max_length=4096)]


class NewRecord(Request):
    """A record to store. `subject` is the organization's own number of the person."""

    dataset_type: DatasetTypeName
    subject: ShortText | None = None
    content: _Content
    source_id: ShortText | None = None


class StoredRecord(Request):
    """Where a record is."""

    id: str
    version: int
    outcome: str


class RecordEntry(Request):
    """A record with its content."""

    id: str
    dataset_type: str
    version: int
    time: str | None
    content: dict[str, Any]
    received: bool


class RecordList(Request):
    """Records of one person and type, oldest first."""

    records: list[RecordEntry]


class RecordName(Request):
    """Which record."""

    id: RecordId


class RecordQuery(Request):
    """Which records: of whom, of which type, of which time."""

    dataset_type: DatasetTypeName
    subject: ShortText = ""
    handle: ShortText = ""
    since: ShortText = ""
    until: ShortText = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Correction(Request):
    """New content for a record that still has the version given."""

    content: _Content
    version: Annotated[int, Field(ge=1, lt=2**31)]


class ProvisionQuery(Request):
    """Whose history."""

    subject: ShortText
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class ProvisionEntry(Request):
    """One release, arrival or refusal."""

    role: str
    exchange: str
    at_ms: int
    counterparty: str
    consent: str
    purpose: str | None
    dataset_type: str | None
    fields: list[str]
    route: list[str]
    reason: str = ""


class ProvisionList(Request):
    """A person's history, newest first."""

    provisions: list[ProvisionEntry]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts, vault = core.parts, core.parts.vault

    def subject_of(connection: Connection, local_id: str, handle: str) -> SubjectId:
        found = None
        if handle:
            found = vault.subjects.find_handle(connection, handle)
        elif local_id:
            found = vault.subjects.find_local(connection, local_id)
        else:
            return NOBODY
        if found is None:
            raise NotFound("no such person here")
        return found

    @registry.route(
        "POST",
        "/v1/records",
        scope=Scope.RECORDS_WRITE,
        status=201,
        summary=("Store a record", "記録を蓄積する"),
        tag="records",
        problems=("schema-violation", "unknown-dataset-type", "my-number-refused"),
    )
    async def store(body: NewRecord) -> StoredRecord:
        now_ms = parts.world.clock.now_ms()

        def put(connection: Connection) -> StoredRecord:
            subject = NOBODY
            if body.subject is not None:
                subject = vault.subjects.ensure_local(connection, body.subject, now_ms)
            arrival = vault.intake.store(
                connection,
                body.dataset_type,
                subject,
                body.content,
                now_ms=now_ms,
                source_id=body.source_id,
            )
            return StoredRecord(
                id=arrival.record, version=arrival.version, outcome=arrival.outcome
            )

        stored = await parts.database.write(put)
        if parts.locations is not None and body.subject is not None:
            await parts.locations.refresh()
        return stored

    @registry.route(
        "GET",
        "/v1/records",
        scope=Scope.RECORDS_READ,
        summary=("Records of a person and type", "記録の検索"),
        tag="records",
        problems=("not-found", "unknown-dataset-type"),
    )
    async def search(params: RecordQuery) -> RecordList:
        vault.types.get(params.dataset_type)
        since_s = seconds_of(params.since) if params.since else EARLIEST
        until_s = seconds_of(params.until) if params.until else LATEST

        def find(connection: Connection) -> list[OpenRecord]:
            subject = subject_of(connection, params.subject, params.handle)
            return vault.queries.of_subject(
                connection,
                subject,
                params.dataset_type,
                since_s=since_s,
                until_s=until_s,
                limit=params.limit,
                held=Held.BOTH,
            )

        found = await parts.database.scan(find)
        return RecordList(records=[_entry(record) for record in found])

    @registry.route(
        "GET",
        "/v1/records/{id}",
        scope=Scope.RECORDS_READ,
        summary=("One record", "記録の取得"),
        tag="records",
        problems=("not-found",),
    )
    async def get(params: RecordName) -> RecordEntry:
        found = parts.database.read(partial(vault.records.get, record=params.id))
        return _entry(found)

    @registry.route(
        "PUT",
        "/v1/records/{id}",
        scope=Scope.RECORDS_WRITE,
        summary=("Correct a record", "記録の訂正"),
        tag="records",
        problems=("not-found", "conflict", "schema-violation"),
    )
    async def correct(params: RecordName, body: Correction) -> StoredRecord:
        arrival = await parts.database.write(
            lambda c: vault.intake.change(
                c,
                params.id,
                body.content,
                expected_version=body.version,
                now_ms=parts.world.clock.now_ms(),
            )
        )
        return StoredRecord(
            id=arrival.record, version=arrival.version, outcome=arrival.outcome
        )

    @registry.route(
        "DELETE",
        "/v1/records/{id}",
        scope=Scope.RECORDS_WRITE,
        summary=("Delete a record", "記録の消去"),
        tag="records",
        problems=("not-found",),
    )
    async def delete(params: RecordName) -> None:
        await parts.database.write(partial(vault.records.delete, record=params.id))
        await parts.attachments.tidy()
        if parts.locations is not None:
            await parts.locations.refresh()

    @registry.route(
        "GET",
        "/v1/provisions",
        scope=Scope.RECORDS_READ,
        summary=("Who got a person's data, and who tried", "提供・受領・拒否の記録"),
        tag="provisions",
        problems=("not-found",),
    )
    async def provisions(params: ProvisionQuery) -> ProvisionList:
        def find(connection: Connection) -> list[ProvisionEntry]:
            subject = subject_of(connection, params.subject, "")
            history = vault.provisions.of_subject(
                connection, subject, limit=params.limit
            )
            return [
                _refusal(record)
                if isinstance(record, RefusalRecord)
                else ProvisionEntry(
                    role=record.role,
                    exchange=record.exchange,
                    at_ms=record.at_ms,
                    counterparty=record.counterparty,
                    consent=record.consent,
                    purpose=record.purpose,
                    dataset_type=record.dataset_type,
                    fields=list(record.fields),
                    route=list(record.route),
                )
                for record in history
            ]

        return ProvisionList(provisions=await parts.database.scan(find))


def _refusal(record: RefusalRecord) -> ProvisionEntry:
    return ProvisionEntry(
        role=record.role,
        exchange=record.exchange,
        at_ms=record.at_ms,
        counterparty=record.requester,
        consent=record.consent,
        purpose=record.purpose,
        dataset_type=record.dataset_type,
        fields=[],
        route=[],
        reason=record.reason,
    )


def _entry(record: OpenRecord) -> RecordEntry:
    content: Json = parse_json(record.content, max_bytes=16 << 20)
    return RecordEntry(
        id=record.id,
        dataset_type=record.dataset_type,
        version=record.version,
        time=record.time,
        content=content if isinstance(content, dict) else {},
        received=record.origin is not None,
    )
