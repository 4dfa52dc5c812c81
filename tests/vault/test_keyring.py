# SPDX-License-Identifier: Apache-2.0
"""Person keys: made, found, wrapped anew, destroyed."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from protocol.errors import CannotOpen
from tests.vault.world import NOW_MS, World
from vault.errors import Conflict, Erased, NotFound
from vault.keyring import NOBODY, Keyring, SubjectId
from vault.tables import person_keys


def test_what_was_sealed_opens_after_a_restart(world: World) -> None:
    """The key comes from the database, not from memory."""
    person = world.person()
    sealed = world.write(lambda c: world.vault.keyring.seal(c, person, b"x", "place"))
    world.restart()
    assert (
        world.read(lambda c: world.vault.keyring.open(c, person, sealed, "place"))
        == b"x"
    )


@pytest.mark.parametrize("place", ["other", ""])
def test_ciphertext_in_another_place_does_not_open(world: World, place: str) -> None:
    """A sealed document cannot be put where another one belongs."""
    person = world.person()
    sealed = world.write(lambda c: world.vault.keyring.seal(c, person, b"x", "place"))
    with pytest.raises(CannotOpen):
        world.read(lambda c: world.vault.keyring.open(c, person, sealed, place))


def test_ciphertext_of_another_person_does_not_open(world: World) -> None:
    """Each person has a key of their own."""
    one, other = world.person("P-1"), world.person("P-2")
    sealed = world.write(lambda c: world.vault.keyring.seal(c, one, b"x", "place"))
    with pytest.raises(CannotOpen):
        world.read(lambda c: world.vault.keyring.open(c, other, sealed, "place"))


def _parsed(world: World, person: SubjectId, sealed: bytes, place: str) -> object:
    keyring = world.vault.keyring
    return world.read(lambda c: keyring.parsed(c, person, sealed, _as_list, place))


def _as_list(document: bytes) -> list[bytes]:
    return [document]


def test_document_is_parsed_once_while_its_key_is_in_memory(world: World) -> None:
    """What was opened with a key is kept beside it."""
    person = world.person()
    sealed = world.write(lambda c: world.vault.keyring.seal(c, person, b"x", "place"))
    first = _parsed(world, person, sealed, "place")
    assert first == [b"x"]
    assert _parsed(world, person, sealed, "place") is first


def test_parsed_document_does_not_hide_an_altered_or_moved_one(world: World) -> None:
    """Other bytes, another place, another person: each is opened for itself."""
    one, other = world.person("P-1"), world.person("P-2")
    sealed = world.write(lambda c: world.vault.keyring.seal(c, one, b"x", "place"))
    _parsed(world, one, sealed, "place")
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for person, row, place in (
        (one, altered, "place"),
        (one, sealed, "other"),
        (other, sealed, "place"),
    ):
        with pytest.raises(CannotOpen):
            _parsed(world, person, row, place)


def test_parsed_document_is_gone_with_the_person(world: World) -> None:
    """Erasure reaches the memory too."""
    person = world.person()
    sealed = world.write(lambda c: world.vault.keyring.seal(c, person, b"x", "place"))
    _parsed(world, person, sealed, "place")
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS))
    with pytest.raises(Erased):
        _parsed(world, person, sealed, "place")


def test_few_parsed_documents_of_a_person_are_kept(world: World) -> None:
    """A person with many consents does not fill the memory."""
    person, keyring = world.person(), world.vault.keyring
    rows = [
        world.write(lambda c: keyring.seal(c, person, b"x", "place")) for _ in range(40)
    ]
    first = _parsed(world, person, rows[0], "place")
    for row in rows[1:]:
        _parsed(world, person, row, "place")
    assert _parsed(world, person, rows[0], "place") is not first


def test_key_row_moved_to_another_person_does_not_open(world: World) -> None:
    """A thief with write access cannot give one person another's key."""
    one, other = world.person("P-1"), world.person("P-2")
    rows = {row["subject"]: row["wrapped"] for row in world.rows(person_keys)}
    world.write(
        lambda c: c.execute(
            person_keys.update()
            .where(person_keys.c.subject == one)
            .values(wrapped=rows[other])
        )
    )
    world.restart()
    with pytest.raises(CannotOpen):
        world.read(lambda c: world.vault.keyring.person(c, one))


