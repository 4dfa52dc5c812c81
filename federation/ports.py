# SPDX-License-Identifier: Apache-2.0
"""What the link layer asks of the world: time, chance and a pipe to one peer.

Production hands in the system's clock, the system's entropy and WebSockets
(`federation.transport`); a simulation hands in virtual time, seeded entropy and
pipes in memory (`federation.simulation`). Nothing between the two knows which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from protocol.errors import MachikuraError

Payload: TypeAlias = bytes | Sequence[bytes]
"""The bytes of one message, whole or in parts that are sent one after the other."""


class LinkError(MachikuraError):
    """Anything that ends a link, or one request on it."""

    slug = "link-failed"


class PipeClosed(LinkError):
    """The pipe has ended; nothing more will come or go."""

    slug = "link-lost"


class Clock(Protocol):
    """The time of day, and waiting for it."""

    def now_ms(self) -> int:
        """Returns milliseconds since the Unix epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        ...


class Entropy(Protocol):
    """A source of unpredictable bytes; the module `secrets` has this shape."""

    def token_bytes(self, size: int, /) -> bytes:
        """Returns `size` random bytes."""
        ...


class Pipe(Protocol):
    """A reliable, ordered, message-preserving connection to one peer.

    A pipe carries *packets*: byte strings that arrive whole, once, in order, or not
    at all, in which case the pipe has ended. One reader and one writer at a time.
    """

    @property
    def certificate_hash(self) -> bytes:
        """SHA-256 of the listener's TLS certificate (DER), as this side sees it."""
        ...

    async def send(self, packet: bytes, /) -> None:
        """Hands over one packet; waits while the peer is slow to read.

        Raises:
            PipeClosed: the pipe has ended.
        """
        ...

    async def receive(self) -> bytes:
        """Returns the next packet.

        Raises:
            PipeClosed: the pipe has ended.
        """
        ...

    async def close(self) -> None:
        """Ends the pipe. Packets already handed over may still arrive. Never raises."""
        ...


Connect: TypeAlias = Callable[[str], Awaitable[Pipe]]
"""Opens a pipe to the URL given; raises `OSError` or `LinkError` when it cannot."""
