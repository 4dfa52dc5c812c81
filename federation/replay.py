# SPDX-License-Identifier: Apache-2.0
"""Exchange ids seen before: nothing is carried or executed twice.

Ids are remembered until the exchange's deadline plus clock skew; after that the
deadline itself refuses a replay. Memory is bounded: when full of live ids, new
exchanges are refused rather than old ids forgotten.
"""

from __future__ import annotations

from collections import deque


class SeenIds:
    """A bounded set of ids, each with the time until which it must be remembered."""

    def __init__(self, *, limit: int = 1_000_000) -> None:
        """Prepare an empty set of at most `limit` live ids."""
        self._limit = limit
        self._until: dict[str, int] = {}
        self._order: deque[str] = deque()

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._until)

    @property
    def full(self) -> bool:
        """Whether there is room for no further id."""
        return len(self._until) >= self._limit

    def add(self, exchange: str, until_ms: int, now_ms: int) -> bool:
        """Remember an id.

        Returns:
            False if it was seen before, or if there is no room for it.
        """
        self._forget(now_ms)
        if exchange in self._until or self.full:
            return False
        self._until[exchange] = until_ms
        self._order.append(exchange)
        return True

    def _forget(self, now_ms: int) -> None:
        """Drop ids that are over; deadlines are close to arrival order."""
        for _ in range(2):
            if not self._order or self._until[self._order[0]] > now_ms:
                return
            del self._until[self._order.popleft()]
