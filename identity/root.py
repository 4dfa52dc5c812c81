# SPDX-License-Identifier: Apache-2.0
"""The city's root key: kept apart from every node, used a few times a year.

It lives in one file sealed under a passphrase of its own (Argon2id), on removable
media or another machine. It signs the operating certificate, and agreements with other
cities; nothing else. Whoever has it is the city.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from identity.entropy import Entropy, new_id
from identity.errors import WrongPassphrase
from identity.passwords import SALT_BYTES, Cost, stretch
from identity.secretfile import read_secret, write_new
from protocol.box import NONCE_BYTES, Box
from protocol.canonical import b64url, unb64url
from protocol.errors import CannotOpen, Misuse
from protocol.ids import CityId
from protocol.membership import (
    MAX_EARLIER,
    OPERATING,
    OperatingCertificate,
    ReplacedKey,
)
from protocol.model import ANYONE, Document
from protocol.signature import Signed, sign
from protocol.succession import Succession
from protocol.suites import (
    SIGNING_SEED_BYTES,
    Signer,
    SigningKey,
    Suite,
    VerifyingKey,
)

_DAY_S = 86_400
_MIN_PASSPHRASE_BYTES = 12
_MAX_OPERATING_DAYS = 400


@dataclass(frozen=True)
class RootKey:
    """An opened root key and whose it is."""

    city: CityId
    signer: SigningKey


class _RootRecord(Document):
    """What stands in the file. `city` and `suite` are bound into the seal."""

    v: Literal[1] = 1
    city: CityId
    suite: Suite
    salt: str
    memory_kib: int
    iterations: int
    lanes: int
    sealed: str


def create_root(
    path: Path,
    city: CityId,
    suite: Suite,
    passphrase: bytes,
    *,
    entropy: Entropy,
    cost: Cost | None = None,
) -> RootKey:
    """Make a city's root key and write its file.

    Raises:
        Conflict: the file exists; a root key is never replaced.
        Misuse: the passphrase is shorter than 12 bytes.
    """
    if len(passphrase) < _MIN_PASSPHRASE_BYTES:
        raise Misuse(f"a passphrase has at least {_MIN_PASSPHRASE_BYTES} bytes")
    cost = cost or Cost()
    salt, seed = entropy(SALT_BYTES), entropy(SIGNING_SEED_BYTES)
    box = Box(stretch(passphrase, salt, cost))
    record = _RootRecord(
        city=city,
        suite=suite,
        salt=b64url(salt),
        memory_kib=cost.memory_kib,
        iterations=cost.iterations,
        lanes=cost.lanes,
        sealed=b64url(box.seal(entropy(NONCE_BYTES), seed, "root", city, suite)),
    )
    write_new(path, record.encode())
    return RootKey(city, SigningKey(suite, seed))


def open_root(path: Path, passphrase: bytes) -> RootKey:
    """Open the root key's file.

    Raises:
        NotFound, UnsafeFile: the file.
        WrongPassphrase: another passphrase, or an altered file.
    """
    record = _RootRecord.decode(read_secret(path))
    cost = Cost(record.memory_kib, record.iterations, record.lanes)
    box = Box(stretch(passphrase, unb64url(record.salt), cost))
    try:
        seed = box.open(unb64url(record.sealed), "root", record.city, record.suite)
    except CannotOpen as error:
        raise WrongPassphrase(
            "the passphrase does not open the city's root key"
        ) from error
    return RootKey(record.city, SigningKey(record.suite, seed))


def issue_operating(
    root: Signer,
    city: CityId,
    operating: VerifyingKey,
    *,
    now: int,
    days: int,
    entropy: Entropy,
    before: OperatingCertificate | None = None,
    overlap_s: int = 8 * _DAY_S,
) -> Signed[OperatingCertificate]:
    """Certify the city's operating key.

    Args:
        root: the city's root key.
        city: the city.
        operating: the key that the city's broker signs memberships with.
        now: seconds since 1970.
        days: life, at most 400: a stolen operating key ends with it.
        entropy: source of random bytes.
        before: the certificate in use, where there is one. Another key takes its place:
            the certificate says so, and for how long the old key is still accepted.
        overlap_s: that time, in seconds; 0 where the old key was stolen.

    Raises:
        Misuse: a life out of range, or the root key itself as operating key.
    """
    if not 1 <= days <= _MAX_OPERATING_DAYS:
        raise Misuse(f"an operating certificate lives 1 to {_MAX_OPERATING_DAYS} days")
    if operating == root.public:
        raise Misuse("the root key must not be the operating key")
    claims = OperatingCertificate(
        iss=city,
        aud=ANYONE,
        jti=new_id(now, entropy),
        # Later than the one before, also within a second: the newest one counts.
        iat=now if before is None else max(now, before.iat + 1),
        exp=now + days * _DAY_S,
        sub=city,
        key=operating.jwk,
        **_after(before, operating, now, overlap_s),
    )
    return sign(root, OPERATING, claims)


def _after(
    before: OperatingCertificate | None,
    operating: VerifyingKey,
    now: int,
    overlap_s: int,
) -> dict[str, Any]:
    """Return what a certificate says of the keys before its own."""
    if before is None:
        return {}
    kept = [one for one in before.earlier or () if one.until > now]
    if before.key == operating.jwk:
        return {"sequence": before.sequence, "earlier": tuple(kept) or None}
    present = before.verifying_key().kid
    replaced = ReplacedKey(kid=present, until=now + overlap_s)
    if not overlap_s:
        kept = []  # Whoever stole the present key may have had the older ones.
    earlier = (replaced, *kept)[:MAX_EARLIER] if overlap_s else None
    return {"sequence": (before.sequence or 0) + 1, "earlier": earlier}


def succeed(
    old: RootKey,
    new: RootKey,
    *,
    sequence: int,
    now: int,
    overlap_s: int,
    entropy: Entropy,
) -> Succession:
    """Let a new root take the place of the old one.

    Args:
        old: the root that is replaced.
        new: the root that follows.
        sequence: its place in the line, from 1.
        now: seconds since 1970.
        overlap_s: for how long the old root's certificates are accepted; 0 where it was
            stolen.
        entropy: source of random bytes.

    Raises:
        Misuse: roots of two cities, or one and the same root.
    """
    if old.city != new.city or old.signer.public == new.signer.public:
        raise Misuse("a city's root is followed by another root of the same city")
    return Succession.make(
        old.city,
        old.signer,
        new.signer,
        sequence=sequence,
        until=now + overlap_s,
        now=now,
        identifier=new_id(now, entropy),
    )


def fingerprint(key: VerifyingKey) -> str:
    """Return 128 bits of the key's SHA-256 to be read over the phone.

    Eight groups of four hexadecimal digits. Two people compare them over a channel
    that the network does not carry; making another key with the same one takes 2**128
    attempts.
    """
    digits = unb64url(key.kid)[:16].hex()
    return " ".join(digits[i : i + 4] for i in range(0, 32, 4))
