# SPDX-License-Identifier: Apache-2.0
"""Attachments of our own records: taken in, given out locally, cleared away.

Content passes in pieces of a mebibyte at most, whatever its size. Work on files is
done aside of the event loop (`World.aside`). An upload that fails, for whatever reason,
leaves nothing: its file is removed at once, or at the next start after a crash.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial

from node.database import Database
from node.world import Aside
from protocol.attachment import AttachmentInfo
from protocol.errors import Misuse
from protocol.stream import CHUNK_BYTES, Span
from vault import discards
from vault.attachment_files import AttachmentFiles, AttachmentWriter
from vault.attachments import Attachment, Attachments, Upload

_logger = logging.getLogger(__name__)

PIECE_BYTES = 16 * CHUNK_BYTES
"""What is read, sealed or opened at once."""


class WrongDigest(Misuse):
    """What arrived is not what was sent."""

    slug = "digest-mismatch"


class AttachmentDesk:
    """Stores attachments and reads them.

    Attributes:
        files: where their content is.
    """

    def __init__(
        self,
        *,
        attachments: Attachments,
        files: AttachmentFiles,
        database: Database,
        aside: Aside,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts."""
        self._attachments = attachments
        self.files = files
        self._database = database
        self._aside = aside
        self._now_ms = now_ms
        self._open: set[str] = set()

    async def store(
        self,
        content: AsyncIterable[bytes],
        *,
        record: str,
        field: str,
        media_type: str,
        name: str | None = None,
        sha256: str | None = None,
    ) -> AttachmentInfo:
        """Take in an attachment; it is on disk when this returns.

        Args:
            content: its bytes, in any pieces. What it raises ends the upload.
            record: id of a record of our own.
            field: the field of its dataset type to file it under.
            media_type: as told.
            name: of the file, if it has one.
            sha256: what its digest must be, where the sender knows it.

        Raises:
            NotFound, Rejected, Conflict: see `Attachments.begin`.
            TooLarge, StorageFull: see `AttachmentWriter`.
            WrongDigest: as named.
        """
        upload = await self._database.write(
            lambda c: self._attachments.begin(
                c, record, field, media_type, name, self._now_ms()
            )
        )
        self._open.add(upload.id)
        stored = False
        try:
            size, digest = await self._write(upload, content)
            if sha256 not in (None, digest):
                raise WrongDigest("the content has another SHA-256")
            info = await self._database.write(
                lambda c: self._attachments.finish(
                    c, upload, size, digest, self._now_ms()
                )
            )
            stored = True
        finally:
            self._open.discard(upload.id)
            if not stored:
                await self._remove(upload.id)
        return info

    async def _write(
        self, upload: Upload, content: AsyncIterable[bytes]
    ) -> tuple[int, str]:
        """Write the file; return size and digest."""
        writer: AttachmentWriter | None = None
        waiting = bytearray()
        try:
            writer = await self._aside(
                partial(self.files.writer, upload.id, upload.key)
            )
            async for piece in content:
                waiting += piece
                if len(waiting) >= PIECE_BYTES:
                    await self._aside(partial(writer.write, waiting))
                    waiting = bytearray()
            await self._aside(partial(writer.write, waiting))
            return await self._aside(writer.finish)
        finally:
            if writer is not None:
                writer.close()

    def find(self, attachment: str) -> Attachment:
        """Return one of our attachments.

        Raises:
            NotFound: as named.
        """
        return self._database.read(lambda c: self._attachments.get(c, attachment))

    def of_record(self, record: str) -> list[AttachmentInfo]:
        """Return what a record has attached, oldest first.

        Raises:
            NotFound: a record of another node.
        """
        found = self._database.read(lambda c: self._attachments.of_record(c, record))
        return [attachment.info for attachment in found]

    async def content(
        self, attachment: Attachment, offset: int = 0
    ) -> AsyncIterator[bytes | bytearray]:
        """Yield the content from `offset` on, in pieces.

        Raises:
            CannotOpen: the file is not there, or was altered.
        """
        size = attachment.info.size
        start = offset - offset % CHUNK_BYTES
        while start < size:
            span = Span(start, min(PIECE_BYTES, size - start), size)
            piece = await self.part(attachment, span)
            yield piece[offset - start :] if start < offset else piece
            start = span.end

    async def part(self, attachment: Attachment, span: Span) -> bytearray:
        """Return the content of a span; as `content`."""
        name, key = attachment.info.id, attachment.key
        return await self._aside(partial(self.files.read, name, key, span))

    async def delete(self, attachment: str) -> None:
        """Delete one.

        Raises:
            NotFound: as named.
        """
        await self._database.write(lambda c: self._attachments.delete(c, attachment))
        await self.tidy()

    async def tidy(self) -> None:
        """Remove the files that belong to nothing any more."""
        while True:
            names = self._database.read(discards.discarded)
            idle = [name for name in names if name not in self._open]
            removed = [await self._remove(name) for name in idle]
            if not any(removed):
                return

    async def _remove(self, name: str) -> bool:
        """Remove a file and forget it; a disk that fails is tried again later."""
        try:
            await self._aside(partial(self.files.remove, name))
        except OSError as error:
            _logger.warning("a discarded file stays for now: %s", error.strerror)
            return False
        return await self._database.write(partial(discards.leave, file=name))
