# SPDX-License-Identifier: Apache-2.0
"""The one module that owns clock and chance."""

from __future__ import annotations

from node.system import SystemClock, system_entropy


def test_clock_tells_milliseconds_of_this_century() -> None:
    """A factor of a thousand would be noticed."""
    assert 1_700_000_000_000 < SystemClock().now_ms() < 4_000_000_000_000


async def test_sleep_returns_after_the_time_on_the_monotonic_clock() -> None:
    """Waiting really waits."""
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


def test_entropy_has_the_length_asked_for_and_never_repeats() -> None:
    """Both shapes draw from the same source."""
    drawn = {system_entropy(32), system_entropy(32), system_entropy.token_bytes(32)}
    assert {len(d) for d in drawn} == {32}
    assert len(drawn) == 3
