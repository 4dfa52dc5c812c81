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
    """

    signing: SigningKey
    opening: OpeningKey


class NamelessKeys:
    """All nameless key pairs of this node."""

    def __init__(self, *, secret: bytes, entropy: Entropy, cache: int = 1024) -> None:
        """Take 32 secret bytes that seal the private halves."""
        self._box = Box(secret)
        self._entropy = entropy
        self._cache: Cache[NamelessPair] = Cache(cache)

    def create(self, connection: Connection, suite: Suite, ends: int) -> NamelessPair:
        """Make and keep a fresh pair that can be forgotten after `ends`."""
        signing = SigningKey(suite, self._entropy(SIGNING_SEED_BYTES))
        opening = OpeningKey(suite, self._entropy(SEALING_SEED_BYTES))
        kid = signing.public.kid
        sealed = self._box.seal(
            self._entropy(NONCE_BYTES), signing.seed + opening.seed, "nameless", kid
        )
        connection.execute(
            insert(nameless_keys).values(
                kid=kid, suite=suite.value, sealed=sealed, ends=ends
            )
        )
        return NamelessPair(signing, opening)

    def find(self, connection: Connection, kid: str) -> NamelessPair | None:
        """Return the pair whose signing key has this name."""
        known = self._cache.get(kid)
        if known is not None:
            return known
        row = connection.execute(
            select(nameless_keys.c.suite, nameless_keys.c.sealed).where(
                nameless_keys.c.kid == kid
            )
        ).first()
        if row is None:
            return None
        seeds = self._box.open(row.sealed, "nameless", kid)
        suite = Suite.named(row.suite)
        pair = NamelessPair(
            SigningKey(suite, seeds[:SIGNING_SEED_BYTES]),
            OpeningKey(suite, seeds[SIGNING_SEED_BYTES:]),
        )
        return self._cache.put(pair, kid)

    def forget(self, connection: Connection, *, before: int) -> int:
        """Delete pairs that ended before `before`; returns how many."""
        ended = nameless_keys.c.ends < before
        return connection.execute(delete(nameless_keys).where(ended)).rowcount
