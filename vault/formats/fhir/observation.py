# SPDX-License-Identifier: Apache-2.0
"""Observations and reports: items of a checkup, or an observation as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.canonical import Json
from vault.formats.fhir import elements as e
from vault.formats.fhir.checkup import Checkups, item_for, item_value
from vault.formats.fhir.elements import Element
from vault.formats.fhir.references import Scope
from vault.formats.problems import BadValue, problem
from vault.formats.rows import Content, RowProblem

OBSERVATION: Final = "health.observation"
_VOID: Final = ("entered-in-error", "cancelled", "registered")


@dataclass(frozen=True, slots=True)
class Observed:
    """Where and when something was observed."""

    scope: Scope
    subject: str
    moment: str

    @property
    def number(self) -> int:
        """The entry's number."""
        return self.scope.entry.number

    @property
    def resource(self) -> Element:
        """The Observation or DiagnosticReport."""
        return self.scope.resource

    @property
    def facility_and_doctor(self) -> tuple[str, str]:
        """Names of who observed it."""
        return self.scope.names(e.members(self.resource, "performer"))


def when(scope: Scope) -> str:
    """Return the moment of observation in Japan, in doubt that of its occasion.

    Raises:
        BadValue: date-missing, date-incomplete, date-invalid, time-invalid.
    """
    resource = scope.resource
    period = e.member(resource, "effectivePeriod")
    given = (
        e.text(resource, "effectiveDateTime")
        or e.text(resource, "effectiveInstant")
        or e.text(period, "start")
        or e.text(period, "end")
        or scope.occasion()
    )
    return e.day(given) if len(given) == 10 else e.moment(given)


def observation(
    observed: Observed, checkups: Checkups
) -> Iterator[RowProblem | Content]:
    """Yield problems, and the content of an observation that is no checkup item.

    Raises:
        BadValue: why nothing can be imported.
    """
    resource = observed.resource
    if e.text(resource, "status") in _VOID:
        raise BadValue("entered-in-error")
    components = e.members(resource, "component")
    found = [_as_item(observed, part, checkups) for part in (resource, *components)]
    for problems, _ in found:
        yield from problems
    facility, doctor = observed.facility_and_doctor
    note = e.notes(resource)
    beside = {"facility_name": facility, "doctor_name": doctor, "note": note}
    if any(taken for _, taken in found):
        about = e.without_gaps(beside)
        checkups.describe(observed.subject, observed.moment, about)
        left = [
            part
            for part, (_, taken) in zip((resource, *components), found, strict=True)
            if not taken and _value(part)
        ]
        if left:
            yield problem(observed.number, "component-not-imported")
    else:
        yield _as_it_stands(observed, components, beside)


def _as_item(
    observed: Observed, part: Element, checkups: Checkups
) -> tuple[list[RowProblem], bool]:
    """Put an observation or component on the person's day, if it is an item."""
    item = item_for(e.member(part, "code"))
    if item is None:
        return [], False
    try:
        value = item_value(item, part)
    except BadValue as error:
        return [problem(observed.number, error.code, item.field)], False
    if value is None:
        return [], False
    place, subject = observed.number, observed.subject
    told = checkups.add(place, subject, observed.moment, item.field, value)
    return list(told), True


def _as_it_stands(
    observed: Observed, components: list[Element], beside: Mapping[str, Json]
) -> Content:
    """Return the content of a `health.observation` record."""
    resource = observed.resource
    measured = _value(resource)
    parts = [
        e.without_gaps({**_code(part), **_value(part)})
        for part in components
        if _value(part)
    ]
    if not measured and not parts:
        raise BadValue("no-value")
    if not e.name_of(e.member(resource, "code")):
        raise BadValue("code-missing")
    ranges = e.members(resource, "referenceRange")
    read_as = e.members(resource, "interpretation")
    return e.without_gaps(
        {
            "date": observed.moment[:10],
            "observed_at": observed.moment if len(observed.moment) > 10 else None,
            **_code(resource),
            **measured,
            "components": list(parts),
            "interpretation": next(iter(map(e.name_of, read_as)), ""),
            "reference_range": next((_range(r) for r in ranges), ""),
            **beside,
        }
    )


def _code(part: Element) -> Content:
    concept = e.member(part, "code")
    coding = e.first_coding(concept)
    return {
        "name": e.name_of(concept),
        "code": coding.code,
        "code_system": coding.system,
    }


def _value(part: Element) -> Content:
    """Return the value of an observation or component, whatever its type."""
    amount = e.member(part, "valueQuantity")
    value = amount.get("value")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return e.without_gaps(
            {
                "value": value,
                "comparator": e.text(amount, "comparator"),
                "unit": e.text(amount, "unit") or e.text(amount, "code"),
            }
        )
    whole = part.get("valueInteger")
    if isinstance(whole, int) and not isinstance(whole, bool):
        return {"value": whole}
    given = part.get("valueBoolean")
    if isinstance(given, bool):
        return {"value_text": "true" if given else "false"}
    words = (
        e.text(part, "valueString")
        or e.name_of(e.member(part, "valueCodeableConcept"))
        or e.text(part, "valueDateTime")
        or e.text(part, "valueTime")
    )
    return {"value_text": words} if words else {}


def _range(limits: Element) -> str:
    if e.text(limits, "text"):
        return e.text(limits, "text")
    low, high = e.member(limits, "low"), e.member(limits, "high")
    unit = e.text(low, "unit") or e.text(high, "unit")
    ends = [str(end.get("value", "")) for end in (low, high)]
    return f"{ends[0]}-{ends[1]} {unit}".strip() if any(ends) else ""


def report(observed: Observed, checkups: Checkups) -> Iterator[RowProblem]:
    """Take a report's conclusion as the doctor's comment of that day.

    Raises:
        BadValue: why nothing can be imported.
    """
    resource = observed.resource
    if e.text(resource, "status") in _VOID:
        raise BadValue("entered-in-error")
    coded = [e.name_of(c) for c in e.members(resource, "conclusionCode")]
    conclusion = e.text(resource, "conclusion") or "\n".join(filter(None, coded))
    if not conclusion:
        raise BadValue("nothing-to-import")
    place, subject = observed.number, observed.subject
    yield from checkups.add(
        place, subject, observed.moment, "doctor_comment", conclusion
    )
    facility, doctor = observed.facility_and_doctor
    beside = {"facility_name": facility, "doctor_name": doctor}
    checkups.describe(subject, observed.moment, e.without_gaps(beside))
