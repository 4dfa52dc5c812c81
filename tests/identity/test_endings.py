# SPDX-License-Identifier: Apache-2.0
"""Agreements that are changed by both cities, and that end before their day."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from identity.agreements import AgreementStore
from identity.errors import Conflict
from protocol.agreement import Agreement
from protocol.ending import Ending, OneSided, end_word
from protocol.errors import Malformed, ProtocolViolation, WrongAudience
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    YAMANAMI,
    City,
    agreement_body,
    signing,
)

DAY = 86_400
NOTICE = 30 * DAY


def store() -> AgreementStore:
    """Return the agreements of Hoshino."""
    return AgreementStore(city=HOSHINO.id, root=HOSHINO.root.public)


def version(number: int, starts: int = NOW - 60, ends: int = NOW + 300 * DAY) -> bytes:
    """Return a version of the agreement, signed by both."""
    body = agreement_body().model_copy(
        update={"version": number, "starts": starts, "ends": ends}
    )
    proposal = Agreement.propose(body, HOSHINO.id, HOSHINO.root)
    return proposal.countersign(MINATO.id, MINATO.root).wire


def word(city: City = MINATO, at: int = NOW, number: int = 1, root: str = "") -> str:
    """Return one city's word that it ends."""
    body = agreement_body().model_copy(update={"version": number})
    key = signing(root) if root else city.root
    return end_word(body, city.id, key, at=at, now=NOW, identifier="1")


def ending(*words: str) -> bytes:
    """Return words as they travel."""
    return Ending(words=words).encode()


def installed(connection: Connection, number: int = 1) -> AgreementStore:
    """Return a store with the agreement in force."""
    made = store()
    made.install(connection, version(number), now=NOW)
    return made


def test_both_cities_end_an_agreement_at_once(connection: Connection) -> None:
    """By two words that name the same moment."""
    ours = installed(connection)
    entry = ours.end(connection, ending(word(), word(HOSHINO)), now=NOW)
    assert entry.ends == NOW
    assert ours.in_force(connection, now=NOW) == ()


def test_one_city_ends_it_with_notice(connection: Connection) -> None:
    """It stays in force until then, and not a second longer."""
    ours = installed(connection)
    ours.end(connection, ending(word(at=NOW + NOTICE)), now=NOW)
    (until,) = ours.in_force(connection, now=NOW + NOTICE - 1)
    assert until.body.ends == NOW + NOTICE
    assert not until.in_force(NOW + NOTICE)
    assert ours.in_force(connection, now=NOW + NOTICE) == ()


def test_one_city_alone_cannot_end_it_sooner(connection: Connection) -> None:
    """Attack: the other side would be cut off from one day to the next."""
    ours = installed(connection)
    for words in ([word()], [word(at=NOW + NOTICE - 60)]):
        with pytest.raises(OneSided):
            ours.end(connection, ending(*words), now=NOW)
    assert len(ours.in_force(connection, now=NOW)) == 1


def test_one_city_cannot_sign_twice(connection: Connection) -> None:
    """Attack: two words of one city are not the word of two."""
    ours = installed(connection)
    with pytest.raises(Malformed):
        ours.end(connection, ending(word(), word()), now=NOW)


def test_two_cities_that_name_different_days_have_not_agreed(
    connection: Connection,
) -> None:
    """Neither day counts."""
    ours = installed(connection)
    with pytest.raises(Malformed):
        ours.end(connection, ending(word(), word(HOSHINO, at=NOW + 1)), now=NOW)


@pytest.mark.parametrize("city", [YAMANAMI])
def test_stranger_ends_nothing(connection: Connection, city: City) -> None:
    """Only the two cities of the text."""
    ours = installed(connection)
    forged = word(MINATO, at=NOW + NOTICE, root=f"{city.name} root")
    with pytest.raises(ProtocolViolation):
        ours.end(connection, ending(forged), now=NOW)


def test_word_about_an_older_version_ends_no_newer_one(connection: Connection) -> None:
    """Attack: an end that was overtaken by a new agreement is shown again."""
    ours = installed(connection, number=2)
    old = ending(word(number=1), word(HOSHINO, number=1))
    with pytest.raises(WrongAudience):
        ours.end(connection, old, now=NOW)
    assert len(ours.in_force(connection, now=NOW)) == 1


def test_end_is_not_put_off_again(connection: Connection) -> None:
    """Only a new version, signed by both, makes it longer."""
    ours = installed(connection)
    ours.end(connection, ending(word(), word(HOSHINO)), now=NOW)
    with pytest.raises(Conflict):
        ours.end(connection, ending(word(at=NOW + NOTICE)), now=NOW)
    ours.install(connection, version(1), now=NOW)
    assert ours.in_force(connection, now=NOW) == ()
    ours.install(connection, version(2), now=NOW)
    (again,) = ours.in_force(connection, now=NOW)
    assert again.body.version == 2


def test_same_end_again_changes_nothing(connection: Connection) -> None:
    """The file arrives twice."""
    ours = installed(connection)
    words = ending(word(at=NOW + NOTICE))
    first = ours.end(connection, words, now=NOW)
    assert ours.end(connection, words, now=NOW + DAY // 24 // 3600) == first


def test_older_version_does_not_come_back_when_the_newer_one_ends(
    connection: Connection,
) -> None:
    """Attack: wait for the narrower version to end, and fall back on the wider one."""
    ours = installed(connection, number=1)
    ours.install(connection, version(2, ends=NOW + DAY), now=NOW)
    (present,) = ours.in_force(connection, now=NOW + DAY - 1)
    assert present.body.version == 2
    assert ours.in_force(connection, now=NOW + DAY) == ()
    with pytest.raises(Conflict):
        ours.install(connection, version(1), now=NOW + DAY)


def test_version_that_starts_later_leaves_the_present_one_until_then(
    connection: Connection,
) -> None:
    """No gap, and no overlap."""
    ours = installed(connection, number=1)
    ours.install(connection, version(2, starts=NOW + DAY), now=NOW)
    found = [
        ours.in_force(connection, now=now)[0].body.version
        for now in (NOW, NOW + DAY - 1, NOW + DAY)
    ]
    assert found == [1, 1, 2]
