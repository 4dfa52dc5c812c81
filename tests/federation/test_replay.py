# SPDX-License-Identifier: Apache-2.0
"""Ids seen before: remembered as long as they can do harm, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federation.replay import SeenIds


def test_id_is_new_once() -> None:
    """The second time is a replay."""
    seen = SeenIds()
    assert seen.add("a", until_ms=100, now_ms=0)
    assert not seen.add("a", until_ms=100, now_ms=0)
    assert not seen.add("a", until_ms=200, now_ms=99)


def test_id_is_forgotten_when_its_deadline_refuses_it_anyway() -> None:
    """Memory is for live exchanges only."""
    seen = SeenIds()
    assert seen.add("a", until_ms=100, now_ms=0)
    assert seen.add("b", until_ms=300, now_ms=100)
    assert len(seen) == 1
    assert seen.add("a", until_ms=300, now_ms=100)


def test_full_memory_refuses_new_ids_rather_than_forgets_live_ones() -> None:
    """Flood of ids: an attacker cannot wash out the id that it wants to replay."""
    seen = SeenIds(limit=6)
    assert all(seen.add(name, until_ms=100, now_ms=0) for name in "abc")
    assert not seen.add("d", until_ms=100, now_ms=99)
    assert "d" not in seen
    assert not seen.add("a", until_ms=100, now_ms=99)
    assert "a" in seen
    assert seen.add("d", until_ms=200, now_ms=100)


def test_long_deadline_in_front_only_delays_forgetting() -> None:
    """Ids behind a long-lived one wait for it, then go two for each that comes."""
    seen = SeenIds()
    seen.add("long", until_ms=1_000, now_ms=0)
    for number in range(10):
        seen.add(f"short {number}", until_ms=10, now_ms=0)
    for number in range(11):
        seen.add(f"new {number}", until_ms=2_000, now_ms=1_000)
    assert len(seen) == 11


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50), st.integers(0, 20))),
    st.integers(1, 4),
)
def test_live_id_is_never_accepted_twice(
    events: list[tuple[int, int, int]], limit: int
) -> None:
    """Whatever the order of deadlines, and however little room there is."""
    seen, live, now_ms = SeenIds(limit=limit), dict[str, int](), 0
    for name, lasts_ms, passed_ms in events:
        now_ms += passed_ms
        exchange = str(name)
        if seen.add(exchange, now_ms + lasts_ms, now_ms):
            assert live.get(exchange, 0) <= now_ms
            live[exchange] = now_ms + lasts_ms
        assert len(seen) <= limit


def test_flood_of_one_sender_leaves_room_for_every_other() -> None:
    """However many have come: the next one finds as much as each flood holds."""
    seen = SeenIds(limit=1_000)

    def flood(sender: str) -> int:
        names = (f"{sender} {number}" for number in range(2_000))
        return sum(seen.add(name, 100, 0, sender=sender) for name in names)

    assert [flood(sender) for sender in "abcd"] == [500, 250, 125, 63]
    assert seen.add("e 0", 100, 0, sender="e")


def test_long_deadlines_of_one_sender_do_not_keep_the_ids_of_others() -> None:
    """Each is forgotten by its own deadlines, also if its sender never comes again."""
    seen = SeenIds(limit=1_000)
    for number in range(100):
        seen.add(f"long {number}", 120_000, 0, sender="long")
        seen.add(f"gone {number}", 10, 0, sender="gone")
    for number in range(200):
        seen.add(f"here {number}", 120_000, 1_000, sender="here")
    assert len(seen) == 300
    assert "gone 99" not in seen
