# SPDX-License-Identifier: Apache-2.0
"""Fair shares: nobody can take all, nobody is left without."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federation.shares import Shares


def _fill(shares: Shares, party: str) -> int:
    taken = 0
    while shares.take(party):
        taken += 1
    return taken


def test_one_alone_gets_half() -> None:
    """The other half is for whoever comes next."""
    shares = Shares(1_000)
    assert _fill(shares, "a") == 500
    assert _fill(shares, "b") == 250


def test_parties_that_flood_at_once_get_equal_shares() -> None:
    """Turn by turn: a third each of two, and a third stays free."""
    shares = Shares(900)
    while any([shares.take("a"), shares.take("b")]):
        pass
    assert (shares.held("a"), shares.held("b")) == (300, 300)
    assert shares.take("c")


def test_what_is_given_back_is_there_for_others() -> None:
    """And nothing is remembered of who holds nothing."""
    shares = Shares(10)
    assert _fill(shares, "a") == 5
    assert _fill(shares, "b") == 3
    for _ in range(5):
        shares.give_back("a")
    assert shares.held("a") == 0
    assert _fill(shares, "b") == 2
    assert shares.total == 5


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()),
        max_size=60,
    )
)
def test_never_more_than_there_is(steps: list[tuple[str, int, bool]]) -> None:
    """In any order of taking and giving back; and a newcomer gets some, if any."""
    shares, held = Shares(100), dict.fromkeys("abc", 0)
    for party, amount, back in steps:
        if back:
            shares.give_back(party, held[party])
            held[party] = 0
        elif shares.take(party, amount):
            held[party] += amount
        assert shares.total == sum(held.values()) <= 100
        assert shares.fits("newcomer") == (shares.total < 100)
