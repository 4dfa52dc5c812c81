# SPDX-License-Identifier: Apache-2.0
"""Rates: how often one caller may ask (token bucket), first by delay, then by refusal.

A bucket holds `burst` tokens and gains `per_s` a second. Asking costs one; an
empty bucket says how long to wait. `pace` lets a caller run a little into debt and
delays it for as long as the debt lasts: who is a little too fast is slowed down, who
does not heed that is refused. Buckets are kept for the callers seen last, so that
memory stays bounded whatever the number of names; a forgotten caller starts full, which
is why names must be authenticated or addresses, never free text.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

MAX_BUCKETS = 10_000


class RateLimit:
    """Buckets by name. Times are arguments: milliseconds of one clock."""

    def __init__(
        self, *, per_s: float, burst: int, max_names: int = MAX_BUCKETS
    ) -> None:
        self._rate = per_s / 1000
        self._burst = float(burst)
        self._max_names = max_names
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_ms(self, name: str, now_ms: int, cost: float = 1.0) -> int:
        """Tell how long to wait before `take` would succeed; 0 if it would now."""
        missing = cost - self._level(name, now_ms)
        return ceil(missing / self._rate) if missing > 0 else 0

    def take(self, name: str, now_ms: int, cost: float = 1.0) -> int:
        """Take tokens.

        Returns:
            0 if they were there; else milliseconds until they are, and none is taken.
        """
        level = self._level(name, now_ms)
        if level < cost:
            return ceil((cost - level) / self._rate)
        self._buckets[name] = (level - cost, now_ms)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._max_names:
            self._buckets.popitem(last=False)
        return 0

    def pace(self, name: str, now_ms: int, longest_ms: int) -> tuple[int, int]:
        """Take a token, now or from those to come.

        Returns:
            For how long to delay the caller, at most `longest_ms`; and 0. Or 0, and in
            how many milliseconds asking again will not even be delayed.
        """
        level = self._level(name, now_ms)
        missing_ms = ceil(max(0.0, 1.0 - level) / self._rate)
        if missing_ms > longest_ms:
            return 0, missing_ms
        self._buckets[name] = (level - 1.0, now_ms)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._max_names:
            self._buckets.popitem(last=False)
        return missing_ms, 0

    def forget(self, name: str) -> None:
        """Fill the bucket: the caller has proven who it is."""
        self._buckets.pop(name, None)

    def _level(self, name: str, now_ms: int) -> float:
        level, since = self._buckets.get(name, (self._burst, now_ms))
        # A clock that was set back gives nothing and takes nothing.
        return min(self._burst, level + max(0, now_ms - since) * self._rate)
