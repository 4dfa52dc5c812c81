# SPDX-License-Identifier: Apache-2.0
"""The only way in: checked, sealed, and stored once."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.answer import Stored
from tests.vault.world import (
    NOW_MS,
    SHOP,
    THERE,
    World,
    consent,
    exchange,
    push,
    wire,
)
from vault.errors import (
    Conflict,
    NotFound,
    RecordTooLarge,
    Rejected,
    UnknownDatasetType,
)
from vault.intake import DAY_S, Outcome
from vault.keyring import NOBODY, SubjectId
from vault.queries import Held
from vault.sealed_record import OpenRecord
from vault.tables import records

LARGEST = 1 << 20


def faults(world: World, content: Any) -> list[tuple[str | None, str]]:
    """Return what is wrong with a checkup."""
    with pytest.raises(Rejected) as caught:
        world.vault.intake.check("health.checkup", content)
    return [(f.field, f.code) for f in caught.value.faults]


def test_source_that_repeats_itself_stores_once(world: World) -> None:
    """The same record of a source again is known."""
    person = world.person()
    first = world.store(person, {"note": "a", "weight": 1}, "s-1")
    again = world.store(person, {"weight": 1, "note": "a"}, "s-1")
    assert first.outcome is Outcome.STORED
    assert (again.outcome, again.record) == (Outcome.KNOWN, first.record)
    assert len(world.rows(records)) == 1


@pytest.mark.parametrize("weight", [2, 1.0, "1", True, None])
def test_source_that_changes_content_makes_a_version(world: World, weight: Any) -> None:
    """Also where only the kind of the value changed."""
    person = world.person()
    intake = world.vault.intake

    def store(value: Any) -> Any:
        content = {"notes": value, "name": "park"}
        return world.write(
            lambda c: intake.store(
                c, "city.places", person, content, now_ms=NOW_MS, source_id="s"
            )
        )

    store(1)
    changed = store(weight)
    assert (changed.outcome, changed.version) == (Outcome.UPDATED, 2)


def test_source_that_names_another_person_moves_the_record(world: World) -> None:
    """A mistaken assignment is corrected; the wrong person keeps nothing of it."""
    wrong, right = world.person("P-1"), world.person("P-2")
    first = world.store(wrong, {"note": "a"}, "s-1")
    moved = world.store(right, {"note": "a"}, "s-1")
    assert moved.outcome is Outcome.UPDATED
    with pytest.raises(NotFound):
        world.read(lambda c: world.vault.records.get(c, first.record))
    found = world.read(lambda c: world.vault.records.get(c, moved.record))
    assert found.subject == right


def test_record_without_a_source_id_is_always_new(world: World) -> None:
    """Two entries by hand are two."""
    person = world.person()
    assert world.store(person, {}).record != world.store(person, {}).record


def test_text_is_kept_as_it_came(world: World) -> None:
    """A signature of the source over its bytes still verifies."""
    text = b'{ "note" : "\\u5065",  "date":"2025-04-01" }'
    person = world.person()
    arrival = world.write(
        lambda c: world.vault.intake.store(
            c, "health.checkup", person, text, now_ms=NOW_MS
        )
    )
    found = world.read(lambda c: world.vault.records.get(c, arrival.record))
    assert found.content == text


def test_data_about_nobody_is_stored(world: World) -> None:
    """Open data has no person; without a time field it is of when it came."""
    content = {"name": "bus stop"}
    world.write(
        lambda c: world.vault.intake.store(
            c, "city.places", NOBODY, content, now_ms=NOW_MS
        )
    )
    assert world.rows(records)[0]["time_s"] == NOW_MS // 1000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, [("date", "required")]),
        ({"date": "2025-04-01", "weight": "x"}, [("weight", "wrong-type")]),
        ({"date": "2025-04-01", "secret": 1}, [(None, "unknown-field")]),
        ({"date": "soon"}, [("date", "time-invalid")]),
        (b'{"date":"2025-04-01","date":"x"}', [(None, "line-not-json")]),
        (b'["date"]', [(None, "not-an-object")]),
        (b"{", [(None, "line-not-json")]),
        (
            {"date": "2025-04-01", "result": "123456789018"},
            [("result", "my-number-refused")],
        ),
        (
            {"date": "2025-04-01", "note": "マイナンバー 1234-5678-9018"},
            [("note", "my-number-refused")],
        ),
        ({"date": "2025-04-01", "note": "\x00"}, [("note", "control-character")]),
        ({"date": "2025-04-01", "weight": float("nan")}, [("weight", "number")]),
    ],
)
def test_faults_name_field_and_code(
    world: World, content: Any, expected: list[tuple[str | None, str]]
) -> None:
    """And never the value."""
    found = faults(world, content)
    for field, code in expected:
        assert any(f == field and c.startswith(code) for f, c in found), found


def test_fault_never_repeats_a_value(world: World) -> None:
    """Problem documents travel; personal data must not travel in them."""
    with pytest.raises(Rejected) as caught:
        world.vault.intake.check(
            "health.checkup", {"CANARY": "CANARY", "weight": "CANARY"}
        )
    assert "CANARY" not in f"{caught.value} {caught.value.faults}"


def test_record_that_is_too_large_is_refused(world: World) -> None:
    """As text and as value, before anything else looks at it."""
    text = b'{"date":"2025-04-01","note":"' + b"x" * LARGEST + b'"}'
    for content in (text, {"date": "2025-04-01", "note": "x" * LARGEST}):
        with pytest.raises(RecordTooLarge):
            world.vault.intake.check("health.checkup", content)


def test_unknown_type_is_refused(world: World) -> None:
    """Nothing is stored that has no schema."""
    with pytest.raises(UnknownDatasetType):
        world.vault.intake.check("health.other", {})


def test_correction_needs_the_version_it_was_made_on(world: World) -> None:
    """訂正 under optimistic concurrency."""
    record = world.store(world.person(), {"note": "old"}, "s-1").record

    def change(version: int) -> Any:
        content = {"date": "2025-04-02", "note": "new"}
        return world.write(
            lambda c: world.vault.intake.change(
                c, record, content, expected_version=version, now_ms=NOW_MS
            )
        )

    assert change(1).version == 2
    with pytest.raises(Conflict):
        change(1)


# What other organizations push.


def received(world: World, subject: SubjectId) -> list[OpenRecord]:
    """Return what was pushed about a person."""
    return world.read(
        lambda c: world.vault.queries.of_subject(
            c, subject, "health.checkup", held=Held.RECEIVED
        )
    )


def test_pushed_record_is_kept_with_its_origin(world: World) -> None:
    """Who sent it, under which consent, by which exchange."""
    person = world.person()
    assert push(world, person, wire(), days=30) == Stored(stored=1, known=0)
    origin = received(world, person)[0].origin
    assert origin is not None
    assert (origin.provider, origin.record) == (SHOP, THERE)
    assert (origin.consent, origin.exchange) == (consent().jti, exchange(1))
    assert world.rows(records)[0]["retain_until"] == NOW_MS // 1000 + 30 * DAY_S


def test_push_delivered_twice_is_known(world: World) -> None:
    """The outbox delivers at least once."""
    person = world.person()
    push(world, person, wire())
    assert push(world, person, wire()) == Stored(stored=0, known=1)


def test_newer_version_replaces_and_an_older_one_is_known(world: World) -> None:
    """Pushes may overtake each other."""
    person = world.person()
    push(world, person, wire(version=2, content='{"date":"2025-04-01","note":"new"}'))
    assert push(world, person, wire(version=1)).known == 1
    push(world, person, wire(version=3, content='{"date":"2025-04-01","note":"newer"}'))
    found = received(world, person)
    assert [r.content for r in found] == [b'{"date":"2025-04-01","note":"newer"}']


def test_part_of_a_record_is_taken(world: World) -> None:
    """The sender cut what consent does not cover, also what the schema requires."""
    person = world.person()
    push(world, person, wire(content='{"note":"only"}'))
    assert received(world, person)[0].time is None


@pytest.mark.parametrize(
    "bad",
    [
        {"dataset_type": "city.places"},
        {"content": '{"date":"2025-04-01","weight":1}'},
        {"content": '{"date":"2025-04-01","note":1}'},
        {"content": '{"date":"2025-04-01","foreign":1}'},
        {"content": "[]"},
    ],
    ids=["another type", "beyond the permit", "wrong type", "foreign field", "list"],
)
def test_push_with_one_bad_record_stores_none(
    world: World, bad: dict[str, Any]
) -> None:
    """All or nothing, so that the sender knows where it stands."""
    person = world.person()
    with pytest.raises(Rejected):
        push(world, person, wire(), wire(**bad))
    assert world.rows(records) == []


def test_received_record_is_not_corrected_here(world: World) -> None:
    """Only where it came from can it be put right."""
    person = world.person()
    push(world, person, wire())
    record = received(world, person)[0].id
    with pytest.raises(Conflict):
        world.write(
            lambda c: world.vault.intake.change(
                c, record, {"date": "2025"}, expected_version=1, now_ms=NOW_MS
            )
        )
