# SPDX-License-Identifier: Apache-2.0
"""Exchange ids seen before: nothing is carried or executed without an end.

Ids are remembered until the exchange's deadline plus clock skew; after that the
deadline itself refuses a replay. Memory is bounded: when full of live ids, new
exchanges are refused rather than old ids forgotten. It is shared out fairly between
those who send (`federation.shares`), so that a flood of one leaves room for the others.

The same request may come again, by another path after the first has failed. How often
is bounded, whoever sends it, so that brokers that lie about the way so far gain no
endless loop.
"""

from __future__ import annotations

from collections import deque

from federation.shares import Shares

_OVER = (0, "")


class SeenIds:
    """A bounded set of ids, each with the time until which it must be remembered."""

    def __init__(self, *, limit: int = 1_000_000, times: int = 1) -> None:
        """Prepare an empty set.

        Args:
            limit: ids that are alive at the same time; one sender alone gets half.
            times: how often one id may come, the first time included.
        """
        self._shares = Shares(limit)
        self._times = times
        self._seen: dict[str, tuple[int, str]] = {}
        self._orders: dict[str, deque[str]] = {}
        self._turns: deque[str] = deque()
        self._again: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many ids are remembered."""
        return len(self._seen)

    def __contains__(self, exchange: str) -> bool:
        """Tell whether an id is remembered."""
        return exchange in self._seen

    def add(
        self,
        exchange: str,
        until_ms: int,
        now_ms: int,
        request: str = "",
        *,
        sender: str = "",
    ) -> bool:
        """Remember an id, with the digest of the request that came under it.

        Args:
            exchange: the id.
            until_ms: until when.
            now_ms: clock.
            request: digest of the request.
            sender: whose share of the memory it takes; proven, or it shares nothing.

        Returns:
            False if it was seen before, or if there is no room for it.
        """
        self._expire(sender, now_ms)
        self._expire_next(now_ms)
        if exchange in self._seen or not self._shares.take(sender):
            return False
        self._seen[exchange] = until_ms, request
        order = self._orders.get(sender)
        if order is None:
            order = self._orders[sender] = deque()
            self._turns.append(sender)
        order.append(exchange)
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

    def _expire(self, sender: str, now_ms: int) -> None:
        """Drop two ids of a sender that are over; deadlines are close to arrival."""
        order = self._orders.get(sender)
        for _ in range(2):
            if not order or self._seen.get(order[0], _OVER)[0] > now_ms:
                return
            gone = order.popleft()
            self._shares.give_back(sender)
            self._seen.pop(gone, None)
            self._again.pop(gone, None)

    def _expire_next(self, now_ms: int) -> None:
        """The same for another sender in turn, which may never come again."""
        if not self._turns:
            return
        sender = self._turns.popleft()
        self._expire(sender, now_ms)
        if self._orders[sender]:
            self._turns.append(sender)
        else:
            del self._orders[sender]
