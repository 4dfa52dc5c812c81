# SPDX-License-Identifier: Apache-2.0
"""Sealed chunks: what is cut, moved, doubled or mixed does not open."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import CannotOpen, Malformed, Misuse
from protocol.stream import (
    CHUNK_BYTES,
    TAG_BYTES,
    ChunkCipher,
    Span,
    join_answer,
    sealed_length,
    split_answer,
    stream_cipher,
)

SEALED = CHUNK_BYTES + TAG_BYTES
SIZE = 3 * CHUNK_BYTES + 100
CONTENT = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
WHOLE = Span(0, SIZE, SIZE)
CIPHER = ChunkCipher(b"k" * 32, b"stream one")
CHUNKS = bytes(CIPHER.seal(CONTENT, WHOLE))


def chunk(number: int, chunks: bytes = CHUNKS) -> bytes:
    """Return one sealed chunk."""
    return chunks[number * SEALED : (number + 1) * SEALED]


def opens(sealed: bytes, span: Span = WHOLE, cipher: ChunkCipher = CIPHER) -> bool:
    """Tell whether sealed chunks open as that span."""
    try:
        cipher.open(sealed, span)
    except CannotOpen:
        return False
    return True


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]
)
def test_content_of_any_length_comes_back(size: int) -> None:
    """Also none at all, and content that ends with a whole chunk."""
    span, content = Span(0, size, size), b"x" * size
    sealed = CIPHER.seal(content, span)
    assert len(sealed) == sealed_length(size)
    assert CIPHER.open(sealed, span) == content


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_span_opens_alone(data: st.DataObject) -> None:
    """Whole chunks of one stream can be fetched in any place."""
    first = data.draw(st.integers(0, 3))
    after = data.draw(st.integers(first + 1, 4))
    offset, end = first * CHUNK_BYTES, min(after * CHUNK_BYTES, SIZE)
    span = Span(offset, end - offset, SIZE)
    part = CHUNKS[first * SEALED : first * SEALED + sealed_length(span.length)]
    assert CIPHER.open(part, span) == CONTENT[offset:end]
    assert CIPHER.seal(CONTENT[offset:end], span) == part


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CHUNKS) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(place: int, change: int) -> None:
    """Every byte on the way is authenticated."""
    altered = bytearray(CHUNKS)
    altered[place] ^= change
    assert not opens(bytes(altered))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_only_the_right_order_opens(order: list[int]) -> None:
    """Chunks that were moved, doubled or left out do not open in another place."""
    mixed = b"".join(chunk(n) for n in order[:3]) + chunk(order[3])
    assert opens(mixed) is (order == [0, 1, 2, 3])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(CHUNKS) - 1))
def test_truncated_chunks_do_not_open(length: int) -> None:
    """Wherever they are cut: also between two chunks."""
    assert not opens(CHUNKS[:length])


def test_cut_stream_does_not_pass_as_a_shorter_one() -> None:
    """The last chunk alone opens as the last: the size cannot be lied about."""
    shorter = Span(0, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES)
    assert not opens(CHUNKS[: 2 * SEALED], shorter)


def test_last_chunk_does_not_pass_as_one_in_the_middle() -> None:
    """A stream cannot be made longer by another's chunks behind its last."""
    span = Span(0, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES)
    sealed = bytes(CIPHER.seal(CONTENT[: 2 * CHUNK_BYTES], span))
    assert not opens(sealed, Span(0, 2 * CHUNK_BYTES, SIZE))


@pytest.mark.parametrize(
    "other", [ChunkCipher(b"j" * 32, b"stream one"), ChunkCipher(b"k" * 32, b"two")]
)
def test_chunk_of_another_stream_does_not_open(other: ChunkCipher) -> None:
    """Streams cannot be mixed: neither keys nor what they belong to."""
    foreign = bytes(other.seal(CONTENT, WHOLE))
    mixed = chunk(0) + chunk(1, foreign) + chunk(2) + chunk(3)
    assert not opens(mixed)


@pytest.mark.parametrize(
    "span",
    [
        Span(1, CHUNK_BYTES, SIZE),
        Span(0, 100, SIZE),
        Span(0, 0, SIZE),
        Span(0, SIZE + 1, SIZE),
        Span(4 * CHUNK_BYTES, 0, SIZE),
        Span(-CHUNK_BYTES, CHUNK_BYTES, SIZE),
        Span(0, -1, SIZE),
        Span(0, 1, 2**48 + 1),
    ],
)
def test_spans_that_cannot_be_are_refused(span: Span) -> None:
    """A peer's numbers are judged before anything is made of them."""
    with pytest.raises(Malformed):
        CIPHER.open(b"", span)


def test_content_must_be_as_long_as_its_span() -> None:
    """Sealing something else would use the nonces of the missing chunks."""
    with pytest.raises(Misuse):
        CIPHER.seal(b"short", Span(0, 6, 6))


def test_key_follows_from_response_key_request_and_answer() -> None:
    """Chunks open behind the one answer that announced them, for the one who asked."""
    words = [b"r" * 32, b"q" * 32, b"a" * 32]
    sealed = bytes(stream_cipher(*words).seal(CONTENT, WHOLE))
    assert stream_cipher(*words).open(sealed, WHOLE) == CONTENT
    for changed in range(3):
        other = [*words]
        other[changed] = b"z" * 32
        assert not opens(sealed, cipher=stream_cipher(*other))


def test_payload_comes_apart_as_it_was_joined() -> None:
    """The sealed answer stands in front of its chunks."""
    answer, chunks = split_answer(join_answer(b"answer", b"chunks"))
    assert (answer, bytes(chunks)) == (b"answer", b"chunks")


@pytest.mark.parametrize(
    "payload", [b"", b"\0\0", b"\0\0\0\0rest", b"\0\0\0\x05abcd", b"\xff\xff\xff\xffx"]
)
def test_broken_payload_is_refused(payload: bytes) -> None:
    """A stated length is no reason to believe in it."""
    with pytest.raises(Malformed):
        split_answer(payload)
