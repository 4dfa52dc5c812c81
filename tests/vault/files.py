# SPDX-License-Identifier: Apache-2.0
"""Short ways to read a file's text in tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from protocol.canonical import Json
from vault.formats.profile import Profile, load_profile
from vault.formats.reader import Format, read_rows
from vault.formats.rows import Limits, Row, RowProblem

ROOT = Path(__file__).resolve().parents[2]
CITIES = ROOT / "deploy" / "example-cities"
MY_NUMBER = "123456789018"
"""A made-up number with the check digit of a 個人番号."""


def read(
    data: bytes | str,
    form: Format,
    profile: Profile | None = None,
    limits: Limits | None = None,
) -> tuple[list[Row], list[RowProblem]]:
    """Return the rows and the problems of a file."""
    raw = data.encode() if isinstance(data, str) else data
    found = list(
        read_rows(io.BytesIO(raw), format=form, profile=profile, limits=limits)
    )
    rows = [one for one in found if isinstance(one, Row)]
    return rows, [one for one in found if isinstance(one, RowProblem)]


def codes(problems: Sequence[RowProblem]) -> list[tuple[int, str, str | None]]:
    """Return what costs something, as (number, code, field)."""
    return [(p.number, p.code, p.field) for p in problems if p.level != "notice"]


def notices(problems: Sequence[RowProblem]) -> set[str]:
    """Return the codes of what costs nothing."""
    return {p.code for p in problems if p.level == "notice"}


def table_profile(*columns: dict[str, Json], **rest: Json) -> Profile:
    """Return a profile for energy records with these columns."""
    document: dict[str, Json] = {
        "name": "test",
        "dataset_type": "energy.usage",
        "columns": list(columns),
        **rest,
    }
    return load_profile(json.dumps(document).encode())


def one_column(kind: str, **rest: Json) -> Profile:
    """Return a profile with the one column `v`."""
    return table_profile({"names": ["v"], "field": "v", "type": kind, **rest})
