# SPDX-License-Identifier: Apache-2.0
"""Token buckets on a clock that the test sets."""

from __future__ import annotations

from node.limits import RateLimit


def test_burst_is_free_and_the_next_one_waits() -> None:
    """The answer says how long, exactly."""
    rate = RateLimit(per_s=2, burst=3)
    assert [rate.take("a", 0) for _ in range(4)] == [0, 0, 0, 500]


def test_waiting_as_told_is_enough() -> None:
    """A client that obeys is let in at the first try."""
    rate = RateLimit(per_s=3, burst=1)
    assert rate.take("a", 0) == 0
    wait_ms = rate.take("a", 0)
    assert rate.take("a", wait_ms) == 0


def test_callers_do_not_share_a_bucket() -> None:
    """One busy application must not lock the others out."""
    rate = RateLimit(per_s=1, burst=1)
    assert rate.take("a", 0) == 0
    assert rate.take("b", 0) == 0


def test_refused_request_costs_nothing() -> None:
    """Else an impatient client would never get in again."""
    rate = RateLimit(per_s=1, burst=1)
    rate.take("a", 0)
    assert [rate.take("a", 500) for _ in range(3)] == [500, 500, 500]


def test_bucket_never_holds_more_than_the_burst() -> None:
    """A year of silence is no licence."""
    rate = RateLimit(per_s=1, burst=2)
    rate.take("a", 0)
    year_ms = 31_536_000_000
    assert [rate.take("a", year_ms) for _ in range(3)] == [0, 0, 1000]


def test_clock_set_back_gives_and_takes_nothing() -> None:
    """Time synchronization must not open or close the gate."""
    rate = RateLimit(per_s=1, burst=1)
    rate.take("a", 10_000)
    assert rate.take("a", 0) == 1000


def test_asking_how_long_changes_nothing() -> None:
    """Failed attempts are counted afterwards, by `take`."""
    rate = RateLimit(per_s=1, burst=1)
    assert [rate.wait_ms("a", 0) for _ in range(3)] == [0, 0, 0]
    rate.take("a", 0)
    assert rate.wait_ms("a", 250) == 750


def test_number_of_buckets_is_bounded() -> None:
    """Names are the caller's: memory must not be."""
    rate = RateLimit(per_s=1, burst=1, max_names=2)
    for name in ("a", "b", "c"):
        rate.take(name, 0)
    assert rate.take("a", 0) == 0  # forgotten, hence full again
    assert rate.take("c", 0) == 1000


def test_forgetting_fills_the_bucket() -> None:
    """Whoever has proven who they are starts afresh."""
    rate = RateLimit(per_s=1, burst=1)
    rate.take("a", 0)
    rate.forget("a")
    assert rate.take("a", 0) == 0


def test_caller_a_little_too_fast_is_delayed_and_a_fast_one_refused() -> None:
    """Graded: the delay grows with the debt, and the debt is bounded."""
    rate = RateLimit(per_s=10, burst=2)
    paced = [rate.pace("a", 0, longest_ms=250) for _ in range(6)]
    assert paced == [(0, 0), (0, 0), (100, 0), (200, 0), (0, 300), (0, 300)]
    assert rate.pace("b", 0, longest_ms=250) == (0, 0)
    # Whoever waits as told is not even delayed.
    assert rate.pace("a", 300, longest_ms=250) == (0, 0)


def test_refusal_costs_no_token() -> None:
    """Else a caller that does not heed it would never come in again."""
    rate = RateLimit(per_s=10, burst=1)
    rate.pace("a", 0, longest_ms=0)
    for _ in range(100):
        assert rate.pace("a", 0, longest_ms=0) == (0, 100)
    assert rate.pace("a", 100, longest_ms=0) == (0, 0)
