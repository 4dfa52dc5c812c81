# SPDX-License-Identifier: Apache-2.0
"""Bulk import: rows in, a report out, nothing lost without a word.

    for some in batches(read_file(...), 500):
        report += db.write(lambda c: importer.import_rows(c, some, now_ms=now))

Each batch is one transaction of the caller. A row that is refused stands in the report
with its number, code and field; the rows around it are stored. Running the same import
again stores nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection

from protocol.errors import Misuse
from vault.checks import fault
from vault.errors import Fault, Rejected
from vault.formats.rows import Row, RowProblem
from vault.intake import Intake, Outcome, content_source_id
from vault.keyring import NOBODY, SubjectId
from vault.subjects import Subjects

MAX_PROBLEMS = 10_000


@dataclass(frozen=True)
class ImportReport:
    """What became of the rows. Reports of batches add up.

    Attributes:
        rows: rows seen, refused ones included.
        stored, known, updated: see `vault.intake`.
        refused: rows that were not stored.
        by_type: stored, known and updated rows by dataset type.
        problems: the first 10,000 problems and remarks.
        left_out: how many more there were.
    """

    rows: int = 0
    stored: int = 0
    known: int = 0
    updated: int = 0
    refused: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    problems: tuple[RowProblem, ...] = ()
    left_out: int = 0

    def __add__(self, other: ImportReport) -> ImportReport:
        problems = self.problems + other.problems
        kept = problems[:MAX_PROBLEMS]
        return ImportReport(
            self.rows + other.rows,
            self.stored + other.stored,
            self.known + other.known,
            self.updated + other.updated,
            self.refused + other.refused,
            self.by_type + other.by_type,
            kept,
            self.left_out + other.left_out + len(problems) - len(kept),
        )


def batches(
    rows: Iterable[Row | RowProblem], size: int
) -> Iterator[list[Row | RowProblem]]:
    """Cut a stream into lists of `size`, reading no further ahead than one list."""
    stream = iter(rows)
    while some := list(islice(stream, size)):
        yield some


class Importer:
    """Brings rows to the intake."""

    def __init__(self, *, intake: Intake, subjects: Subjects) -> None:
        self._intake = intake
        self._subjects = subjects

    def import_rows(
        self, connection: Connection, rows: Iterable[Row | RowProblem], *, now_ms: int
    ) -> ImportReport:
        """Store the rows of one batch in the caller's transaction.

        Args:
            connection: a write transaction.
            rows: rows, and the problems that reading them met.
            now_ms: the time.
        """
        outcomes: Counter[Outcome] = Counter()
        by_type: Counter[str] = Counter()
        problems: list[RowProblem] = []
        refused: set[int] = set()
        people: dict[str, SubjectId] = {}
        for row in rows:
            if isinstance(row, RowProblem):
                problems.append(row)
                if row.level == "row":
                    refused.add(row.number)
                continue
            try:
                outcome = self._import(connection, row, people, now_ms)
            except Misuse as error:
                problems.extend(_problems(row.number, error))
                refused.add(row.number)
            else:
                outcomes[outcome] += 1
                by_type[row.dataset_type] += 1
        kept = problems[:MAX_PROBLEMS]
        return ImportReport(
            rows=outcomes.total() + len(refused),
            stored=outcomes[Outcome.STORED],
            known=outcomes[Outcome.KNOWN],
            updated=outcomes[Outcome.UPDATED],
            refused=len(refused),
            by_type=by_type,
            problems=tuple(kept),
            left_out=len(problems) - len(kept),
        )

    def _import(
        self,
        connection: Connection,
        row: Row,
        people: dict[str, SubjectId],
        now_ms: int,
    ) -> Outcome:
        # Checked first: a refused row leaves no person behind.
        checked = self._intake.check(row.dataset_type, row.content)
        subject = NOBODY
        if row.subject is not None:
            known = people.get(row.subject)
            if known is None:
                known = self._subjects.ensure_local(connection, row.subject, now_ms)
                people[row.subject] = known
            subject = known
        source_id = row.source_id
        if source_id is None:
            source_id = content_source_id(row.dataset_type, subject, checked.text)
        arrival = self._intake.store_checked(
            connection, checked, subject, now_ms=now_ms, source_id=source_id
        )
        return arrival.outcome


def _problems(number: int, error: Misuse) -> list[RowProblem]:
    """Say what is wrong with a row in the words of the file formats."""
    faults: tuple[Fault, ...] = (fault(error.slug),)
    if isinstance(error, Rejected):
        faults = error.faults
    return [
        RowProblem(number, f.code, f.field, f.detail_en, f.detail_ja) for f in faults
    ]
