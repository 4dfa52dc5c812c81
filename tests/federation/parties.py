# SPDX-License-Identifier: Apache-2.0
"""Parties for the tests of links: identities, hubs, and handlers that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from hashlib import sha256

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from federation.dialer import Backoff
from federation.handshake import PeerIdentity
from federation.hub import HubLimits, LinkHub
from federation.limits import LinkLimits
from federation.link import Link, NoticeHandler, RequestHandler
from federation.ports import Payload
from federation.simulation import Network
from federation.virtual import START_MS
from protocol.errors import BadSignature, Malformed, UnknownKey

NEVER_MS = START_MS + 10 * 365 * 86_400_000


def signing_key(node: str) -> SigningKey:
    """Returns the key of a node, always the same."""
    return SigningKey(sha256(node.encode()).digest())


class TrustingIdentity:
    """A node that trusts everybody whose credentials are a node id."""

    def __init__(
        self,
        node: str,
        *,
        key: SigningKey | None = None,
        trusted: Mapping[str, VerifyKey] | None = None,
        expires_ms: int = NEVER_MS,
    ) -> None:
        """Takes another key to be an impostor; names trusted peers to be strict."""
        self.node = node
        self._key = key or signing_key(node)
        self._trusted = trusted
        self._expires_ms = expires_ms

    def credentials(self) -> bytes:
        """Returns the node id."""
        return self.node.encode()

    def sign(self, data: bytes, /) -> bytes:
        """Signs with our key."""
        return self._key.sign(data).signature

    def verify_peer(self, credentials: bytes, /) -> PeerIdentity:
        """Knows the key of everybody."""
        try:
            node = credentials.decode()
        except UnicodeDecodeError as error:
            raise Malformed from error
        if self._trusted is not None and node not in self._trusted:
            raise UnknownKey(node)
        key = signing_key(node).verify_key

        def verify(data: bytes, signature: bytes) -> None:
            try:
                key.verify(data, signature)
            except (BadSignatureError, ValueError) as error:
                raise BadSignature from error

        return PeerIdentity(node, verify, self._expires_ms)


async def echo(_link: Link, payload: bytes) -> Payload:
    """Answers with the request."""
    return payload


def hub(
    network: Network,
    node: str,
    *,
    on_request: RequestHandler = echo,
    on_notice: NoticeHandler | None = None,
    identity: TrustingIdentity | None = None,
    limits: HubLimits | None = None,
    link_limits: LinkLimits | None = None,
    tap: Callable[[bytes], None] | None = None,
) -> LinkHub:
    """Returns a party on a simulated network."""
    return LinkHub(
        identity=identity or TrustingIdentity(node),
        clock=network.clock(node),
        entropy=network.entropy(node),
        on_request=on_request,
        on_notice=on_notice,
        limits=limits,
        link_limits=link_limits,
        tap=tap,
    )


async def linked(
    network: Network, dialer: LinkHub, listener: LinkHub
) -> tuple[Link, Link]:
    """Links two hubs; returns the dialer's end and the listener's."""
    url = network.listen(listener.node, listener.serve)
    pipe = await network.connector(dialer.node)(url)
    near = await dialer.dial(pipe, expected=listener.node)
    far = listener.link_to(dialer.node)
    assert far is not None
    return near, far


def in_s(network: Network, seconds: float) -> int:
    """Returns a deadline that many virtual seconds from now."""
    return network.clock("").now_ms() + round(seconds * 1000)


async def pass_s(seconds: float) -> None:
    """Lets virtual seconds pass."""
    await asyncio.sleep(seconds)


class MemoryStore:
    """Back-off states that outlive a dialer."""

    def __init__(self) -> None:
        """Starts empty."""
        self.saved: dict[str, Backoff] = {}

    async def load(self, node: str) -> Backoff | None:
        """See `BackoffStore.load`."""
        return self.saved.get(node)

    async def save(self, node: str, backoff: Backoff) -> None:
        """See `BackoffStore.save`."""
        self.saved[node] = backoff
