# SPDX-License-Identifier: Apache-2.0
"""Sealed records: what goes in comes out, and nothing else opens."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import CannotOpen
from protocol.ids import RecordId
from tests.vault.world import CLINIC, NOW_MS, Chance, World
from vault.errors import Conflict, NotFound
from vault.keyring import SubjectId
from vault.queries import Held
from vault.sealed_record import Draft, OpenRecord
from vault.tables import record_versions, records

ELSEWHERE = RecordId(
    "urn:machikura:hoshino:pharmacy:0199c000-0000-7000-8000-000000000001"
)
HERE = RecordId("urn:machikura:hoshino:clinic:0199c000-0000-7000-8000-000000000001")


def draft(subject: SubjectId, content: bytes = b"{}", **changes: Any) -> Draft:
    """Return a checked draft."""
    values: dict[str, Any] = {
        "dataset_type": "health.checkup",
        "time": "2025-04-01",
        "time_s": 1_743_433_200,
    }
    return Draft(subject=subject, content=content, **{**values, **changes})


def add(world: World, subject: SubjectId, **changes: Any) -> RecordId:
    """Store a draft."""
    return world.write(
        lambda c: world.vault.records.add(c, draft(subject, **changes), NOW_MS)
    )


def get(world: World, record: RecordId) -> OpenRecord:
    """Read a record."""
    return world.read(lambda c: world.vault.records.get(c, record))


def change_row(world: World, record: RecordId, **columns: Any) -> None:
    """Do what a thief with write access can do."""
    world.write(
        lambda c: c.execute(
            records.update().where(records.c.id == record[-36:]).values(columns)
        )
    )


def row_of(world: World, record: RecordId) -> dict[str, Any]:
    """Return a record's row."""
    return next(r for r in world.rows(records) if r["id"] == record[-36:])


def test_record_comes_back_as_it_went_in(world: World) -> None:
    """Byte for byte, with its time, after a restart."""
    text = '{"note": "健診 結果", "weight": 54.30}'.encode()
    record = add(world, world.person(), content=text)
    world.restart()
    found = get(world, record)
    assert (found.content, found.time, found.version) == (text, "2025-04-01", 1)
    assert record.node == CLINIC


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), _JSON, max_size=6))
def test_any_content_round_trips(world: World, content: dict[str, Any]) -> None:
    """Line feeds, quotes, emoji, deep lists: none of it confuses the framing."""
    text = orjson.dumps(content)
    record = add(world, world.person(), content=text)
    assert get(world, record).content == text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), column=st.sampled_from(["sealed", "wrapped"]))
def test_any_altered_byte_is_noticed(
    world: World, data: st.DataObject, column: str
) -> None:
    """Of the content and of the wrapped key; also a byte less or more."""
    record = add(world, world.person(), content=b'{"note":"secret"}')
    stored = row_of(world, record)[column]
    place = data.draw(st.integers(0, len(stored) - 1))
    flipped = stored[place] ^ data.draw(st.integers(1, 255))
    altered = data.draw(
        st.sampled_from(
            [
                stored[:place] + bytes([flipped]) + stored[place + 1 :],
                stored[:place],
                stored + b"\0",
            ]
        )
    )
    change_row(world, record, **{column: altered})
    with pytest.raises(CannotOpen):
        get(world, record)


@pytest.mark.parametrize(
    "clear",
    [
        {"dataset_type": "health.dental"},
        {"version": 2},
        {"time_s": 0},
        {"changed_ms": 0},
        {"consent_index": b"c" * 16},
        {"retain_until": 9},
        {"id": "0199c000-0000-7000-8000-000000000009"},
    ],
    ids=lambda clear: next(iter(clear)),
)
def test_altered_clear_column_is_noticed(world: World, clear: dict[str, Any]) -> None:
    """What stands beside the seal is bound into it."""
    record = add(world, world.person())
    change_row(world, record, **clear)
    serial = clear.get("id", record[-36:])
    with pytest.raises(CannotOpen):
        get(world, RecordId(record[:-36] + serial))


def test_row_given_to_another_person_does_not_open(world: World) -> None:
    """Moving a record to one's own name shows nothing."""
    record = add(world, world.person("P-1"))
    change_row(world, record, subject=world.person("P-2"))
    with pytest.raises(CannotOpen):
        get(world, record)


@pytest.mark.parametrize("columns", [["sealed"], ["wrapped"], ["sealed", "wrapped"]])
def test_ciphertext_swapped_with_another_record_does_not_open(
    world: World, columns: list[str]
) -> None:
    """Also between two records of the same person and type."""
    person = world.person()
    one, other = add(world, person), add(world, person)
    taken = row_of(world, other)
    change_row(world, one, **{name: taken[name] for name in columns})
    with pytest.raises(CannotOpen):
        get(world, one)


def test_former_version_put_back_does_not_open(world: World) -> None:
    """Rollback of a correction: the version is bound."""
    person = world.person()
    record = add(world, person, content=b'{"note":"old"}')
    old = row_of(world, record)
    new = draft(person, b'{"note":"new"}')
    world.write(lambda c: world.vault.records.replace(c, record, new, NOW_MS))
    change_row(world, record, sealed=old["sealed"], wrapped=old["wrapped"])
    with pytest.raises(CannotOpen):
        get(world, record)


def test_received_record_cannot_pass_as_an_own_one(world: World) -> None:
    """Dropping the consent's mark would let data be shared on."""
    record = add(world, world.person(), consent_index=b"c" * 16, retain_until=9)
    change_row(world, record, consent_index=None, retain_until=None)
    with pytest.raises(CannotOpen):
        get(world, record)


