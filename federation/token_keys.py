# SPDX-License-Identifier: Apache-2.0
"""The keys that open location tokens of our city, the newest first.

All brokers of a city have the same. A token that was sealed before a key changed opens
with the one before it, so a change loses no exchange.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import CannotOpen
from protocol.sealed import OpeningKey


class TokenKeys:
    """Satisfies `protocol.location.Opener`."""

    def __init__(self, *keys: OpeningKey) -> None:
        """Take the keys; there may be none yet."""
        self.keys: Sequence[OpeningKey] = keys

    def open(self, label: str, context: bytes, sealed: bytes) -> bytes:
        """Open with the first key that fits.

        Raises:
            CannotOpen: none does.
        """
        for key in self.keys:
            try:
                return key.open(label, context, sealed)
            except CannotOpen:
                continue
        raise CannotOpen("no key of this broker opens it")
