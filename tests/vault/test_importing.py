# SPDX-License-Identifier: Apache-2.0
"""Bulk import: a report that accounts for every row."""

from __future__ import annotations

from typing import Any

from tests.vault.world import NOW_MS, World
from vault.formats.rows import Row, RowProblem
from vault.importing import ImportReport, batches
from vault.tables import person_keys, record_sources, records


def row(number: int, subject: str | None = "P-1", **changes: Any) -> Row:
    """Return one row of a file."""
    values: dict[str, Any] = {
        "dataset_type": "health.checkup",
        "content": {"date": "2025-04-01", "weight": number},
        "source_id": f"s-{number}",
    }
    values.update(changes)
    return Row(number=number, subject=subject, **values)


def load(world: World, *rows: Row | RowProblem) -> ImportReport:
    """Import in batches of two."""
    report = ImportReport()
    for some in batches(rows, 2):
        with world.engine.begin() as connection:
            report += world.vault.importer.import_rows(connection, some, now_ms=NOW_MS)
    return report


def test_every_row_is_accounted_for(world: World) -> None:
    """Stored, known, updated and refused add up to the rows."""
    unreadable = RowProblem(5, "unclosed-quote", None, "", "")
    remark = RowProblem(6, "extra-columns", None, "", "", "notice")
    load(world, row(1), row(2))
    changed = row(2, content={"date": "2025-04-01", "weight": 99})
    wrong = row(4, content={"weight": "heavy"})
    report = load(world, row(1), changed, row(3, "P-2"), wrong, unreadable, remark)
    counts = (report.stored, report.known, report.updated, report.refused)
    assert counts == (1, 1, 1, 2)
    assert report.rows == 5
    assert report.by_type == {"health.checkup": 3}


def test_refused_row_is_named_with_code_and_field(world: World) -> None:
    """Every fault of it, and the rows around it are stored."""
    report = load(world, row(1), row(2, content={"weight": "heavy"}), row(3))
    assert report.stored == 2
    named = [(p.number, p.code, p.field) for p in report.problems]
    assert named == [(2, "required", "date"), (2, "wrong-type", "weight")]
    assert all(p.detail_ja for p in report.problems)


def test_same_import_again_stores_nothing(world: World) -> None:
    """After a crash the operator starts it again, with or without source ids."""
    rows = [row(1), row(2, source_id=None)]
    first, again = load(world, *rows), load(world, *rows)
    assert (first.stored, again.stored, again.known) == (2, 0, 2)
    assert len(world.rows(records)) == 2


def test_refused_row_leaves_no_person_behind(world: World) -> None:
    """Nobody is known of whom nothing is held."""
    before = len(world.rows(person_keys))
    load(world, row(1, content={}))
    assert len(world.rows(person_keys)) == before


def test_my_number_as_subject_is_refused(world: World) -> None:
    """And the report does not repeat it."""
    report = load(world, row(1, "123456789018"))
    assert [p.code for p in report.problems] == ["my-number-refused"]
    assert "123456789018" not in str(report)


def test_unknown_type_is_a_problem_of_the_row(world: World) -> None:
    """The other rows go on."""
    report = load(world, row(1, dataset_type="health.other"), row(2))
    assert [p.code for p in report.problems] == ["unknown-dataset-type"]
    assert report.stored == 1


def test_rows_about_nobody_are_stored(world: World) -> None:
    """Open data."""
    content = {"name": "park"}
    report = load(world, row(1, None, dataset_type="city.places", content=content))
    assert report.stored == 1


def test_people_of_a_batch_are_made_once(world: World) -> None:
    """Two rows of one patient, one person."""
    load(world, row(1), row(2), row(3))
    assert len({r["subject"] for r in world.rows(records)}) == 1
    assert len(world.rows(record_sources)) == 3


def test_report_keeps_a_bounded_number_of_problems() -> None:
    """A million bad rows do not fill the memory, and the count stays right."""
    problem = RowProblem(1, "required", "date", "", "")
    part = ImportReport(rows=6000, refused=6000, problems=(problem,) * 6000)
    whole = part + part
    assert (len(whole.problems), whole.left_out, whole.refused) == (
        10_000,
        2000,
        12_000,
    )


def test_batches_read_no_further_than_needed() -> None:
    """A file of any size passes through in pieces."""
    seen: list[int] = []

    def stream() -> Any:
        for number in range(10):
            seen.append(number)
            yield row(number)

    first = next(batches(stream(), 3))
    assert (len(first), seen) == (3, [0, 1, 2])
