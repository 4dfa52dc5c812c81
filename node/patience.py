# SPDX-License-Identifier: Apache-2.0
"""How long to try again what was refused for a passing reason.

patience = Patience(clock, seconds)
while isinstance(came := await attempt(), Refusal):
    await patience.wait(came)          # or raises, when that is of no use
"""

from __future__ import annotations

from typing import Final

from federation.ports import Clock
from node.problems import Refused
from protocol.problem import Refusal

PASSING: Final = frozenset(
    {
        "timeout",
        "too-large",
        "peer-unreachable",
        "no-route",
        "overloaded",
        "rate-limited",
        "proof-stale",
        "proof-missing",
        "transfer-unknown",
        "link-lost",
        "not-ready",
        "loop",
    }
)
"""Refusals that may be over at the next attempt."""

_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0


class Patience:
    """Attempts at one thing, until it succeeds or there is no hope."""

    def __init__(self, clock: Clock, patience_s: float) -> None:
        """Start now."""
        self._clock = clock
        self._until_ms = clock.now_ms() + int(patience_s * 1000)
        self._pause_s = _PAUSE_S

    async def wait(self, refusal: Refusal) -> None:
        """Wait until the next attempt: longer each time, and as long as was asked.

        Raises:
            Refused: the refusal is lasting, or the time is over.
        """
        left_s = (self._until_ms - self._clock.now_ms()) / 1000
        if refusal.code not in PASSING or left_s <= 0:
            raise Refused(refusal)
        wait_s = max(self._pause_s, (refusal.retry_after_ms or 0) / 1000)
        await self._clock.sleep(min(wait_s, left_s))
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
