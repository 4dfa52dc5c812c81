# SPDX-License-Identifier: Apache-2.0
"""A profile: how the columns of one kind of table become the fields of a record.

Profiles are data (JSON or TOML), so that an operator can bring in any table without a
programmer. Those of the standard data sets and of common systems are in `profiles/`.

    {"name": "nursery-attendance", "title": {"ja": "登降園記録", "en": "Attendance"},
     "dataset_type": "childcare.attendance", "subject": ["園児番号"],
     "columns": [{"names": ["日付"], "field": "date", "type": "date",
                  "required": true}]}
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import tomllib
import unicodedata
from typing import Annotated, Final, Literal, Self, TypeAlias

import orjson
from pydantic import Field, ValidationError, model_validator

from protocol.canonical import parse_json
from protocol.errors import MachikuraError, Misuse
from protocol.ids import DatasetTypeName
from protocol.model import Request, ShortText

Kind: TypeAlias = Literal[
    "text",
    "id",
    "integer",
    "number",
    "boolean",
    "flag",
    "date",
    "datetime",
    "time",
    "latitude",
    "longitude",
    "municipal-code",
    "town-id",
    "corporate-number",
    "postal-code",
    "phone",
    "url",
    "email",
    "list",
    "id-list",
]
"""What a cell holds. `flag` is a mark that is there or not: an empty cell is false."""

Scalar: TypeAlias = str | int | float | bool

SUBJECT: Final = "subject"
"""Stands in `source_id` for the person."""

_NOISE: Final = re.compile("[\\s_\\-‐‑–—・:*※\"'.\u200b\ufeff]")
_UNIT: Final = re.compile(
    r"\((?:円|税込|税抜|cm|kg|mmhg|mg/dl|g/dl|u/l|iu/l|%|kwh|m3|m2|m|km|人|回|点|個|件"
    r"|pt|分|時間|日|歳|か月|°c|任意|必須)\)$"
)


def key_of(name: str) -> str:
    """Return the form in which column names are compared.

    Width, case, spaces, underscores and hyphens do not count: `名称＿カナ`,
    `名称_ｶﾅ` and `名称カナ` are the same.
    """
    return _NOISE.sub("", unicodedata.normalize("NFKC", name).casefold())


def key_without_unit(name: str) -> str:
    """Return the same without a unit in brackets: `金額(円)` is `金額`."""
    return _UNIT.sub("", key_of(name))


def value_key(text: str) -> str:
    """Return the form in which listed values are compared: width and case aside."""
    return unicodedata.normalize("NFKC", text).casefold().replace(" ", "")


class ProfileRefused(Misuse):
    """A profile that cannot be used."""


class Column(Request):
    """One column.

    Attributes:
        names: its names in headers, the standard's first.
        field: the record's field.
        type: how the cell is read.
        required: the column must be there and the cell not empty.
        key: a column that tells this table from others, for the automatic choice.
        values: what each text stands for; any other text is refused.
        unit: a unit that may follow the number.
        separator: what stands between the members of a list.
        on_error: `drop` leaves a bad value out and keeps the row.
        datum: `tokyo` for coordinates of the datum used until 2002.
    """

    names: Annotated[tuple[ShortText, ...], Field(min_length=1)]
    field: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
    type: Kind = "text"
    required: bool = False
    key: bool = False
    values: dict[str, Scalar] | None = None
    unit: str | None = None
    separator: Annotated[str, Field(min_length=1, max_length=3)] = ";"
    on_error: Literal["refuse", "drop"] = "refuse"
    datum: Literal["jgd2011", "tokyo"] = "jgd2011"

    @functools.cached_property
    def keys(self) -> frozenset[str]:
        """The names in the form in which they are compared."""
        return frozenset(key_of(name) for name in self.names)

    @functools.cached_property
    def choices(self) -> dict[str, Scalar] | None:
        """The values by compared text."""
        if self.values is None:
            return None
        return {value_key(text): value for text, value in self.values.items()}


class Profile(Request):
    """How one kind of table becomes records of one dataset type.

    Attributes:
        format: `table` for CSV, and for NDJSON whose members are its columns; `fhir`,
            where only `subject` counts.
        dataset_type: what every row becomes; None for FHIR alone.
        encoding: of a CSV file; None finds it out.
        delimiter: of a CSV file; None finds it out.
        subject: names of the column that holds the organization's own number of the
            person, or for FHIR the identifier systems, in order of preference. Empty
            where the data is about nobody.
        source_id: fields that name the record at its source, beside its person;
            `subject` alone where there is one record of a person.
        constants: fields that are the same in every record.
        ignore: columns that are known and left out without a remark.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,60}$")]
    title: dict[str, ShortText] = Field(default_factory=dict)
    format: Literal["table", "fhir"] = "table"
    dataset_type: DatasetTypeName | None = None
    encoding: Literal["utf-8", "cp932", "euc_jp", "utf-16"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    subject: tuple[ShortText, ...] = ()
    source_id: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    constants: dict[str, Scalar] = Field(default_factory=dict)
    ignore: tuple[ShortText, ...] = ()

    @functools.cached_property
    def subject_keys(self) -> frozenset[str]:
        """The names of the person's column in the form in which they are compared."""
        return frozenset(key_of(name) for name in self.subject)

    @functools.cached_property
    def ignored_keys(self) -> frozenset[str]:
        """The names of ignored columns in the form in which they are compared."""
        return frozenset(key_of(name) for name in self.ignore)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format == "fhir":
            return self
        if self.dataset_type is None or not self.columns:
            raise ValueError("a table's profile needs a dataset type and columns")
        fields = [column.field for column in self.columns]
        if len(set(fields)) != len(fields):
            raise ValueError("two columns have the same field")
        keys = [key for column in self.columns for key in column.keys]
        if len(set(keys)) != len(keys):
            raise ValueError("two columns have the same name")
        if not set(self.source_id) <= {*fields, *self.constants, SUBJECT}:
            raise ValueError("source_id names a field that no column fills")
        if any(key in self.constants for key in fields):
            raise ValueError("a constant stands for a column's field")
        return self


def load_profile(data: bytes, *, syntax: Literal["json", "toml"] = "json") -> Profile:
    """Read a profile from its file.

    Raises:
        ProfileRefused: not JSON or TOML, or not a profile; the detail says where.
    """
    try:
        if syntax == "toml":
            data = orjson.dumps(tomllib.loads(data.decode("utf-8")))
        parse_json(data)
        return Profile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ProfileRefused(f"profile: {place}: {first['msg']}") from error
    except (MachikuraError, ValueError, TypeError, RecursionError) as error:
        raise ProfileRefused(f"profile: not valid {syntax.upper()}") from error


@functools.cache
def builtin_profiles() -> tuple[Profile, ...]:
    """Return the profiles that come with the product, sorted by name."""
    folder = importlib.resources.files("vault.formats") / "profiles"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return tuple(
        load_profile(file.read_bytes()) for file in files if file.name.endswith(".json")
    )
