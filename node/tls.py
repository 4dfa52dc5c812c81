# SPDX-License-Identifier: Apache-2.0
"""The TLS certificate of a broker's listener: self-signed, ECDSA P-256.

No authority vouches for it and none has to: the link's handshake signs the hash of the
certificate with the broker's registered key, so a man in the middle, who needs another
certificate, is found out. Hence the long life too: trust ends with the membership.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE_DAYS = 3650
SEED_BYTES = 48
_BACKDATED = timedelta(days=1)


def self_signed(
    name: str, hosts: Sequence[str], *, now_ms: int, entropy: Callable[[int], bytes]
) -> tuple[bytes, bytes]:
    """Make a certificate.

    Args:
        name: node id, as common name.
        hosts: DNS names and IP addresses of the listener.
        now_ms: the time of issue.
        entropy: source of random bytes for key and serial number.

    Returns:
        Certificate and private key, PEM.
    """
    key = _key(entropy(SEED_BYTES))
    start = datetime.fromtimestamp(now_ms // 1000, UTC) - _BACKDATED
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(entropy(19), "big") + 1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=LIFE_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(server, critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    # The library draws keys by itself; ours come from the entropy we are handed.
    curve = ec.SECP256R1()
    scalar = int.from_bytes(seed, "big") % (curve.group_order - 1) + 1
    return ec.derive_private_key(scalar, curve)


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def write_pair(
    certificate: bytes, key: bytes, certificate_file: Path, key_file: Path
) -> None:
    """Write both files; the key is readable by its owner only.

    Raises:
        FileExistsError: one of them is there already.
    """
    for path, data, mode in (
        (certificate_file, certificate, 0o644),
        (key_file, key, 0o600),
    ):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)


def server_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return the context of a listener: TLS 1.3 only.

    Raises:
        OSError: a file is missing, unreadable, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate_file, key_file)
    return context


def certificate_hash(certificate_file: Path) -> bytes:
    """Return SHA-256 of the certificate (DER), to which the handshake is bound."""
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate.fingerprint(hashes.SHA256())


def certificate_ends(file: Path) -> int | None:
    """Return when the first certificate in a file ends, seconds since 1970.

    None where the file is missing or holds none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None
    return int(certificate.not_valid_after_utc.timestamp())
