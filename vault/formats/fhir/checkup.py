# SPDX-License-Identifier: Apache-2.0
"""The observations of one person and day become one `health.checkup` record.

`checkup_items.json` says which item a code means: LOINC, JLAC10 (the first characters
of the 17 name the analyte, the rest material and method), or the printed name where a
system has only codes of its own; and into which unit a value is brought.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.canonical import Json, parse_json
from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.problems import BadValue, problem
from vault.formats.profile import key_of, value_key
from vault.formats.rows import Content, Row, RowProblem
from vault.formats.values import number

CHECKUP: Final = "health.checkup"
_LOINC: Final = "http://loinc.org"
_MAX_PREFIX: Final = 17
# The checkup's own code list uses JLAC10 for fasting values where others do not say.
_FASTING_GLUCOSE: Final = "3D010000"
_CHECKUP_SYSTEMS: Final = ("1.2.392.200119.6.", "echeckup")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a checkup report.

    Attributes:
        kind: quantity, coded or text.
        units: factor, or factor and offset, into the field's unit; by compared unit.
        values: the field's word for each code or text; by compared text.
    """

    field: str
    kind: str
    units: Mapping[str, tuple[float, float]]
    values: Mapping[str, str]


@functools.cache
def items() -> tuple[dict[str, Item], dict[str, Item], dict[str, Item]]:
    """Return the items by LOINC code, by JLAC10 prefix and by name."""
    file = importlib.resources.files("vault.formats.fhir") / "checkup_items.json"
    table = parse_json(file.read_bytes())
    by_loinc: dict[str, Item] = {}
    by_prefix: dict[str, Item] = {}
    by_name: dict[str, Item] = {}
    for line in e.members(table if isinstance(table, dict) else {}, "items"):
        item = Item(
            field=e.text(line, "field"),
            kind=e.text(line, "kind"),
            units={
                value_key(unit): _factor(factor)
                for unit, factor in e.member(line, "units").items()
            },
            values={
                value_key(text): str(word)
                for text, word in e.member(line, "values").items()
            },
        )
        by_loinc.update(dict.fromkeys(e.texts(line, "loinc"), item))
        by_prefix.update(dict.fromkeys(e.texts(line, "jlac10"), item))
        by_name.update({key_of(name): item for name in e.texts(line, "names")})
    return by_loinc, by_prefix, by_name


def _factor(value: Json) -> tuple[float, float]:
    listed = value if isinstance(value, list) else [value, 0]
    factors = [float(part) for part in listed if isinstance(part, int | float)]
    return factors[0], factors[1]


def item_for(concept: Element) -> Item | None:
    """Return the item that an observation's code means."""
    by_loinc, by_prefix, by_name = items()
    for coding in e.codings(concept):
        if coding.system == _LOINC:
            if coding.code in by_loinc:
                return by_loinc[coding.code]
        elif len(coding.code) == _MAX_PREFIX and (
            found := _by_jlac10(by_prefix, coding.code, coding.system.casefold())
        ):
            return found
    if any(coding.system == _LOINC for coding in e.codings(concept)):
        return None
    names = [e.text(concept, "text"), *(c.display for c in e.codings(concept))]
    return next((by_name[key_of(n)] for n in names if key_of(n) in by_name), None)


def _by_jlac10(by_prefix: Mapping[str, Item], code: str, system: str) -> Item | None:
    lengths = range(_MAX_PREFIX, 4, -1)
    if code.startswith(_FASTING_GLUCOSE) and not any(
        mark in system for mark in _CHECKUP_SYSTEMS
    ):
        lengths = range(5, 4, -1)
    return next((by_prefix[code[:n]] for n in lengths if code[:n] in by_prefix), None)


def item_value(item: Item, element: Element) -> Json:
    """Return the item's value in the field's unit or words; None if it does not fit.

    Args:
        item: what is measured.
        element: an Observation or one of its components.

    Raises:
        BadValue: unit-not-understood, value-with-comparator, number-invalid.
    """
    given = e.text(element, "valueString")
    if item.kind == "quantity":
        measured = e.quantity(e.member(element, "valueQuantity"))
        if measured is None and "valueInteger" in element:
            measured = e.quantity({"value": element["valueInteger"]})
        if measured is None:
            return number(given) if given else None
        return _in_unit(item, *measured)
    concept = e.member(element, "valueCodeableConcept")
    if item.kind == "text":
        return given or e.name_of(concept) or None
    said = [c.code for c in e.codings(concept)] + [e.name_of(concept), given]
    if isinstance(element.get("valueBoolean"), bool):
        said.append("yes" if element["valueBoolean"] else "no")
    words = (item.values.get(value_key(text)) for text in said if text)
    return next((word for word in words if word), None)


def _in_unit(item: Item, value: int | float, unit: str) -> Json:
    """Bring a value into the item's unit; a value without a unit is taken as it is."""
    if not unit:
        return value
    scale = item.units.get(value_key(unit))
    if scale is None:
        raise BadValue("unit-not-understood")
    factor, offset = scale
    if factor == 1 and offset == 0:
        return value
    return round(value * factor + offset, 2)


@dataclass(slots=True)
class _Day:
    """What is known of one person's day so far."""

    number: int
    content: Content = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Checkups:
    """The days of a file, gathered until its end."""

    _days: dict[tuple[str, str], _Day] = field(default_factory=dict)

    def add(
        self, place: int, subject: str, moment: str, name: str, value: Json
    ) -> Iterator[RowProblem]:
        """Put a value on the person's day; of two, the later one stays.

        Args:
            place: entry that it comes from.
            subject: the person's number.
            moment: ISO 8601 date or date and time, at one offset throughout.
            name: the field.
            value: in the field's unit or words.
        """
        day = self._days.setdefault((subject, moment[:10]), _Day(place))
        if name in day.content and day.content[name] != value:
            yield problem(place, "observation-repeated", name)
            if moment <= day.times[name]:
                return
        day.content[name] = value
        day.times[name] = moment

    def describe(self, subject: str, moment: str, found: Mapping[str, Json]) -> None:
        """Add what is said beside the values: facility, doctor, comments."""
        day = self._days.get((subject, moment[:10]))
        if day is None:
            return
        for name, value in found.items():
            earlier = day.content.get(name)
            joins = name == "note" and isinstance(earlier, str) and value != earlier
            day.content[name] = f"{earlier}\n{value}" if joins else earlier or value

    def rows(self) -> Iterator[Row]:
        """Yield one row for each person and day."""
        for (subject, date), day in self._days.items():
            content: Content = {"date": date, **day.content}
            source_id = f"{subject}/checkup/{date}"
            yield Row(day.number, CHECKUP, subject, content, source_id)
