# SPDX-License-Identifier: Apache-2.0
"""The files of attachments: sealed chunks, written once, read in any place.

    writer = files.writer(attachment_id, key)
    writer.write(b"…")                      # any pieces; memory of one chunk
    size, sha256 = writer.finish()          # whole and on disk
    content = files.read(attachment_id, key, Span(offset, length, size))

A file is nothing but the chunks of `protocol.stream` under the attachment's own key,
with the attachment's id bound in. It gets its name when it is whole: file and folder
are flushed to disk first, so an attachment that a row names is there after a power cut.
Files rather than rows: 1.5 to 4 times the speed of writing and 6.6 of reading.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from protocol.canonical import b64url
from protocol.errors import CannotOpen, Misuse, TooLarge
from protocol.stream import (
    CHUNK_BYTES,
    TAG_BYTES,
    Bytes,
    ChunkCipher,
    Span,
    sealed_length,
)

_BATCH = 16 * CHUNK_BYTES
"""Sealed and written at once."""


class StorageFull(Misuse):
    """The disk takes no more, or fails."""

    slug = "not-ready"


class AttachmentFiles:
    """The folder of all files."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 40) -> None:
        """Take the folder; it is made with the first file.

        Args:
            folder: private to the node.
            max_bytes: longest content of one file.
        """
        self._folder = folder
        self._max_bytes = max_bytes

    def writer(self, attachment: str, key: bytes) -> AttachmentWriter:
        """Begin a file; the id MUST be entered as discarded (`vault.discards`).

        Raises:
            StorageFull: as named.
        """
        return AttachmentWriter(
            self._path(attachment), _cipher(attachment, key), self._max_bytes
        )

    def read(self, attachment: str, key: bytes, span: Span) -> bytearray:
        """Return the content of a span.

        Raises:
            CannotOpen: the file is not there, or was altered.
        """
        first = span.check().offset // CHUNK_BYTES
        wanted = sealed_length(span.length)
        try:
            handle = os.open(self._path(attachment), os.O_RDONLY)
            try:
                sealed = os.pread(handle, wanted, first * (CHUNK_BYTES + TAG_BYTES))
            finally:
                os.close(handle)
        except OSError as error:
            raise CannotOpen("the file of an attachment cannot be read") from error
        return _cipher(attachment, key).open(sealed, span)

    def remove(self, attachment: str) -> None:
        """Remove a file, whole or not; nothing happens where there is none."""
        path = self._path(attachment)
        path.unlink(missing_ok=True)
        _partial(path).unlink(missing_ok=True)

    def _path(self, attachment: str) -> Path:
        # By the end of the id, which is random; its start is a time.
        return self._folder / attachment[-2:] / attachment


class AttachmentWriter:
    """One file that is being written."""

    def __init__(self, path: Path, cipher: ChunkCipher, max_bytes: int) -> None:
        self._path, self._cipher, self._max_bytes = path, cipher, max_bytes
        self._waiting = bytearray()
        self._size = 0
        self._hash = hashlib.sha256()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Without a buffer of its own: what is sealed is written at once.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._handle = os.open(_partial(path), flags, 0o600)
        except OSError as error:
            raise _full(error) from error

    def write(self, content: Bytes) -> None:
        """Take some more content.

        Raises:
            TooLarge: more than an attachment may have.
            StorageFull: as named.
        """
        self._size += len(content)
        if self._size > self._max_bytes:
            raise TooLarge(f"an attachment may have {self._max_bytes} bytes")
        self._hash.update(content)
        self._waiting += content
        if len(self._waiting) > _BATCH:
            # One byte at least stays back: the last chunk is sealed as the last.
            ready = (len(self._waiting) - 1) // CHUNK_BYTES * CHUNK_BYTES
            self._put(ready, self._size + CHUNK_BYTES)

    def finish(self) -> tuple[int, str]:
        """Make the file whole, on disk; return size and SHA-256 of the content.

        Raises:
            StorageFull: as named.
        """
        self._put(len(self._waiting), self._size)
        try:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1
            _partial(self._path).rename(self._path)
            for folder in (self._path.parent, self._path.parent.parent):
                _flush(folder)
        except OSError as error:
            raise _full(error) from error
        return self._size, b64url(self._hash.digest())

    def close(self) -> None:
        """Let go of the file; what is not whole is left to be removed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _put(self, length: int, size: int) -> None:
        """Seal and write what waits first, in a stream of `size` bytes."""
        offset = self._size - len(self._waiting)
        sealed = self._cipher.seal(
            memoryview(self._waiting)[:length], Span(offset, length, size)
        )
        try:
            left = memoryview(sealed)
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            raise _full(error) from error
        del self._waiting[:length]


def _cipher(attachment: str, key: bytes) -> ChunkCipher:
    return ChunkCipher(key, b"machikura attachment 1\0" + attachment.encode("ascii"))


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _full(error: OSError) -> StorageFull:
    return StorageFull(f"the disk does not take it: {error.strerror}")
