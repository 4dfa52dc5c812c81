# SPDX-License-Identifier: Apache-2.0
"""A node's own key pairs by generation: the present one, and those in overlap.

    keys = NodeKeys(store, "node", "sealing")
    keys.signer.sign(data)           # always with the present pair
    keys.use(membership, now)        # which pair is present, the city says
    fresh = keys.fresh(suite)        # the next pair, made and sealed if it is missing

Generations are files: `node`, `sealing`, then `node-2`, `sealing-2` and so on. Which
one is present is not written down anywhere else: it is the one that our newest
membership names, so no crash can leave the two apart. A pair is destroyed when the
membership no longer has it in overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from identity.errors import NotFound
from identity.keys import KeyStore
from protocol.errors import CannotOpen, WrongAudience
from protocol.membership import Membership
from protocol.sealed import OpeningKey, SealingKey
from protocol.suites import SigningKey, Suite, VerifyingKey

_MAX_GENERATIONS = 10_000


@dataclass(frozen=True)
class KeyPair:
    """What a node signs with, and what opens that which is sealed to it.

    Attributes:
        generation: 1 for the first; a higher one is newer.
    """

    generation: int
    signer: SigningKey
    opening: OpeningKey


class NodeKeys:
    """All key pairs of this node. For one thread at a time."""

    def __init__(self, store: KeyStore, signing: str, sealing: str) -> None:
        """Open every generation; the oldest is present until `use` says otherwise.

        Args:
            store: the key files.
            signing: name of the first signature key.
            sealing: name of the first key to be sealed to.

        Raises:
            NotFound: there is none.
        """
        self._store = store
        self._signing, self._sealing = signing, sealing
        self._pairs = {
            number: self._open(number)
            for number in self._numbers()
            # A pair whose second half was not written before a crash is none.
            if store.has(self._name(sealing, number))
        }
        if not self._pairs:
            raise NotFound(f"there is no key {signing}")
        self._present = min(self._pairs)
        self._overlap: tuple[int, ...] = ()
        self.signer = PresentSigner(self)
        self.opening = PresentOpening(self)

    @property
    def present(self) -> KeyPair:
        """The pair that our membership names."""
        return self._pairs[self._present]

    @property
    def pairs(self) -> Sequence[KeyPair]:
        """The present pair, then those in overlap, the latest first."""
        if not self._overlap:
            return (self.present,)
        return (self.present, *(self._pairs[n] for n in self._overlap))

    @property
    def newest(self) -> KeyPair:
        """The pair made last: what a node brings that asks to be admitted."""
        return self._pairs[max(self._pairs)]

    def has(self, key: VerifyingKey) -> bool:
        """Tell whether a signature key is one of ours."""
        return self._number_of(key.kid) is not None

    def use(self, membership: Membership, now: int) -> None:
        """Take up which pair is present and which are in overlap; destroy the others.

        Args:
            membership: our own, verified and kept on disk.
            now: seconds since 1970.

        Raises:
            WrongAudience: it names a key that we do not have.
        """
        number = self._number_of(membership.verifying_key().kid)
        if number is None:
            raise WrongAudience("this membership is for another key than ours")
        kept = {
            e.verifying_key().kid for e in membership.earlier or () if e.until > now
        }
        older = sorted((n for n in self._pairs if n < number), reverse=True)
        overlap = [n for n in older if self._pairs[n].signer.public.kid in kept]
        self._present, self._overlap = number, tuple(overlap)
        for gone in older:
            if gone not in overlap:
                self._destroy(gone)

    def fresh(self, suite: Suite) -> KeyPair:
        """Return the next pair; made, sealed and on disk, if there is none yet.

        Asking the city again after a lost answer brings the same keys.
        """
        newest = max(self._pairs)
        if newest > self._present and self._pairs[newest].signer.suite is suite:
            return self._pairs[newest]
        number = max([newest, *self._numbers()]) + 1
        self._store.create_signing(self._name(self._signing, number), suite)
        self._store.create_opening(self._name(self._sealing, number), suite)
        self._pairs[number] = self._open(number)
        return self._pairs[number]

    def _open(self, number: int) -> KeyPair:
        return KeyPair(
            number,
            self._store.signing(self._name(self._signing, number)),
            self._store.opening(self._name(self._sealing, number)),
        )

    def _destroy(self, number: int) -> None:
        del self._pairs[number]
        self._store.destroy(self._name(self._signing, number))
        self._store.destroy(self._name(self._sealing, number))

    def _number_of(self, kid: str) -> int | None:
        for number, pair in self._pairs.items():
            if pair.signer.public.kid == kid:
                return number
        return None

    def _numbers(self) -> list[int]:
        names = self._store.names()
        found = [1] if self._signing in names else []
        for name in names:
            stem, _, number = name.rpartition("-")
            if stem == self._signing and number.isdecimal():
                found.append(int(number))
        return sorted(n for n in found if 0 < n < _MAX_GENERATIONS)

    @staticmethod
    def _name(stem: str, number: int) -> str:
        return stem if number == 1 else f"{stem}-{number}"


class PresentSigner:
    """Signs with the present pair; satisfies `protocol.suites.Signer`."""

    def __init__(self, keys: NodeKeys) -> None:
        """Take the pairs."""
        self._keys = keys

    @property
    def public(self) -> VerifyingKey:
        """The key that verifies."""
        return self._keys.present.signer.public

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        return self._keys.present.signer.sign(data)


class PresentOpening:
    """Opens what was sealed to any pair in use; satisfies `protocol.sealed.Opener`."""

    def __init__(self, keys: NodeKeys) -> None:
        """Take the pairs."""
        self._keys = keys

    @property
    def seed(self) -> bytes:
        """What the present key is derived from."""
        return self._keys.present.opening.seed

    @property
    def public(self) -> SealingKey:
        """The key to seal to."""
        return self._keys.present.opening.public

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Open with the present key, else with one in overlap.

        Raises:
            CannotOpen: sealed to none of them, altered, or of another context.
        """
        *first, last = self._keys.pairs
        for pair in first:
            try:
                return pair.opening.open(label, context, sealed)
            except CannotOpen:
                continue
        return last.opening.open(label, context, sealed)
