# SPDX-License-Identifier: Apache-2.0
"""The only way out of the vault: decide, open, project, log.

    prepared = release.prepare(reading, case, subject, query, asked)    # or Deny
    ... the node signs the answer ...
    release.commit(writing, prepared, answer_digest)                    # then it leaves

`prepare` only reads. `commit` writes the provision record; it MUST be durable before
the answer leaves, and it raises `Replayed` when the exchange was answered before. A
refusal is recorded as well (`refuse`), so the person sees who tried.

In a hidden read (requirement 7) a record's id is replaced by one that names the city
alone; it is the same each time under one consent and cannot be linked to another's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import orjson
from sqlalchemy import Connection

from protocol.answer import ReadResult
from protocol.consent import Consent, Operation
from protocol.decision import Case, Deny, Permit, decide
from protocol.errors import Malformed, Misuse
from protocol.ids import ExchangeId, NodeId, RecordId
from protocol.provision import ProvisionRecord
from protocol.pseudonym import blind_record_serial
from protocol.request import Read, WireRecord
from vault.keyring import NOBODY, Keyring, SubjectId
from vault.moments import EARLIEST, LATEST, seconds_of
from vault.provisions import Provisions, RefusalRecord
from vault.queries import Held, Queries
from vault.records import Records
from vault.sealed_record import OpenRecord


@dataclass(frozen=True, slots=True)
class Asked:
    """What the envelope says of the exchange; verified before.

    Attributes:
        exchange: its id.
        request: digest of the routing header.
        route: brokers that carried it, nearest to the requester first.
        at_ms: when the case was decided.
    """

    exchange: ExchangeId
    request: str
    route: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A release that is decided on and opened, and not yet recorded.

    Attributes:
        result: what the requester gets.
        permit: why, and which clause cut what.
        subject: whose records.
        records: the records that leave, by their real ids.
        case, consent, asked: what it was decided on.
    """

    result: ReadResult = field(repr=False)
    permit: Permit
    subject: SubjectId
    records: tuple[RecordId, ...]
    case: Case
    consent: Consent
    asked: Asked


