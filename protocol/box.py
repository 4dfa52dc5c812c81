# SPDX-License-Identifier: Apache-2.0
"""Encryption at rest: AES-256-GCM bound to what the ciphertext belongs to.

    box = Box(key)
    sealed = box.seal(entropy(12), plaintext, "record", record_id, "3")
    plaintext = box.open(sealed, "record", record_id, "3")

The words given as context are authenticated (associated data, unambiguously framed), so
a ciphertext moved to another row, version or table does not open. The 96-bit nonce is
random and stands in front; a key therefore seals at most 2**32 times (NIST SP 800-38D),
which per-person and per-record keys never reach.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.errors import CannotOpen

KEY_BYTES = 32
NONCE_BYTES = 12


class Box:
    """One 256-bit key."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        """Take the key (32 bytes)."""
        self._aead = AESGCM(key)

    def seal(self, nonce: bytes, plaintext: bytes, *context: str) -> bytes:
        """Return nonce and ciphertext; `nonce` is 12 fresh random bytes."""
        return nonce + self._aead.encrypt(nonce, plaintext, _framed(context))

    def open(self, sealed: bytes, *context: str) -> bytes:
        """Return the plaintext.

        Raises:
            CannotOpen: another key, another context, or altered bytes.
        """
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, ciphertext, _framed(context))
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("stored data does not open here") from error


def _framed(context: tuple[str, ...]) -> bytes:
    return "".join(f"{len(word)}:{word}" for word in context).encode("utf-8")


def blind_index(key: bytes, use: str, value: str) -> bytes:
    """Return 16 bytes by which `value` can be found without being stored.

    Args:
        key: 32 bytes, a key of its own.
        use: what is indexed, so that equal values in two uses look different.
        value: the value, normalized by the caller.
    """
    text = f"machikura index\0{use}\0{value}".encode()
    return hmac.digest(key, text, "sha256")[:16]
