# SPDX-License-Identifier: Apache-2.0
"""What reading a file yields: rows, and problems that never repeat personal data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol.canonical import Json

Content: TypeAlias = "dict[str, Json]"

Level: TypeAlias = Literal["file", "row", "notice"]
"""What a problem cost: the rest of the file, one row, or nothing but a remark."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record to be, not yet checked against its dataset type's schema.

    Attributes:
        number: where it stands: spreadsheet row of a CSV file (the header is a row),
            line of an NDJSON file, entry of a FHIR bundle; counted from 1.
        dataset_type: name of the dataset type, such as `health.checkup`.
        subject: the organization's own number of the person, such as a patient
            number; None for data that is about nobody.
        content: the record.
        source_id: what the source calls the record, the same at every import of it.
    """

    number: int
    dataset_type: str
    subject: str | None
    content: Content
    source_id: str | None


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Something that an operator should know about the file.

    The details hold places and rules only. Values, and names of columns that no
    profile knows, may be personal data and are left out: a file without a header has
    a person in its first row.

    Attributes:
        number: as in `Row`; 0 where it is about the whole file.
        code: stable slug, a key of `vault/formats/problems.json`.
        field: the record's field, where there is one.
        level: whether the file, the row, or nothing was lost.
    """

    number: int
    code: str
    field: str | None
    detail_en: str
    detail_ja: str
    level: Level = "row"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is held at a time.

    Attributes:
        max_document_bytes: a FHIR file, which is read whole.
        max_line_bytes: a line of NDJSON; characters of a CSV record.
        max_depth: nesting of JSON.
        max_columns: columns of a table.
        max_record_lines: lines that one quoted CSV record may span.
    """

    max_document_bytes: int = 64 << 20
    max_line_bytes: int = 1 << 20
    max_depth: int = 32
    max_columns: int = 1000
    max_record_lines: int = 1000
