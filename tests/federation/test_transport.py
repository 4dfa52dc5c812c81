# SPDX-License-Identifier: Apache-2.0
"""Links over real WebSockets and TLS, on the loopback interface."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from aiohttp import ClientSession, WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from federation.dialer import BackoffPolicy, Dialer, DialTarget
from federation.frames import MAX_PACKET_BYTES
from federation.hub import HubLimits, LinkHub
from federation.limits import LinkLimits
from federation.link import Link
from federation.ports import PipeClosed
from federation.transport import (
    LINK_PATH,
    NO_CERTIFICATE,
    SUBPROTOCOL,
    CannotConnect,
    certificate_hash,
    client_tls,
    dial,
    dialing,
    serve_links,
    server_tls,
)
from federation.versions import HandshakeRefused
from federation.virtual import SeededEntropy, VirtualClock
from tests.federation.parties import MemoryStore, TrustingIdentity, echo

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

BROKER, CLINIC = "hoshino/broker", "hoshino/clinic"


class Certificate:
    """A self-signed TLS certificate on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        """Makes a key and signs it with itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        self._certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        pem = serialization.Encoding.PEM
        self._certificate.write_bytes(certificate.public_bytes(pem))
        self._key.write_bytes(
            key.private_bytes(
                pem,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.hash = certificate_hash(
            certificate.public_bytes(serialization.Encoding.DER)
        )

    def tls(self) -> ssl.SSLContext:
        """Returns the settings of a listener that shows it."""
        return server_tls(str(self._certificate), str(self._key))


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """The broker's certificate."""
    return Certificate(tmp_path, "broker")


def hub(
    node: str,
    *,
    limits: HubLimits | None = None,
    link_limits: LinkLimits | None = None,
) -> LinkHub:
    """Returns a party that echoes."""
    return LinkHub(
        identity=TrustingIdentity(node),
        clock=VirtualClock(),
        entropy=SeededEntropy(node),
        on_request=echo,
        limits=limits,
        link_limits=link_limits,
    )


def deadline_ms() -> int:
    """Returns a deadline far enough away for a busy machine."""
    return VirtualClock().now_ms() + 30_000


@asynccontextmanager
async def listening(
    path: str, handler: Handler, tls: ssl.SSLContext | None, *, port: int = 0
) -> AsyncIterator[int]:
    """Serves one path on loopback; yields the port."""
    app = web.Application()
    app.router.add_get(path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def served(
    hub: LinkHub,
    certificate: Certificate | None,
    *,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[int]:
    """Serves a hub on loopback; yields the port."""
    shown = certificate.hash if certificate else NO_CERTIFICATE
    handler = serve_links(hub, own_certificate=lambda: shown)
    if tls is None and certificate is not None:
        tls = certificate.tls()
    async with listening(LINK_PATH, handler, tls, port=port) as bound:
        try:
            yield bound
        finally:
            await hub.close()


class Cable:
    """A relay of bytes to a port, which can die without a word."""

    def __init__(
        self,
        port: int,
        *,
        near_tls: ssl.SSLContext | None = None,
        far_tls: ssl.SSLContext | None = None,
    ) -> None:
        """Ends TLS on either side where settings are given."""
        self.alive = True
        self._far_port = port
        self._near_tls = near_tls
        self._far_tls = far_tls
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[int]:
        """Yields the port that leads to the other port."""
        server = await asyncio.start_server(
            self._relay, "127.0.0.1", 0, ssl=self._near_tls
        )
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            "127.0.0.1", self._far_port, ssl=self._far_tls
        )
        self._writers += writer, far_writer
        await asyncio.gather(
            self._copy(reader, far_writer), self._copy(far_reader, writer)
        )

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.alive:
                    writer.write(data)
            if self.alive:
                writer.close()


@asynccontextmanager
async def linked(certificate: Certificate) -> AsyncIterator[tuple[Link, Link]]:
    """Links a clinic to a broker over TLS."""
    broker, clinic = hub(BROKER), hub(CLINIC)
    async with served(broker, certificate) as port:
        pipe = await dial(f"wss://127.0.0.1:{port}{LINK_PATH}")
        near = await clinic.dial(pipe, expected=BROKER)
        far = broker.link_to(CLINIC)
        assert far is not None
        try:
            yield near, far
        finally:
            await clinic.close()


async def test_requests_travel_both_ways_over_tls(certificate: Certificate) -> None:
    """The listener asks over the connection that the dialer has opened."""
    async with linked(certificate) as (near, far):
        assert await near.request(b"up", deadline_ms=deadline_ms()) == b"up"
        assert await far.request(b"down", deadline_ms=deadline_ms()) == b"down"


async def test_long_messages_and_many_requests_arrive_whole(
    certificate: Certificate,
) -> None:
    """Chunks, credit and coalescing fit the limits of the WebSocket."""
    payloads = [bytes([number]) * (1 + 20_000 * number) for number in range(60)]
    async with linked(certificate) as (near, _):
        limit_ms = deadline_ms()
        answers = await asyncio.gather(
            *(near.request(payload, deadline_ms=limit_ms) for payload in payloads)
        )
    assert list(answers) == payloads


async def test_pipe_shows_the_certificate_of_the_listener(
    certificate: Certificate,
) -> None:
    """What the handshake is bound to is what TLS has shown."""
    broker = hub(BROKER)
    async with served(broker, certificate) as port:
        pipe = await dial(f"wss://127.0.0.1:{port}{LINK_PATH}")
        assert pipe.certificate_hash == certificate.hash
        await pipe.close()


async def test_man_in_the_middle_of_tls_is_noticed(
    certificate: Certificate, tmp_path: Path
) -> None:
    """The attack: end TLS with another certificate and pass every byte on."""
    broker, clinic = hub(BROKER), hub(CLINIC)
    evil = Certificate(tmp_path, "evil")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(broker, certificate))
        relay = Cable(port, near_tls=evil.tls(), far_tls=client_tls())
        evil_port = await stack.enter_async_context(relay.laid())
        pipe = await dial(f"wss://127.0.0.1:{evil_port}{LINK_PATH}")
        assert pipe.certificate_hash == evil.hash
        with pytest.raises(HandshakeRefused) as caught:
            await clinic.dial(pipe, expected=BROKER)
    assert (caught.value.slug, caught.value.by_peer) == ("bad-signature", False)
    assert broker.links == ()


