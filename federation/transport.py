# SPDX-License-Identifier: Apache-2.0
"""Links over WebSocket: the one module that opens a socket.

TLS here has no certificate authority. A node behind an address of its own city has
no public name, and whoever could mislead an authority must not be able to pose as a
broker. So the dialer takes whatever certificate is shown, and the handshake
(`federation.handshake`), which both sides sign, covers the hash of that certificate
as each side sees it: a man in the middle would have to show another one, and both
sides would notice. TLS gives secrecy and integrity, the handshake says to whom.

TLS 1.3 is required: before it, certificates travel in clear and renegotiation could
put another one under a handshake that is already signed. Without TLS only addresses
of the machine itself are dialed, and only where the caller says so.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TCPConnector,
    WSMsgType,
    web,
)

from federation.frames import MAX_PACKET_BYTES
from federation.hub import LinkHub
from federation.ports import Connect, LinkError, Pipe, PipeClosed

SUBPROTOCOL: Final = "machikura.link"
"""Named in `Sec-WebSocket-Protocol`; a server of something else does not answer it."""

LINK_PATH: Final = "/link"

NO_CERTIFICATE: Final = bytes(32)
"""Stands for the hash of the certificate on loopback without TLS."""

_CLOSE_S: Final = 1.0
"""Seconds that closing waits for the peer's close frame."""

_WRITE_BYTES: Final = MAX_PACKET_BYTES
"""Bytes after which sending waits for the socket."""

_WebSocket: TypeAlias = ClientWebSocketResponse[bool] | web.WebSocketResponse[bool]


# What the library raises when a WebSocket ends under our hands; RuntimeError when it
# had been closed before.
_CLOSED: Final = (OSError, ClientError, RuntimeError)


class CannotConnect(LinkError):
    """No pipe could be opened to the address."""

    slug = "cannot-connect"


class WebSocketPipe:
    """A pipe over one WebSocket; each packet is one binary message."""

    def __init__(
        self,
        socket: _WebSocket,
        certificate_hash: bytes,
        session: ClientSession | None = None,
    ) -> None:
        """Wraps an open WebSocket.

        Args:
            socket: of either side.
            certificate_hash: of the listener's TLS certificate.
            session: closed with the pipe.
        """
        self._socket = socket
        self._certificate_hash = certificate_hash
        self._session = session

    @property
    def certificate_hash(self) -> bytes:
        """See `Pipe.certificate_hash`."""
        return self._certificate_hash

    async def send(self, packet: bytes, /) -> None:
        """See `Pipe.send`."""
        try:
            await self._socket.send_bytes(packet)
        except _CLOSED as error:
            raise PipeClosed from error

    async def receive(self) -> bytes:
        """See `Pipe.receive`."""
        try:
            message = await self._socket.receive()
        except _CLOSED as error:
            raise PipeClosed from error
        if message.type is not WSMsgType.BINARY:
            raise PipeClosed
        packet: bytes = message.data
        return packet

    async def close(self) -> None:
        """See `Pipe.close`."""
        try:
            with suppress(*_CLOSED):
                await self._socket.close()
        finally:
            if self._session is not None:
                await self._session.close()


def client_tls() -> ssl.SSLContext:
    """Returns the TLS settings of a dialer: 1.3, and no authority (see above)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_tls(certificate_path: str, key_path: str) -> ssl.SSLContext:
    """Returns the TLS settings of a listener: 1.3, and the certificate in the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate_path, key_path)
    return context


def certificate_hash(der: bytes) -> bytes:
    """Returns what the handshake is bound to: SHA-256 of a certificate in DER."""
    return hashlib.sha256(der).digest()


def serve_links(
    hub: LinkHub, *, own_certificate: Callable[[], bytes]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Returns an aiohttp handler for `GET /link`.

    Args:
        hub: serves the links.
        own_certificate: returns the hash of the TLS certificate that dialers are
            shown now: ours, or that of the proxy which ends TLS before us.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            timeout=_CLOSE_S,
            protocols=(SUBPROTOCOL,),
            # Contents are sealed, so compressing gains nothing and could leak sizes.
            compress=False,
            max_msg_size=MAX_PACKET_BYTES,
            writer_limit=_WRITE_BYTES,
        )
        await socket.prepare(request)
        pipe = WebSocketPipe(socket, own_certificate())
        if socket.ws_protocol == SUBPROTOCOL:
            await hub.serve(pipe)
        else:
            await pipe.close()
        return socket

    return handle


async def dial(url: str, *, allow_plain: bool = False) -> Pipe:
    """Opens a pipe to a listener.

    Args:
        url: `wss://host:port/link`, or `ws://` where allowed.
        allow_plain: whether a loopback address may be dialed without TLS.

    Raises:
        CannotConnect: nobody listens there, something else does, or the URL is one
            that must not be dialed.
    """
    if not _may_dial(url, allow_plain=allow_plain):
        raise CannotConnect("links need wss")
    session = ClientSession(
        connector=TCPConnector(ssl=client_tls(), limit=1),
        timeout=ClientTimeout(total=None),
        middlewares=(_stay,),
    )
    try:
        socket = await session.ws_connect(
            url,
            protocols=(SUBPROTOCOL,),
            compress=0,
            max_msg_size=MAX_PACKET_BYTES,
            timeout=ClientWSTimeout(ws_close=_CLOSE_S),
        )
        if socket.protocol != SUBPROTOCOL:
            raise CannotConnect("what listens there does not speak of links")
        shown = NO_CERTIFICATE
        if urlsplit(url).scheme == "wss":
            tls = socket.get_extra_info("ssl_object")
            shown = certificate_hash(tls.getpeercert(binary_form=True))
        return WebSocketPipe(socket, shown, session)
    except (ClientError, OSError) as error:
        await session.close()
        raise CannotConnect(str(error)) from error
    except BaseException:
        await session.close()
        raise


def dialing(*, allow_plain: bool = False) -> Connect:
    """Returns `dial` with its options, in the form that a `Dialer` takes."""

    async def connect(url: str) -> Pipe:
        return await dial(url, allow_plain=allow_plain)

    return connect


async def _stay(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Follows no redirect.

    The library would, to any address and without TLS, at the word of a server that
    has not proven who it is: a way to make a node call what only it can reach.
    """
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise CannotConnect("the address redirects elsewhere")
    return response


def _may_dial(url: str, *, allow_plain: bool) -> bool:
    """Returns whether a URL has TLS, or needs none."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "wss":
            return parts.hostname is not None
        if not allow_plain or parts.scheme != "ws" or parts.hostname is None:
            return False
        # Of all names only this one is loopback by definition (RFC 6761, 6.3); the
        # address of any other is whatever a resolver says.
        if parts.hostname == "localhost":
            return True
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
