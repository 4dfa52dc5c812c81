# SPDX-License-Identifier: Apache-2.0
"""A header meets a profile: which column fills which field, and which profile fits.

Names are compared without width, case, spaces and underscores. The automatic choice
takes the profile that knows most of the header's columns, if it knows enough of them
and the header has a column that is typical of the table; a tie is for the operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vault.formats.problems import problem
from vault.formats.profile import Column, Profile, key_of, key_without_unit
from vault.formats.rows import RowProblem
from vault.formats.screen import names_my_number

# Below this share of known columns a header is some other table: a list of clinics has
# two thirds of its columns in common with a list of public facilities.
_ENOUGH: Final = 0.7


@dataclass(frozen=True, slots=True)
class Binding:
    """Where in a row the profile's values stand.

    Attributes:
        places: column number of each field, counted from 0.
        subject: column of the person's number.
        forbidden: columns whose name says My Number.
        extra: columns that the profile does not know.
        repeated: fields that a second column stands for.
        width: columns up to the last one with a name.
    """

    profile: Profile
    places: Mapping[str, int]
    subject: int | None
    forbidden: tuple[int, ...]
    extra: tuple[int, ...]
    repeated: tuple[str, ...]
    width: int

    @property
    def known(self) -> int:
        """How many columns of the header the profile knows."""
        return self.width - len(self.extra)

    @property
    def missing_required(self) -> tuple[str, ...]:
        """Required fields without a column."""
        return self._missing(required=True)

    @property
    def missing_optional(self) -> tuple[str, ...]:
        """Optional fields without a column."""
        return self._missing(required=False)

    def _missing(self, *, required: bool) -> tuple[str, ...]:
        return tuple(
            column.field
            for column in self.profile.columns
            if column.required == required and column.field not in self.places
        )

    @property
    def is_whole(self) -> bool:
        """Tell whether everything that must be there is there."""
        subject_found = self.subject is not None or not self.profile.subject
        return subject_found and not self.missing_required

    def has_key_column(self) -> bool:
        """Tell whether a column that is typical of the table is there."""
        keys = [column.field for column in self.profile.columns if column.key]
        return not keys or any(field in self.places for field in keys)


def bind(header: Sequence[str], profile: Profile) -> Binding:
    """Find the profile's columns in a header."""
    by_key = {key: column for column in profile.columns for key in column.keys}
    places: dict[str, int] = {}
    subject: int | None = None
    extra: list[int] = []
    repeated: list[str] = []
    named = [index for index, name in enumerate(header) if name.strip()]
    for index in named:
        column = _column(header[index], by_key)
        is_subject = key_of(header[index]) in profile.subject_keys
        if is_subject and subject is None:
            subject = index
        if column is None:
            if not is_subject and key_of(header[index]) not in profile.ignored_keys:
                extra.append(index)
        elif column.field in places:
            repeated.append(column.field)
        else:
            places[column.field] = index
    return Binding(
        profile=profile,
        places=places,
        subject=subject,
        forbidden=tuple(i for i in named if names_my_number(header[i])),
        extra=tuple(extra),
        repeated=tuple(repeated),
        width=named[-1] + 1 if named else 0,
    )


def _column(name: str, by_key: Mapping[str, Column]) -> Column | None:
    return by_key.get(key_of(name)) or by_key.get(key_without_unit(name))


def fitting(header: Sequence[str], candidates: Sequence[Profile]) -> list[Binding]:
    """Return the best bindings: none, one, or several that fit equally well."""
    tables = [profile for profile in candidates if profile.format == "table"]
    bound = [bind(header, profile) for profile in tables]
    fit = [
        binding
        for binding in bound
        if binding.places
        and binding.is_whole
        and binding.has_key_column()
        and binding.known >= _ENOUGH * binding.width
    ]
    best = max((binding.known for binding in fit), default=0)
    return [binding for binding in fit if binding.known == best]


def remarks(binding: Binding, number: int) -> Iterator[RowProblem]:
    """Tell once, at the header, what will not be read."""
    for field in binding.repeated:
        yield problem(number, "column-repeated", field)
    if binding.missing_optional:
        fields = ", ".join(binding.missing_optional)
        yield problem(number, "columns-missing", fields=fields)
    if binding.extra:
        places = ", ".join(str(index + 1) for index in binding.extra)
        count = len(binding.extra)
        yield problem(number, "extra-columns", count=count, places=places)
