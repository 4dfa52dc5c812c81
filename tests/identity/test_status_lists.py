# SPDX-License-Identifier: Apache-2.0
"""Freshness proofs: signed once an epoch, at once after a change, never backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import NotFound
from identity.status_lists import StatusLists
from protocol.consent import StatusReference
from protocol.signature import Received, SingleKey
from protocol.status import BLOCK, STATUS_LIST, Status, StatusList
from tests.identity.home import HALL, Chance, Home, database
from tests.protocol.cities import NOW, signing


def lists() -> StatusLists:
    """Return the lists of a home node after a restart."""
    return StatusLists(node=HALL, signer=signing(HALL), entropy=Chance("lists"))


def place(home: Home, consent: str = "c") -> StatusReference:
    """Give a consent a place."""
    return home.statuses.allocate(home.connection, consent)


def current(home: Home, now: int, number: int = 0) -> StatusList:
    """Return the list as the home node says it is."""
    return home.statuses.current(home.connection, number, now=now).body


def test_places_are_given_out_in_order(home: Home) -> None:
    """And never twice, also across the end of a list."""
    places = [place(home, f"c{n}") for n in range(BLOCK + 2)]
    assert [(p.list, p.index) for p in places[:2]] == [(0, 0), (0, 1)]
    assert [(p.list, p.index) for p in places[-3:]] == [(0, 1023), (1, 0), (1, 1)]


def test_list_verifies_under_the_home_nodes_key(home: Home) -> None:
    """With T as its life."""
    place(home)
    token = home.statuses.current(home.connection, 0, now=NOW).token
    key = SingleKey(HALL, signing(HALL).public)
    body = Received.parse(token, STATUS_LIST).verify(StatusList, key).body
    assert (body.iat, body.exp) == (NOW, NOW + 60)
    assert body.status(0) is Status.VALID


def test_one_signature_serves_an_epoch(home: Home) -> None:
    """A third of T: a proof always has most of its life ahead."""
    place(home)
    first = current(home, NOW)
    assert current(home, NOW + 19) == first
    assert current(home, NOW + 20).epoch == first.epoch + 1


def test_signature_survives_a_restart(home: Home) -> None:
    """Two processes of a home node give out the same list."""
    place(home)
    first = current(home, NOW)
    assert lists().current(home.connection, 0, now=NOW + 5).body == first


def test_change_is_signed_at_once(home: Home) -> None:
    """A withdrawal does not wait for the epoch's end."""
    where = place(home)
    first = current(home, NOW)
    home.statuses.set(home.connection, where, Status.WITHDRAWN)
    changed = current(home, NOW)
    assert changed.status(where.index) is Status.WITHDRAWN
    assert changed.epoch == first.epoch + 1


def test_change_made_by_another_process_is_seen(home: Home) -> None:
    """The row decides, not this process's memory."""
    where = place(home)
    current(home, NOW)
    lists().set(home.connection, where, Status.PAUSED)
    assert current(home, NOW).status(where.index) is Status.PAUSED


def test_change_that_is_rolled_back_is_not_told(home: Home) -> None:
    """Status and consent change in one transaction or not at all."""
    where = place(home)
    savepoint = home.connection.begin_nested()
    home.statuses.set(home.connection, where, Status.WITHDRAWN)
    current(home, NOW)
    savepoint.rollback()
    assert current(home, NOW).status(where.index) is Status.VALID


def test_other_lists_are_not_signed_anew(home: Home) -> None:
    """A change costs one signature."""
    places = [place(home, f"c{n}") for n in range(BLOCK + 1)]
    before = current(home, NOW, 1)
    home.statuses.set(home.connection, places[0], Status.WITHDRAWN)
    assert current(home, NOW, 1) == before


def test_epoch_never_goes_back(home: Home) -> None:
    """Also when the clock was set back: an old list cannot pass as newer."""
    place(home)
    first = current(home, NOW)
    back = current(home, NOW - 3600)
    assert back.epoch == first.epoch + 1
    assert back.iat == NOW - 3600


def test_peek_reads_only(home: Home) -> None:
    """The read path learns that a signature is due, and nothing is written."""
    where = place(home)
    assert home.statuses.peek(home.connection, 0, now=NOW) is None
    signed = home.statuses.current(home.connection, 0, now=NOW)
    assert home.statuses.peek(home.connection, 0, now=NOW + 19) == signed
    assert home.statuses.peek(home.connection, 0, now=NOW + 20) is None
    home.statuses.set(home.connection, where, Status.PAUSED)
    assert home.statuses.peek(home.connection, 0, now=NOW) is None


def test_new_key_of_the_home_node_signs_at_once(home: Home) -> None:
    """Nobody could verify the old signature."""
    place(home)
    current(home, NOW)
    changed = StatusLists(node=HALL, signer=signing("new hall"), entropy=Chance())
    token = changed.current(home.connection, 0, now=NOW + 1).token
    key = SingleKey(HALL, signing("new hall").public)
    Received.parse(token, STATUS_LIST).verify(StatusList, key)


def test_unknown_list_is_not_made_up(home: Home) -> None:
    """A proof for consents that do not exist would be a lie."""
    with pytest.raises(NotFound):
        current(home, NOW)
    place(home)
    with pytest.raises(NotFound):
        current(home, NOW, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(list(Status)), st.integers(0, 30)),
        max_size=12,
    )
)
def test_list_always_tells_the_last_status(
    changes: list[tuple[int, Status, int]],
) -> None:
    """Whatever is changed and asked, in whatever order and rhythm."""
    engine = database()
    with engine.begin() as connection:
        home, now, told = Home(connection), NOW, dict.fromkeys(range(10), Status.VALID)
        places = [place(home, f"c{n}") for n in range(10)]
        for number, status, pause in changes:
            home.statuses.set(connection, places[number], status)
            told[number], now = status, now + pause
            shown = current(home, now)
            assert {n: shown.status(n) for n in told} == told
            assert shown.exp > now
    engine.dispose()
