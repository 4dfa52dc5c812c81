# SPDX-License-Identifier: Apache-2.0
"""Small FHIR files for tests."""

from __future__ import annotations

import json
from typing import Any

from tests.vault.files import read
from vault.formats.rows import Row, RowProblem

Resource = dict[str, Any]
LOINC = "http://loinc.org"
CHECKUP_CODES = "urn:oid:1.2.392.200119.6.1005"
MEDIS = "urn:oid:1.2.392.200119.4.504"
HEIGHT = "8302-2"


def concept(system: str, code: str) -> Resource:
    """Return a CodeableConcept with one coding."""
    return {"coding": [{"system": system, "code": code}]}


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
        "code": concept(LOINC, loinc),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-05-10T09:00:00+09:00",
        "valueQuantity": {"value": value, "unit": unit},
        **rest,
    }


def coded(code: str, system: str = CHECKUP_CODES, **rest: Any) -> Resource:
    """Return an Observation under a code of another system, without a quantity."""
    own = {"code": concept(system, code), "valueQuantity": None}
    return observation(**{**own, **rest})


def bundle(*resources: Resource) -> str:
    """Return a collection of the resources."""
    entries: list[Resource] = [{"resource": resource} for resource in resources]
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
