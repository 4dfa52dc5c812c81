# SPDX-License-Identifier: Apache-2.0
"""Exchange ids seen before: nothing is carried or executed without an end.

Ids are remembered until the exchange's deadline plus clock skew; after that the
deadline itself refuses a replay. Memory is bounded: when full of live ids, new
exchanges are refused rather than old ids forgotten.

The same request may come again, by another path after the first has failed. How often
is bounded, whoever sends it, so that brokers that lie about the way so far gain no
endless loop.
"""

from __future__ import annotations

from collections import deque

_OVER = (0, "")


class SeenIds:
    """A bounded set of ids, each with the time until which it must be remembered."""

    def __init__(self, *, limit: int = 1_000_000, times: int = 1) -> None:
        """Prepare an empty set.

        Args:
            limit: ids that are alive at the same time.
            times: how often one id may come, the first time included.
        """
        self._limit = limit
        self._times = times
        self._seen: dict[str, tuple[int, str]] = {}
        self._order: deque[str] = deque()
        self._again: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._seen)

    @property
    def full(self) -> bool:
        """Whether there is room for no further id."""
        return len(self._order) >= self._limit

    def add(self, exchange: str, until_ms: int, now_ms: int, request: str = "") -> bool:
        """Remember an id, with the digest of the request that came under it.

        Returns:
            False if it was seen before, or if there is no room for it.
        """
        self._expire(now_ms)
        if exchange in self._seen or self.full:
            return False
        self._seen[exchange] = until_ms, request
        self._order.append(exchange)
        return True

    def again(self, exchange: str, request: str = "") -> bool:
        """Count a further coming of the same request.

        Returns:
            False if the id is unknown or another request's, or came too often.
        """
        count = self._again.get(exchange, 1) + 1
        known = self._seen.get(exchange)
        if known is None or known[1] != request or count > self._times:
            return False
        self._again[exchange] = count
        return True

    def forget(self, exchange: str) -> None:
        """Take an id back, of which nothing came."""
        self._seen.pop(exchange, None)

    def _expire(self, now_ms: int) -> None:
        """Drop ids that are over; deadlines are close to arrival order."""
        for _ in range(2):
            if not self._order or self._seen.get(self._order[0], _OVER)[0] > now_ms:
                return
            gone = self._order.popleft()
            self._seen.pop(gone, None)
            self._again.pop(gone, None)
