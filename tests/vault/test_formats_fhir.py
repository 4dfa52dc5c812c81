# SPDX-License-Identifier: Apache-2.0
"""FHIR R4 files become rows, resource by resource."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vault.files import MY_NUMBER, codes, notices, read
from vault.formats.profile import load_profile
from vault.formats.rows import Limits, Row, RowProblem

Resource = dict[str, Any]
LOINC = "http://loinc.org"
CHECKUP_CODES = "urn:oid:1.2.392.200119.6.1005"
MEDIS = "urn:oid:1.2.392.200119.4.504"
HEIGHT = "8302-2"


def patient(own_id: str = "p1", number: str = "H-0001", **rest: Any) -> Resource:
    """Return a Patient with a medical record number."""
    return {
        "resourceType": "Patient",
        "id": own_id,
        "identifier": [{"type": {"coding": [{"code": "MR"}]}, "value": number}],
        "name": [{"family": "山田", "given": ["花子"]}],
        **rest,
    }


def observation(
    loinc: str = HEIGHT, value: Any = 160.5, unit: str = "cm", **rest: Any
) -> Resource:
    """Return an Observation of the patient with one quantity."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": loinc}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-05-10T09:00:00+09:00",
        "valueQuantity": {"value": value, "unit": unit},
        **rest,
    }


def coded(code: str, system: str = CHECKUP_CODES, **rest: Any) -> Resource:
    """Return an Observation under a code of another system, without a quantity."""
    own: Any = {"coding": [{"system": system, "code": code}]}
    return observation(**{"code": own, "valueQuantity": None, **rest})


def bundle(*resources: Resource) -> str:
    """Return a collection of the resources."""
    entries: list[Any] = [{"resource": resource} for resource in resources]
    return json.dumps({"resourceType": "Bundle", "entry": entries})


def imported(*resources: Resource) -> tuple[list[Row], list[RowProblem]]:
    """Read a bundle of a patient and the resources; the patient's row left out."""
    rows, problems = read(bundle(patient(), *resources), "fhir")
    return [row for row in rows if row.dataset_type != "resident.profile"], problems


def checkup(*resources: Resource) -> dict[str, Any]:
    """Return the content of the one checkup that a bundle gives."""
    [row] = imported(*resources)[0]
    assert row.dataset_type == "health.checkup"
    return row.content


def test_observations_of_a_day_become_one_checkup() -> None:
    """Numbers, panels and performers of one person and day stand in one record."""
    clinic = {"resourceType": "Organization", "id": "o", "name": "星野クリニック"}
    panel = observation(
        "85354-9",
        component=[
            {
                "code": {"coding": [{"system": LOINC, "code": code}]},
                "valueQuantity": {"value": value, "code": "mm[Hg]"},
            }
            for code, value in (("8480-6", 120), ("8462-4", 80))
        ],
    )
    del panel["valueQuantity"]
    rows, problems = imported(
        clinic,
        observation(performer=[{"reference": "Organization/o"}]),
        panel,
        observation(effectiveDateTime="2024-05-11"),
    )
    assert problems == []
    assert [row.content for row in rows] == [
        {
            "date": "2024-05-10",
            "height_cm": 160.5,
            "systolic_mmhg": 120,
            "diastolic_mmhg": 80,
            "facility_name": "星野クリニック",
        },
        {"date": "2024-05-11", "height_cm": 160.5},
    ]
    assert (rows[0].subject, rows[0].source_id) == (
        "H-0001",
        "H-0001/checkup/2024-05-10",
    )


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2024-05-10", "2024-05-10"),
        ("2024-05-09T20:00:00Z", "2024-05-10"),
        ("2024-05-10T23:59:59+09:00", "2024-05-10"),
        ("2024-05-09T23:00:00-05:00", "2024-05-10"),
        ("2024-05-10T00:00:00.123456+0900", "2024-05-10"),
    ],
)
def test_the_day_is_that_of_japan(moment: str, day: str) -> None:
    """A server in UTC must not move a morning to the day before."""
    assert checkup(observation(effectiveDateTime=moment))["date"] == day


@pytest.mark.parametrize(
    ("code", "system", "field"),
    [
        ("9N001000000000001", CHECKUP_CODES, "height_cm"),
        ("9N016160100000001", CHECKUP_CODES, "waist_cm"),
        ("3F070000002327201", MEDIS, "hdl_mgdl"),
        ("3D010000001926101", CHECKUP_CODES, "fasting_glucose_mgdl"),
        ("3D010000001926101", MEDIS, "glucose_mgdl"),
        ("3D010129901926101", CHECKUP_CODES, "glucose_mgdl"),
        ("3D046000001906202", CHECKUP_CODES, "hba1c_percent"),
    ],
)
def test_japanese_codes_are_known_by_their_beginning(
    code: str, system: str, field: str
) -> None:
    """JLAC10: analyte first, then material; fasting only where the system says so."""
    value: Any = {"value": 50, "unit": ""}
    assert checkup(coded(code, system, valueQuantity=value))[field] == 50


