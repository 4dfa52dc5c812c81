# SPDX-License-Identifier: Apache-2.0
"""Prescriptions, dispensed medicines and statements become `health.medication` records.

Japanese files name medicines by YJ, HOT9 or the prescription name code; whichever comes
first is kept with its system.
"""

from __future__ import annotations

from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.fhir.references import Scope
from vault.formats.fhir.resources import check_status, named
from vault.formats.problems import BadValue
from vault.formats.rows import Content


def request(resource: Element, scope: Scope) -> Content:
    """Read a MedicationRequest (処方)."""
    supply = e.member(resource, "dispenseRequest")
    return {
        "kind": "prescription",
        "date": e.day(e.text(resource, "authoredOn")),
        **_common(resource, scope, e.members(resource, "requester")),
        **_dosage(e.members(resource, "dosageInstruction")),
        **_amount(e.member(supply, "quantity")),
        "days": _days(e.member(supply, "expectedSupplyDuration")),
    }


def dispense(resource: Element, scope: Scope) -> Content:
    """Read a MedicationDispense (調剤)."""
    day = e.text(resource, "whenHandedOver") or e.text(resource, "whenPrepared")
    people = [e.member(p, "actor") for p in e.members(resource, "performer")]
    people += e.members(resource, "location")
    return {
        "kind": "dispense",
        "date": e.day(day),
        **_common(resource, scope, people),
        **_dosage(e.members(resource, "dosageInstruction")),
        **_amount(e.member(resource, "quantity")),
        "days": _days(e.member(resource, "daysSupply")),
    }


def statement(resource: Element, scope: Scope) -> Content:
    """Read a MedicationStatement (服用歴、お薬手帳)."""
    period = e.member(resource, "effectivePeriod")
    day = (
        e.text(resource, "effectiveDateTime")
        or e.text(period, "start")
        or e.text(resource, "dateAsserted")
    )
    return {
        "kind": "statement",
        "date": e.day(day),
        "end_date": e.day_or_part(e.text(period, "end")),
        **_common(resource, scope, e.members(resource, "informationSource")),
        **_dosage(e.members(resource, "dosage")),
    }


def _common(resource: Element, scope: Scope, people: list[Element]) -> Content:
    status = check_status(resource, "draft", "cancelled", not_done="not-taken")
    facility, person = scope.names(people)
    return {
        **named(scope.drug()),
        "status": status,
        "facility_name": facility,
        "prescriber": person,
        "note": e.notes(resource),
    }


def _dosage(listed: list[Element]) -> Content:
    """Return how to take it, in words: the text, or else the usage code's name."""
    words = [
        e.text(dosage, "text")
        or e.text(dosage, "patientInstruction")
        or e.name_of(e.member(e.member(dosage, "timing"), "code"))
        for dosage in listed
    ]
    return {"dosage": "\n".join(word for word in words if word)}


def _amount(given: Element) -> Content:
    try:
        found = e.quantity(given)
    except BadValue:
        return {}
    if found is None:
        return {}
    return {"quantity": found[0], "unit": e.text(given, "unit") or found[1]}


def _days(duration: Element) -> int | None:
    value = duration.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    unit = e.text(duration, "code") or e.text(duration, "unit")
    in_days = unit in ("", "d", "日", "日分", "day", "days")
    return int(value) if in_days and value == int(value) else None
