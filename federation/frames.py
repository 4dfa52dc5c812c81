# SPDX-License-Identifier: Apache-2.0
"""The bytes of a link: several binary frames packed into one packet.

A frame is `type u8 | flags u8 | stream u32 | length u32 | payload`, big endian. A
packet is one WebSocket message and holds one or more whole frames. A message of at
most `CHUNK_BYTES` travels in a single REQUEST, ANSWER or NOTICE frame. A longer one
is announced by such a frame with the flag MORE, whose payload is only the total size
(u32), and follows in DATA frames under flow control (`federation.flow`).

    type       stream   payload
    REQUEST    > 0      the message, or with MORE its size
    ANSWER     > 0      the same; with PROBLEM a refusal (`federation.link`)
    DATA       > 0      1 to CHUNK_BYTES bytes of an announced message
    WINDOW     > 0      u32: this many bytes more may be sent
    CANCEL     > 0      nothing: the asker no longer wants the answer
    NOTICE     > 0      the message, or with MORE its size; never answered
    PING PONG  0        8 bytes, returned as they came
    CLOSE      0        u16 code, then at most 123 bytes of UTF-8 reason

The parser is strict: what this table does not allow is a `FrameError`. Its cost is
bounded by the packet's size, since every frame consumes at least its header.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from protocol.errors import ProtocolViolation

CHUNK_BYTES: Final = 65_536
"""The largest payload of a frame: what one stream may put before all others."""

MAX_PACKET_BYTES: Final = 262_144
"""The largest packet; a peer that sends more is cut off."""

MAX_MESSAGE_BYTES: Final = 2**31 - 1
"""The largest size that can be announced; a link's own limit is far lower."""

MAX_REASON_BYTES: Final = 123
"""The longest reason in CLOSE, as in a WebSocket close frame (RFC 6455, 5.5.1)."""

MORE: Final = 0x01
"""Flag: the payload is the size of a message that follows in DATA frames."""

PROBLEM: Final = 0x02
"""Flag of ANSWER: the payload is a problem, not an answer."""

_HEADER: Final = struct.Struct(">BBII")
_U32: Final = struct.Struct(">I")
_U16: Final = struct.Struct(">H")
HEADER_BYTES: Final = _HEADER.size


class FrameType(IntEnum):
    """What a frame says."""

    REQUEST = 1
    ANSWER = 2
    DATA = 3
    WINDOW = 4
    CANCEL = 5
    NOTICE = 6
    PING = 7
    PONG = 8
    CLOSE = 9


# Plain integers for the hot path: comparing enum members costs three times as much.
REQUEST: Final = int(FrameType.REQUEST)
ANSWER: Final = int(FrameType.ANSWER)
DATA: Final = int(FrameType.DATA)
WINDOW: Final = int(FrameType.WINDOW)
CANCEL: Final = int(FrameType.CANCEL)
NOTICE: Final = int(FrameType.NOTICE)
PING: Final = int(FrameType.PING)
PONG: Final = int(FrameType.PONG)
CLOSE: Final = int(FrameType.CLOSE)


class FrameError(ProtocolViolation):
    """A packet that the table of this module does not allow.

    Attributes:
        fault: what is wrong with it, kebab-case: `empty-packet`, `packet-too-large`,
            `truncated`, `unknown-type`, `bad-flags`, `bad-stream`, `bad-length`,
            `bad-size`, `bad-reason`.
    """

    slug = "malformed"

    def __init__(self, fault: str) -> None:
        super().__init__(f"link frame: {fault}")
        self.fault = fault


class Frame(NamedTuple):
    """One frame, taken apart and checked."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class _Rule(NamedTuple):
    """What the table allows for one type of frame."""

    flags: int
    on_stream: bool
    min_bytes: int
    max_bytes: int


_RULES: Final[tuple[_Rule | None, ...]] = (
    None,
    _Rule(MORE, True, 0, CHUNK_BYTES),
    _Rule(MORE | PROBLEM, True, 0, CHUNK_BYTES),
    _Rule(0, True, 1, CHUNK_BYTES),
    _Rule(0, True, 4, 4),
    _Rule(0, True, 0, 0),
    _Rule(MORE, True, 0, CHUNK_BYTES),
    _Rule(0, False, 8, 8),
    _Rule(0, False, 8, 8),
    _Rule(0, False, 2, 2 + MAX_REASON_BYTES),
)


def encode(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns one frame as bytes; the caller keeps to the table."""
    return _HEADER.pack(kind, flags, stream, len(payload)) + payload


