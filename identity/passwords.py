# SPDX-License-Identifier: Apache-2.0
"""Argon2id (RFC 9106): slow hashes of what people remember.

Two uses: a key from a passphrase (`stretch`), and a password check (`hash_password`,
`verify_password`, PHC strings). Each call holds `Cost.memory_kib` of memory for a
quarter of a second, so callers run it outside of transactions and bound how many run.
"""

from __future__ import annotations

import base64
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from protocol.errors import Misuse

SALT_BYTES = 16
MIN_CHARACTERS = 10
MAX_CHARACTERS = 256


@dataclass(frozen=True)
class Cost:
    """How slow a guess is. Defaults: RFC 9106, second recommended option.

    Attributes:
        memory_kib: memory per guess.
        iterations: passes over it.
        lanes: degree of parallelism.
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


def stretch(secret: bytes, salt: bytes, cost: Cost) -> bytes:
    """Return a 32-byte key from a passphrase and its salt (16 bytes)."""
    return _argon2id(salt, cost).derive(secret)


def hash_password(password: str, salt: bytes, cost: Cost) -> str:
    """Return the PHC string of a password.

    Args:
        password: at least 10 characters.
        salt: 16 random bytes.
        cost: how slow.

    Raises:
        Misuse: too short or too long.
    """
    prepared = _prepared(password)
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise Misuse(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters")
    return _argon2id(salt, cost).derive_phc_encoded(prepared)


def unfitting_hash(salt: bytes, digest: bytes, cost: Cost) -> str:
    """Return a PHC string that no password fits, as slow to check as a real one.

    Args:
        salt: 16 random bytes.
        digest: 32 random bytes in the place of a hash; finding a password for them is
            as hard as inverting Argon2id.
        cost: how slow.
    """
    parts = (
        "",
        "argon2id",
        "v=19",
        f"m={cost.memory_kib},t={cost.iterations},p={cost.lanes}",
        base64.b64encode(salt).rstrip(b"=").decode("ascii"),
        base64.b64encode(digest).rstrip(b"=").decode("ascii"),
    )
    return "$".join(parts)


def verify_password(password: str, phc: str) -> bool:
    """Tell whether `password` is the one behind the PHC string."""
    try:
        Argon2id.verify_phc_encoded(_prepared(password[: MAX_CHARACTERS + 1]), phc)
    except InvalidKey:
        return False
    return True


def _prepared(password: str) -> bytes:
    # One person types 葛 or half-width kana on two devices: compare composed forms.
    # A lone surrogate from a JSON escape must not raise: it matches no password.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _argon2id(salt: bytes, cost: Cost) -> Argon2id:
    return Argon2id(
        salt=salt,
        length=32,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
