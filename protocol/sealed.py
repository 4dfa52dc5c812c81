# SPDX-License-Identifier: Apache-2.0
"""End-to-end sealing: to a recipient's key (HPKE, RFC 9180), or back to the asker.

`SealingKey` / `OpeningKey` wrap HPKE in base mode. The library's one-shot call takes
no associated data, so context is bound through `info`: a label, a zero byte, and the
exact bytes that the sealed body belongs to. Whoever opens it under another header
fails (`CannotOpen`).

An answer is sealed under a key that only the asker knows: it drew 32 bytes, sent them
inside the HPKE body, and both derive the answer keys from them and the request's digest
(HKDF-SHA256, RFC 5869). The nonce is a MAC of the answer: a request that is replayed to
two processes of a holder, or after a restart, may be answered twice in different words,
and AES-GCM must not see one nonce with two texts.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.canonical import b64url, unb64url
from protocol.errors import BadKey, CannotOpen
from protocol.model import Document
from protocol.suites import _P256_ORDER, Suite

SEALING_SEED_BYTES = 96
RESPONSE_KEY_BYTES = 32

_HPKE = {
    Suite.HYBRID: hpke.Suite(
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
    ),
    Suite.STRICT: hpke.Suite(
        hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
    ),
}
_ENCAPSULATED = {Suite.HYBRID: 1120, Suite.STRICT: 65}
_TAG = 16


class PublicSealingKey(Document):
    """A sealing key as it stands in documents: suite and raw public bytes."""

    suite: Suite
    pub: str

    def load(self) -> SealingKey:
        """Return the usable key or raise `BadKey`."""
        return SealingKey(self.suite, unb64url(self.pub))


@dataclass(frozen=True)
class SealingKey:
    """The public half: anyone can seal to it.

    Attributes:
        suite: which HPKE suite.
        raw: 1,216 bytes (ML-KEM-768 then X25519) or 65 bytes (P-256 point).
    """

    suite: Suite
    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse bytes that are no key."""
        _ = self._key

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PublicKey | ec.EllipticCurvePublicKey:
        try:
            if self.suite is Suite.STRICT:
                if len(self.raw) != 65:
                    raise BadKey("not an uncompressed P-256 point")
                return ec.EllipticCurvePublicKey.from_encoded_point(
                    ec.SECP256R1(), self.raw
                )
            if len(self.raw) != 1216:
                raise BadKey("not a hybrid sealing key")
            curve = x25519.X25519PublicKey.from_public_bytes(self.raw[1184:])
            lattice = mlkem.MLKEM768PublicKey.from_public_bytes(self.raw[:1184])
            # A low-order X25519 point makes every agreement fail; find out now.
            x25519.X25519PrivateKey.from_private_bytes(b"\x01" * 32).exchange(curve)
            return hpke.MLKEM768X25519PublicKey(lattice, curve)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey("not a usable sealing key") from error

    @cached_property
    def document(self) -> PublicSealingKey:
        """The key as it stands in documents."""
        return PublicSealingKey(suite=self.suite, pub=b64url(self.raw))

    def seal(self, label: str, context: bytes, plaintext: bytes) -> bytes:
        """Seal `plaintext` so that only the key's owner opens it, in this context."""
        return _HPKE[self.suite].encrypt(plaintext, self._key, _info(label, context))


class Opener(Protocol):
    """Whoever can open what was sealed to it: one key, or one of several in overlap."""

    @property
    def seed(self) -> bytes:
        """What the key is derived from; tells memories of opened things apart."""

    @property
    def public(self) -> SealingKey:
        """The key to seal to."""

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Open sealed bytes or raise `CannotOpen`."""


@dataclass(frozen=True)
class OpeningKey:
    """The private half.

    Attributes:
        suite: which HPKE suite.
        seed: 96 bytes from which the key is derived; this is what is kept sealed.
    """

    suite: Suite
    seed: bytes = field(repr=False)

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PrivateKey | ec.EllipticCurvePrivateKey:
        if self.suite is Suite.STRICT:
            scalar = int.from_bytes(self.seed[:48], "big") % (_P256_ORDER - 1) + 1
            return ec.derive_private_key(scalar, ec.SECP256R1())
        return hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(self.seed[:64]),
            x25519.X25519PrivateKey.from_private_bytes(self.seed[64:]),
        )

    @cached_property
    def public(self) -> SealingKey:
        """The key to seal to."""
        if self.suite is Suite.STRICT:
            point = ec.derive_private_key(
                int.from_bytes(self.seed[:48], "big") % (_P256_ORDER - 1) + 1,
                ec.SECP256R1(),
            ).public_key()
            return SealingKey(
                self.suite,
                point.public_bytes(
                    serialization.Encoding.X962,
                    serialization.PublicFormat.UncompressedPoint,
                ),
            )
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(self.seed[:64])
        curve = x25519.X25519PrivateKey.from_private_bytes(self.seed[64:])
        return SealingKey(
            self.suite,
            lattice.public_key().public_bytes_raw()
            + curve.public_key().public_bytes_raw(),
        )

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to this key with the same label and context.

        Raises:
            CannotOpen: truncated, altered, for another key or another context.
        """
        if len(sealed) < _ENCAPSULATED[self.suite] + _TAG:
            raise CannotOpen("the sealed body is truncated")
        try:
            return _HPKE[self.suite].decrypt(sealed, self._key, _info(label, context))
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("the sealed body does not open here") from error


def _info(label: str, context: bytes) -> bytes:
    return label.encode("ascii") + b"\0" + context


_NONCE_BYTES = 12
_ANSWER = b"machikura answer 1"


def _answer_keys(response_key: bytes, request_digest: bytes) -> tuple[AESGCM, bytes]:
    """Return the cipher, and the key that makes its nonces."""
    # HKDF-SHA256 for 64 bytes, by its definition: three MACs. The library's objects
    # for it cost more than sealing the answer does.
    master = hmac.digest(request_digest, response_key, "sha256")
    key = hmac.digest(master, _ANSWER + b"\x01", "sha256")
    return AESGCM(key), hmac.digest(master, key + _ANSWER + b"\x02", "sha256")


def seal_answer(response_key: bytes, request_digest: bytes, answer: bytes) -> bytes:
    """Seal one answer to the asker that drew `response_key` (32 bytes)."""
    aead, nonce_key = _answer_keys(response_key, request_digest)
    nonce = hmac.digest(nonce_key, answer, "sha256")[:_NONCE_BYTES]
    return nonce + aead.encrypt(nonce, answer, None)


def open_answer(response_key: bytes, request_digest: bytes, sealed: bytes) -> bytes:
    """Open the answer to our request.

    Raises:
        CannotOpen: altered, truncated, or the answer to another request.
    """
    aead, _ = _answer_keys(response_key, request_digest)
    try:
        return aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("the answer does not open under this request") from error
