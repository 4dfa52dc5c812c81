# SPDX-License-Identifier: Apache-2.0
"""What is told of an attachment: a file of any size that belongs to a record.

An attachment is filed under one *field* of its record's dataset type, whether the
record's content has that field or not. It leaves exactly where that field leaves: the
decision about a read is the decision about it (`protocol.decision`).

Its content never changes. The digest stands in every signed answer that carries a part
of it, so all parts are of one content, whatever was stored, cut or resumed between.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from protocol.ids import AttachmentId
from protocol.model import Digest, Document
from protocol.stream import MAX_STREAM_BYTES

_WORD = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}"

MediaType: TypeAlias = Annotated[str, Field(pattern=f"^{_WORD}/{_WORD}$")]
"""Media type without parameters (RFC 6838, section 4.2)."""

FieldName: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]
FileName: TypeAlias = Annotated[str, Field(max_length=200)]
Size: TypeAlias = Annotated[int, Field(ge=0, le=MAX_STREAM_BYTES)]

MAX_ATTACHMENTS = 64
"""Attachments of one record."""


class AttachmentInfo(Document):
    """One attachment of a released record.

    Attributes:
        id: by which it is fetched; in a hidden read one for this consent alone.
        field: the field that it is filed under.
        media_type: what it is.
        size: bytes of content.
        sha256: of the content.
        name: of the file; left out in a hidden read, since it could name the holder.
    """

    id: AttachmentId
    field: FieldName
    media_type: MediaType
    size: Size
    sha256: Digest
    name: FileName | None = None