class Release:
    """Lets records out."""

    def __init__(
        self,
        *,
        node: NodeId,
        keyring: Keyring,
        store: Records,
        queries: Queries,
        provisions: Provisions,
        max_answer_bytes: int = 4 << 20,
    ) -> None:
        self._city = node.city
        self._prefix = f"urn:machikura:{node.city}:{node.label}:"
        self._keyring = keyring
        self._store = store
        self._queries = queries
        self._provisions = provisions
        self._max_bytes = max_answer_bytes

    def prepare(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        query: Read,
        asked: Asked,
    ) -> Prepared | Deny:
        """Decide and open; write nothing.

        Args:
            connection: a read connection.
            case: all that the decision looks at, without `fields` and `records`, which
                are taken from `query`.
            subject: whom the opened ticket names; None when this node does not know
                that handle.
            query: what is asked.
            asked: from the envelope.

        Raises:
            Malformed: `since` or `until` is no ISO 8601 time.
            CannotOpen: a stored row was altered.
        """
        since_s, until_s = _moment(query.since, EARLIEST), _moment(query.until, LATEST)
        if query.fields is not None or query.records is not None:
            wanted = self._wanted(connection, case, subject, query)
            fields = None if query.fields is None else frozenset(query.fields)
            case = replace(case, fields=fields, records=wanted)
        permit = decide(case)
        if isinstance(permit, Deny):
            return permit
        time_field = case.dataset.time_field
        timed = query.since is not None or query.until is not None
        if timed and time_field is not None and time_field not in permit.fields:
            # Asking for ever smaller ranges would tell the time that may not leave.
            return Deny("field-outside-purpose", time_field)
        found: Iterable[OpenRecord] = ()
        if subject is not None:
            found = self._find(
                connection, case, permit, subject, since_s, until_s, query.limit + 1
            )
        leaving, more = self._within(found, query.limit)
        return self._prepared(case, permit, subject, asked, leaving, more)

    def commit(
        self, connection: Connection, prepared: Prepared, answer_digest: str
    ) -> bytes:
        """Record the release; return the sealed document for the log's commitment.

        Raises:
            Replayed: the exchange was answered before; the savepoint MUST be rolled
                back and the answer MUST NOT leave.
        """
        case, consent, asked = prepared.case, prepared.consent, prepared.asked
        provision = ProvisionRecord(
            role="provision",
            exchange=asked.exchange,
            at_ms=asked.at_ms,
            counterparty=case.recipient.sub,
            basis=consent.legal_basis,
            consent=consent.jti,
            consent_version=consent.version,
            purpose=case.purpose,
            dataset_type=case.dataset.name,
            fields=prepared.result.fields,
            records=prepared.records,
            request=asked.request,
            answer=answer_digest,
            route=asked.route,
        )
        return self._provisions.write(connection, prepared.subject, provision)

    def refuse(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        deny: Deny,
        asked: Asked,
    ) -> bool:
        """Record a refusal; return False if this exchange was refused before."""
        record = RefusalRecord(
            exchange=asked.exchange,
            at_ms=asked.at_ms,
            requester=case.recipient.sub,
            reason=deny.reason,
            consent="" if case.consent is None else case.consent.jti,
            purpose=case.purpose,
            dataset_type=case.dataset.name,
            request=asked.request,
        )
        return self._provisions.refuse(connection, subject, record)

    def hidden_id(self, consent: str, record: str) -> RecordId:
        """Return the id by which a record goes in hidden reads under one consent."""
        secret = self._keyring.secret("hidden-records", consent)
        serial = uuid.UUID(bytes=blind_record_serial(secret, record))
        return RecordId(f"urn:machikura:{self._city}::{serial}")

    def _wanted(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        query: Read,
    ) -> frozenset[RecordId] | None:
        """Return the records asked for; of a hidden one both its names.

        The requester of a hidden read knows the replaced ids alone, while the consent
        may name the real ones.
        """
        if query.records is None:
            return None
        wanted = frozenset(query.records)
        if not case.hidden or case.consent is None or subject is None:
            return wanted
        serials = self._queries.serials(
            connection, subject, case.dataset.name, held=_held(case)
        )
        ours = (RecordId(self._prefix + serial) for serial in serials)
        consent = case.consent.jti
        return wanted | {r for r in ours if self.hidden_id(consent, r) in wanted}

    def _find(
        self,
        connection: Connection,
        case: Case,
        permit: Permit,
        subject: SubjectId,
        since_s: int,
        until_s: int,
        limit: int,
    ) -> Iterable[OpenRecord]:
        held, name = _held(case), case.dataset.name
        if permit.records is None:
            return self._queries.of_subject(
                connection,
                subject,
                name,
                since_s=since_s,
                until_s=until_s,
                limit=limit,
                max_bytes=self._max_bytes,
                held=held,
            )
        serials = self._queries.serials(
            connection, subject, name, since_s=since_s, until_s=until_s, held=held
        )
        allowed = [s for s in serials if self._is_named(s, permit, case.hidden)]
        return (self._store.get_serial(connection, s) for s in allowed[:limit])

    def _within(
        self, found: Iterable[OpenRecord], limit: int
    ) -> tuple[list[OpenRecord], bool]:
        """Return what goes into one answer, at least one record; and whether all."""
        leaving: list[OpenRecord] = []
        size = 0
        for record in found:
            size += len(record.content)
            if len(leaving) == limit or (leaving and size > self._max_bytes):
                return leaving, True
            leaving.append(record)
        return leaving, False

    def _is_named(self, serial: str, permit: Permit, hidden: bool) -> bool:
        named = permit.records or frozenset()
        record = RecordId(self._prefix + serial)
        if record in named:
            return True
        return hidden and self.hidden_id(permit.consent, record) in named

    def _prepared(
        self,
        case: Case,
        permit: Permit,
        subject: SubjectId | None,
        asked: Asked,
        leaving: list[OpenRecord],
        more: bool,
    ) -> Prepared:
        consent = case.consent
        if consent is None:
            raise Misuse("a permit without a consent")
        result = ReadResult(
            records=tuple(self._wire(case, permit, record) for record in leaving),
            fields=tuple(sorted(permit.fields)),
            cut=dict(permit.cut),
            more=more,
        )
        owner = NOBODY if subject is None else subject
        ids = tuple(record.id for record in leaving)
        return Prepared(result, permit, owner, ids, case, consent, asked)

    def _wire(self, case: Case, permit: Permit, record: OpenRecord) -> WireRecord:
        name = record.id
        if case.hidden:
            name = self.hidden_id(permit.consent, record.id)
        time_field = case.dataset.time_field
        return WireRecord(
            id=name,
            dataset_type=case.dataset.name,
            version=record.version,
            time=record.time if time_field in permit.fields else None,
            content=project(record.content, permit.fields),
        )


def project(content: bytes, fields: frozenset[str]) -> str:
    """Return JSON text with the permitted fields alone.

    Content that has no other fields stays byte for byte as it came in, so that a
    source's signature over it still verifies.
    """
    members = orjson.loads(content)
    if members.keys() <= fields:
        return content.decode()
    kept = {name: value for name, value in members.items() if name in fields}
    return orjson.dumps(kept).decode()


def _held(case: Case) -> Held:
    """Return which records a case is about.

    Received records leave only where the consent says re-provide, which is what the
    case then asks for (requirement 110).
    """
    again = case.operation is Operation.RE_PROVIDE
    return Held.RECEIVED if again else Held.OWN


def _moment(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        return seconds_of(text)
    except (ValueError, OverflowError) as error:
        raise Malformed("since and until are ISO 8601 times") from error