def encode_header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """Returns the header alone, for a payload that is appended without a copy."""
    return _HEADER.pack(kind, flags, stream, length)


def encode_size(kind: int, stream: int, size: int) -> bytes:
    """Returns the frame that announces a message of `size` bytes in DATA frames."""
    return _HEADER.pack(kind, MORE, stream, 4) + _U32.pack(size)


def encode_window(stream: int, credit: int) -> bytes:
    """Returns the frame that lets the peer send `credit` bytes more."""
    return _HEADER.pack(WINDOW, 0, stream, 4) + _U32.pack(credit)


def encode_close(code: int, reason: str) -> bytes:
    """Returns the frame that ends the link; a long reason is cut, never split."""
    text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return encode(CLOSE, 0, 0, _U16.pack(code) + text)


def read_u32(payload: bytes) -> int:
    """Returns the number in a WINDOW or MORE payload, whose length decode checked."""
    return int.from_bytes(payload, "big")


def read_close(payload: bytes) -> tuple[int, str]:
    """Returns code and reason of a CLOSE payload that `decode` has checked."""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def decode(packet: bytes, max_packet_bytes: int = MAX_PACKET_BYTES) -> list[Frame]:
    """Takes a packet apart.

    Args:
        packet: what the pipe delivered.
        max_packet_bytes: a longer packet is refused unread.

    Returns:
        The frames in the order sent, at least one, each as the table allows.

    Raises:
        FrameError: anything else; the link MUST then be closed, because frames of
            the packet that could be read are lost with it.
    """
    end = len(packet)
    if end > max_packet_bytes:
        raise FrameError("packet-too-large")
    if not end:
        raise FrameError("empty-packet")
    frames: list[Frame] = []
    at = 0
    while at < end:
        start = at + HEADER_BYTES
        if start > end:
            raise FrameError("truncated")
        kind, flags, stream, length = _HEADER.unpack_from(packet, at)
        at = start + length
        if at > end:
            raise FrameError("truncated")
        rule = _RULES[kind] if kind < len(_RULES) else None
        if rule is None:
            raise FrameError("unknown-type")
        allowed, on_stream, min_bytes, max_bytes = rule
        if not min_bytes <= length <= max_bytes:
            raise FrameError("bad-length")
        if on_stream is not (stream > 0):
            raise FrameError("bad-stream")
        payload = packet[start:at]
        if flags:
            _check_flags(flags, allowed, payload)
        elif kind == WINDOW:
            _check_credit(payload)
        elif kind == CLOSE:
            _check_reason(payload)
        frames.append(Frame(kind, flags, stream, payload))
    return frames


def _check_flags(flags: int, allowed: int, payload: bytes) -> None:
    """Refuses unknown flags, both flags at once, and sizes that need no MORE."""
    if flags & ~allowed or flags == MORE | PROBLEM:
        raise FrameError("bad-flags")
    if flags == MORE:
        if len(payload) != 4:
            raise FrameError("bad-length")
        if not CHUNK_BYTES < read_u32(payload) <= MAX_MESSAGE_BYTES:
            raise FrameError("bad-size")


def _check_credit(payload: bytes) -> None:
    """Refuses a grant of nothing, and one beyond any message."""
    if not 0 < read_u32(payload) <= MAX_MESSAGE_BYTES:
        raise FrameError("bad-size")


def _check_reason(payload: bytes) -> None:
    """Refuses a reason that is not UTF-8."""
    try:
        payload[2:].decode()
    except UnicodeDecodeError as error:
        raise FrameError("bad-reason") from error
