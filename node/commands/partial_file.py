# SPDX-License-Identifier: Apache-2.0
"""A file that arrives in parts, and survives that it does not arrive at once.

    FILE.part        what has come
    FILE.part.json   what it will be (id, size, digest) and how much of it is on disk

Content is flushed before the note says so, hence what the note counts is there after a
power cut. The next attempt goes on behind it, at a whole chunk. When everything is
there the digest is held against what the holder signed, and the file gets its name.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from node.attachments import WrongDigest
from protocol.errors import Misuse
from protocol.stream import CHUNK_BYTES

SYNC_BYTES = 16 * 1024 * 1024
"""Flushed to disk each time so much has come."""

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Whole:
    """What the file will be.

    Attributes:
        id: of the attachment.
        size: bytes.
        sha256: as base64, as the holder signed it.
    """

    id: str
    size: int
    sha256: bytes


class PartialFile:
    """A file on its way."""

    def __init__(self, path: Path) -> None:
        """Take the name that it will have."""
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".part.json")
        self._whole: Whole | None = None
        self._hash = hashlib.sha256()
        self._unsynced = 0
        self._handle = -1
        self.position = 0

    @property
    def name(self) -> str:
        """The name that it will have."""
        return self._path.name

    def kept(self, attachment: str) -> int:
        """Return how much of this attachment an earlier attempt has left, in chunks."""
        try:
            note = orjson.loads(self._note.read_bytes())
            there = min(int(note["kept"]), self._part.stat().st_size)
            known = Whole(note["id"], int(note["size"]), bytes.fromhex(note["sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if known.id != attachment:
            return 0
        self._whole = known
        # All of it can be there, unnamed: its last chunk is fetched once more.
        there = min(there, max(0, known.size - 1))
        return there - there % CHUNK_BYTES

    def begin(self, whole: Whole, position: int) -> bool:
        """Begin to write at `position`, which `kept` has returned or is 0.

        Returns:
            False if what was left is of other content: it is gone, start at 0.

        Raises:
            Misuse: the file cannot be written.
        """
        if position and whole != self._whole:
            self.discard()
            return False
        self._whole = whole
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._handle = os.open(self._part, flags, 0o600)
            os.ftruncate(self._handle, position)
        except OSError as error:
            raise _cannot(self._part, error) from error
        self._hash = hashlib.sha256()
        self.position = 0
        while self.position < position:
            known = os.read(self._handle, min(_READ_BYTES, position - self.position))
            self._hash.update(known)
            self.position += len(known)
        self._sync()
        return True

    def write(self, content: bytes) -> None:
        """Take what follows.

        Raises:
            Misuse: the disk does not take it.
        """
        self._hash.update(content)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            raise _cannot(self._part, error) from error
        self.position += len(content)
        self._unsynced += len(content)
        if self._unsynced >= SYNC_BYTES:
            self._sync()

    def pause(self) -> None:
        """Put on disk what has come, and let go of the file."""
        if self._handle >= 0:
            self._sync()
            os.close(self._handle)
            self._handle = -1

    def finish(self) -> None:
        """Give the whole file its name; it is on disk when this returns.

        Raises:
            WrongDigest: it is not what the holder signed; nothing is left of it.
            Misuse: the disk does not take it.
        """
        self.pause()
        if self._whole is None or self._hash.digest() != self._whole.sha256:
            self.discard()
            raise WrongDigest("what arrived is not what the holder signed")
        try:
            self._part.replace(self._path)
            self._note.unlink(missing_ok=True)
            _flush(self._path.parent)
        except OSError as error:
            raise _cannot(self._path, error) from error

    def discard(self) -> None:
        """Remove what has come."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _sync(self) -> None:
        whole = self._whole
        if whole is None:
            return
        note = orjson.dumps(
            {
                "id": whole.id,
                "size": whole.size,
                "sha256": whole.sha256.hex(),
                "kept": self.position,
            }
        )
        fresh = self._note.with_name(self._note.name + ".new")
        try:
            os.fdatasync(self._handle)
            fresh.write_bytes(note)
            fresh.replace(self._note)
        except OSError as error:
            raise _cannot(self._part, error) from error
        self._unsynced = 0


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot(path: Path, error: OSError) -> Misuse:
    return Misuse(f"{path}: {error.strerror}")
