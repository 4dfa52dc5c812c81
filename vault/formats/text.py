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
from collections.abc import Iterator
from typing import BinaryIO, Final

UNREADABLE: Final = "\ufffd"

_PIECE: Final = 64 << 10
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
    piece = stream.read(_PIECE) or b""
    if not piece:
        raise Unreadable("empty-file")
    name = encoding or _marked(piece)
    if piece.startswith(NOT_TEXT) or (name is None and b"\0" in piece):
        raise Unreadable("not-text")
    while name is None and piece.isascii():
        following = stream.read(_PIECE) or b""
        if not following:
            name = "utf-8"
            break
        # A CR at the end may belong to the LF of the next piece.
        piece, ready = following, piece
        if ready.endswith(b"\r"):
            ready, piece = ready[:-1], b"\r" + piece
        yield ready.decode("ascii").replace("\r\n", "\n").replace("\r", "\n")
    if name is None:
        more = stream.read(_PIECE) or b""
        piece += more
        name = guess(piece)
    if name == "utf-8" and piece.startswith(codecs.BOM_UTF8):
        name = "utf-8-sig"
    inner = codecs.getincrementaldecoder(name)(errors="replace")
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    while piece:
        yield decoder.decode(piece)
        piece = stream.read(_PIECE) or b""
    yield decoder.decode(b"", final=True)


def _marked(piece: bytes) -> str | None:
    return next((name for mark, name in _MARKS if piece.startswith(mark)), None)


def guess(piece: bytes) -> str:
    """Return the encoding of a piece that holds a non-ASCII byte.

    Raises:
        Unreadable: undecodable-file, where neither encoding makes sense of most of it.
    """
    faults: dict[str, float] = {}
    for name in ("utf-8", "cp932"):
        # The piece may end inside a character: the decoder keeps that part back.
        text = codecs.getincrementaldecoder(name)(errors="replace").decode(piece)
        foreign = sum(not character.isascii() for character in text)
        wrong = text.count(UNREADABLE)
        faults[name] = wrong / foreign if foreign else 0.0
        if wrong == 0:
            return name
    best = min(faults, key=lambda name: faults[name])
    if faults[best] > 0.5:
        raise Unreadable("undecodable-file")
    return best
