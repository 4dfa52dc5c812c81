# SPDX-License-Identifier: Apache-2.0
"""CSV files: a header is found, each row under it becomes a record.

Row numbers are those a spreadsheet shows. Rows above the header (titles, dates) and
empty rows are passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from vault.formats.binding import Binding, bind, fitting, remarks
from vault.formats.problems import problem
from vault.formats.profile import Profile, key_of
from vault.formats.quoting import delimiter_of, records
from vault.formats.record import read_record
from vault.formats.rows import Limits, Row, RowProblem
from vault.formats.text import UNREADABLE, Unreadable, lines

# A title, a date and a note may stand above the header.
_HEADER_ROWS: Final = 10


def read_table(
    stream: BinaryIO,
    profile: Profile | None,
    candidates: Sequence[Profile],
    limits: Limits,
) -> Iterator[Row | RowProblem]:
    """Yield the rows and problems of a CSV file.

    Args:
        stream: the file.
        profile: how to read it, or None to choose by its header.
        candidates: the profiles to choose from.
        limits: size of lines and records.
    """
    encoding = profile.encoding if profile else None
    try:
        source = lines(stream, encoding, limits.max_line_bytes)
        head = list(itertools.islice(source, _HEADER_ROWS))
        delimiter = (profile and profile.delimiter) or delimiter_of(head)
        rows = records(itertools.chain(head, source), delimiter, limits)
        numbered = enumerate(rows, start=1)
        yield from _read(numbered, profile, candidates, limits)
    except Unreadable as error:
        yield problem(0, error.code, limit=limits.max_line_bytes)


def _read(
    numbered: Iterator[tuple[int, list[str] | None]],
    profile: Profile | None,
    candidates: Sequence[Profile],
    limits: Limits,
) -> Iterator[Row | RowProblem]:
    top = list(itertools.islice(numbered, _HEADER_ROWS))
    if any(cells and len(cells) > limits.max_columns for _, cells in top):
        yield problem(0, "too-many-columns", limit=limits.max_columns)
        return
    number, header = _header(top, profile, candidates)
    if isinstance(header, RowProblem):
        yield header
        return
    yield from remarks(header, number)
    below = (row for row in top if row[0] > number)
    for row, cells in itertools.chain(below, numbered):
        yield from _row(row, cells, header)


def _row(
    number: int, cells: list[str] | None, binding: Binding
) -> Iterator[Row | RowProblem]:
    if cells is None:
        yield problem(number, "unclosed-quote")
    elif not any(cell.strip() for cell in cells):
        return
    elif any(cell.strip() for cell in cells[binding.width :]):
        yield problem(number, "too-many-cells")
    elif _is_header_again(cells, binding):
        yield problem(number, "header-repeated")
    else:
        yield from read_record(number, binding, cells)


def _is_header_again(cells: list[str], binding: Binding) -> bool:
    """Tell a header in two languages, or repeated on each printed page, from data."""
    first = [c for c in binding.profile.columns if c.field in binding.places][:3]
    return len(first) > 1 and all(
        key_of(cells[binding.places[column.field]]) in column.keys
        for column in first
        if binding.places[column.field] < len(cells)
    )


def _header(
    top: list[tuple[int, list[str] | None]],
    profile: Profile | None,
    candidates: Sequence[Profile],
) -> tuple[int, Binding | RowProblem]:
    """Return the first row that is a header, or what is wrong with the best one."""
    rows = [(number, cells) for number, cells in top if cells]
    if any(UNREADABLE in name for _, cells in rows[:1] for name in cells):
        return 0, problem(0, "undecodable-file")
    if profile is None:
        return _chosen(rows, candidates)
    bound = [(number, bind(cells, profile)) for number, cells in rows]
    for number, binding in bound:
        if binding.places and binding.is_whole:
            return number, binding
    best = max(bound, key=lambda row: len(row[1].places), default=None)
    if best is None or not best[1].places:
        return 0, problem(0, "header-not-recognized", rows=_HEADER_ROWS)
    fields = list(best[1].missing_required)
    if profile.subject and best[1].subject is None:
        fields.append(" | ".join(profile.subject))
    return best[0], problem(
        best[0], "required-columns-missing", fields=", ".join(fields)
    )


def _chosen(
    rows: list[tuple[int, list[str]]], candidates: Sequence[Profile]
) -> tuple[int, Binding | RowProblem]:
    for number, cells in rows:
        best = fitting(cells, candidates)
        if len(best) == 1:
            return number, best[0]
        if best:
            names = ", ".join(binding.profile.name for binding in best)
            return number, problem(number, "profile-ambiguous", profiles=names)
    return 0, problem(0, "header-not-recognized", rows=_HEADER_ROWS)