def test_another_vault_key_opens_nothing(world: World) -> None:
    """The database without the node's key is noise."""
    person = world.person()
    stranger = world.assemble(vault_key=b"x" * 32)
    with pytest.raises(CannotOpen):
        world.read(lambda c: stranger.keyring.person(c, person))


def test_erased_person_has_no_key(world: World) -> None:
    """Neither in memory nor after a restart."""
    person = world.person()
    world.read(lambda c: world.vault.keyring.person(c, person))
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS))
    for _ in range(2):
        with pytest.raises(Erased):
            world.read(lambda c: world.vault.keyring.person(c, person))
        world.restart()


def test_erasure_leaves_a_tombstone(world: World) -> None:
    """The key backup must know whom not to bring back."""
    person = world.person()
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS + 5))
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS + 9))
    found = world.read(world.vault.keyring.tombstones)
    assert found == {person: NOW_MS + 5}


def test_erased_person_cannot_be_made_again(world: World) -> None:
    """The tombstone holds the place."""
    person = world.person()
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS))
    with pytest.raises(Conflict):
        world.write(lambda c: world.vault.keyring.create(c, person, NOW_MS))


def test_wrapped_key_is_gone_from_the_disk_after_an_erasure(world: World) -> None:
    """Free pages and the write-ahead log hold no copy."""
    person = world.person()
    wrapped = {r["subject"]: r["wrapped"] for r in world.rows(person_keys)}[person]
    assert wrapped in world.bytes_on_disk()
    world.write(lambda c: world.vault.keyring.erase(c, person, NOW_MS))
    world.read(lambda c: c.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)")))
    assert wrapped not in world.bytes_on_disk()


def test_common_key_cannot_be_erased(world: World) -> None:
    """Data about nobody has no person to erase."""
    with pytest.raises(Conflict):
        world.write(lambda c: world.vault.keyring.erase(c, NOBODY, NOW_MS))


def test_unknown_person_is_not_found(world: World) -> None:
    """Neither for opening nor for erasing."""
    stranger = SubjectId("0199c000-0000-7000-8000-000000000001")
    with pytest.raises(NotFound):
        world.read(lambda c: world.vault.keyring.person(c, stranger))
    with pytest.raises(NotFound):
        world.write(lambda c: world.vault.keyring.erase(c, stranger, NOW_MS))


def test_vault_key_is_rotated_without_touching_content(world: World) -> None:
    """After wrapping anew the old vault key is not needed any more."""
    person = world.person()
    sealed = world.write(lambda c: world.vault.keyring.seal(c, person, b"x", "p"))
    both = world.assemble(vault_key=b"n" * 32, older_vault_keys=(b"v" * 32,))
    assert world.write(lambda c: both.keyring.rewrap(c, 100)) == 2
    assert world.write(lambda c: both.keyring.rewrap(c, 100)) == 0
    new = world.assemble(vault_key=b"n" * 32)
    assert world.read(lambda c: new.keyring.open(c, person, sealed, "p")) == b"x"


def test_memory_holds_a_bounded_number_of_keys(world: World) -> None:
    """A million residents do not fill the memory; every key is still found."""
    people = [world.person(f"P-{i}") for i in range(9)]
    vault = world.assemble(cached_person_keys=3)
    for _ in range(2):
        world.read(lambda c: [vault.keyring.person(c, p) for p in people])
    assert len(vault.keyring._cache) == 3


def test_key_read_while_its_person_is_erased_is_not_kept(world: World) -> None:
    """The reader was a moment too early; the next one must ask the database."""
    person = world.person()
    world.restart()
    keyring = world.vault.keyring
    with world.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(lambda statement: keyring.forget(person))
        keyring.person(connection, person)
        driver.set_trace_callback(None)
    world.write(lambda c: c.execute(person_keys.update().values(wrapped=None)))
    with pytest.raises(Erased):
        world.read(lambda c: keyring.person(c, person))


def test_words_of_an_index_do_not_blend() -> None:
    """("ab", "c") and ("a", "bc") are two things."""
    keyring = Keyring(vault_key=b"v" * 32, index_key=b"i" * 32, entropy=bytes)
    assert keyring.index("use", "ab", "c") != keyring.index("use", "a", "bc")
    assert keyring.index("use", "a") != keyring.index("other", "a")


def test_vault_key_of_another_length_is_refused(world: World) -> None:
    """A truncated key file must not pass as a weaker key."""
    with pytest.raises(ValueError, match="32 bytes"):
        world.assemble(vault_key=b"v" * 16)