async def test_loopback_without_tls_needs_permission() -> None:
    """The plain form is for several nodes on one machine, on purpose."""
    broker, clinic = hub(BROKER), hub(CLINIC)
    async with served(broker, None) as port:
        url = f"ws://127.0.0.1:{port}{LINK_PATH}"
        with pytest.raises(CannotConnect):
            await dial(url)
        link = await clinic.dial(await dial(url, allow_plain=True), expected=BROKER)
        assert await link.request(b"x", deadline_ms=deadline_ms()) == b"x"
        await clinic.close()


@pytest.mark.parametrize(
    "url",
    [
        "ws://192.0.2.1/link",
        "ws://broker.example/link",
        "ws://127.0.0.1.example/link",
        "ws://localhost.example/link",
        "ws://user@192.0.2.1/link",
        "http://127.0.0.1/link",
        "file:///etc/passwd",
        "wss:///link",
        "ws://[::1",
        "",
    ],
)
async def test_other_addresses_without_tls_are_never_dialed(url: str) -> None:
    """The attack: an announcement that talks a node out of TLS."""
    with pytest.raises(CannotConnect, match="links need wss"):
        await dial(url, allow_plain=True)


async def test_listener_that_only_has_an_older_tls_is_not_dialed(
    certificate: Certificate,
) -> None:
    """The attack: talk the dialer down to TLS 1.2."""
    old = certificate.tls()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with served(hub(BROKER), certificate, tls=old) as port:
        with pytest.raises(CannotConnect):
            await dial(f"wss://127.0.0.1:{port}{LINK_PATH}")


async def test_dialer_that_only_has_an_older_tls_is_not_served(
    certificate: Certificate,
) -> None:
    """The attack: talk the listener down to TLS 1.2."""
    old = client_tls()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with served(hub(BROKER), certificate) as port:
        # An SSL error, or a reset where the listener hangs up first.
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)


async def test_closed_port_cannot_be_dialed(unused_tcp_port: int) -> None:
    """The error is ours, not the library's."""
    with pytest.raises(CannotConnect):
        await dial(f"wss://127.0.0.1:{unused_tcp_port}{LINK_PATH}")


async def not_found(_request: web.Request) -> web.StreamResponse:
    """Is not a WebSocket."""
    return web.Response(status=404)


