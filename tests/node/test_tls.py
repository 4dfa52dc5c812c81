# SPDX-License-Identifier: Apache-2.0
"""The listener's certificate: usable, private, made from the entropy it is given."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientSession, Fingerprint, web
from cryptography import x509

from node.tls import certificate_hash, self_signed, server_context, write_pair
from tests.node.conftest import START_MS, CountedEntropy

HOSTS = ["broker.example", "127.0.0.1", "::1", "127.0.0.1"]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return files of a certificate and its key."""
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    made = self_signed(
        "hoshino/broker", HOSTS, now_ms=START_MS, entropy=CountedEntropy()
    )
    write_pair(*made, *files)
    return files


def test_certificate_names_node_and_hosts(pair: tuple[Path, Path]) -> None:
    """Valid now, for years, as a server and not as an authority."""
    certificate = x509.load_pem_x509_certificate(pair[0].read_bytes())
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert [str(a) for a in addresses] == ["127.0.0.1", "::1"]
    assert certificate.not_valid_before_utc.timestamp() < START_MS / 1000
    assert certificate.not_valid_after_utc.year > 2030
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca


def test_key_is_private_and_nothing_is_replaced(pair: tuple[Path, Path]) -> None:
    """A second call must not break a running listener."""
    assert pair[1].stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_pair(b"", b"", *pair)
    assert pair[1].read_bytes().startswith(b"-----BEGIN PRIVATE KEY")


def test_hash_is_of_the_certificate_as_peers_see_it(pair: tuple[Path, Path]) -> None:
    """SHA-256 of the DER form; the handshake is bound to it."""
    der = ssl.PEM_cert_to_DER_cert(pair[0].read_text(encoding="ascii"))
    assert certificate_hash(pair[0]) == hashlib.sha256(der).digest()


async def test_listener_speaks_tls_1_3_only(pair: tuple[Path, Path]) -> None:
    """Over a real socket."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(
            text=request.transport.get_extra_info("ssl_object").version()
        )

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(*pair))
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    pinned = Fingerprint(certificate_hash(pair[0]))
    async with ClientSession() as session:
        async with session.get(url, ssl=pinned) as response:
            assert await response.text() == "TLSv1.3"
        old = ssl.create_default_context(cafile=str(pair[0]))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(OSError):
            await session.get(url, ssl=old)
    await runner.cleanup()


def test_key_of_another_certificate_is_refused(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Found when the node starts, not when a peer dials."""
    other = tmp_path / "other.crt", tmp_path / "other.key"
    entropy = CountedEntropy(calls=10)
    write_pair(*self_signed("a", ["b"], now_ms=START_MS, entropy=entropy), *other)
    with pytest.raises(OSError):
        server_context(pair[0], other[1])
