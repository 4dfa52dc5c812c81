# SPDX-License-Identifier: Apache-2.0
"""Answers of any length: sent piece by piece, as fast as the caller takes them.

What goes wrong after the first byte cannot be told in the answer any more. The
connection is then cut, so that fewer bytes arrive than `Content-Length` says, or the
last chunk of HTTP is missing; the caller asks again from where it stands, and learns.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from aiohttp import web

from protocol.attachment import AttachmentInfo
from protocol.canonical import unb64url
from protocol.errors import MachikuraError

_logger = logging.getLogger(__name__)


def content_headers(info: AttachmentInfo, offset: int) -> dict[str, str]:
    """Return the headers of an attachment's content from `offset` on.

    `Repr-Digest` (RFC 9530) is of the whole content.
    """
    digest = base64.b64encode(unb64url(info.sha256)).decode()
    headers = {
        "Content-Type": info.media_type,
        "Content-Length": str(info.size - offset),
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if info.name is not None:
        # RFC 6266 with the encoding of RFC 8187.
        named = f"attachment; filename*=UTF-8''{quote(info.name, safe='')}"
        headers["Content-Disposition"] = named
    return headers


async def send(
    request: web.Request, pieces: AsyncIterable[Any], headers: dict[str, str]
) -> web.StreamResponse:
    """Send pieces of bytes; each is asked for when the caller has taken the one before.

    Args:
        request: the call.
        pieces: bytes; an asynchronous generator is closed at the end.
        headers: with the length, where it is known.
    """
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        async with aclosing(pieces):  # type: ignore[type-var]  # a generator
            async for piece in pieces:
                await response.write(piece)
    except (MachikuraError, OSError) as error:
        _logger.warning("an answer was cut off: %s", getattr(error, "slug", "link"))
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response
