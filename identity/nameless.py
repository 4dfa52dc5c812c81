# SPDX-License-Identifier: Apache-2.0
"""The holder's side of hidden reads: fresh key pairs, one for each consent.

The city certifies the public halves as "a member of this city"
(`identity.member_keys`); the private halves stay here, sealed. They are used for one
consent, so answers under two consents cannot be linked, and are forgotten when the
certificate ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from identity.cache import Cache
from identity.entropy import Entropy
from identity.tables import nameless_keys
from protocol.box import NONCE_BYTES, Box
from protocol.sealed import SEALING_SEED_BYTES, OpeningKey
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite


@dataclass(frozen=True)
class NamelessPair:
    """Private halves of keys without a name.

    Attributes:
        signing: signs answers.
        opening: opens requests.
        consent: id of the one consent that they are for.
        ends: after which they are not used any more, seconds since 1970.
    """

    signing: SigningKey
    opening: OpeningKey
    consent: str
    ends: int


class NamelessKeys:
    """All nameless key pairs of this node."""

    def __init__(self, *, secret: bytes, entropy: Entropy, cache: int = 1024) -> None:
        """Take 32 secret bytes that seal the private halves."""
        self._box = Box(secret)
        self._entropy = entropy
        self._cache: Cache[NamelessPair] = Cache(cache)

    def create(
        self, connection: Connection, suite: Suite, *, consent: str, ends: int
    ) -> NamelessPair:
        """Make and keep a fresh pair for one consent, used until `ends`."""
        signing = SigningKey(suite, self._entropy(SIGNING_SEED_BYTES))
        opening = OpeningKey(suite, self._entropy(SEALING_SEED_BYTES))
        kid = signing.public.kid
        secret = signing.seed + opening.seed + consent.encode()
        sealed = self._box.seal(
            self._entropy(NONCE_BYTES), secret, "nameless", kid, str(ends)
        )
        connection.execute(
            insert(nameless_keys).values(
                kid=kid, suite=suite.value, sealed=sealed, ends=ends
            )
        )
        return NamelessPair(signing, opening, consent, ends)

    def find(
        self, connection: Connection, kid: str, *, now: int
    ) -> NamelessPair | None:
        """Return the pair whose signing key has this name; None once it has ended."""
        pair = self._cache.get(kid) or self._load(connection, kid)
        return pair if pair is not None and pair.ends > now else None

    def _load(self, connection: Connection, kid: str) -> NamelessPair | None:
        row = connection.execute(
            select(nameless_keys).where(nameless_keys.c.kid == kid)
        ).first()
        if row is None:
            return None
        secret = self._box.open(row.sealed, "nameless", kid, str(row.ends))
        suite, middle = Suite.named(row.suite), SIGNING_SEED_BYTES + SEALING_SEED_BYTES
        pair = NamelessPair(
            SigningKey(suite, secret[:SIGNING_SEED_BYTES]),
            OpeningKey(suite, secret[SIGNING_SEED_BYTES:middle]),
            secret[middle:].decode(),
            row.ends,
        )
        return self._cache.put(pair, kid)

    def forget(self, connection: Connection, *, before: int) -> int:
        """Delete pairs that ended before `before`; returns how many."""
        ended = nameless_keys.c.ends < before
        return connection.execute(delete(nameless_keys).where(ended)).rowcount
