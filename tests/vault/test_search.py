# SPDX-License-Identifier: Apache-2.0
"""Search by attribute, over blind indexes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vault.world import CHECKUP, World, push, wire
from vault.errors import NotFound
from vault.keyring import SubjectId
from vault.tables import metadata, record_attributes, record_sources


def find(world: World, value: Any, subject: SubjectId | None = None) -> list[Any]:
    """Return the ids of checkups with this result."""
    found = world.read(
        lambda c: world.vault.search.find(c, CHECKUP, "result", value, subject=subject)
    )
    return [record.id for record in found]


def test_record_is_found_by_its_attribute(world: World) -> None:
    """Regardless of width and case; other values and people stay out."""
    one, other = world.person("P-1"), world.person("P-2")
    first = world.store(one, {"result": "Ａ判定"}).record
    second = world.store(other, {"result": "a判定"}).record
    world.store(one, {"result": "B判定"})
    assert sorted(find(world, "A判定")) == sorted([first, second])
    assert find(world, "A判定", other) == [second]
    assert find(world, "C判定") == []


def test_changed_attribute_is_found_no_more(world: World) -> None:
    """The index follows the content."""
    person = world.person()
    record = world.store(person, {"result": "A"}, "s").record
    world.store(person, {"result": "B"}, "s")
    assert find(world, "A") == []
    assert find(world, "B") == [record]


def test_field_that_is_not_declared_is_not_searched(world: World) -> None:
    """A dataset type says what may be looked for."""
    with pytest.raises(NotFound):
        world.read(lambda c: world.vault.search.find(c, CHECKUP, "note", "x"))


def test_indexes_are_made_anew_after_a_restore(world: World) -> None:
    """They are no part of a backup; sources are known again as well."""
    person = world.person()
    record = world.store(person, {"result": "A"}, "s").record
    world.write(lambda c: c.execute(record_attributes.delete()))
    world.write(lambda c: c.execute(record_sources.delete()))
    assert find(world, "A") == []
    count = world.write(lambda c: world.vault.search.rebuild(c, world.vault.types))
    assert (count, find(world, "A")) == (1, [record])
    assert world.store(person, {"result": "A"}, "s").outcome == "known"


def test_received_record_is_known_again_after_a_restore(world: World) -> None:
    """Its origin is inside the seal, so the index can be made from it."""
    person = world.person()
    push(world, person, wire())
    world.write(lambda c: world.vault.search.rebuild(c, world.vault.types))
    assert push(world, person, wire()).known == 1


def test_indexes_are_no_part_of_a_backup() -> None:
    """Each table says how it is backed up."""
    by_kind: dict[str, set[str]] = {}
    for table in metadata.sorted_tables:
        by_kind.setdefault(table.info["backup"], set()).add(table.name)
    assert by_kind["derived"] == {
        "discarded_files",
        "record_attributes",
        "record_sources",
    }
    assert by_kind["keys"] == {"person_keys", "subject_names", "subject_links"}
