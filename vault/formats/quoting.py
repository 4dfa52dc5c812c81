# SPDX-License-Identifier: Apache-2.0
"""Lines become CSV records, even where a quotation mark is never closed (RFC 4180).

Python's reader would swallow the rest of the file after an unclosed mark. Here a record
that does not end within the limits is given up as one broken line, and reading goes on
with the line after it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from vault.formats.rows import Limits

_SEPARATORS: Final = (",", "\t", ";", "|")


def delimiter_of(head: list[str]) -> str:
    """Return the separator that stands most often in the first lines, else a comma."""
    return max(_SEPARATORS, key=lambda mark: sum(line.count(mark) for line in head))


def records(
    source: Iterator[str], delimiter: str, limits: Limits
) -> Iterator[list[str] | None]:
    """Yield the cells of each record, or None for a line with an unclosed mark.

    Empty lines are records without cells, so that counting gives spreadsheet rows.
    """
    cell = _cell_pattern(delimiter)
    waiting: deque[str] = deque()

    def following() -> str | None:
        return waiting.popleft() if waiting else next(source, None)

    while (line := following()) is not None:
        taken, size = [line], len(line)
        cells = _cells(line, delimiter, cell)
        while cells is None and len(taken) < limits.max_record_lines:
            further = following()
            if further is None:
                break
            taken.append(further)
            size += len(further)
            if size > limits.max_line_bytes:
                break
            if '"' in further:
                cells = _cells("\n".join(taken), delimiter, cell)
        if cells is None:
            waiting.extendleft(reversed(taken[1:]))
        yield cells


def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    return re.compile(
        f' *"([^"]*+(?:""[^"]*+)*+)"([^{mark}]*)({mark}|\\Z)'
        f'|(?! *")([^{mark}]*)({mark}|\\Z)'
    )


def _cells(record: str, delimiter: str, cell: re.Pattern[str]) -> list[str] | None:
    """Split a record, or return None if a quotation mark is open at its end."""
    if not record:
        return []
    if '"' not in record:
        return record.split(delimiter)
    cells: list[str] = []
    place = 0
    while True:
        found = cell.match(record, place)
        if found is None:
            return None
        quoted, tail, after_quoted, bare, after_bare = found.groups()
        if quoted is None:
            cells.append(bare)
        else:
            cells.append(quoted.replace('""', '"') + tail)
        if not (after_quoted or after_bare):
            return cells
        place = found.end()
