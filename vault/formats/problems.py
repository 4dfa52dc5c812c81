# SPDX-License-Identifier: Apache-2.0
"""The problems of files: stable code, what it cost, and a sentence in two languages.

Facts put into a sentence are numbers and names that a profile or a standard gives,
never a piece of the file.
"""

from __future__ import annotations

import functools
import importlib.resources

import orjson

from vault.formats.rows import Level, RowProblem


@functools.cache
def texts() -> dict[str, tuple[Level, str, str]]:
    """Return each code with what it cost, the English and the Japanese sentence."""
    file = importlib.resources.files("vault.formats") / "problems.json"
    table: dict[str, tuple[Level, str, str]] = orjson.loads(file.read_bytes())
    return table


class BadValue(Exception):
    """A value that its field cannot take; caught by whoever reads the row."""

    def __init__(self, code: str, **facts: int | str) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def problem(
    number: int, code: str, field: str | None = None, **facts: int | str
) -> RowProblem:
    """Describe what is wrong at `number`.

    Args:
        number: row, line or entry, counted from 1; 0 for the file.
        code: a key of `problems.json`.
        field: the record's field, never a name found only in the file.
        facts: limits, counts and known names that the sentence holds.
    """
    level, english, japanese = texts()[code]
    return RowProblem(
        number,
        code,
        field,
        english.format_map(facts),
        japanese.format_map(facts),
        level,
    )
