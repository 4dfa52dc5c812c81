# SPDX-License-Identifier: Apache-2.0
"""Observations of FHIR files become checkups, or stand as they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vault.fhir import (
    CHECKUP_CODES,
    HEIGHT,
    LOINC,
    MEDIS,
    Resource,
    checkup,
    coded,
    imported,
    observation,
)
from tests.vault.files import notices


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
