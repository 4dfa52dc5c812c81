# SPDX-License-Identifier: Apache-2.0
"""The channel in front of the holder: what passes waits until the trace says so.

It takes the place of the broker's link to the holder. Whatever concerns the model is
parked there, to be delivered once, twice, late or never; all the rest passes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from federation.outcome import DeadlinePassed
from federation.peers import Carrier, Peer
from node.parts import Parts
from protocol.envelope import Envelope, Kind
from protocol.ids import NodeId

_PARKED = (Kind.READ, Kind.NOTIFY, Kind.REVOKE)
_MAX_BYTES = 1 << 24


@dataclass
class Parcel:
    """A request on its way.

    Attributes:
        kind: what kind of exchange it is.
        payload: its bytes, as the broker would hand them over.
        answer: what its sender gets.
        first: the answer to its first delivery.
    """

    kind: Kind
    payload: bytes
    answer: asyncio.Future[bytes]
    first: bytes | None = None


@dataclass
class Hand:
    """A link in our hands; satisfies `Carrier`.

    Attributes:
        link: the honest link.
        parcels: everything that was parked, oldest first.
        open: nothing is parked any more.
    """

    link: Carrier
    parcels: list[Parcel] = field(default_factory=list)
    open: bool = False

    @property
    def up(self) -> bool:
        """As the honest link says."""
        return self.link.up

    @property
    def rtt_ms(self) -> float | None:
        """As the honest link says."""
        return self.link.rtt_ms

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Park a request, or pass it on."""
        kind = Envelope.unpack(payload, _MAX_BYTES).header.kind
        if self.open or kind not in _PARKED:
            return await self.link.request(payload, deadline_ms=deadline_ms)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.parcels.append(Parcel(kind, payload, answer))
        return await answer

    def notify(self, payload: bytes) -> None:
        """Pass on."""
        self.link.notify(payload)

    def end(self) -> None:
        """Pass on."""
        self.link.end()

    async def deliver(self, parcel: Parcel, deadline_ms: int) -> bytes:
        """Deliver a parcel, for the first time or again; its sender waits on."""
        answer = await self.link.request(parcel.payload, deadline_ms=deadline_ms)
        parcel.first = parcel.first or answer
        return answer

    def lose(self) -> None:
        """Lose the answers to everything that waits."""
        for parcel in self.parcels:
            if not parcel.answer.done():
                parcel.answer.set_exception(DeadlinePassed("nothing came back"))

    def release(self) -> None:
        """Let everything pass from now on, honestly."""
        self.open = True
        self.lose()


def take(parts: Parts, node: NodeId) -> Hand:
    """Take a broker's link to a node into our hands."""
    found = parts.peers.find(node)
    assert found is not None, f"no link to {node}"
    peer, link = found
    hand = Hand(link)
    parts.peers.add(peer, hand)
    return hand


def take_again(parts: Parts, node: NodeId, hand: Hand) -> None:
    """Take the link of a node that has started anew."""
    found = parts.peers.find(node)
    assert found is not None, f"no link to {node}"
    peer: Peer = found[0]
    hand.link = found[1]
    parts.peers.add(peer, hand)