async def other_protocol(request: web.Request) -> web.StreamResponse:
    """Is a WebSocket of something else."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.receive()
    return socket


@pytest.mark.parametrize("handler", [not_found, other_protocol])
async def test_server_of_something_else_is_not_a_listener(handler: Handler) -> None:
    """A wrong URL fails at once."""
    async with listening(LINK_PATH, handler, None) as port:
        with pytest.raises(CannotConnect):
            await dial(f"ws://127.0.0.1:{port}{LINK_PATH}", allow_plain=True)


async def test_redirect_is_not_followed(certificate: Certificate) -> None:
    """The attack: send a dialer on to an address without TLS, or inside its network."""
    reached: list[str] = []

    async def inside(_request: web.Request) -> web.StreamResponse:
        reached.append("inside")
        return web.Response()

    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"http://127.0.0.1:{inside_port}/")

    async with AsyncExitStack() as stack:
        inside_port = await stack.enter_async_context(listening("/", inside, None))
        port = await stack.enter_async_context(
            listening(LINK_PATH, elsewhere, certificate.tls())
        )
        with pytest.raises(CannotConnect):
            await dial(f"wss://127.0.0.1:{port}{LINK_PATH}")
    assert reached == []


async def test_caller_of_something_else_is_hung_up_on() -> None:
    """A browser that opens the path learns nothing."""
    async with (
        served(hub(BROKER), None) as port,
        ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}{LINK_PATH}") as socket,
    ):
        assert (await socket.receive()).type is WSMsgType.CLOSE


@pytest.mark.parametrize("message", ["text", bytes(MAX_PACKET_BYTES + 1)])
async def test_message_that_is_no_packet_ends_the_pipe(message: str | bytes) -> None:
    """The attack: text, or more than a packet, in the place of a hello."""
    async with (
        served(hub(BROKER), None) as port,
        ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{port}{LINK_PATH}", protocols=(SUBPROTOCOL,)
        ) as socket,
    ):
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)
        assert (await socket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}


async def test_pipe_that_was_closed_says_so() -> None:
    """Sending, receiving and closing again raise nothing else."""
    async with served(hub(BROKER), None) as port:
        pipe = await dial(f"ws://127.0.0.1:{port}{LINK_PATH}", allow_plain=True)
        await pipe.close()
        with pytest.raises(PipeClosed):
            await pipe.send(b"x")
        with pytest.raises(PipeClosed):
            await pipe.receive()
        await pipe.close()


async def test_silent_caller_is_cut_off() -> None:
    """The attack: open a WebSocket and say nothing."""
    broker = hub(BROKER, limits=HubLimits(handshake_s=0.05))
    async with served(broker, None) as port:
        pipe = await dial(f"ws://127.0.0.1:{port}{LINK_PATH}", allow_plain=True)
        assert b"timeout" in await pipe.receive()
        with pytest.raises(PipeClosed):
            await pipe.receive()
        await pipe.close()


async def test_dialer_finds_a_listener_that_has_restarted(
    certificate: Certificate, unused_tcp_port: int
) -> None:
    """The same link code, back-off and sockets, end to end."""
    clinic = hub(CLINIC)
    ups: asyncio.Queue[Link] = asyncio.Queue()
    downs: asyncio.Queue[str] = asyncio.Queue()
    clinic.watch(
        on_up=ups.put_nowait, on_down=lambda _, reason: downs.put_nowait(reason)
    )
    dialer = Dialer(
        clinic,
        connect=dialing(),
        clock=VirtualClock(),
        entropy=SeededEntropy(0),
        store=MemoryStore(),
        policy=BackoffPolicy(first_s=0.01, max_s=0.1),
    )
    dialer.add(DialTarget(BROKER, f"wss://127.0.0.1:{unused_tcp_port}{LINK_PATH}"))
    for _ in range(2):
        async with served(hub(BROKER), certificate, port=unused_tcp_port):
            link = await ups.get()
            assert await link.request(b"x", deadline_ms=deadline_ms()) == b"x"
        assert await downs.get() == "peer-closed"
    await dialer.close()
    await clinic.close()


@pytest.mark.slow
async def test_dead_cable_is_noticed(certificate: Certificate) -> None:
    """Heartbeats work over sockets as they do in the simulation."""
    limits = LinkLimits(heartbeat_s=0.05, close_grace_s=0.05)
    broker = hub(BROKER, link_limits=limits)
    clinic = hub(CLINIC, link_limits=limits)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(broker, certificate))
        cable = Cable(port)
        cable_port = await stack.enter_async_context(cable.laid())
        pipe = await dial(f"wss://127.0.0.1:{cable_port}{LINK_PATH}")
        near = await clinic.dial(pipe, expected=BROKER)
        assert await near.request(b"x", deadline_ms=deadline_ms()) == b"x"
        far = broker.link_to(CLINIC)
        assert far is not None
        cable.alive = False
        assert await near.wait_closed() == "silent"
        assert await far.wait_closed() == "silent"
