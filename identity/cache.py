# SPDX-License-Identifier: Apache-2.0
"""A bounded memory of what was verified: the least recently used entry goes first.

Only for values that stay true, such as "this signature verifies": whoever takes one out
checks dates and revocation each time. Bounded, because peers choose the keys.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """At most `size` entries. For one thread at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[str | bytes, ...], V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, *key: str | bytes) -> V | None:
        """Return the value and mark it as used."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, value: V, *key: str | bytes) -> V:
        """Keep the value, and forget the one not used for longest."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return value
