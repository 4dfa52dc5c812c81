# SPDX-License-Identifier: Apache-2.0
"""FHIR data types read from JSON of which nothing is certain.

Each reader returns what it finds or nothing: a member of the wrong kind is a member
that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.canonical import Json
from vault.formats.dates import parse_date, parse_datetime
from vault.formats.problems import BadValue

Element: TypeAlias = "Mapping[str, Json]"

NOTHING: Final[Element] = {}

_PARTIAL: Final = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?")
_MAX_TEXT: Final = 4000


@dataclass(frozen=True, slots=True)
class Coding:
    """A code of a code system; any part may be empty."""

    system: str
    code: str
    display: str


def member(element: Element, name: str) -> Element:
    """Return the object under the name, or an empty one."""
    value = element.get(name)
    return value if isinstance(value, dict) else NOTHING


def members(element: Element, name: str) -> list[Element]:
    """Return the objects in the list under the name."""
    value = element.get(name)
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, dict)]


def text(element: Element, name: str) -> str:
    """Return the text under the name, without space around it, or an empty one."""
    value = element.get(name)
    return value.strip()[:_MAX_TEXT] if isinstance(value, str) else ""


def texts(element: Element, name: str) -> list[str]:
    """Return the texts in the list under the name."""
    value = element.get(name)
    listed = value if isinstance(value, list) else [value]
    return [item.strip() for item in listed if isinstance(item, str) and item.strip()]


def codings(concept: Element) -> Iterator[Coding]:
    """Yield the codings of a CodeableConcept."""
    for coding in members(concept, "coding"):
        found = Coding(
            text(coding, "system"), text(coding, "code"), text(coding, "display")
        )
        if found.code or found.display:
            yield found


def name_of(concept: Element) -> str:
    """Return the words for a CodeableConcept: its text, a display, else the code."""
    listed = list(codings(concept))
    shown = next((coding.display for coding in listed if coding.display), "")
    return text(concept, "text") or shown or (listed[0].code if listed else "")


def first_coding(concept: Element) -> Coding:
    """Return the first coding with a code; empty parts if there is none."""
    return next((c for c in codings(concept) if c.code), Coding("", "", ""))


def day(value: str) -> str:
    """Return the date in Japan of a FHIR date, dateTime or instant.

    Raises:
        BadValue: date-missing, date-incomplete, date-invalid, time-invalid.
    """
    _check_whole(value)
    return parse_date(value)


def day_or_part(value: str) -> str | None:
    """Return `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, or None for anything else.

    For dates beside the point, such as an onset: many are known by year alone.
    """
    if _PARTIAL.fullmatch(value):
        return value
    try:
        return parse_date(value)
    except BadValue:
        return None


def moment(value: str) -> str:
    """Return a FHIR dateTime at the offset of Japan.

    Raises:
        BadValue: date-missing, date-incomplete, date-invalid, time-invalid.
    """
    _check_whole(value)
    return parse_datetime(value)


def _check_whole(value: str) -> None:
    if not value:
        raise BadValue("date-missing")
    if _PARTIAL.fullmatch(value):
        raise BadValue("date-incomplete")


def quantity(element: Element) -> tuple[int | float, str] | None:
    """Return value and unit of a Quantity: its UCUM code, else the unit's name.

    Raises:
        BadValue: value-with-comparator.
    """
    value = element.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if text(element, "comparator"):
        raise BadValue("value-with-comparator")
    return value, text(element, "code") or text(element, "unit")


def notes(resource: Element) -> str:
    """Return the annotations of a resource, one a line."""
    return "\n".join(
        n for n in (text(a, "text") for a in members(resource, "note")) if n
    )


def without_gaps(values: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out what was not found."""
    return {
        name: value for name, value in values.items() if value not in (None, "", [])
    }
