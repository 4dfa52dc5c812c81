# SPDX-License-Identifier: Apache-2.0
"""Attachments of own records: who has which, and the key that opens its file.

Rules:
 1. Each attachment has a fresh key that seals one content once. It is kept sealed under
    the person's key, together with media type, name and digest: erasure takes them all.
 2. An attachment appears when its file is whole and on disk, never before (`begin`,
    then the file, then `finish`).
 3. It is filed under a field of the dataset type and leaves where that field leaves.
 4. It goes with its record; received records have none.

Content is in files (`vault.attachment_files`), everything else in rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as member
from typing import Any, TypeAlias

from pydantic import ValidationError
from sqlalchemy import Connection, bindparam, func, insert, select, update

from protocol.attachment import MAX_ATTACHMENTS, AttachmentInfo, FileName, MediaType
from protocol.box import KEY_BYTES
from protocol.canonical import b64url, unb64url
from protocol.ids import AttachmentId, NodeId, uuid7
from protocol.model import Digest, Document
from vault import discards
from vault.dataset_types import DatasetTypes
from vault.errors import Conflict, Fault, NotFound, Rejected
from vault.keyring import Entropy, Keyring, SubjectId
from vault.statements import Hot
from vault.tables import attachments, records

_c = attachments.c
_ROW = (_c.id, _c.record, _c.subject, _c.field, _c.size, _c.added_ms, _c.sealed)
_BY_ID = Hot(select(*_ROW).where(_c.id == bindparam("id")))
_OF_RECORD = Hot(
    select(*_ROW).where(_c.record == bindparam("record")).order_by(_c.added_ms, _c.id)
)
_OF_SUBJECT = Hot(select(_c.id).where(_c.subject == bindparam("subject")))
_INSERT = Hot(insert(attachments))
_RECORD = Hot(
    select(records.c.subject, records.c.dataset_type, records.c.consent_index).where(
        records.c.id == bindparam("id")
    )
)


Row: TypeAlias = tuple[str, str, str, str, int, int, bytes]
"""As the table has it, see `_ROW`."""


class _Inside(Document):
    """What is sealed of an attachment."""

    key: str
    media_type: MediaType
    sha256: Digest
    name: FileName | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An attachment whose file is being written.

    Attributes:
        id: of the attachment and of its file.
        record: serial of its record.
        subject: whose record.
        field, media_type, name: as given.
        key: 32 bytes, for this file alone.
    """

    id: AttachmentId
    record: str
    subject: SubjectId
    field: str
    media_type: MediaType
    name: str | None
    key: bytes = member(repr=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment, and the key of its file.

    Attributes:
        info: what is told of it.
        record: serial of its record.
        subject: whose record.
        added_ms: when it came in.
        key: 32 bytes.
    """

    info: AttachmentInfo
    record: str
    subject: SubjectId
    added_ms: int
    key: bytes = member(repr=False)


class Attachments:
    """The attachments of one node."""

    def __init__(
        self, *, node: NodeId, keyring: Keyring, types: DatasetTypes, entropy: Entropy
    ) -> None:
        self._prefix = f"urn:machikura:{node.city}:{node.label}:"
        self._keyring = keyring
        self._types = types
        self._entropy = entropy

    def begin(
        self,
        connection: Connection,
        record: str,
        field_name: str,
        media_type: str,
        name: str | None,
        now_ms: int,
    ) -> Upload:
        """Note that a file will be written; without `finish` it will be removed.

        Raises:
            NotFound: no such record of our own.
            Rejected: the dataset type has no such field, or the media type or the
                name has not the form.
            Conflict: the record has as many as it may have.
        """
        serial, subject = self._owner(connection, record, field_name)
        count = connection.execute(
            select(func.count()).select_from(attachments).where(_c.record == serial)
        ).scalar_one()
        if count >= MAX_ATTACHMENTS:
            raise Conflict(f"a record has at most {MAX_ATTACHMENTS} attachments")
        upload = Upload(
            AttachmentId(str(uuid7(now_ms, self._entropy(10)))),
            serial,
            subject,
            field_name,
            media_type,
            name,
            self._entropy(KEY_BYTES),
        )
        try:
            _info(upload, 0, b64url(bytes(32)))
        except ValidationError as error:
            faults = (
                Fault(str(e["loc"][0]) + "-invalid", None) for e in error.errors()
            )
            raise Rejected(tuple(faults)) from error
        discards.enter(connection, upload.id, now_ms)
        return upload

    def finish(
        self,
        connection: Connection,
        upload: Upload,
        size: int,
        sha256: str,
        now_ms: int,
    ) -> AttachmentInfo:
        """Let the attachment appear; its file MUST be on disk.

        Raises:
            NotFound: the record went in the meantime.
        """
        serial, subject = self._owner(
            connection, self._prefix + upload.record, upload.field
        )
        if not discards.leave(connection, upload.id):
            raise NotFound("no such upload")
        info = _info(upload, size, sha256)
        attachment = Attachment(info, serial, subject, now_ms, upload.key)
        _INSERT.run(
            connection,
            id=upload.id,
            record=serial,
            subject=subject,
            field=upload.field,
            size=size,
            added_ms=now_ms,
            sealed=self._seal(connection, attachment),
        )
        return info

    def get(self, connection: Connection, attachment: str) -> Attachment:
        """Return one attachment.

        Raises:
            NotFound: not here, or its person was erased.
            CannotOpen: the row was altered.
        """
        row = _BY_ID.run(connection, id=attachment).fetchone()
        if row is None:
            raise NotFound("no such attachment")
        return self._open(connection, row)

    def of_record(self, connection: Connection, record: str) -> list[Attachment]:
        """Return the attachments of the record with this id, oldest first."""
        rows = _OF_RECORD.run(connection, record=self._serial(record)).fetchall()
        return [self._open(connection, row) for row in rows]

    def type_of(self, connection: Connection, attachment: Attachment) -> str | None:
        """Return the dataset type of an attachment's record."""
        row = _RECORD.run(connection, id=attachment.record).fetchone()
        return None if row is None else str(row[1])

    def ids_of(self, connection: Connection, subject: SubjectId) -> list[str]:
        """Return the ids of every attachment of a subject."""
        rows = _OF_SUBJECT.run(connection, subject=subject).fetchall()
        return [row[0] for row in rows]

    def delete(self, connection: Connection, attachment: str) -> None:
        """Delete an attachment; its file goes soon after.

        Raises:
            NotFound: not here.
        """
        if not discards.discard(connection, _c.id == attachment):
            raise NotFound("no such attachment")

    def move(
        self, connection: Connection, source: SubjectId, target: SubjectId
    ) -> None:
        """Seal every attachment of `source` anew as one of `target`."""
        for name in self.ids_of(connection, source):
            known = self.get(connection, name)
            moved = Attachment(
                known.info, known.record, target, known.added_ms, known.key
            )
            connection.execute(
                update(attachments)
                .where(_c.id == name)
                .values(subject=target, sealed=self._seal(connection, moved))
            )

    def _owner(
        self, connection: Connection, record: str, field_name: str
    ) -> tuple[str, SubjectId]:
        """Return serial and subject of an own record whose type has the field."""
        serial = self._serial(record)
        row = _RECORD.run(connection, id=serial).fetchone()
        if row is None or row[2] is not None:
            raise NotFound("no such record of our own")
        if field_name not in self._types.get(row[1]).fields:
            raise Rejected((Fault("field-unknown", None),))
        return serial, SubjectId(row[0])

    def _serial(self, record: str) -> str:
        if not record.startswith(self._prefix):
            raise NotFound("no such record")
        return record[len(self._prefix) :]

    def _seal(self, connection: Connection, a: Attachment) -> bytes:
        inside = _Inside(
            key=b64url(a.key),
            media_type=a.info.media_type,
            sha256=a.info.sha256,
            name=a.info.name,
        )
        place = _place(a.info.id, a.record, a.info.field, a.info.size, a.added_ms)
        return self._keyring.seal(
            connection, a.subject, inside.encode(), "attachment", place
        )

    def _open(self, connection: Connection, row: Any) -> Attachment:
        stored: Row = row
        name, record, subject, field_name, size, added_ms, sealed = stored
        place = _place(name, record, field_name, size, added_ms)
        owner = SubjectId(subject)
        inside = self._keyring.parsed(
            connection, owner, bytes(sealed), _read, "attachment", place
        )
        info = AttachmentInfo.model_validate(
            {
                "id": name,
                "field": field_name,
                "media_type": inside.media_type,
                "size": size,
                "sha256": inside.sha256,
                "name": inside.name,
            }
        )
        key = unb64url(inside.key, length=KEY_BYTES)
        return Attachment(info, record, owner, added_ms, key)


def _read(document: bytes) -> _Inside:
    return _Inside.decode(document)


def _info(upload: Upload, size: int, sha256: str) -> AttachmentInfo:
    return AttachmentInfo(
        id=upload.id,
        field=upload.field,
        media_type=upload.media_type,
        size=size,
        sha256=sha256,
        name=upload.name,
    )


def _place(*parts: object) -> str:
    """Say where a ciphertext belongs; the field alone could hold the separator."""
    return "|".join(f"{len(str(part))}:{part}" for part in parts)
