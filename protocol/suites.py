# SPDX-License-Identifier: Apache-2.0
"""Algorithm suites by name, so that they can be replaced (requirement 69).

    hybrid   Ed25519; HPKE ML-KEM-768 + X25519, HKDF-SHA256, AES-256-GCM   (default)
    strict   ECDSA P-256; HPKE DHKEM(P-256), HKDF-SHA256, AES-256-GCM
             only algorithms on the CRYPTREC list

Every document names its algorithm; a node accepts the suites its settings name. One
verifier serves all roles: libraries disagree on odd Ed25519 points, so low-order and
non-canonical public keys are refused when a key object is made.

Private keys are made from seeds, so that randomness comes in as an argument. The one
exception is HPKE's ephemeral key, which the library draws by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Protocol

import nacl.bindings
import nacl.exceptions
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from protocol.canonical import b64url, canonical, unb64url
from protocol.errors import BadKey, BadSignature, UnsupportedSuite

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ECDSA = ec.ECDSA(hashes.SHA256())


class Suite(StrEnum):
    """A named set of algorithms."""

    HYBRID = "hybrid"
    STRICT = "strict"

    @property
    def algorithm(self) -> str:
        """The JWS algorithm name (RFC 7518, RFC 9864)."""
        return "Ed25519" if self is Suite.HYBRID else "ES256"

    @classmethod
    def named(cls, name: str) -> Suite:
        """Find the suite or raise `UnsupportedSuite`."""
        try:
            return cls(name)
        except ValueError as error:
            raise UnsupportedSuite("unknown algorithm suite") from error


SIGNING_SEED_BYTES = 48


class Signer(Protocol):
    """Whoever can sign: a key in a file, in memory, or in a hardware module."""

    @property
    def public(self) -> VerifyingKey:
        """The key that verifies."""

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""


@dataclass(frozen=True)
class VerifyingKey:
    """A public signature key that has passed its checks.

    Attributes:
        suite: which algorithm it belongs to.
        raw: 32 bytes (Ed25519) or 65 bytes (uncompressed P-256 point).
    """

    suite: Suite
    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse points that libraries treat differently."""
        if self.suite is Suite.HYBRID:
            if len(
                self.raw
            ) != 32 or not nacl.bindings.crypto_core_ed25519_is_valid_point(self.raw):
                raise BadKey("not a canonical Ed25519 point of full order")
        else:
            _ = self._point

    @cached_property
    def _point(self) -> ec.EllipticCurvePublicKey:
        if len(self.raw) != 65:
            raise BadKey("not an uncompressed P-256 point")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP256R1(), self.raw
            )
        except ValueError as error:
            raise BadKey("not a point of P-256") from error

    @cached_property
    def jwk(self) -> dict[str, str]:
        """The key as JWK (RFC 7517, RFC 8037)."""
        if self.suite is Suite.HYBRID:
            return {"crv": "Ed25519", "kty": "OKP", "x": b64url(self.raw)}
        return {
            "crv": "P-256",
            "kty": "EC",
            "x": b64url(self.raw[1:33]),
            "y": b64url(self.raw[33:]),
        }

    @cached_property
    def kid(self) -> str:
        """RFC 7638 thumbprint: the key's own name."""
        return b64url(hashlib.sha256(canonical(self.jwk)).digest())

    @classmethod
    def from_jwk(cls, jwk: dict[str, Any]) -> VerifyingKey:
        """Read and check a JWK.

        Raises:
            BadKey: unknown kind, wrong length, or a point that must not be used.
        """
        crv, kty = jwk.get("crv"), jwk.get("kty")
        x, y = jwk.get("x"), jwk.get("y")
        if (kty, crv) == ("OKP", "Ed25519") and isinstance(x, str):
            return _judged(Suite.HYBRID, unb64url(x))
        if (kty, crv) == ("EC", "P-256") and isinstance(x, str) and isinstance(y, str):
            return _judged(
                Suite.STRICT,
                b"\x04" + unb64url(x, length=32) + unb64url(y, length=32),
            )
        raise BadKey("unknown kind of key")

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if `signature` is this key's over `data`.

        Raises:
            BadSignature: in every other case.
        """
        if len(signature) != 64:
            raise BadSignature("a signature has 64 bytes")
        if self.suite is Suite.HYBRID:
            try:
                nacl.bindings.crypto_sign_open(signature + data, self.raw)
            except nacl.exceptions.BadSignatureError as error:
                raise BadSignature("the key does not verify this signature") from error
            return
        half = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:])
        try:
            self._point.verify(encode_dss_signature(*half), data, _ECDSA)
        except InvalidSignature as error:
            raise BadSignature("the key does not verify this signature") from error


@lru_cache(maxsize=4096)
def _judged(suite: Suite, raw: bytes) -> VerifyingKey:
    # Judging a point costs as much as verifying a signature, and every exchange brings
    # the same keys. Only keys that passed are remembered; a refusal is an exception.
    return VerifyingKey(suite, raw)


@dataclass(frozen=True)
class SigningKey:
    """A private signature key in memory. Satisfies `Signer`.

    Attributes:
        suite: which algorithm it belongs to.
        seed: 48 bytes from which the key is derived; this is what is kept sealed.
    """

    suite: Suite
    seed: bytes = field(repr=False)

    @cached_property
    def _ed25519(self) -> tuple[bytes, bytes]:
        public, secret = nacl.bindings.crypto_sign_seed_keypair(self.seed[:32])
        return bytes(public), bytes(secret)

    @cached_property
    def _p256(self) -> ec.EllipticCurvePrivateKey:
        scalar = int.from_bytes(self.seed, "big") % (_P256_ORDER - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())

    @cached_property
    def public(self) -> VerifyingKey:
        """The key that verifies."""
        if self.suite is Suite.HYBRID:
            return VerifyingKey(self.suite, self._ed25519[0])
        return VerifyingKey(
            self.suite,
            self._p256.public_key().public_bytes(
                serialization.Encoding.X962,
                serialization.PublicFormat.UncompressedPoint,
            ),
        )

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        if self.suite is Suite.HYBRID:
            return bytes(nacl.bindings.crypto_sign(data, self._ed25519[1])[:64])
        r, s = decode_dss_signature(self._p256.sign(data, _ECDSA))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def thumbprint(jwk: dict[str, str]) -> str:
    """Return the name of a key that was checked before, as `VerifyingKey.kid` does."""
    return _thumbprint(tuple(jwk.items()))


@lru_cache(maxsize=4096)
def _thumbprint(members: tuple[tuple[str, str], ...]) -> str:
    return b64url(hashlib.sha256(canonical(dict(members))).digest())
