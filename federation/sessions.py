# SPDX-License-Identifier: Apache-2.0
"""Kept sessions of both ends, and warrants that were read before.

Nothing here is needed for an exchange to succeed: what is forgotten is made or opened
anew, at the cost of one public-key operation. All memories are bounded, and an offer is
kept by a holder only once its sender has proven to be its owner. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from identity.cache import Cache
from protocol.envelope import Address, Envelope
from protocol.errors import Expired, NotYetValid
from protocol.membership import Credentials
from protocol.request import MAX_BODY_BYTES, Warrant
from protocol.sealed import Opener, SealingKey
from protocol.session import MAX_LIFE_S, SECRET_BYTES, AskerSession, HolderSession

LIFE_S = 600
"""How long an offer that we make may be used."""
ELDER_MS = 3_600_000
"""How long a party counts as one of version 1."""
_MARGIN_S = 60
"""We stop using it so long before, so that a slow exchange still finds it valid."""
_SIZE = 1024


class Party(Protocol):
    """Whom a session is with: the part of a target that counts here."""

    @property
    def address(self) -> Address:
        """Where to."""

    @property
    def sealing(self) -> SealingKey:
        """Key of whoever shall open it."""


class Sessions:
    """The asker's: one for each address, under our present credentials."""

    def __init__(self, entropy: Callable[[int], bytes], size: int = _SIZE) -> None:
        self._entropy = entropy
        self._kept: Cache[tuple[Credentials, AskerSession]] = Cache(size)

    def with_party(
        self, party: Party, credentials: Credentials, now: int
    ) -> AskerSession:
        """Return a session that may be used now.

        Args:
            party: for whom.
            credentials: ours, now; a session made under others is not used again.
            now: seconds since 1970.
        """
        to = party.address
        # By address: two tokens of one holder must not be linked by a common offer.
        place = (to.city, to.token or to.node or "", party.sealing.raw)
        kept = self._kept.get(*place)
        if kept is not None:
            shown, session = kept
            same = shown is credentials or shown == credentials
            if same and session.exp - _MARGIN_S > now:
                return session
        secret = self._entropy(SECRET_BYTES)
        session = AskerSession.start(party.sealing, credentials, secret, now + LIFE_S)
        self._kept.put((credentials, session), *place)
        return session


class Elders:
    """Parties that are asked in version 1, which has no sessions.

    Who has said so is not proven: a broker on the way may have made it up, and gains
    nothing, since version 1 is sealed as well. After a while it is tried anew.
    """

    def __init__(self, size: int = _SIZE) -> None:
        self._until: Cache[int] = Cache(size)

    def includes(self, party: Party, now_ms: int) -> bool:
        """Tell whether a party is to be asked in version 1."""
        until_ms = self._until.get(party.sealing.raw)
        return until_ms is not None and now_ms < until_ms

    def add(self, party: Party, now_ms: int) -> None:
        """Note a party for an hour."""
        self._until.put(now_ms + ELDER_MS, party.sealing.raw)

    def discard(self, party: Party) -> None:
        """Take a party back."""
        self._until.put(0, party.sealing.raw)


class Offers:
    """The holder's: offers that were opened, by their exact bytes."""

    def __init__(
        self, skew_s: int, tap: Callable[[bytes], None], size: int = _SIZE
    ) -> None:
        self._skew_s = skew_s
        self._tap = tap
        # The key is part of the place: what a nameless key opened once must not open
        # under the node's own.
        self._kept: Cache[HolderSession] = Cache(size)

    def open(self, envelope: Envelope, key: Opener, now: int) -> HolderSession:
        """Return the session of an envelope; its sender is still to be verified.

        Args:
            envelope: whose size and digest of the body were checked.
            key: the one that it was sealed to.
            now: seconds since 1970.

        Raises:
            CannotOpen, Malformed: not for this key, or not an offer.
            Expired, NotYetValid: ended, or lasts longer than an offer may.
        """
        sealed = envelope.parts[0]
        session = self._kept.get(sealed, key.seed)
        if session is None:
            session = HolderSession.accept(key, sealed)
            self._tap(session.plaintext)
        exp = session.offer.exp
        if exp <= now - self._skew_s:
            raise Expired(f"the session ended {now - exp} s ago")
        if exp > now + MAX_LIFE_S + self._skew_s:
            raise NotYetValid("the session lasts longer than one may")
        return session

    def keep(self, envelope: Envelope, key: Opener, session: HolderSession) -> None:
        """Remember a session whose sender has proven to be its owner."""
        self._kept.put(session, envelope.parts[0], key.seed)


class KeptWarrants:
    """Warrants by their exact bytes; read, not judged."""

    def __init__(self, size: int = _SIZE) -> None:
        self._kept: Cache[Warrant] = Cache(size)

    def read(self, data: bytes) -> Warrant:
        """Read a warrant, or find it among those read before.

        Raises:
            Malformed: it is none.
        """
        known = self._kept.get(data)
        return known or self._kept.put(Warrant.decode(data, MAX_BODY_BYTES), data)
