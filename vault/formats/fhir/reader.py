# SPDX-License-Identifier: Apache-2.0
"""FHIR R4 files become rows.

1. Read the file and learn what its references mean. A file that is not sound JSON
   throughout is refused here, before any row.
2. Turn each resource into a row, put it on a checkup's day, or tell why not.
3. Yield the checkups, one for each person and day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final, TypeAlias

from vault.formats.fhir import elements as e
from vault.formats.fhir import medication, resources
from vault.formats.fhir.checkup import Checkups
from vault.formats.fhir.elements import Element
from vault.formats.fhir.observation import (
    OBSERVATION,
    Observed,
    observation,
    report,
    when,
)
from vault.formats.fhir.patient import patient_number, profile_of
from vault.formats.fhir.references import Directory, Scope
from vault.formats.fhir.source import Entry, FhirFile
from vault.formats.json_stream import BadJson
from vault.formats.problems import BadValue, problem
from vault.formats.profile import Profile
from vault.formats.rows import Content, Limits, Row, RowProblem
from vault.formats.screen import content_problem
from vault.formats.values import read_subject

_Reader: TypeAlias = Callable[[Element, Scope], Content]

# Kind of resource → (dataset type, member that names the patient, how it is read).
READERS: Final[Mapping[str, tuple[str, str, _Reader]]] = {
    "AllergyIntolerance": ("health.allergy", "patient", resources.allergy),
    "Condition": ("health.condition", "subject", resources.condition),
    "Encounter": ("health.encounter", "subject", resources.encounter),
    "Immunization": ("health.immunization", "patient", resources.immunization),
    "MedicationDispense": ("health.medication", "subject", medication.dispense),
    "MedicationRequest": ("health.medication", "subject", medication.request),
    "MedicationStatement": ("health.medication", "subject", medication.statement),
}
# Read where another resource refers to them.
_SUPPORTING: Final = (
    "Composition",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
)
# Names that may be told: a kind that is not among them may be anything.
_OTHERS: Final = re.compile(
    "Account|Appointment|Basic|Binary|Bundle|CarePlan|CareTeam|ChargeItem|Claim|"
    "ClaimResponse|ClinicalImpression|Communication|CommunicationRequest|"
    "Consent|Contract|Coverage|DetectedIssue|Device|DeviceRequest|"
    "DeviceUseStatement|DocumentManifest|DocumentReference|EpisodeOfCare|"
    "ExplanationOfBenefit|FamilyMemberHistory|Flag|Goal|Group|ImagingStudy|"
    "Invoice|List|MeasureReport|Media|MedicationAdministration|"
    "MedicationKnowledge|MessageHeader|NutritionOrder|OperationOutcome|"
    "Parameters|Procedure|Provenance|Questionnaire|QuestionnaireResponse|"
    "RelatedPerson|RequestGroup|RiskAssessment|Schedule|ServiceRequest|Slot|"
    "Specimen|SupplyDelivery|SupplyRequest|Task|VisionPrescription"
)


def read_fhir(
    stream: BinaryIO, profile: Profile | None, limits: Limits
) -> Iterator[Row | RowProblem]:
    """Yield the rows and problems of a FHIR file.

    Args:
        stream: the file.
        profile: names the identifier systems of patient numbers, the preferred first.
        limits: how large the file may be.
    """
    directory = Directory(systems=profile.subject if profile else ())
    try:
        file = FhirFile(stream, limits)
        for entry in file.entries():
            directory.learn(entry)
    except BadJson as error:
        limit = limits.max_document_bytes
        if error.code == "json-too-deep":
            limit = limits.max_depth
        yield problem(0, error.code, limit=limit, place=error.place)
        return
    checkups = Checkups()
    for entry in file.entries():
        for found in _import(Scope(directory, entry), checkups):
            yield _screened(found)
    for row in checkups.rows():
        yield _screened(row)


def _screened(found: Row | RowProblem) -> Row | RowProblem:
    """Pass a row on if nothing in it is unprintable or forbidden."""
    if isinstance(found, Row) and (wrong := content_problem(found.content)):
        return problem(found.number, wrong[0], wrong[1])
    return found


def _import(scope: Scope, checkups: Checkups) -> Iterator[Row | RowProblem]:
    entry, resource = scope.entry, scope.resource
    number = entry.number
    if entry.code:
        yield problem(number, entry.code)
        return
    kind = e.text(resource, "resourceType")
    if kind in _SUPPORTING:
        return
    try:
        if resource.get("modifierExtension") or resource.get("implicitRules"):
            raise BadValue("modifier-not-understood")
        if kind == "Patient":
            yield from _patient(scope)
        elif kind in ("Observation", "DiagnosticReport"):
            yield from _observed(scope, checkups)
        elif kind in READERS:
            dataset_type, owner, read = READERS[kind]
            subject = scope.subject(owner)
            content = e.without_gaps(read(resource, scope))
            yield _row(entry, dataset_type, subject, content)
        else:
            shown = kind if _OTHERS.fullmatch(kind) else "?"
            yield problem(number, "resource-not-imported", kind=shown)
    except BadValue as error:
        yield problem(number, error.code, None, **error.facts)


def _patient(scope: Scope) -> Iterator[Row | RowProblem]:
    resource = scope.resource
    number = patient_number(resource, scope.directory.systems)
    if not number:
        raise BadValue("patient-without-number")
    subject = read_subject(number)
    if subject == e.text(resource, "id"):
        yield problem(scope.entry.number, "patient-id-used")
    yield _row(scope.entry, "resident.profile", subject, profile_of(resource))


def _observed(scope: Scope, checkups: Checkups) -> Iterator[Row | RowProblem]:
    subject = scope.subject("subject")
    observed = Observed(scope, subject, when(scope))
    if e.text(scope.resource, "resourceType") == "DiagnosticReport":
        yield from report(observed, checkups)
        return
    for found in observation(observed, checkups):
        if isinstance(found, RowProblem):
            yield found
        else:
            yield _row(scope.entry, OBSERVATION, subject, found)


def _row(entry: Entry, dataset_type: str, subject: str, content: Content) -> Row:
    """Name the record after its resource, where that name lasts.

    A URL is the resource's own; an id may be used again in the next document; and a
    `urn:uuid` is often made anew for each file.
    """
    kind, own_id = (e.text(entry.resource, name) for name in ("resourceType", "id"))
    source_id: str | None = None
    if entry.full_url.startswith("http"):
        source_id = f"{subject}/{entry.full_url}"
    elif own_id:
        day = content.get("date") or content.get("start") or ""
        source_id = f"{subject}/{kind}/{own_id}/{day}"
    return Row(entry.number, dataset_type, subject, content, source_id)
