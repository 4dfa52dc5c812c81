# SPDX-License-Identifier: Apache-2.0
"""What shrinking leaves is as short as it can be, and still fails."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from node.simulate.shrink import Shrunk, shrink


async def _shrunk(parts: Sequence[int], needed: set[int], most: int) -> Shrunk[int]:
    async def first(candidates: Sequence[tuple[int, ...]]) -> int | None:
        fails = (needed <= set(candidate) for candidate in candidates)
        return next((place for place, failing in enumerate(fails) if failing), None)

    return await shrink(parts, first, most=most)


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=4))
    )
)
async def test_only_what_is_needed_is_left(case: tuple[int, set[int]]) -> None:
    """Whichever events cause a failure, the others go."""
    size, needed = case
    shrunk = await _shrunk(range(size), needed, 10_000)
    assert set(shrunk.parts) == needed
    assert shrunk.minimal


async def test_order_is_kept() -> None:
    """A story is left in the order of time."""
    shrunk = await _shrunk(range(50), {40, 3, 17}, 10_000)
    assert shrunk.parts == (3, 17, 40)


async def test_attempts_are_bounded_and_told() -> None:
    """A long search ends with what it has, and says that it may not be the end."""
    shrunk = await _shrunk(range(60), {1, 30, 59}, 5)
    assert {1, 30, 59} <= set(shrunk.parts)
    assert not shrunk.minimal
    assert shrunk.attempts <= 5
