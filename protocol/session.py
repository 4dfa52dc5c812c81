# SPDX-License-Identifier: Apache-2.0
"""Sealed bodies: one key agreement, then many requests of one asker to one holder.

    bytes 0-3     length of the offer (big-endian)
    then          the offer, 12 bytes nonce, the body under AES-256-GCM

The offer is HPKE to the holder's key: the asker's credentials, a secret, and how long
it may be used. Every request carries it whole, so that nothing is agreed in advance, a
holder that restarts opens it again, and a holder that remembers it (by its exact bytes)
saves the public-key work, which is ten times the rest. An asker uses an offer for one
address only: whoever sees two requests with one offer learns no more than from their
equal addresses.

The body is bound to the exact bytes of the routing header as associated data. An offer
in a stranger's envelope is of no use: its sender must own the key that signed the
header. Nonces are drawn at random, one per request; an offer's life bounds their
number far below 2**32 (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Annotated, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field

from protocol.canonical import b64url, unb64url
from protocol.errors import CannotOpen
from protocol.membership import Credentials
from protocol.model import Document, Seconds
from protocol.sealed import Opener, SealingKey

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_LIFE_S: Final = 3600
"""How far ahead an offer may end; holders refuse a longer one."""

_LABEL: Final = "machikura session 1"
_BODY: Final = b"machikura body 1\0"
_LENGTH: Final = struct.Struct(">I")


class Offer(Document):
    """What is sealed to the holder.

    Attributes:
        sender: credentials of the asker, who must have signed each routing header.
        key: AES-256-GCM key of the bodies, 32 fresh bytes, base64url.
        exp: no longer to be used from then on, seconds since 1970.
    """

    sender: Credentials
    key: Annotated[str, Field(min_length=43, max_length=43)]
    exp: Seconds


@dataclass(frozen=True)
class AskerSession:
    """The asker's side.

    Attributes:
        offer: sealed, as it stands in front of each body.
        exp: when it ends, seconds since 1970.
    """

    offer: bytes
    exp: int
    _cipher: AESGCM = field(repr=False)

    @classmethod
    def start(
        cls, key: SealingKey, sender: Credentials, secret: bytes, exp: int
    ) -> AskerSession:
        """Seal a fresh offer.

        Args:
            key: the holder's.
            sender: our credentials.
            secret: 32 fresh random bytes.
            exp: seconds since 1970, at most `MAX_LIFE_S` ahead.
        """
        offer = Offer(sender=sender, key=b64url(secret), exp=exp)
        sealed = key.seal(_LABEL, b"", offer.encode())
        return cls(_LENGTH.pack(len(sealed)) + sealed, exp, AESGCM(secret))

    def seal(self, header: bytes, body: bytes, nonce: bytes) -> bytes:
        """Return the sealed body for the routing header with these payload bytes.

        Args:
            header: payload of the routing header.
            body: plaintext.
            nonce: 12 fresh random bytes.
        """
        sealed = self._cipher.encrypt(nonce, body, _BODY + header)
        return b"".join((self.offer, nonce, sealed))


@dataclass(frozen=True)
class HolderSession:
    """The holder's side.

    Attributes:
        offer: as opened; its credentials are not verified here.
        plaintext: the bytes that were sealed.
    """

    offer: Offer
    plaintext: bytes = field(repr=False)
    _cipher: AESGCM = field(repr=False)

    @classmethod
    def accept(cls, key: Opener, sealed_offer: bytes) -> HolderSession:
        """Open an offer.

        Raises:
            CannotOpen: for another key, or altered.
            Malformed: no offer inside.
        """
        plaintext = key.open(_LABEL, b"", sealed_offer)
        offer = Offer.decode(plaintext)
        return cls(offer, plaintext, AESGCM(unb64url(offer.key, length=SECRET_BYTES)))

    def open(self, header: bytes, sealed: bytes) -> bytes:
        """Open a body that came with this offer, as `split` gave it.

        Raises:
            CannotOpen: altered, truncated, or moved under another header.
        """
        try:
            return self._cipher.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _BODY + header
            )
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("the sealed body does not open here") from error


def split(body: bytes) -> tuple[bytes, bytes]:
    """Take a sealed body apart: the sealed offer, and nonce with ciphertext.

    Raises:
        CannotOpen: truncated.
    """
    if len(body) < _LENGTH.size:
        raise CannotOpen("the sealed body is truncated")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    if len(body) < end + NONCE_BYTES:
        raise CannotOpen("the sealed body is truncated")
    return body[_LENGTH.size : end], body[end:]
