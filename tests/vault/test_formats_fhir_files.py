# SPDX-License-Identifier: Apache-2.0
"""FHIR files of every kind: resource by resource, or refused as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vault.fhir import (
    Resource,
    coded,
    imported,
    observation,
    patient,
)
from tests.vault.files import MY_NUMBER, codes, notices, read
from vault.formats.rows import Limits


def test_each_kind_of_resource_becomes_its_record() -> None:
    """Names, codes, dates as exact as known, who did it, and notes."""
    whose: Any = {"reference": "Patient/p1"}
    rows, problems = imported(
        {"resourceType": "Practitioner", "id": "d", "name": [{"text": "青木 誠"}]},
        {
            "resourceType": "Condition",
            "id": "c1",
            "code": {"coding": [{"system": "icd", "code": "I10", "display": "高血圧"}]},
            "subject": whose,
            "onsetDateTime": "2018",
            "recordedDate": "2024-06-03",
            "recorder": {"reference": "Practitioner/d"},
            "clinicalStatus": {"coding": [{"code": "active"}]},
        },
        {
            "resourceType": "AllergyIntolerance",
            "code": {"text": "そば"},
            "patient": whose,
            "category": ["food"],
            "reaction": [{"manifestation": [{"text": "蕁麻疹"}, {"text": "咳"}]}],
        },
        {
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": {"text": "インフルエンザ"},
            "patient": whose,
            "occurrenceDateTime": "2023-11-08",
            "protocolApplied": [{"doseNumberPositiveInt": 1, "seriesDosesString": "2"}],
            "performer": [{"actor": {"display": "接種医"}}],
        },
        {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": whose,
            "period": {"start": "2024-05-10T00:30:00Z"},
            "serviceType": {"text": "内科"},
        },
        {
            "resourceType": "MedicationRequest",
            "status": "active",
            "contained": [
                {"resourceType": "Medication", "id": "m", "code": {"text": "薬A"}}
            ],
            "medicationReference": {"reference": "#m"},
            "subject": whose,
            "authoredOn": "2024-06-14",
            "dosageInstruction": [{"text": "毎食後"}],
            "dispenseRequest": {
                "quantity": {"value": 42, "unit": "錠"},
                "expectedSupplyDuration": {"value": 7, "code": "d"},
            },
        },
        {
            "resourceType": "MedicationDispense",
            "medicationCodeableConcept": {"coding": [{"system": "yj", "code": "1"}]},
            "subject": whose,
            "whenHandedOver": "2024-06-14T18:00:00+09:00",
            "daysSupply": {"value": 2, "unit": "wk"},
        },
        {
            "resourceType": "MedicationStatement",
            "medicationCodeableConcept": {"text": "薬B"},
            "subject": whose,
            "effectivePeriod": {"start": "2024-01-15", "end": "2024-02"},
            "note": [{"text": "申告"}],
        },
    )
    assert problems == []
    assert [(row.dataset_type, row.content) for row in rows] == [
        (
            "health.condition",
            {
                "name": "高血圧",
                "code": "I10",
                "code_system": "icd",
                "recorded_date": "2024-06-03",
                "onset_date": "2018",
                "clinical_status": "active",
                "doctor_name": "青木 誠",
            },
        ),
        (
            "health.allergy",
            {"name": "そば", "category": "food", "reaction": "蕁麻疹、咳"},
        ),
        (
            "health.immunization",
            {
                "date": "2023-11-08",
                "vaccine_name": "インフルエンザ",
                "dose_number": 1,
                "series_doses": 2,
                "doctor_name": "接種医",
            },
        ),
        (
            "health.encounter",
            {
                "start": "2024-05-10T09:30:00+09:00",
                "class": "AMB",
                "department": "内科",
            },
        ),
        (
            "health.medication",
            {
                "kind": "prescription",
                "date": "2024-06-14",
                "name": "薬A",
                "status": "active",
                "dosage": "毎食後",
                "quantity": 42,
                "unit": "錠",
                "days": 7,
            },
        ),
        (
            "health.medication",
            {
                "kind": "dispense",
                "date": "2024-06-14",
                "name": "1",
                "code": "1",
                "code_system": "yj",
            },
        ),
        (
            "health.medication",
            {
                "kind": "statement",
                "date": "2024-01-15",
                "end_date": "2024-02",
                "name": "薬B",
                "note": "申告",
            },
        ),
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"effectiveDateTime": None}, "date-missing"),
        ({"effectiveDateTime": "2024-05"}, "date-incomplete"),
        ({"effectiveDateTime": "2024"}, "date-incomplete"),
        ({"effectiveDateTime": "2024-02-30"}, "date-invalid"),
        ({"effectiveDateTime": "2024-05-10T30:00:00Z"}, "time-invalid"),
        ({"subject": None}, "subject-missing"),
        ({"subject": {"reference": "Patient/other"}}, "patient-unknown"),
        ({"subject": {"reference": "urn:uuid:1"}}, "patient-unknown"),
        ({"subject": {"reference": "#none"}}, "patient-unknown"),
        ({"subject": {"reference": "Group/p1"}}, "patient-unknown"),
        ({"subject": {"identifier": {"value": MY_NUMBER}}}, "my-number-refused"),
        ({"modifierExtension": [{"url": "x"}]}, "modifier-not-understood"),
        ({"implicitRules": "x"}, "modifier-not-understood"),
        ({"code": {}, "valueString": "x"}, "code-missing"),
        ({"resourceType": 5}, "resource-type-missing"),
    ],
)
def test_a_resource_that_cannot_be_used_is_told_and_the_next_is_read(
    change: Resource, code: str
) -> None:
    """One problem at its entry; the other observation is imported."""
    rows, problems = imported(observation(**change), observation())
    assert codes(problems) == [(2, code, None)]
    assert [row.number for row in rows] == [3]


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (observation(status="entered-in-error"), "entered-in-error"),
        (coded("9N001000000000001"), "no-value"),
        ({"resourceType": "Claim"}, "resource-not-imported"),
        ({"resourceType": "山田花子"}, "resource-not-imported"),
        (observation(resourceType="DiagnosticReport"), "nothing-to-import"),
        (
            {
                "resourceType": "Immunization",
                "status": "not-done",
                "patient": {"reference": "Patient/p1"},
                "vaccineCode": {"text": "x"},
            },
            "not-done",
        ),
    ],
)
def test_what_is_skipped_is_told(resource: Resource, code: str) -> None:
    """Nothing is lost silently, and no name of the file is repeated."""
    rows, problems = imported(resource)
    assert rows == []
    assert notices(problems) == {code}
    assert "花子" not in str(problems)


def test_bulk_data_is_read_line_by_line() -> None:
    """A broken line costs itself; a patient may stand behind what refers to it."""
    lines = [json.dumps(observation()), "{broken", "", json.dumps(patient())]
    rows, problems = read("\n".join(lines) + "\n", "fhir")
    assert codes(problems) == [(2, "line-not-json", None)]
    assert [(row.number, row.subject) for row in rows] == [(4, "H-0001"), (1, "H-0001")]


def test_bulk_data_without_patients_names_them_by_the_servers_id() -> None:
    """Exports have one file for each kind of resource."""
    lines = [json.dumps(observation()), json.dumps(observation("29463-7", 50, "kg"))]
    rows, problems = read("\n".join(lines), "fhir")
    assert problems == []
    assert [(row.subject, len(row.content)) for row in rows] == [("p1", 3)]


def test_a_single_resource_is_a_file_as_well() -> None:
    """As a server returns it."""
    rows, _ = read(json.dumps(patient(), indent=1), "fhir")
    assert [row.dataset_type for row in rows] == ["resident.profile"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty-file"),
        ("<Bundle/>", "not-json"),
        ('{"resourceType":"Bundle","entry":[{}', "not-json"),
        ('{"resourceType":"Bundle"} x', "not-json"),
        ('{"resourceType":"Bundle","a":NaN}', "not-json"),
        ('{"resourceType":"Bundle","a":1,"a":2}', "json-duplicate-member"),
        ('{"resourceType":"Bundle","entry":[{"a":1,"a":2}]}', "json-duplicate-member"),
        ('{"a":' * 40 + "1" + "}" * 40, "json-too-deep"),
        ("[" * 100_000 + "]" * 100_000, "json-too-deep"),
        ("[" * 100_000, "json-too-deep"),
        ("[]", "not-fhir"),
        ('"text"', "not-fhir"),
        ('{"a":1}', "not-fhir"),
        ('{"resourceType":5}', "not-fhir"),
    ],
)
def test_a_file_that_is_not_sound_throughout_gives_no_row(text: str, code: str) -> None:
    """One clear problem, also if sound entries stand before the fault."""
    rows, problems = read(text, "fhir")
    assert rows == []
    assert [(p.code, p.level) for p in problems] == [(code, "file")]


def test_a_file_that_is_too_large_or_no_text_is_refused() -> None:
    """Before anything of it is parsed."""
    limits = Limits(max_document_bytes=100)
    found = [
        read(data, "fhir", None, limits)[1][0].code
        for data in (b" " * 101, b"\xff\xfe{}", b"PK\x03\x04")
    ]
    assert found == ["file-too-large", "undecodable-file", "not-text"]


@pytest.mark.parametrize("entry", [5, None, [], {}, {"resource": []}])
def test_an_entry_without_a_resource_is_told(entry: Any) -> None:
    """Deletions in transactions look like this."""
    text = json.dumps(
        {"resourceType": "Bundle", "entry": [entry, {"resource": patient()}]}
    )
    rows, problems = read(text, "fhir")
    assert codes(problems) == [(1, "entry-without-resource", None)]
    assert [row.number for row in rows] == [2]
