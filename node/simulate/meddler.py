# SPDX-License-Identifier: Apache-2.0
"""A broker in hostile hands: it does as it likes with what it carries.

The rest of the broker, and everybody else, is production code; only what goes out over
one of its links, and what comes back, passes through the story's hands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from federation.peers import Carrier
from node.parts import Parts
from protocol.envelope import Envelope, Kind
from protocol.errors import Misuse
from protocol.ids import NodeId

Meddle: TypeAlias = Callable[[Carrier, bytes, int], Awaitable[bytes]]
"""Gets the honest link, a request and its deadline; returns what passes as answer."""


class Meddler:
    """A link whose requests pass through `meddle`; satisfies `Carrier`."""

    def __init__(self, link: Carrier, meddle: Meddle) -> None:
        """Take over a link."""
        self._link = link
        self._meddle = meddle

    @property
    def up(self) -> bool:
        """As the honest link says."""
        return self._link.up

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Let the story decide."""
        return await self._meddle(self._link, payload, deadline_ms)

    @property
    def rtt_ms(self) -> float | None:
        """Pass on."""
        return self._link.rtt_ms

    def notify(self, payload: bytes) -> None:
        """Pass on."""
        self._link.notify(payload)

    def end(self) -> None:
        """Pass on."""
        self._link.end()


def take_over(
    parts: Parts, node: str, meddle: Meddle, kind: Kind | None = None
) -> None:
    """Take over a broker's link to a node, until that link ends.

    Args:
        parts: of the broker.
        node: the link's other end.
        meddle: what is done to exchanges.
        kind: only to those of this kind; None for all.
    """
    found = parts.peers.find(NodeId(node))
    if found is None:
        raise Misuse(f"no link to {node}")
    peer, link = found

    async def choose(link: Carrier, payload: bytes, deadline_ms: int) -> bytes:
        header = Envelope.unpack(payload, 1 << 24).header
        if kind in (None, header.kind):
            return await meddle(link, payload, deadline_ms)
        return await link.request(payload, deadline_ms=deadline_ms)

    parts.peers.add(peer, Meddler(link, choose))


def give_back(parts: Parts, node: str) -> None:
    """Let an honest link carry again."""
    found = parts.peers.find(NodeId(node))
    if found is None or not isinstance(found[1], Meddler):
        raise Misuse(f"the link to {node} is honest")
    peer, link = found
    parts.peers.remove(peer, link)
