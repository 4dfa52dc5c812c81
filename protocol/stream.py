# SPDX-License-Identifier: Apache-2.0
"""Long content in sealed chunks: ordered, and truncation shows.

Content is cut into chunks of `CHUNK_BYTES`, the last one shorter; empty content is one
empty chunk. Each is sealed with AES-256-GCM after the STREAM construction (Hoang,
Reyhanitabar, Rogaway, Vizár, 2015), as age and Tink do it:

    nonce(12) = 0x00 × 7 ‖ position u32 ‖ last u8

So a chunk opens at its own position only, and the last chunk alone opens as the last:
what is cut off, moved, doubled or taken from another stream does not open. A key MUST
serve one content: the same at a position, whoever seals it again.

Chunks need not come all at once: a *span* is some whole chunks of a stream that follow
each other. `ChunkCipher` is used at rest (a key for each attachment) and on the way
(a key for each answer, `stream_cipher`).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.errors import CannotOpen, Malformed, Misuse

CHUNK_BYTES: Final = 65_536
"""Bytes of content in a chunk."""

TAG_BYTES: Final = 16

MAX_STREAM_BYTES: Final = 2**48
"""The longest content: 2**32 chunks."""

_NONCE: Final = struct.Struct(">7xIB")
_U32: Final = struct.Struct(">I")

Bytes: TypeAlias = bytes | bytearray | memoryview


def chunk_count(length: int) -> int:
    """Return how many chunks hold `length` bytes of content, at least one."""
    return max(1, -(-length // CHUNK_BYTES))


def sealed_length(length: int) -> int:
    """Return the bytes of the sealed chunks of `length` bytes of content."""
    return length + TAG_BYTES * chunk_count(length)


class Span(NamedTuple):
    """Some whole chunks of one stream.

    Attributes:
        offset: where they start in the content; a multiple of `CHUNK_BYTES`.
        length: bytes of content in them.
        size: bytes of the whole content.
    """

    offset: int
    length: int
    size: int

    @property
    def end(self) -> int:
        """Where they end in the content."""
        return self.offset + self.length

    def check(self) -> Span:
        """Return the span, if there can be such a one.

        Raises:
            Malformed: it is cut within a chunk, empty though the content is not, or
                reaches beyond the content.
        """
        if not 0 <= self.size <= MAX_STREAM_BYTES:
            raise Malformed("no stream is that long")
        if self.offset % CHUNK_BYTES or self.offset < 0 or self.length < 0:
            raise Malformed("a span starts with a chunk")
        if self.length == 0 and self.size > 0:
            raise Malformed("a span of nothing")
        if self.end > self.size:
            raise Malformed("a span beyond the end")
        if self.end != self.size and self.length % CHUNK_BYTES:
            raise Malformed("a span ends with a chunk")
        return self


class ChunkCipher:
    """One key, for the chunks of one content."""

    __slots__ = ("_aead", "_context")

    def __init__(self, key: bytes, context: bytes = b"") -> None:
        """Take the key (32 bytes) and what the chunks belong to, which is bound."""
        self._aead = AESGCM(key)
        self._context = context or None

    def seal(self, content: Bytes, span: Span) -> bytearray:
        """Seal the content of a span; returns its chunks one after the other.

        Raises:
            Misuse: the content is not as long as the span.
        """
        span.check()
        if len(content) != span.length:
            raise Misuse("content and span differ in length")
        plain, sealed = memoryview(content), bytearray(sealed_length(span.length))
        out, at, to = memoryview(sealed), 0, 0
        for nonce, length in _places(span):
            end = to + length + TAG_BYTES
            self._aead.encrypt_into(
                nonce, plain[at : at + length], self._context, out[to:end]
            )
            at, to = at + length, end
        return sealed

    def open(self, sealed: Bytes, span: Span) -> bytearray:
        """Open the chunks of a span; returns their content.

        Raises:
            CannotOpen: altered, cut off, out of order, of another stream or key.
        """
        span.check()
        if len(sealed) != sealed_length(span.length):
            raise CannotOpen("the chunks are not as long as they should be")
        came, content = memoryview(sealed), bytearray(span.length)
        out, at, to = memoryview(content), 0, 0
        try:
            for nonce, length in _places(span):
                end = at + length + TAG_BYTES
                self._aead.decrypt_into(
                    nonce, came[at:end], self._context, out[to : to + length]
                )
                at, to = end, to + length
        except InvalidTag as error:
            raise CannotOpen("a chunk does not open in its place") from error
        return content


def _places(span: Span) -> list[tuple[bytes, int]]:
    """Return nonce and length of content of each chunk of a span."""
    first, count = span.offset // CHUNK_BYTES, chunk_count(span.length)
    last = chunk_count(span.size) - 1
    return [
        (
            _NONCE.pack(first + number, first + number == last),
            min(CHUNK_BYTES, span.length - number * CHUNK_BYTES),
        )
        for number in range(count)
    ]


def stream_cipher(
    response_key: bytes, request_digest: bytes, answer_digest: bytes
) -> ChunkCipher:
    """Return the cipher of the chunks that follow one answer.

    Args:
        response_key: 32 bytes, drawn by the asker, known to it and to who answers.
        request_digest: of the routing header, 32 bytes.
        answer_digest: of the signed answer, 32 bytes: it says which content and which
            span of it follow, so no key serves two contents.
    """
    derived = HKDF(
        algorithm=hashes.SHA256(),
        length=32,
        salt=request_digest,
        info=b"machikura stream 1\0" + answer_digest,
    ).derive(response_key)
    return ChunkCipher(derived)


def join_answer(sealed_answer: bytes, chunks: Bytes) -> bytes:
    """Return the payload of an answer with chunks behind it."""
    return b"".join((_U32.pack(len(sealed_answer)), sealed_answer, chunks))


def split_answer(payload: bytes) -> tuple[bytes, memoryview]:
    """Take such a payload apart.

    Raises:
        Malformed: shorter than it says.
    """
    end = _U32.size + (_U32.unpack_from(payload)[0] if len(payload) >= 4 else 0)
    if not _U32.size < end <= len(payload):
        raise Malformed("truncated answer")
    return payload[_U32.size : end], memoryview(payload)[end:]
