# SPDX-License-Identifier: Apache-2.0
"""How a message longer than one frame crosses a link in chunks under credit.

The sender of a message may have at most `WINDOW_BYTES` on the way that the receiver
has not yet acknowledged with WINDOW frames, so that one long message never fills the
pipe before others. The receiver has set room aside for the whole message before it
takes the first chunk, so that no two half-received messages can wait for each other.
It therefore grants at once, and need not police credit: a sender that ignores it
takes no memory that was not reserved, and delays only its own other messages.

Pure: bytes in, bytes and grants out. Streams, budgets and frames are the link's.
"""

from __future__ import annotations

from typing import Final

from federation.frames import CHUNK_BYTES, FrameError
from federation.shares import Shares

WINDOW_BYTES: Final = 262_144
"""What a sender may have unacknowledged on one stream: four chunks."""

_GRANT_BYTES: Final = WINDOW_BYTES // 2
"""Acknowledged at once when this much has come: two chunks a grant."""


class Outgoing:
    """A message that is being sent in chunks."""

    __slots__ = ("_at", "_credit", "_view")

    def __init__(self, message: bytes) -> None:
        self._view = memoryview(message)
        self._at = 0
        self._credit = WINDOW_BYTES

    @property
    def remaining(self) -> int:
        """Bytes not yet taken."""
        return len(self._view) - self._at

    @property
    def ready(self) -> bool:
        """Whether a chunk may be sent now."""
        return self._credit > 0 and self._at < len(self._view)

    def take(self) -> memoryview:
        """Returns the next chunk; the caller checks `ready` first."""
        size = min(CHUNK_BYTES, self._credit, self.remaining)
        chunk = self._view[self._at : self._at + size]
        self._at += size
        self._credit -= size
        return chunk

    def grant(self, credit: int) -> None:
        """Adds credit from a WINDOW frame.

        Raises:
            FrameError: more than a window in all; an honest receiver only returns
                what it was sent.
        """
        self._credit += credit
        if self._credit > WINDOW_BYTES:
            raise FrameError("credit-overflow")


class Incoming:
    """A message that is being received in chunks.

    Attributes:
        size: bytes announced; room for them is reserved by the caller.
    """

    __slots__ = ("_message", "_unacknowledged", "kind", "size")

    def __init__(self, kind: int, size: int) -> None:
        self.kind = kind
        self.size = size
        # One growing buffer: a list of chunks would let a peer that sends single
        # bytes make us hold forty times the size it announced.
        self._message = bytearray()
        self._unacknowledged = 0

    def add(self, chunk: bytes) -> int:
        """Takes one chunk.

        Returns:
            The credit to grant now, often 0.

        Raises:
            FrameError: more than was announced.
        """
        self._message += chunk
        if len(self._message) > self.size:
            raise FrameError("more-than-announced")
        self._unacknowledged += len(chunk)
        if self._unacknowledged < _GRANT_BYTES or self.complete:
            return 0
        credit, self._unacknowledged = self._unacknowledged, 0
        return credit

    @property
    def complete(self) -> bool:
        """Whether every announced byte has come."""
        return len(self._message) == self.size

    def message(self) -> bytes:
        """Returns the whole message; the caller checks `complete` first."""
        return bytes(self._message)


class Inbox:
    """Messages being received or in hand, within a budget of bytes."""

    def __init__(
        self,
        max_message_bytes: int,
        max_bytes: int,
        shares: Shares | None = None,
        party: str = "",
    ) -> None:
        """Start empty.

        Args:
            max_message_bytes: of one message.
            max_bytes: of this link.
            shares: of all links together; None for no such bound.
            party: whose share this link's bytes are.
        """
        self._max_message_bytes = max_message_bytes
        self._max_bytes = max_bytes
        self._shares = shares
        self._party = party
        self._held = 0
        self._incoming: dict[int, Incoming] = {}

    def __contains__(self, stream: int) -> bool:
        return stream in self._incoming

    def fault(self, size: int, *, shared: bool = True) -> str | None:
        """Returns why a message of that size is not taken, None when it is.

        Args:
            size: of the message.
            shared: whether the bound of all links counts as well; not for notices,
                which can only be refused by losing the link.
        """
        if size > self._max_message_bytes:
            return "too-large"
        if self._held + size > self._max_bytes:
            return "overloaded"
        if shared and self._shares and not self._shares.fits(self._party, size):
            return "overloaded"
        return None

    def hold(self, size: int) -> None:
        """Counts bytes that are in hand; the caller has asked for a `fault`."""
        self._held += size
        if self._shares is not None:
            self._shares.add(self._party, size)

    def release(self, size: int) -> None:
        """Counts bytes that are no longer in hand."""
        self._held -= size
        if self._shares is not None:
            self._shares.give_back(self._party, size)

    def clear(self) -> None:
        """Gives up messages half received: the link has ended."""
        for stream in list(self._incoming):
            self.drop(stream)

    def announce(self, stream: int, kind: int, size: int) -> None:
        """Expects a message in chunks; its bytes count as held from now on."""
        self.hold(size)
        self._incoming[stream] = Incoming(kind, size)

    def add(self, stream: int, chunk: bytes) -> tuple[Incoming | None, int]:
        """Takes a chunk.

        Returns:
            The message when this was its last chunk, its bytes still held; and the
            credit to grant. A chunk that came too late for its message is dropped.

        Raises:
            FrameError: the peer sent more than it may.
        """
        incoming = self._incoming.get(stream)
        if incoming is None:
            return None, 0
        credit = incoming.add(chunk)
        if not incoming.complete:
            return None, credit
        del self._incoming[stream]
        return incoming, 0

    def drop(self, stream: int) -> None:
        """Forgets a message whose other half will not come or is not wanted."""
        incoming = self._incoming.pop(stream, None)
        if incoming is not None:
            self.release(incoming.size)
