# SPDX-License-Identifier: Apache-2.0
"""Attachments of the organization's own records: up, down, listed, deleted."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from aiohttp import web
from pydantic import Field

from node.api.content import content_headers, send
from node.api.registry import Registry, Reply
from node.attachments import PIECE_BYTES
from node.clients import Scope
from node.core import Core
from node.results import AttachmentEntry, told
from protocol.attachment import FieldName, FileName
from protocol.canonical import b64url
from protocol.errors import Malformed
from protocol.ids import AttachmentId, RecordId
from protocol.model import Request, ShortText


class NewAttachment(Request):
    """Where an attachment belongs, and what it is.

    Attributes:
        id: the record.
        field: the field of its dataset type that it is filed under.
        name: of the file; empty for none.
        sha256: of the content, in hexadecimal or base64; empty if it is not known.
    """

    id: RecordId
    field: FieldName
    name: FileName = ""
    sha256: ShortText = ""


class AttachmentName(Request):
    """Which attachment."""

    id: AttachmentId


class AttachmentPart(Request):
    """Which attachment, and from which byte on."""

    id: AttachmentId
    offset: Annotated[int, Field(ge=0, lt=2**48)] = 0


class OwnerName(Request):
    """Which record."""

    id: RecordId


class AttachmentList(Request):
    """The attachments of a record, oldest first."""

    attachments: list[AttachmentEntry]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    desk = core.parts.attachments

    @registry.route(
        "POST",
        "/v1/records/{id}/attachments",
        scope=Scope.RECORDS_WRITE,
        status=201,
        summary=("Attach a file to a record", "記録に添付ファイルを付ける"),
        tag="attachments",
        problems=(
            "not-found",
            "schema-violation",
            "conflict",
            "too-large",
            "digest-mismatch",
            "malformed",
        ),
    )
    async def attach(request: web.Request, params: NewAttachment) -> AttachmentEntry:
        info = await desk.store(
            request.content.iter_chunked(PIECE_BYTES),
            record=params.id,
            field=params.field,
            media_type=request.content_type,
            name=params.name or None,
            sha256=_digest(params.sha256) if params.sha256 else None,
        )
        return told(info)

    @registry.route(
        "GET",
        "/v1/records/{id}/attachments",
        scope=Scope.RECORDS_READ,
        summary=("What a record has attached", "記録の添付ファイルの一覧"),
        tag="attachments",
        problems=("not-found",),
    )
    async def attachments(params: OwnerName) -> AttachmentList:
        return AttachmentList(attachments=[told(i) for i in desk.of_record(params.id)])

    @registry.route(
        "GET",
        "/v1/attachments/{id}",
        scope=Scope.RECORDS_READ,
        summary=("The content of an attachment", "添付ファイルの内容"),
        tag="attachments",
        problems=("not-found", "cannot-open"),
        media="application/octet-stream",
    )
    async def content(
        request: web.Request, params: AttachmentPart
    ) -> web.StreamResponse:
        found = desk.find(params.id)
        if params.offset > found.info.size:
            raise Malformed("the attachment is shorter")
        pieces = desk.content(found, params.offset)
        return await send(request, pieces, content_headers(found.info, params.offset))

    @registry.route(
        "DELETE",
        "/v1/attachments/{id}",
        scope=Scope.RECORDS_WRITE,
        summary=("Delete an attachment", "添付ファイルの消去"),
        tag="attachments",
        problems=("not-found",),
        status=204,
    )
    async def delete_attachment(params: AttachmentName) -> Reply:
        await desk.delete(params.id)
        return Reply()


def _digest(text: str) -> str:
    """Return a SHA-256 as documents have it, from any of its usual spellings."""
    try:
        if len(text) == 64:
            return b64url(bytes.fromhex(text))
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        digest = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Malformed("not a SHA-256") from error
    if len(digest) != 32:
        raise Malformed("not a SHA-256")
    return b64url(digest)
