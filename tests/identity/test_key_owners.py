# SPDX-License-Identifier: Apache-2.0
"""Whose the member keys are: numbered, so that relays ask for what is new."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from identity.errors import NotFound
from identity.key_owners import MemberKeyOwners
from tests.identity.home import CLINIC, Chance
from tests.protocol.cities import NOW, seed

DAY = 86_400


def kept_by(name: str) -> MemberKeyOwners:
    """Return the register of one broker; each seals under a secret of its own."""
    return MemberKeyOwners(secret=seed(name, 32), entropy=Chance())


def names(number: int) -> tuple[str, str]:
    """Return the names of a pair of keys."""
    return f"{number:042}s", f"{number:042}o"


def add(connection: Connection, number: int, now: int = NOW) -> None:
    """Let the authority certify a pair of keys."""
    authority = kept_by("authority")
    authority.add(connection, names(number), CLINIC, ends=now + DAY, now=now)


def test_numbers_grow_within_a_second(connection: Connection) -> None:
    """A relay that has one asks for those after it, in order and no other."""
    for number in range(3):
        add(connection, number)
    everything = kept_by("authority").after(connection, 0)
    assert [one.kid for one in everything] == [n for i in range(3) for n in names(i)]
    assert len({one.number for one in everything}) == 6
    later = kept_by("authority").after(connection, everything[3].number)
    assert [one.kid for one in later] == list(names(2))


def test_answer_is_bounded(connection: Connection) -> None:
    """The rest is asked for next."""
    add(connection, 1)
    (first,) = kept_by("authority").after(connection, 0, limit=1)
    assert first.kid == names(1)[0]


def test_number_is_not_given_again_after_pruning(connection: Connection) -> None:
    """Else a relay would never ask for the key that got it."""
    add(connection, 1)
    newest = kept_by("authority").newest(connection)
    kept_by("authority").forget(connection, before=NOW + 2 * DAY)
    assert kept_by("authority").newest(connection) == 0
    add(connection, 2, NOW + DAY)
    assert kept_by("authority").newest(connection) > newest


def test_relay_keeps_what_it_was_told_under_its_own_secret(
    connection: Connection,
) -> None:
    """Again changes nothing; the next question starts after it."""
    add(connection, 1)
    told = kept_by("authority").after(connection, 0)
    connection.execute(text("DELETE FROM city_member_keys"))
    relay = kept_by("relay")
    for _ in range(2):
        relay.learn(connection, told)
    assert relay.behind(connection, names(1)[0]) == CLINIC
    assert relay.newest(connection) == told[-1].number
    stored = connection.execute(text("SELECT sealed FROM city_member_keys")).scalars()
    assert all(b"clinic" not in sealed for sealed in stored)


def test_key_that_nobody_told_is_unknown(connection: Connection) -> None:
    """The relay then asks its authority to judge."""
    with pytest.raises(NotFound):
        kept_by("relay").behind(connection, names(1)[0])
