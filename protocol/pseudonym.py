# SPDX-License-Identifier: Apache-2.0
"""Pairwise pseudonyms: one resident key, a different name for each party.

A *handle* names a resident at one organization, a *locator* in one city's directory.
Both are HMAC-SHA-256 under the resident key, which never leaves the home node, so no
two parties can tell that they speak of the same person.

A consent must bind the person without telling every reader the handle. It carries
*commitments*: salted hashes of (party, handle). The *ticket* that opens one is sealed
to the party concerned; see `protocol.consent`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, TypeAlias

from pydantic import Field

from protocol.canonical import b64url
from protocol.ids import CityId, NodeId

Handle: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
Locator: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]

RESIDENT_KEY_BYTES = 32
SALT_BYTES = 16


def handle(resident_key: bytes, node: NodeId) -> str:
    """Return the resident's name at one organization."""
    return _derive(resident_key, "handle", node)


def locator(resident_key: bytes, city: CityId) -> str:
    """Return the resident's name in one city's directory."""
    return _derive(resident_key, "locator", city)


def _derive(resident_key: bytes, use: str, party: str) -> str:
    message = f"machikura {use} 1\0{party}".encode("ascii")
    return b64url(hmac.digest(resident_key, message, "sha256"))


def commitment(salt: bytes, node: NodeId, handle_: str) -> str:
    """Return the salted hash that a consent carries for one party.

    Args:
        salt: 16 random bytes, known to the home node and that party.
        node: the party.
        handle_: the resident's handle there.
    """
    text = f"machikura commitment 1\0{node}\0{handle_}".encode("ascii")
    return b64url(hashlib.sha256(salt + text).digest())


def blind_record_serial(secret: bytes, record: str) -> bytes:
    """Return 16 bytes that stand for a record id in hidden reads of one consent."""
    return hmac.digest(secret, b"machikura record 1\0" + record.encode(), "sha256")[:16]