def test_change_makes_a_new_version_and_keeps_the_old(world: World) -> None:
    """Corrections can be traced."""
    person = world.person()
    record = add(world, person, content=b'{"note":"old"}')
    new = draft(person, b'{"note":"new"}')
    version = world.write(
        lambda c: world.vault.records.replace(
            c, record, new, NOW_MS + 1, expected_version=1
        )
    )
    assert version == 2
    found = world.read(lambda c: world.vault.records.versions(c, record))
    assert [(v.version, v.content) for v in found] == [
        (1, b'{"note":"old"}'),
        (2, b'{"note":"new"}'),
    ]


def test_change_of_a_stale_version_is_a_conflict(world: World) -> None:
    """Two officers, one record: the second reads again."""
    person = world.person()
    record = add(world, person)

    def attempt(connection: sa.Connection) -> int:
        return world.vault.records.replace(
            connection, record, draft(person), NOW_MS, expected_version=1
        )

    world.write(attempt)
    with pytest.raises(Conflict):
        world.write(attempt)


def test_record_keeps_its_person_and_type(world: World) -> None:
    """A change is no way to move a record."""
    record = add(world, world.person("P-1"))
    other = world.person("P-2")
    with pytest.raises(Conflict):
        world.write(
            lambda c: world.vault.records.replace(c, record, draft(other), NOW_MS)
        )


def test_deleted_record_is_gone_with_its_versions(world: World) -> None:
    """Of every table."""
    person = world.person()
    record = add(world, person)
    world.write(lambda c: world.vault.records.replace(c, record, draft(person), NOW_MS))
    with pytest.raises(Conflict):
        world.write(lambda c: world.vault.records.delete(c, record, expected_version=1))
    world.write(lambda c: world.vault.records.delete(c, record, expected_version=2))
    assert world.rows(records) == world.rows(record_versions) == []
    with pytest.raises(NotFound):
        world.write(lambda c: world.vault.records.delete(c, record))


@pytest.mark.parametrize("record", [HERE, ELSEWHERE])
def test_record_that_is_not_here_is_not_found(world: World, record: RecordId) -> None:
    """Unknown and foreign look alike."""
    with pytest.raises(NotFound):
        get(world, record)


def test_range_is_by_record_time(world: World) -> None:
    """`since` counts, `until` does not; oldest first, also before 1970."""
    person = world.person()
    for second in (30, -5, 10, 20):
        add(world, person, time_s=second, time=str(second))
    found = world.read(
        lambda c: world.vault.queries.of_subject(
            c, person, "health.checkup", since_s=-5, until_s=30
        )
    )
    assert [r.time for r in found] == ["-5", "10", "20"]
    some = world.read(
        lambda c: world.vault.queries.of_subject(c, person, "health.checkup", limit=2)
    )
    assert [r.time for r in some] == ["-5", "10"]


def test_range_holds_one_person_and_one_type(world: World) -> None:
    """Nobody else's records, no other type."""
    person = world.person("P-1")
    add(world, person)
    add(world, world.person("P-2"))
    add(world, person, dataset_type="health.dental")
    add(world, person, consent_index=b"c" * 16)
    query = world.vault.queries.of_subject
    with world.engine.connect() as connection:
        found = {
            held: len(query(connection, person, "health.checkup", held=held))
            for held in Held
        }
    assert found == {Held.OWN: 1, Held.RECEIVED: 1, Held.BOTH: 2}


def test_counts_are_by_type(world: World) -> None:
    """With the first and last time."""
    person = world.person()
    add(world, person, time_s=0)
    add(world, person, time_s=86_400)
    add(world, person, dataset_type="health.dental", time_s=5)
    found = world.read(lambda c: world.vault.queries.counts(c, person))
    assert [(n.dataset_type, n.count, n.first, n.last) for n in found] == [
        ("health.checkup", 2, "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"),
        ("health.dental", 1, "1970-01-01T00:00:05Z", "1970-01-01T00:00:05Z"),
    ]


def test_content_does_not_stand_on_the_disk(world: World) -> None:
    """Not in the file, not in the write-ahead log, not in a former version."""
    person = world.person()
    record = world.store(person, {"note": "CANARY-1", "result": "CANARY-2"}, "CANARY-3")
    world.store(person, {"note": "CANARY-4"}, "CANARY-3")
    disk = world.bytes_on_disk()
    assert record.record[-36:].encode() in disk
    assert b"CANARY" not in disk


def test_two_vaults_with_equal_records_share_no_ciphertext(tmp_path: Any) -> None:
    """Fresh keys and nonces: equal content looks different."""
    seen = set()
    for seed in (1, 2):
        world = World(tmp_path / f"{seed}.sqlite", seed)
        seen.add(row_of(world, add(world, world.person()))["sealed"])
        world.engine.dispose()
    assert len(seen) == 2
    assert Chance(1)(8) != Chance(2)(8)


def test_hot_read_is_one_statement(world: World) -> None:
    """Two rounds to the database would double its cost."""
    person = world.person()
    add(world, person)
    world.read(lambda c: world.vault.keyring.person(c, person))
    statements: list[str] = []
    with world.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(statements.append)
        world.vault.queries.of_subject(connection, person, "health.checkup")
        driver.set_trace_callback(None)
    assert len(statements) == 1


def test_index_serves_the_hot_read(world: World) -> None:
    """No scan and no sorting, whatever the number of rows."""
    query = sa.text(
        "EXPLAIN QUERY PLAN SELECT id FROM records WHERE subject = 'a' AND"
        " dataset_type = 'b' AND time_s >= 1 AND time_s < 2 ORDER BY time_s, id"
    )
    plan = world.read(lambda c: [row[3] for row in c.execute(query)])
    assert len(plan) == 1
    assert "records_by_time" in plan[0]
