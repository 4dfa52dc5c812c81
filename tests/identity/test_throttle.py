# SPDX-License-Identifier: Apache-2.0
"""Counting attempts: full windows refuse, and every window ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from identity.tables import throttles
from identity.throttle import Limit, Throttle
from tests.identity.home import database
from tests.protocol.cities import NOW, seed

LIMIT = Limit(3, 100)
THROTTLE = Throttle(index=seed("index", 32))


def take(connection: Connection, at: int = NOW, key: str = "k", use: str = "u") -> int:
    """Try once."""
    return THROTTLE.take(connection, use, key, LIMIT, now=at)


def test_attempts_beyond_the_limit_wait_for_the_windows_end(
    connection: Connection,
) -> None:
    """The answer says how long."""
    assert [take(connection, NOW + n) for n in range(3)] == [0, 0, 0]
    assert take(connection, NOW + 30) == 70


def test_refused_attempts_do_not_prolong_the_window(connection: Connection) -> None:
    """An attacker cannot lock somebody out for ever."""
    for second in range(100):
        take(connection, NOW + second)
    assert take(connection, NOW + 100) == 0


def test_keys_and_uses_have_counters_of_their_own(connection: Connection) -> None:
    """One person's attempts do not count for another's."""
    for _ in range(4):
        take(connection)
    assert take(connection, key="other") == 0
    assert take(connection, use="other") == 0


def test_success_clears_the_counter(connection: Connection) -> None:
    """The owner is not punished for typing errors."""
    for _ in range(4):
        take(connection)
    THROTTLE.clear(connection, "u", "k")
    assert take(connection) == 0


def test_clock_that_was_set_back_does_not_keep_a_window_open(
    connection: Connection,
) -> None:
    """Else a counter from the future would lock for years."""
    for _ in range(4):
        take(connection, NOW + 10_000_000)
    assert take(connection, NOW) == 0


def test_stored_key_is_not_readable(connection: Connection) -> None:
    """Logins and addresses are personal data."""
    take(connection, key="192.0.2.7")
    assert "192.0.2.7" not in repr(connection.execute(select(throttles)).all())


def test_old_windows_are_forgotten(connection: Connection) -> None:
    """The table does not grow with every address ever seen."""
    take(connection)
    THROTTLE.forget(connection, before=NOW + 1)
    assert connection.execute(select(throttles)).all() == []


@given(st.lists(st.integers(0, 500), max_size=40))
def test_never_more_than_the_limit_in_one_window(moments: list[int]) -> None:
    """Whatever the times of the attempts."""
    engine = database()
    with engine.begin() as connection:
        allowed = [m for m in sorted(moments) if take(connection, NOW + m) == 0]
    engine.dispose()
    for start in allowed:
        window = [m for m in allowed if start <= m < start + LIMIT.window_s]
        # A fixed window lets at most two windows' worth through across its edge.
        assert len(window) <= 2 * LIMIT.count
