# SPDX-License-Identifier: Apache-2.0
"""A link: many requests over one pipe, each ended by its deadline, all bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from federation import frames
from federation.endpoint import Endpoint
from federation.flow import WINDOW_BYTES
from federation.frames import CHUNK_BYTES, Frame, decode, encode
from federation.handshake import HandshakeRefused
from federation.limits import LinkLimits
from federation.link import Link
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.ports import Payload, Pipe, PipeClosed
from federation.simulation import Network, Weather, run
from federation.virtual import START_MS
from tests.federation.parties import (
    TrustingIdentity,
    endpoint,
    in_s,
    linked,
    pass_s,
)

NEAR, FAR = "hoshino/clinic", "hoshino/broker"


async def pair(
    network: Network,
    *,
    on_request: Callable[[Link, bytes], Awaitable[Payload]] | None = None,
    on_notice: Callable[[Link, bytes], Awaitable[None]] | None = None,
    near_limits: LinkLimits | None = None,
    far_limits: LinkLimits | None = None,
    tap: Callable[[bytes], None] | None = None,
) -> tuple[Link, Link]:
    """Links a clinic to a broker that serves with the handlers given."""
    far: Endpoint
    if on_request is None:
        far = endpoint(
            network, FAR, on_notice=on_notice, link_limits=far_limits, tap=tap
        )
    else:
        far = endpoint(
            network,
            FAR,
            on_request=on_request,
            on_notice=on_notice,
            link_limits=far_limits,
            tap=tap,
        )
    near = endpoint(network, NEAR, link_limits=near_limits)
    return await linked(network, near, far)


async def stuck(_link: Link, _payload: bytes) -> Payload:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


class RawPeer:
    """A peer that has shaken hands and then sends whatever frames a test likes."""

    def __init__(self, pipe: Pipe) -> None:
        """Takes over the pipe."""
        self._pipe = pipe

    async def send(self, *written: bytes) -> None:
        """Sends frames in one packet."""
        await self._pipe.send(b"".join(written))

    async def read(self) -> Frame:
        """Returns the first frame of the next packet."""
        return decode(await self._pipe.receive())[0]

    async def read_until_closed(self) -> tuple[int, str]:
        """Returns code and reason of the CLOSE that must come."""
        while True:
            for frame in decode(await self._pipe.receive()):
                if frame.kind == frames.CLOSE:
                    return frames.read_close(frame.payload)


async def raw_peer(network: Network, listener: Endpoint) -> tuple[RawPeer, Link]:
    """Links a raw peer; returns it and the listener's end."""
    url = network.listen(listener.node, listener.serve)
    pipe = await network.connector(NEAR)(url)
    handed_over: list[Pipe] = []

    class Borrowed:
        """Lets the handshake through and keeps the link from using the pipe."""

        certificate_hash = pipe.certificate_hash
        messages = 0

        async def send(self, packet: bytes, /) -> None:
            await pipe.send(packet)

        async def receive(self) -> bytes:
            self.messages += 1
            if self.messages <= 2:
                return await pipe.receive()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def close(self) -> None:
            handed_over.append(pipe)

    near = await endpoint(network, NEAR).dial(Borrowed(), expected=listener.node)
    near._loop.call_soon(near.end)
    far = listener.link_to(NEAR)
    assert far is not None
    # The near end says goodbye on a pipe that the peer then keeps using, so the
    # goodbye has to be kept from the listener: it is cancelled before it is sent.
    supervisor = near._supervisor
    assert supervisor is not None
    return RawPeer(pipe), far