def test_local_codes_are_known_by_the_printed_name() -> None:
    """Clinics have codes of their own, for imaging as JJ1017 too."""
    local = "urn:example:local"
    content = checkup(
        observation(
            code={"coding": [{"system": local, "code": "1"}], "text": "尿酸"},
            valueQuantity={"value": 5.1, "unit": "mg/dL"},
        ),
        observation(
            code={"coding": [{"system": local, "code": "X2", "display": "胸部Ｘ線"}]},
            valueQuantity=None,
            valueString="異常なし",
        ),
    )
    assert content["uric_acid_mgdl"] == 5.1
    assert content["chest_xray_finding"] == "異常なし"


@pytest.mark.parametrize(
    ("code", "value", "unit", "field", "expected"),
    [
        (HEIGHT, 1.605, "m", "height_cm", 160.5),
        (HEIGHT, 63, "[in_i]", "height_cm", 160.02),
        ("29463-7", 110, "[lb_av]", "weight_kg", 49.9),
        ("2345-7", 5.5, "mmol/L", "glucose_mgdl", 99.09),
        ("2085-9", 2, "mmol/L", "hdl_mgdl", 77.34),
        ("4548-4", 42, "mmol/mol", "hba1c_percent", 5.99),
        ("2160-0", 70, "umol/L", "creatinine_mgdl", 0.79),
        ("6690-2", 5.5, "10*3/uL", "white_cells_ul", 5500.0),
        ("8480-6", 120, "mmHg", "systolic_mmhg", 120),
    ],
)
def test_values_are_brought_into_the_unit_of_the_field(
    code: str, value: float, unit: str, field: str, expected: float
) -> None:
    """Laboratories abroad use SI units."""
    assert checkup(observation(code, value, unit))[field] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("code", "value", "field", "expected"),
    [
        ("1A010000000191111", {"coding": [{"code": "2"}]}, "urine_protein", "±"),
        ("1A020000000191111", {"text": "（２＋）"}, "urine_glucose", "++"),
        ("9N736000000000011", {"coding": [{"code": "1"}]}, "smoking", "current"),
        (
            "9N501000000000011",
            {"text": "予備群該当"},
            "metabolic_syndrome",
            "preliminary",
        ),
        ("9N511000000000049", {"text": "要再検査"}, "doctor_comment", "要再検査"),
    ],
)
def test_coded_values_become_words(
    code: str, value: Any, field: str, expected: str
) -> None:
    """By the checkup's own code or by what is printed."""
    assert checkup(coded(code, valueCodeableConcept=value))[field] == expected


def test_a_number_given_as_text_is_a_number() -> None:
    """Older systems send strings."""
    given = coded("9N001000000000001", valueString="１６０．５")
    assert checkup(given)["height_cm"] == 160.5


def test_the_later_of_two_values_stays() -> None:
    """Repeated blood pressure: told, not lost without a word."""
    late = "2024-05-10T10:00:00+09:00"
    for order in (1, -1):
        pair = [observation(), observation(value=161, effectiveDateTime=late)][::order]
        rows, problems = imported(*pair)
        assert rows[0].content["height_cm"] == 161
        assert notices(problems) == {"observation-repeated"}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"valueQuantity": {"value": 5.75, "unit": "尺"}}, "unit-not-understood"),
        (
            {"valueQuantity": {"value": 30, "unit": "cm", "comparator": "<"}},
            "value-with-comparator",
        ),
    ],
)
def test_a_value_that_does_not_fit_the_checkup_is_kept_beside_it(
    given: Resource, code: str
) -> None:
    """Nothing measured is thrown away; the checkup holds comparable numbers alone."""
    rows, problems = imported(observation(**given))
    assert [row.dataset_type for row in rows] == ["health.observation"]
    assert notices(problems) == {code}


def test_an_observation_of_another_kind_stands_alone() -> None:
    """With its code, value, unit, range and components."""
    rows, _ = imported(
        observation(
            "59408-5",
            97,
            "%",
            id="x1",
            code={"coding": [{"system": LOINC, "code": "59408-5"}], "text": "SpO2"},
            interpretation=[{"text": "正常"}],
            referenceRange=[{"low": {"value": 95, "unit": "%"}}],
            note=[{"text": "室内気"}],
            component=[{"code": {"text": "脈"}, "valueString": "整"}],
        )
    )
    assert rows[0].content == {
        "date": "2024-05-10",
        "observed_at": "2024-05-10T09:00:00+09:00",
        "name": "SpO2",
        "code": "59408-5",
        "code_system": LOINC,
        "value": 97,
        "unit": "%",
        "components": [{"name": "脈", "value_text": "整"}],
        "interpretation": "正常",
        "reference_range": "95- %",
        "note": "室内気",
    }
    assert rows[0].source_id == "H-0001/Observation/x1/2024-05-10"


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


def test_a_reports_conclusion_is_the_doctors_comment() -> None:
    """It joins the values of its day."""
    report = observation(
        resourceType="DiagnosticReport", conclusion="異常なし", valueQuantity=None
    )
    assert checkup(observation(), report) == {
        "date": "2024-05-10",
        "height_cm": 160.5,
        "doctor_comment": "異常なし",
    }


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
