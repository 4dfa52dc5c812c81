# SPDX-License-Identifier: Apache-2.0
"""Frames: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import frames
from federation.frames import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    Frame,
    FrameError,
    FrameType,
    decode,
    encode,
    encode_close,
    encode_size,
    encode_window,
)

STREAMS = st.integers(1, 2**32 - 1)
FRAMES = st.one_of(
    st.builds(
        Frame,
        st.sampled_from([frames.REQUEST, frames.ANSWER, frames.NOTICE]),
        st.just(0),
        STREAMS,
        st.binary(max_size=200),
    ),
    st.builds(
        Frame,
        st.just(frames.ANSWER),
        st.just(frames.PROBLEM),
        STREAMS,
        st.binary(max_size=50),
    ),
    st.builds(Frame, st.just(frames.DATA), st.just(0), STREAMS, st.binary(min_size=1)),
    st.builds(Frame, st.just(frames.CANCEL), st.just(0), STREAMS, st.just(b"")),
    st.builds(
        Frame,
        st.sampled_from([frames.PING, frames.PONG]),
        st.just(0),
        st.just(0),
        st.binary(min_size=8, max_size=8),
    ),
)


@given(st.lists(FRAMES, min_size=1, max_size=20))
def test_packet_is_read_as_it_was_written(written: list[Frame]) -> None:
    """Any number of frames survive being packed into one packet."""
    packet = b"".join(encode(*frame) for frame in written)
    assert decode(packet) == written


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_frame_error(packet: bytes) -> None:
    """A hostile packet is refused in the one way that the link expects."""
    try:
        decode(packet)
    except FrameError as error:
        assert error.fault


@given(st.lists(FRAMES, min_size=1, max_size=5), st.data())
def test_damaged_packet_is_refused_or_read_as_other_frames(
    written: list[Frame], data: st.DataObject
) -> None:
    """Flipped and missing bytes of a good packet never crash the parser."""
    packet = bytearray(b"".join(encode(*frame) for frame in written))
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(packet)))
    for damaged in (bytes(packet), bytes(packet[:cut])):
        try:
            again = b"".join(encode(*frame) for frame in decode(damaged))
        except FrameError:
            continue
        assert again == damaged


@given(st.integers(0, 3000))
def test_number_of_frames_is_bounded_by_the_size_of_the_packet(count: int) -> None:
    """The cheapest frame still costs its sender a header."""
    packet = encode(frames.CANCEL, 0, 1, b"") * count
    assert len(packet) == count * HEADER_BYTES
    assert len(decode(packet or encode(frames.CANCEL, 0, 1, b""))) == max(count, 1)


@given(
    st.sampled_from([frames.REQUEST, frames.ANSWER, frames.NOTICE]),
    STREAMS,
    st.integers(CHUNK_BYTES + 1, frames.MAX_MESSAGE_BYTES),
)
def test_announced_size_is_read_back(kind: int, stream: int, size: int) -> None:
    """A long message starts with its size."""
    [frame] = decode(encode_size(kind, stream, size))
    assert frame[:3] == (kind, frames.MORE, stream)
    assert frames.read_u32(frame.payload) == size


@given(STREAMS, st.integers(1, frames.MAX_MESSAGE_BYTES))
def test_credit_is_read_back(stream: int, credit: int) -> None:
    """A window frame carries its number."""
    [frame] = decode(encode_window(stream, credit))
    assert (frame.stream, frames.read_u32(frame.payload)) == (stream, credit)


@given(st.integers(0, 2**16 - 1), st.text())
def test_reason_of_a_close_is_cut_between_characters(code: int, reason: str) -> None:
    """A long Japanese reason stays valid UTF-8 and a valid frame."""
    [frame] = decode(encode_close(code, reason))
    read_code, read_reason = frames.read_close(frame.payload)
    assert read_code == code
    assert reason.startswith(read_reason)


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns a frame without any check."""
    head = bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + len(payload).to_bytes(4, "big") + payload


FAULTS = {
    "nothing at all": (b"", "empty-packet"),
    "half a header": (raw(frames.REQUEST, 0, 1, b"")[:-1], "truncated"),
    "half a payload": (raw(frames.REQUEST, 0, 1, b"abc")[:-1], "truncated"),
    "a second half frame": (raw(frames.PING, 0, 0, bytes(8)) + b"x", "truncated"),
    "type 0": (raw(0, 0, 1, b""), "unknown-type"),
    "type 10": (raw(10, 0, 1, b""), "unknown-type"),
    "type 255": (raw(255, 0, 1, b""), "unknown-type"),
    "request on stream 0": (raw(frames.REQUEST, 0, 0, b""), "bad-stream"),
    "ping on a stream": (raw(frames.PING, 0, 1, bytes(8)), "bad-stream"),
    "request with an unknown flag": (raw(frames.REQUEST, 4, 1, b""), "bad-flags"),
    "request that is a problem": (raw(frames.REQUEST, 2, 1, b""), "bad-flags"),
    "answer with both flags": (raw(frames.ANSWER, 3, 1, bytes(4)), "bad-flags"),
    "data with a flag": (raw(frames.DATA, 1, 1, bytes(4)), "bad-flags"),
    "empty data": (raw(frames.DATA, 0, 1, b""), "bad-length"),
    "short ping": (raw(frames.PING, 0, 0, bytes(7)), "bad-length"),
    "cancel with a payload": (raw(frames.CANCEL, 0, 1, b"x"), "bad-length"),
    "window of 3 bytes": (raw(frames.WINDOW, 0, 1, bytes(3)), "bad-length"),
    "window of no credit": (raw(frames.WINDOW, 0, 1, bytes(4)), "bad-size"),
    "window beyond bounds": (raw(frames.WINDOW, 0, 1, b"\xff" * 4), "bad-size"),
    "size of 5 bytes": (raw(frames.REQUEST, 1, 1, bytes(5)), "bad-length"),
    "size that fits one frame": (
        raw(frames.REQUEST, 1, 1, CHUNK_BYTES.to_bytes(4, "big")),
        "bad-size",
    ),
    "size beyond bounds": (raw(frames.NOTICE, 1, 1, b"\xff" * 4), "bad-size"),
    "payload above a chunk": (
        raw(frames.REQUEST, 0, 1, bytes(CHUNK_BYTES + 1)),
        "bad-length",
    ),
    "close of 1 byte": (raw(frames.CLOSE, 0, 0, b"\0"), "bad-length"),
    "close with a long reason": (raw(frames.CLOSE, 0, 0, bytes(126)), "bad-length"),
    "close in no encoding": (raw(frames.CLOSE, 0, 0, b"\0\0\xff"), "bad-reason"),
    "packet above the limit": (bytes(MAX_PACKET_BYTES + 1), "packet-too-large"),
}


@pytest.mark.parametrize(("packet", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_malformed_packet_is_refused_by_name(packet: bytes, fault: str) -> None:
    """Everything outside the table has a fault of its own."""
    with pytest.raises(FrameError) as caught:
        decode(packet)
    assert (caught.value.fault, caught.value.slug) == (fault, "malformed")


def test_largest_frame_fits_a_packet() -> None:
    """A chunk of full size passes both limits."""
    [frame] = decode(encode(frames.DATA, 0, 1, bytes(CHUNK_BYTES)))
    assert len(frame.payload) == CHUNK_BYTES


def test_every_type_has_a_rule() -> None:
    """A type that is added without a line in the table is noticed."""
    assert [int(kind) for kind in FrameType] == list(range(1, len(frames._RULES)))
