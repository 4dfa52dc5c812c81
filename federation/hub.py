# SPDX-License-Identifier: Apache-2.0
"""The hub of one party's links: who it is, what it serves, whom it is linked to.

Both the side that listens (`serve`) and the side that dials (`dial`) run the
handshake here, so sockets and simulations differ only in the pipe they bring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from federation.handshake import (
    NONCE_BYTES,
    DialerHandshake,
    LinkIdentity,
    ListenerHandshake,
    PeerIdentity,
    refusal,
)
from federation.limits import LinkLimits
from federation.link import Link, NoticeHandler, RequestHandler
from federation.ports import Clock, Entropy, LinkError, Pipe, PipeClosed
from federation.shares import Shares
from federation.versions import Abilities, HandshakeRefused, LinkTerms

_logger = logging.getLogger(__name__)

DEFAULT_ABILITIES = Abilities(suites=("hybrid", "strict"))
"""What a default hub can speak."""

UpObserver: TypeAlias = Callable[[Link], None]
DownObserver: TypeAlias = Callable[[Link, str], None]


@dataclass(frozen=True, kw_only=True)
class HubLimits:
    """The bounds of one party over all its links."""

    handshake_s: float = 10.0
    """Seconds for a whole handshake; a peer that drips bytes gains nothing."""
    max_handshakes: int = 256
    """Handshakes of callers in progress; one more is refused as `link-busy`."""
    max_links: int = 10_000
    """Links open; one more is refused as `link-busy`."""
    max_links_per_peer: int = 4
    """Links with one peer; one more ends the oldest of them."""
    max_bytes_in: int = 268_435_456
    """Bytes of requests and answers in hand on all links, shared out fairly."""


class LinkHub:
    """Opens links over pipes and knows those that are up."""

    def __init__(
        self,
        *,
        identity: LinkIdentity,
        clock: Clock,
        entropy: Entropy,
        on_request: RequestHandler,
        on_notice: NoticeHandler | None = None,
        abilities: Abilities = DEFAULT_ABILITIES,
        limits: HubLimits | None = None,
        link_limits: LinkLimits | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        """Starts without links.

        Args:
            identity: who we are, and whom we trust; asked anew at each handshake.
            clock: for deadlines and the end of credentials.
            entropy: for nonces.
            on_request: answers requests on every link.
            on_notice: takes notices on every link.
            abilities: versions, suites and capabilities that we can speak.
            limits: over all links.
            link_limits: of each link.
            tap: is given every byte string received after and during handshakes.
        """
        self._identity = identity
        self._clock = clock
        self._entropy = entropy
        self._on_request = on_request
        self._on_notice = on_notice
        self._abilities = abilities
        self._limits = limits or HubLimits()
        self._link_limits = link_limits or LinkLimits()
        self._shares = Shares(self._limits.max_bytes_in)
        self._tap = tap
        self._links: dict[str, list[Link]] = {}
        self._observers: list[tuple[UpObserver, DownObserver]] = []
        self._handshakes = 0
        self._closed = False

    @property
    def node(self) -> str:
        """Our node id."""
        return self._identity.node

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that are up, by peer in the order first met."""
        return tuple(link for links in self._links.values() for link in links)

    def link_to(self, node: str) -> Link | None:
        """Returns the newest link that is up with a node."""
        links = self._links.get(node)
        return links[-1] if links else None

    def watch(self, *, on_up: UpObserver, on_down: DownObserver) -> None:
        """Tells each link that comes up, and why it went down; these must not raise."""
        self._observers.append((on_up, on_down))

    async def dial(self, pipe: Pipe, *, expected: str | None = None) -> Link:
        """Opens a link over a pipe that we have connected.

        Args:
            pipe: owned by the hub from now on, closed on failure.
            expected: the node that must answer; None when any trusted one may.

        Raises:
            HandshakeRefused: either side refuses.
            PipeClosed: the peer has hung up.
        """
        handshake = DialerHandshake(
            identity=self._identity,
            certificate_hash=pipe.certificate_hash,
            nonce=self._entropy.token_bytes(NONCE_BYTES),
            abilities=self._abilities,
            expected=expected,
        )

        async def shake() -> PeerIdentity:
            await pipe.send(handshake.hello())
            await pipe.send(handshake.answered(await self._receive(pipe)))
            return self._current(handshake.done(await self._receive(pipe)))

        peer = await self._bounded(pipe, shake())
        return self._open(pipe, peer, handshake.terms, dialed=True)

    async def accept(self, pipe: Pipe) -> Link:
        """Opens a link over a pipe that a peer has connected.

        Args:
            pipe: owned by the hub from now on, closed on failure.

        Raises:
            HandshakeRefused: either side refuses.
            PipeClosed: the peer has hung up.
        """
        handshake = ListenerHandshake(
            identity=self._identity,
            certificate_hash=pipe.certificate_hash,
            nonce=self._entropy.token_bytes(NONCE_BYTES),
            abilities=self._abilities,
        )

        async def shake() -> PeerIdentity:
            if self._handshakes > self._limits.max_handshakes:
                raise HandshakeRefused("link-busy")
            if len(self.links) >= self._limits.max_links:
                raise HandshakeRefused("link-busy")
            await pipe.send(handshake.greeted(await self._receive(pipe)))
            peer, done = handshake.authenticated(await self._receive(pipe))
            self._current(peer)
            await pipe.send(done)
            return peer

        self._handshakes += 1
        try:
            peer = await self._bounded(pipe, shake())
        finally:
            self._handshakes -= 1
        return self._open(pipe, peer, handshake.terms, dialed=False)

    async def serve(self, pipe: Pipe) -> None:
        """Accepts a link and returns when it has ended, or could not be opened."""
        try:
            link = await self.accept(pipe)
        except LinkError as error:
            _logger.info("a caller did not get a link: %s", error)
        else:
            await link.wait_closed()

    async def close(self) -> None:
        """Ends all links and takes no new ones."""
        self._closed = True
        links = self.links
        for link in links:
            link.end()
        for link in links:
            await link.wait_closed()

    async def _bounded(
        self, pipe: Pipe, shake: Awaitable[PeerIdentity]
    ) -> PeerIdentity:
        """Runs a handshake to its deadline; on failure tells the peer and closes."""
        try:
            try:
                async with asyncio.timeout(self._limits.handshake_s):
                    return await shake
            except TimeoutError as error:
                raise HandshakeRefused("timeout") from error
        except HandshakeRefused as refused:
            if not refused.by_peer:
                await self._tell(pipe, refused)
            await pipe.close()
            raise
        except BaseException:
            await pipe.close()
            raise

    async def _tell(self, pipe: Pipe, refused: HandshakeRefused) -> None:
        """Sends a refusal to a peer that may not be listening."""
        try:
            async with asyncio.timeout(self._link_limits.close_grace_s):
                await pipe.send(refusal(refused))
        except (PipeClosed, TimeoutError):
            _logger.debug("the peer did not wait for the refusal")

    async def _receive(self, pipe: Pipe) -> bytes:
        """Returns the next message of the handshake."""
        message = await pipe.receive()
        if self._tap is not None:
            self._tap(message)
        return message

    def _current(self, peer: PeerIdentity) -> PeerIdentity:
        """Returns a peer whose credentials have not ended."""
        if peer.expires_ms <= self._clock.now_ms():
            raise HandshakeRefused("expired", f"credentials of {peer.node}")
        return peer

    def _open(
        self, pipe: Pipe, peer: PeerIdentity, terms: LinkTerms, *, dialed: bool
    ) -> Link:
        """Starts the link and tells the observers."""
        link = Link(
            pipe,
            peer=peer,
            terms=terms,
            dialed=dialed,
            clock=self._clock,
            on_request=self._on_request,
            on_notice=self._on_notice,
            on_lost=self._forget,
            limits=self._link_limits,
            shares=self._shares,
            tap=self._tap,
        )
        links = self._links.setdefault(peer.node, [])
        links.append(link)
        link.start()
        for on_up, _ in self._observers:
            on_up(link)
        if self._closed:
            link.end()
        elif len(links) > self._limits.max_links_per_peer:
            links[0].end()
        return link

    def _forget(self, link: Link, reason: str) -> None:
        """Takes a link that has ended out of the table and tells the observers."""
        links = self._links[link.peer.node]
        links.remove(link)
        if reason == "silent":
            for other in links:
                other.doubt()
        if not links:
            del self._links[link.peer.node]
        for _, on_down in self._observers:
            on_down(link, reason)
