# SPDX-License-Identifier: Apache-2.0
"""Conditions, allergies, vaccinations, visits: one resource becomes one record."""

from __future__ import annotations

from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.fhir.references import Scope
from vault.formats.problems import BadValue
from vault.formats.rows import Content


def named(concept: Element) -> Content:
    """Return name and code of a concept.

    Raises:
        BadValue: code-missing.
    """
    name, coding = e.name_of(concept), e.first_coding(concept)
    if not name:
        raise BadValue("code-missing")
    return {"name": name, "code": coding.code, "code_system": coding.system}


def check_status(resource: Element, *void: str, not_done: str = "") -> str:
    """Return the status, unless it says that the entry does not count.

    Raises:
        BadValue: entered-in-error, not-done.
    """
    status = e.text(resource, "status")
    if status in ("entered-in-error", *void):
        raise BadValue("entered-in-error")
    if (status and status == not_done) or resource.get("doNotPerform") is True:
        raise BadValue("not-done")
    return status


def condition(resource: Element, scope: Scope) -> Content:
    """Read a Condition (病名、既往歴)."""
    verified = e.first_coding(e.member(resource, "verificationStatus")).code
    if verified in ("entered-in-error", "refuted"):
        raise BadValue("entered-in-error")
    facility, doctor = scope.names(
        [*e.members(resource, "asserter"), *e.members(resource, "recorder")],
    )
    onset = e.text(resource, "onsetDateTime") or e.text(
        e.member(resource, "onsetPeriod"), "start"
    )
    recorded = e.text(resource, "recordedDate")
    return {
        **named(e.member(resource, "code")),
        "recorded_date": e.day(recorded) if recorded else None,
        "onset_date": e.day_or_part(onset),
        "abatement_date": e.day_or_part(e.text(resource, "abatementDateTime")),
        "clinical_status": e.first_coding(e.member(resource, "clinicalStatus")).code,
        "verification_status": verified,
        "severity": e.name_of(e.member(resource, "severity")),
        "category": next(
            (e.first_coding(c).code for c in e.members(resource, "category")), ""
        ),
        "facility_name": facility,
        "doctor_name": doctor,
        "note": e.notes(resource),
    }


def allergy(resource: Element, scope: Scope) -> Content:
    """Read an AllergyIntolerance (アレルギー)."""
    verified = e.first_coding(e.member(resource, "verificationStatus")).code
    if verified in ("entered-in-error", "refuted"):
        raise BadValue("entered-in-error")
    reactions = e.members(resource, "reaction")
    shown = [e.name_of(m) for r in reactions for m in e.members(r, "manifestation")]
    recorded = e.text(resource, "recordedDate")
    facility, doctor = scope.names(e.members(resource, "recorder"))
    return {
        **named(e.member(resource, "code")),
        "recorded_date": e.day(recorded) if recorded else None,
        "onset_date": e.day_or_part(e.text(resource, "onsetDateTime")),
        "category": next(iter(e.texts(resource, "category")), ""),
        "criticality": e.text(resource, "criticality"),
        "clinical_status": e.first_coding(e.member(resource, "clinicalStatus")).code,
        "reaction": "、".join(filter(None, shown)),
        "facility_name": facility,
        "doctor_name": doctor,
        "note": e.notes(resource),
    }


def immunization(resource: Element, scope: Scope) -> Content:
    """Read an Immunization (予防接種)."""
    check_status(resource, not_done="not-done")
    vaccine = named(e.member(resource, "vaccineCode"))
    protocol = next(iter(e.members(resource, "protocolApplied")), e.NOTHING)
    actors = [e.member(p, "actor") for p in e.members(resource, "performer")]
    facility, doctor = scope.names([*actors, *e.members(resource, "location")])
    dose, series = (
        protocol.get(f"{name}PositiveInt") or e.text(protocol, f"{name}String")
        for name in ("doseNumber", "seriesDoses")
    )
    return {
        "date": e.day(e.text(resource, "occurrenceDateTime")),
        "vaccine_name": vaccine["name"],
        "vaccine_code": vaccine["code"],
        "code_system": vaccine["code_system"],
        "lot_number": e.text(resource, "lotNumber"),
        "manufacturer": scope.names(e.members(resource, "manufacturer"))[0],
        "dose_number": _whole(dose),
        "series_doses": _whole(series),
        "site": e.name_of(e.member(resource, "site")),
        "route": e.name_of(e.member(resource, "route")),
        "facility_name": facility,
        "doctor_name": doctor,
        "note": e.notes(resource),
    }


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    return (
        int(value) if isinstance(value, int | str) and str(value).isdecimal() else None
    )


def encounter(resource: Element, scope: Scope) -> Content:
    """Read an Encounter (受診、入院)."""
    check_status(resource, "cancelled", "planned")
    period = e.member(resource, "period")
    end = e.text(period, "end")
    reasons = [e.name_of(c) for c in e.members(resource, "reasonCode")]
    kinds = [e.name_of(c) for c in e.members(resource, "type")]
    people = [e.member(p, "individual") for p in e.members(resource, "participant")]
    facility, doctor = scope.names([*e.members(resource, "serviceProvider"), *people])
    return {
        "start": e.moment(e.text(period, "start")),
        "end": e.moment(end) if end else None,
        "class": e.text(e.member(resource, "class"), "code"),
        "type": "、".join(filter(None, kinds)),
        "department": e.name_of(e.member(resource, "serviceType")),
        "reason": "、".join(filter(None, reasons)),
        "facility_name": facility,
        "doctor_name": doctor,
    }
