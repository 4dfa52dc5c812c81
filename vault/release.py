# SPDX-License-Identifier: Apache-2.0
"""The only way out of the vault: decide, open, project, log.

    prepared = release.prepare(reading, case, subject, query, asked)    # or Deny
    ... the node signs the answer ...
    release.commit(writing, prepared, answer_digest)                    # then it leaves

`prepare` only reads. `commit` writes the provision record; it MUST be durable before
the answer leaves, and it raises `Replayed` when the exchange was answered before. A
refusal is recorded as well (`refuse`), so the person sees who tried.

In a hidden read (requirement 7) a record's id is replaced by one that names the city
alone; it is the same each time under one consent and cannot be linked to another's. The
same holds for attachments, which are told where the read asks for them.

Where more records are there than one answer holds, it says where the next one starts,
sealed under a key of this node for that consent: it tells nothing, and is of no use
under another consent or for another type.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import orjson
from sqlalchemy import Connection

from protocol.answer import ReadResult
from protocol.attachment import AttachmentInfo
from protocol.box import NONCE_BYTES, Box
from protocol.canonical import b64url, unb64url
from protocol.consent import Consent, Operation
from protocol.decision import Case, Deny, Permit, decide
from protocol.errors import CannotOpen, Malformed, Misuse
from protocol.ids import AttachmentId, ExchangeId, NodeId, RecordId
from protocol.provision import ProvisionRecord
from protocol.pseudonym import blind_record_serial
from protocol.request import Read, WireRecord
from vault.attachments import Attachments
from vault.keyring import NOBODY, Entropy, Keyring, SubjectId
from vault.moments import EARLIEST, LATEST, seconds_of
from vault.provisions import Provisions, RefusalRecord
from vault.queries import Held, Place, Queries
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


Told: TypeAlias = dict[RecordId, tuple[AttachmentInfo, ...]]
"""What the requester is told of attachments, by record."""

_TOLD_BYTES = 600
"""What one attachment adds to an answer at most."""


class Release:
    """Lets records out."""

    def __init__(
        self,
        *,
        node: NodeId,
        keyring: Keyring,
        store: Records,
        queries: Queries,
        attachments: Attachments,
        provisions: Provisions,
        entropy: Entropy,
        max_answer_bytes: int = 4 << 20,
    ) -> None:
        self._city = node.city
        self._prefix = f"urn:machikura:{node.city}:{node.label}:"
        self._keyring = keyring
        self._store = store
        self._queries = queries
        self._attachments = attachments
        self._entropy = entropy
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
            Malformed: `since` or `until` is no ISO 8601 time, or `after` is not from
                here.
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
        after = None if query.after is None else self._place(case, permit, query.after)
        found: Iterable[OpenRecord] = ()
        if subject is not None:
            found = self._find(
                connection,
                case,
                permit,
                subject,
                since_s,
                until_s,
                query.limit + 1,
                after,
            )
        told: Told = {}
        if query.attachments:
            found = self._telling(connection, case, permit, found, told)
        leaving, more = self._within(found, query.limit, told)
        prepared = self._prepared(case, permit, subject, asked, leaving, more, told)
        if not more:
            return prepared
        start = self._after(connection, case, permit, leaving[-1])
        result = prepared.result.model_copy(update={"next": start})
        return replace(prepared, result=result)

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

    def hidden_attachment(self, consent: str, attachment: str) -> AttachmentId:
        """Return the id by which an attachment goes in hidden reads."""
        secret = self._keyring.secret("hidden-attachments", consent)
        serial = uuid.UUID(bytes=blind_record_serial(secret, attachment))
        return AttachmentId(str(serial))

    def info(self, case: Case, consent: str, info: AttachmentInfo) -> AttachmentInfo:
        """Return what the requester is told of an attachment."""
        if not case.hidden:
            return info
        name = self.hidden_attachment(consent, info.id)
        return info.model_copy(update={"id": name, "name": None})

    def _telling(
        self,
        connection: Connection,
        case: Case,
        permit: Permit,
        found: Iterable[OpenRecord],
        told: Told,
    ) -> Iterable[OpenRecord]:
        """Yield the records, and put what each has attached into `told`."""
        for record in found:
            told[record.id] = tuple(
                self.info(case, permit.consent, attachment.info)
                for attachment in self._attachments.of_record(connection, record.id)
                if attachment.info.field in permit.fields
            )
            yield record

    def _after(
        self, connection: Connection, case: Case, permit: Permit, last: OpenRecord
    ) -> str:
        """Return the place behind a record, for the requester to give back."""
        serial = last.id[len(self._prefix) :]
        place = self._queries.place(connection, serial)
        text = f"{place.time_s}|{place.serial}".encode("ascii")
        box = Box(self._keyring.secret("next-page", permit.consent))
        return b64url(box.seal(self._entropy(NONCE_BYTES), text, case.dataset.name))

    def _place(self, case: Case, permit: Permit, after: str) -> Place:
        box = Box(self._keyring.secret("next-page", permit.consent))
        try:
            text = box.open(unb64url(after), case.dataset.name).decode("ascii")
        except CannotOpen as error:
            raise Malformed("`after` is not from this holder and consent") from error
        time_s, _, serial = text.partition("|")
        return Place(int(time_s), serial)

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
        after: Place | None,
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
                after=after,
            )
        serials = self._queries.serials(
            connection,
            subject,
            name,
            since_s=since_s,
            until_s=until_s,
            held=held,
            after=after,
        )
        allowed = [s for s in serials if self._is_named(s, permit, case.hidden)]
        return (self._store.get_serial(connection, s) for s in allowed[:limit])

    def _within(
        self, found: Iterable[OpenRecord], limit: int, told: Told
    ) -> tuple[list[OpenRecord], bool]:
        """Return what goes into one answer, at least one record; and whether all."""
        leaving: list[OpenRecord] = []
        size = 0
        for record in found:
            size += len(record.content) + _TOLD_BYTES * len(told.get(record.id, ()))
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
        told: Told,
    ) -> Prepared:
        consent = case.consent
        if consent is None:
            raise Misuse("a permit without a consent")
        result = ReadResult(
            records=tuple(self._wire(case, permit, record, told) for record in leaving),
            fields=tuple(sorted(permit.fields)),
            cut=dict(permit.cut),
            more=more,
        )
        owner = NOBODY if subject is None else subject
        ids = tuple(record.id for record in leaving)
        return Prepared(result, permit, owner, ids, case, consent, asked)

    def _wire(
        self, case: Case, permit: Permit, record: OpenRecord, told: Told
    ) -> WireRecord:
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
            attachments=told.get(record.id),
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
