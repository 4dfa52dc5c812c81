# SPDX-License-Identifier: Apache-2.0
"""Parts of attachments leave: decide, say what it is, log. The content is read later.

    prepared = segments.prepare(reading, case, subject, query, asked)   # or Deny
    segments.is_open(reading, prepared)       # a transfer that was written down before
    segments.commit(writing, prepared, answer_digest)                   # one that opens

The decision is the one about a read of the attachment's record and field, taken anew
for each part. One provision record stands for a whole transfer: that of the exchange
which opened it. A later part names that exchange, and it counts for the same recipient,
consent in the same version, purpose and attachment; who names another has opened none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from protocol.attachment import AttachmentInfo
from protocol.consent import Consent
from protocol.decision import Case, Deny, decide
from protocol.errors import Misuse
from protocol.ids import AttachmentId, NodeId, RecordId
from protocol.provision import ProvisionRecord
from protocol.request import Fetch
from vault.attachments import Attachment, Attachments
from vault.errors import NotFound
from vault.keyring import SubjectId
from vault.provisions import Provisions
from vault.release import Asked, Release


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """A part that may leave.

    Attributes:
        attachment: which.
        told: what the requester is told of it.
        record: its record, by its real id.
        query, case, consent, asked: what it was decided on.
    """

    attachment: Attachment
    told: AttachmentInfo
    record: RecordId
    query: Fetch
    case: Case
    consent: Consent
    asked: Asked


class Segments:
    """Lets parts of attachments out."""

    def __init__(
        self,
        *,
        node: NodeId,
        release: Release,
        attachments: Attachments,
        provisions: Provisions,
    ) -> None:
        self._prefix = f"urn:machikura:{node.city}:{node.label}:"
        self._release = release
        self._attachments = attachments
        self._provisions = provisions

    def prepare(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        query: Fetch,
        asked: Asked,
    ) -> PreparedPart | Deny:
        """Decide; write nothing.

        Args:
            connection: a read connection.
            case: all that the decision looks at, without fields and records.
            subject: whom the opened ticket names; None when it is nobody here.
            query: what is asked.
            asked: from the envelope.

        Raises:
            CannotOpen: a stored row was altered.
        """
        found = self._find(connection, case, subject, query)
        records = {query.record}
        fields = None
        if found is not None:
            # A consent may name the real record where the requester knows another.
            records.add(RecordId(self._prefix + found.record))
            fields = frozenset({found.info.field})
        case = replace(case, records=frozenset(records), fields=fields)
        permit = decide(case)
        if isinstance(permit, Deny):
            return permit
        if found is None or case.consent is None:
            return Deny("not-found", "the record has no such attachment")
        return PreparedPart(
            found,
            self._release.info(case, permit.consent, found.info),
            RecordId(self._prefix + found.record),
            query,
            case,
            case.consent,
            asked,
        )

    def is_open(self, connection: Connection, part: PreparedPart) -> bool:
        """Tell whether the transfer that a part names was written down for it."""
        transfer = part.query.transfer
        if transfer is None:
            return False
        try:
            known = self._provisions.find(connection, transfer, "provision")
        except NotFound:
            return False
        return isinstance(known, ProvisionRecord) and (
            known.counterparty,
            known.consent,
            known.consent_version,
            known.purpose,
            known.attachment,
        ) == (
            part.case.recipient.sub,
            part.consent.jti,
            part.consent.version,
            part.case.purpose,
            part.attachment.info.id,
        )

    def commit(
        self, connection: Connection, part: PreparedPart, answer_digest: str
    ) -> bytes:
        """Record that a transfer begins; as `Release.commit`.

        Raises:
            Replayed: the exchange was answered before.
        """
        case, consent, asked = part.case, part.consent, part.asked
        if part.query.transfer is not None:
            raise Misuse("this part belongs to a transfer that is open")
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
            fields=(part.attachment.info.field,),
            records=(part.record,),
            request=asked.request,
            answer=answer_digest,
            route=asked.route,
            attachment=AttachmentId(part.attachment.info.id),
        )
        return self._provisions.write(connection, part.attachment.subject, provision)

    def _find(
        self,
        connection: Connection,
        case: Case,
        subject: SubjectId | None,
        query: Fetch,
    ) -> Attachment | None:
        """Return the attachment meant, if it is this person's and of that record."""
        if subject is None or case.consent is None:
            return None
        consent, name = case.consent.jti, str(query.attachment)
        if case.hidden:
            name = next(
                (
                    real
                    for real in self._attachments.ids_of(connection, subject)
                    if self._release.hidden_attachment(consent, real) == name
                ),
                "",
            )
        try:
            found = self._attachments.get(connection, name)
        except NotFound:
            return None
        record: RecordId = RecordId(self._prefix + found.record)
        if case.hidden:
            record = self._release.hidden_id(consent, record)
        same = found.subject == subject and record == query.record
        return found if same and self._is_of(connection, found, case) else None

    def _is_of(self, connection: Connection, found: Attachment, case: Case) -> bool:
        """Tell whether the record is of the dataset type that was decided on."""
        return self._attachments.type_of(connection, found) == case.dataset.name
