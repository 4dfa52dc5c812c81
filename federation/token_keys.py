# SPDX-License-Identifier: Apache-2.0
"""The keys that open location tokens of our city, the newest first.

All brokers of a city have the same. A token that was sealed before a key changed opens
with the one before it, so a change loses no exchange.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import CannotOpen
from protocol.sealed import Opener, OpeningKey


class TokenKeys:
    """Satisfies `protocol.location.Opener`."""

    def __init__(self, *keys: OpeningKey) -> None:
        """Take the keys; there may be none yet."""
        self.keys: Sequence[OpeningKey] = keys
        self.own: Opener | None = None
        """The broker's own keys, for whoever has not heard of the city's."""

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Open with the first key that fits.

        Raises:
            CannotOpen: none does.
        """
        fitting: list[Opener] = [*self.keys]
        if self.own is not None:
            fitting.append(self.own)
        for key in fitting:
            try:
                return key.open(label, context, sealed)
            except CannotOpen:
                continue
        raise CannotOpen("no key of this broker opens it")
