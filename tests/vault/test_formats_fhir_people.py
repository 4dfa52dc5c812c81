# SPDX-License-Identifier: Apache-2.0
"""Whose a FHIR resource is: references, patient numbers, documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vault.fhir import (
    CHECKUP_CODES,
    Resource,
    bundle,
    concept,
    observation,
    patient,
)
from tests.vault.files import MY_NUMBER, codes, notices, read
from vault.formats.profile import load_profile


def test_references_are_understood_in_every_form() -> None:
    """Relative, absolute, versioned, urn:uuid, contained, by identifier."""
    base = "https://a.example/fhir"
    entries: list[Any] = [
        {"fullUrl": f"{base}/Patient/p1", "resource": patient()},
        {"fullUrl": "urn:uuid:7", "resource": patient("", "H-0007")},
    ]
    targets: list[Any] = [
        {"reference": "Patient/p1"},
        {"reference": "Patient/p1/_history/3"},
        {"reference": f"{base}/Patient/p1"},
        {"reference": "urn:uuid:7"},
        {"identifier": {"value": "H-0008"}},
    ]
    days = [f"2024-05-{day:02d}" for day in range(1, 7)]
    entries += [
        {"resource": observation(subject=target, effectiveDateTime=day)}
        for target, day in zip(targets, days, strict=False)
    ]
    inside = patient("in", "H-0009")
    entries.append(
        {
            "resource": observation(
                subject={"reference": "#in"},
                contained=[inside],
                effectiveDateTime=days[5],
            )
        }
    )
    rows, problems = read(
        json.dumps({"resourceType": "Bundle", "entry": entries}), "fhir"
    )
    assert codes(problems) == []
    found = [row.subject for row in rows if row.dataset_type == "health.checkup"]
    assert found == ["H-0001"] * 3 + ["H-0007", "H-0008", "H-0009"]


def test_the_same_id_on_another_server_is_another_patient() -> None:
    """Attributing data to the wrong person is the worst fault of all."""
    entries: list[Any] = [
        {"fullUrl": "https://a.example/Patient/p1", "resource": patient()},
        {
            "resource": observation(
                subject={"reference": "https://b.example/Patient/p1"}
            )
        },
    ]
    _, problems = read(json.dumps({"resourceType": "Bundle", "entry": entries}), "fhir")
    assert codes(problems) == [(2, "patient-unknown", None)]


def test_two_patients_under_one_reference_are_nobody() -> None:
    """Bundles in bundles number their patients from one again."""
    inner = [
        {"resourceType": "Bundle", "entry": [{"resource": patient(number=number)}]}
        for number in ("H-0001", "H-0002")
    ]
    rows, problems = read(bundle(*inner, observation()), "fhir")
    assert codes(problems) == [(3, "patient-ambiguous", None)]
    assert [row.subject for row in rows] == ["H-0001", "H-0002"]


@pytest.mark.parametrize(
    ("identifiers", "expected"),
    [
        ([], "p1"),
        ([{"value": "A"}, {"value": "B"}], "A"),
        ([{"value": "A"}, {"type": {"coding": [{"code": "MR"}]}, "value": "B"}], "B"),
        (
            [
                {"system": "http://x.example/Insurance_member", "value": "A"},
                {"system": "urn:oid:1.2.392.100495.20.3.51.11311234567", "value": "B"},
            ],
            "B",
        ),
        ([{"use": "old", "value": "A"}], "p1"),
        ([{"value": "A"}, {"system": "urn:mine", "value": "B"}], "B"),
    ],
)
def test_the_patient_number_is_the_organizations_own(
    identifiers: list[Any], expected: str
) -> None:
    """Preferred systems first, insurance numbers never."""
    profile = load_profile(b'{"name":"f","format":"fhir","subject":["urn:mine"]}')
    text = bundle(patient(identifier=identifiers))
    rows, _ = read(text, "fhir", profile)
    assert rows[0].subject == expected


def test_a_patient_becomes_a_resident_profile() -> None:
    """Kanji and kana names, address and contacts, as the standard model names them."""
    mark = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
    rows, problems = read(
        bundle(
            patient(
                name=[
                    {
                        "text": "山田　花子",
                        "extension": [{"url": mark, "valueCode": "IDE"}],
                    },
                    {
                        "family": "ヤマダ",
                        "given": ["ハナコ"],
                        "extension": [{"url": mark, "valueCode": "SYL"}],
                    },
                    {"use": "maiden", "family": "旧姓"},
                ],
                gender="female",
                birthDate="1984-05-12",
                address=[
                    {"city": "星野市", "line": ["一番町1-1"], "postalCode": "999-0101"}
                ],
                telecom=[{"system": "phone", "value": "0999-55-0001"}],
            )
        ),
        "fhir",
    )
    assert problems == []
    assert rows[0].dataset_type == "resident.profile"
    assert rows[0].content == {
        "idGroup": [{"idType": "ID", "id": "H-0001"}],
        "familyName": "山田",
        "givenName": "花子",
        "fullName": "山田　花子",
        "familyNameKana": "ヤマダ",
        "givenNameKana": "ハナコ",
        "fullNameKana": "ヤマダ ハナコ",
        "sex": "2",
        "dateOfBirth": "1984-05-12",
        "fullAddress": "星野市一番町1-1",
        "cityAndCounty": "星野市",
        "postalCode": "9990101",
        "contactPointPhoneNumber": "0999-55-0001",
    }


def test_a_patient_with_a_my_number_is_refused() -> None:
    """Under whatever system it stands; what hangs on the own number stays usable."""
    own = {"type": {"coding": [{"code": "MR"}]}, "value": "H-0001"}
    text = bundle(patient(identifier=[own, {"value": MY_NUMBER}]), observation())
    rows, problems = read(text, "fhir")
    assert codes(problems) == [(1, "my-number-refused", None)]
    assert [row.subject for row in rows] == ["H-0001"]
    only = bundle(patient(identifier=[{"value": MY_NUMBER}]), observation())
    assert read(only, "fhir")[0] == []


def report_document(number: str = "00000010") -> Resource:
    """Return a Japanese checkup report (健診結果報告書) as institutions send it.

    Its observations name neither day nor facility: the Composition does.
    """
    system = "urn:oid:1.2.392.100495.20.3.51.11311234567"
    whose = {"reference": "urn:uuid:p"}
    history = concept(CHECKUP_CODES, "9N056160400000049")
    resources: list[Resource] = [
        {
            "resourceType": "Composition",
            "subject": whose,
            "encounter": {"reference": "urn:uuid:e"},
            "date": "2024-06-01T00:00:00+09:00",
            "author": [{"reference": "urn:uuid:d"}, {"reference": "urn:uuid:o"}],
            "event": [{"period": {"start": "2024-04-04", "end": "2024-04-04"}}],
        },
        {
            "resourceType": "Patient",
            "identifier": [{"system": system, "value": number}],
            "name": [{"text": "山田　花子"}],
        },
        {"resourceType": "Organization", "name": "健診センター"},
        {"resourceType": "Practitioner", "name": [{"text": "青木 誠"}]},
        {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"code": "checkup"},
            "period": {"start": "2024-04-04"},
        },
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {
                "coding": [{"system": CHECKUP_CODES, "code": "9N001000000000001"}]
            },
            "subject": whose,
            "valueQuantity": {"value": 162.3, "code": "cm"},
        },
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {
                "coding": [{"system": CHECKUP_CODES, "code": "9N056000000000011"}]
            },
            "subject": whose,
            "valueCodeableConcept": {"coding": [{"code": "1", "display": "あり"}]},
            "component": [{"code": history, "valueString": "膀胱炎"}],
        },
    ]
    urls = ["c", "p", "o", "d", "e", "1", "2"]
    entries = [
        {"fullUrl": f"urn:uuid:{url}", "resource": resource}
        for url, resource in zip(urls, resources, strict=True)
    ]
    return {"resourceType": "Bundle", "type": "document", "entry": entries}


def test_a_document_says_once_what_holds_for_all_of_it() -> None:
    """Day, person and facility come from the Composition and its encounter."""
    rows, problems = read(json.dumps(report_document()), "fhir")
    assert codes(problems) == []
    assert notices(problems) == {"component-not-imported"}
    found = {row.dataset_type: row for row in rows}
    assert {row.subject for row in rows} == {"00000010"}
    assert found["health.checkup"].content == {
        "date": "2024-04-04",
        "height_cm": 162.3,
        "past_history": "膀胱炎",
        "facility_name": "健診センター",
    }
    assert found["health.encounter"].content["facility_name"] == "健診センター"


def test_documents_in_one_file_keep_to_themselves() -> None:
    """Each names its parts alike; a day's record stays with its person."""
    documents = [report_document("A-1"), report_document("A-2")]
    lines = "\n".join(json.dumps(document) for document in documents)
    for text in (bundle(*documents), lines):
        rows, problems = read(text, "fhir")
        assert codes(problems) == []
        found = [row.subject for row in rows if row.dataset_type == "health.checkup"]
        assert found == ["A-1", "A-2"]


def test_a_patient_without_a_number_goes_by_the_resources_id() -> None:
    """Told, since another file may use the id for somebody else."""
    rows, problems = read(bundle(patient(identifier=[])), "fhir")
    assert rows[0].subject == "p1"
    assert notices(problems) == {"patient-id-used"}


def test_a_patient_with_an_insurance_number_alone_needs_a_profile() -> None:
    """An insurance number is no patient number, unless the operator says so."""
    insured = {"system": "http://x.example/JP_Insurance_memberID", "value": "1:2:3"}
    text = bundle(patient(own_id="", identifier=[insured]))
    assert codes(read(text, "fhir")[1]) == [(1, "patient-without-number", None)]
    named = json.dumps({"name": "f", "format": "fhir", "subject": [insured["system"]]})
    rows, _ = read(text, "fhir", load_profile(named.encode()))
    assert rows[0].subject == "1:2:3"
