# SPDX-License-Identifier: Apache-2.0
"""Erasure: nothing of the person comes back, whatever is restored."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from tests.vault.world import NOW_MS, World, consent, grant, keep, push, wire
from vault.errors import Conflict, Erased, NotFound
from vault.keyring import NOBODY, SubjectId
from vault.tables import (
    metadata,
    person_keys,
    provisions,
    received_consents,
    record_attributes,
    record_sources,
    record_versions,
    records,
    subject_links,
    subject_names,
)

Rows = dict[str, list[dict[str, Any]]]


def fill(world: World, local_id: str = "P-1") -> SubjectId:
    """Give a person a row in every table."""
    person = world.person(local_id)
    handle = (local_id + "h" * 43)[:43]
    world.write(lambda c: world.vault.subjects.link(c, person, grant(handle), NOW_MS))
    world.store(person, {"result": "A", "note": "old"}, f"s-{local_id}")
    world.store(person, {"result": "A", "note": "new"}, f"s-{local_id}")
    return person


def erase(world: World, person: SubjectId) -> Any:
    """Erase a person as a node does."""
    report = world.write(lambda c: world.vault.erasure.erase(c, person, NOW_MS))
    world.vault.keyring.forget(person)
    return report


def backup(world: World, *kinds: str) -> Rows:
    """Copy the rows of the tables that a backup of these kinds holds."""
    return {
        table.name: world.rows(table)
        for table in metadata.sorted_tables
        if table.info["backup"] in kinds
    }


def restore(world: World, rows: Rows) -> None:
    """Put the rows of a backup back and start the node."""
    with world.engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name in rows:
                connection.execute(table.delete())
                if rows[table.name]:
                    connection.execute(table.insert(), rows[table.name])
    world.restart()


def test_nothing_is_left_but_tombstone_and_closed_history(world: World) -> None:
    """Every table is looked at; the other person loses nothing."""
    person, other = fill(world, "P-1"), fill(world, "P-2")
    push(world, person, wire())
    keep(world, person, consent())
    world.commit(world.prepare(person))
    report = erase(world, person)
    assert (report.records, report.consents) == (2, 1)
    for table in (records, record_versions, subject_names, subject_links):
        assert {row["subject"] for row in world.rows(table)} == {other}
    for table in (received_consents,):
        assert world.rows(table) == []
    assert len(world.rows(record_sources)) == len(world.rows(record_attributes)) == 1
    assert {row["subject"] for row in world.rows(provisions)} == {person}
    tombstone = next(r for r in world.rows(person_keys) if r["subject"] == person)
    assert (tombstone["wrapped"], tombstone["erased_ms"]) == (None, NOW_MS)


def test_restored_records_do_not_bring_the_person_back(world: World) -> None:
    """A backup of the records is noise without the key, also to this very node."""
    person = fill(world)
    record = world.read(
        lambda c: world.vault.queries.of_subject(c, person, "health.checkup")
    )[0].id
    saved = backup(world, "records")
    erase(world, person)
    restore(world, saved)
    assert any(row["subject"] == person for row in world.rows(records))
    vault = world.vault
    with pytest.raises(Erased):
        world.read(lambda c: vault.records.get(c, record))
    with pytest.raises(Erased):
        world.read(lambda c: vault.queries.of_subject(c, person, "health.checkup"))
    assert world.read(lambda c: vault.subjects.find_local(c, "P-1")) is None
    assert world.write(lambda c: vault.search.rebuild(c, vault.types)) == 0


def test_backup_of_the_records_confirms_no_guess(world: World) -> None:
    """No blind index of a name, a source id or an attribute lies in it."""
    person = fill(world)
    keyring, search = world.vault.keyring, world.vault.search
    content = {"result": "A"}
    dataset = world.vault.types.get("health.checkup")
    guesses = {
        keyring.index("name", "local", "P-1"),
        search.source("health.checkup", "s-P-1"),
        *search.attributes(dataset, content),
    }
    saved = backup(world, "records")
    values = {v for rows in saved.values() for row in rows for v in row.values()}
    assert values.isdisjoint(guesses)
    assert person in values


def test_sweep_removes_what_a_restore_brought_back(world: World) -> None:
    """Of erased persons only."""
    person, other = fill(world, "P-1"), fill(world, "P-2")
    saved = backup(world, "records")
    erase(world, person)
    restore(world, saved)
    assert world.write(lambda c: world.vault.erasure.sweep(c)) == 2
    assert {row["subject"] for row in world.rows(records)} == {other}


def test_local_id_of_an_erased_person_may_be_used_again(world: World) -> None:
    """As somebody new; nothing leads to the former."""
    person = fill(world)
    erase(world, person)
    assert world.person("P-1") != person


def test_key_of_an_erased_person_is_gone_from_the_disk(world: World) -> None:
    """After the write-ahead log was truncated."""
    person = fill(world)
    rows = {row["subject"]: row["wrapped"] for row in world.rows(person_keys)}
    erase(world, person)
    world.read(lambda c: c.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)")))
    disk = world.bytes_on_disk()
    assert rows[person] not in disk
    assert rows[NOBODY] in disk


def test_history_of_an_erased_person_still_stops_a_replay(world: World) -> None:
    """The exchange id stays, its content does not open."""
    person = fill(world)
    world.commit(world.prepare(person))
    erase(world, person)
    known = world.vault.provisions.is_known
    exchange_id = world.rows(provisions)[0]["exchange"]
    assert world.read(lambda c: known(c, exchange_id, "provision"))
    with pytest.raises(Erased):
        world.read(lambda c: world.vault.provisions.of_subject(c, person))
    between = world.vault.provisions.between
    assert world.read(lambda c: between(c, 0, NOW_MS * 2)) == []


def test_answer_prepared_before_an_erasure_does_not_leave(world: World) -> None:
    """The release cannot be recorded, and so is not sent."""
    person = fill(world)
    prepared = world.prepare(person)
    erase(world, person)
    with pytest.raises(Erased):
        world.commit(prepared)


def test_erasing_twice_does_no_harm(world: World) -> None:
    """A request may come again."""
    person = fill(world)
    assert erase(world, person).records == 1
    assert erase(world, person).records == 0


def test_only_persons_are_erased(world: World) -> None:
    """Neither strangers nor the owner of open data."""
    stranger = SubjectId("0199c000-0000-7000-8000-000000000001")
    with pytest.raises(NotFound):
        erase(world, stranger)
    with pytest.raises(Conflict):
        erase(world, NOBODY)


def test_erasure_that_is_rolled_back_changes_nothing(world: World) -> None:
    """Either everything of it holds, or nothing."""
    person = fill(world)
    with pytest.raises(RuntimeError), world.engine.begin() as connection:
        world.vault.erasure.erase(connection, person, NOW_MS)
        raise RuntimeError
    assert len(world.prepare(person).result.records) == 1
