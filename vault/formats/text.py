# SPDX-License-Identifier: Apache-2.0
"""Bytes of unknown encoding become lines of text, a piece of the file at a time.

UTF-8 and UTF-16 with a byte order mark are taken at their word. Otherwise the first
piece with a non-ASCII byte decides between UTF-8 and cp932 (Shift_JIS as Windows writes
it): most characters of Japanese text in one are errors in the other. A byte that cannot
be read afterwards becomes U+FFFD, so that one damaged row does not cost the file.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

UNREADABLE: Final = "\ufffd"

_PIECE: Final = 64 << 10
# What is no character, and what the codec puts for bytes that cp932 leaves undefined.
_NO_CHARACTER: Final = re.compile("[\ufffd\x80-\x9f\uf8f0-\uf8f3]")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NOT_TEXT: Final = (
    b"PK\x03\x04",  # zip, and the spreadsheets made of it
    b"\xd0\xcf\x11\xe0",  # spreadsheets up to 2003
    b"%PDF",
    b"\x1f\x8b",  # gzip
)


class Unreadable(Exception):
    """The file cannot be read as lines of text.

    Attributes:
        code: a key of `vault/formats/problems.json`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def lines(stream: BinaryIO, encoding: str | None, max_characters: int) -> Iterator[str]:
    """Yield the lines without their ends, whichever of CR, LF and CRLF those are.

    Args:
        stream: read piece by piece, never sought.
        encoding: a codec's name, or None to find it out.
        max_characters: longest line.

    Raises:
        Unreadable: empty-file, not-text, undecodable-file, line-too-large.
    """
    rest = ""
    for text in _decoded(stream, encoding):
        parts = (rest + text).split("\n")
        rest = parts.pop()
        if len(rest) > max_characters or any(len(p) > max_characters for p in parts):
            raise Unreadable("line-too-large")
        yield from parts
    if rest:
        yield rest


def _decoded(stream: BinaryIO, encoding: str | None) -> Iterator[str]:
    """Yield text with every line end as a line feed."""
    piece = _piece(stream)
    if not piece:
        raise Unreadable("empty-file")
    name = _marked(piece) or encoding
    # A stray zero byte costs its row; many of them are not text, or UTF-16 that does
    # not say so.
    zeros = piece.count(0) if name is None else 0
    if piece.startswith(NOT_TEXT) or zeros > 1 + len(piece) // 100:
        raise Unreadable("not-text")
    while name is None and piece.isascii():
        following = _piece(stream)
        if not following:
            name = "utf-8"
            break
        # A CR at the end may belong to the LF of the next piece.
        piece, ready = following, piece
        if ready.endswith(b"\r"):
            ready, piece = ready[:-1], b"\r" + piece
        yield ready.decode("ascii").replace("\r\n", "\n").replace("\r", "\n")
    if name is None:
        more = _piece(stream)
        piece += more
        name = guess(piece, is_whole=len(more) < _PIECE)
    if name == "utf-16" and _marked(piece) is None:
        name = "utf-16-le"
    inner = codecs.getincrementaldecoder(name)(errors="replace")
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    while piece:
        yield decoder.decode(piece)
        piece = _piece(stream)
    yield decoder.decode(b"", final=True)


def _piece(stream: BinaryIO) -> bytes:
    """Read a whole piece from a stream that may give less at a time."""
    parts: list[bytes] = []
    missing = _PIECE
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _marked(piece: bytes) -> str | None:
    return next((name for mark, name in _MARKS if piece.startswith(mark)), None)


def guess(piece: bytes, *, is_whole: bool = True) -> str:
    """Return the encoding of a piece that holds a non-ASCII byte.

    Args:
        piece: the file, or its first part with such a byte.
        is_whole: whether it may not end inside a character.

    Raises:
        Unreadable: undecodable-file, where neither encoding makes sense of most of it.
    """
    for name, most in (("utf-8", 0.2), ("cp932", 0.5)):
        decoder = codecs.getincrementaldecoder(name)(errors="replace")
        text = decoder.decode(piece, final=is_whole)
        foreign = sum(not character.isascii() for character in text)
        # An intact UTF-8 file may hold the replacement character itself.
        if name == "utf-8" and text.encode() == piece:
            return name
        if len(_NO_CHARACTER.findall(text)) <= most * foreign:
            return name
    raise Unreadable("undecodable-file")
