# SPDX-License-Identifier: Apache-2.0
"""Fair shares of something scarce between parties that may be hostile.

A party may take as long as it holds less than what is free (dynamic thresholds, as in
switches with shared memory: Choudhury and Hahne, IEEE/ACM Trans. Networking 6(2),
1998). So one alone may use half; two that flood get a third each, n of them 1/(n+1);
and as much as each of them has is always left for whoever comes next. Nothing is taken
away from anybody, shares are not configured, and nobody has to know how many parties
there are.
"""

from __future__ import annotations


class Shares:
    """Counts what each party holds."""

    def __init__(self, limit: int) -> None:
        """Start with everything free.

        Args:
            limit: of all parties together.
        """
        self._limit = limit
        self._total = 0
        self._held: dict[str, int] = {}

    @property
    def total(self) -> int:
        """What all parties hold."""
        return self._total

    def held(self, party: str) -> int:
        """Return what a party holds."""
        return self._held.get(party, 0)

    def fits(self, party: str, amount: int = 1) -> bool:
        """Tell whether a party may take so much more."""
        left = self._limit - self._total - amount
        return left >= 0 and self._held.get(party, 0) <= left

    def take(self, party: str, amount: int = 1) -> bool:
        """Take, if it fits; return whether it did."""
        if not self.fits(party, amount):
            return False
        self.add(party, amount)
        return True

    def add(self, party: str, amount: int) -> None:
        """Count what a party holds in any case."""
        self._total += amount
        self._held[party] = self._held.get(party, 0) + amount

    def give_back(self, party: str, amount: int = 1) -> None:
        """Return what was taken."""
        self._total -= amount
        left = self._held.get(party, 0) - amount
        if left > 0:
            self._held[party] = left
        else:
            self._held.pop(party, None)
