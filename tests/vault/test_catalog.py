# SPDX-License-Identifier: Apache-2.0
"""The dataset types that come with the product."""

from __future__ import annotations

import json

import pytest

from protocol.dataset import DatasetType
from protocol.membership import DataClass
from tests.vault.files import ROOT
from vault.dataset_types import built_in_types
from vault.formats.fhir.checkup import CHECKUP, items
from vault.formats.fhir.observation import OBSERVATION
from vault.formats.fhir.reader import READERS
from vault.formats.profile import builtin_profiles
from vault.schema import compile_schema

TYPES = {str(found.name): found for found in built_in_types()}
CATALOG = ROOT / "vault" / "catalog"
EXPECTED = {
    "health.checkup",
    "health.medication",
    "health.immunization",
    "health.condition",
    "shopping.purchase",
    "shopping.points",
    "mobility.trip",
    "childcare.attendance",
    "childcare.development",
    "energy.usage",
    "disaster.evacuee-support",
    "resident.profile",
    "facility.public",
    "facility.aed",
    "facility.evacuation",
    "facility.childcare",
    "facility.wifi",
}


@pytest.fixture(params=sorted(TYPES))
def dataset(request: pytest.FixtureRequest) -> DatasetType:
    """Each built-in type in turn."""
    return TYPES[request.param]


def test_the_types_that_organizations_ask_for_are_there() -> None:
    """Health, shopping, mobility, children, energy, disaster, residents, open data."""
    assert set(TYPES) >= EXPECTED


def test_a_types_file_has_its_name(dataset: DatasetType) -> None:
    """One file, one type."""
    document = json.loads((CATALOG / f"{dataset.name}.json").read_bytes())
    assert document["name"] == dataset.name
    assert set(dataset.title) == {"ja", "en"}


def test_every_schema_compiles_and_describes_its_fields(dataset: DatasetType) -> None:
    """Closed, bounded, with a title for each field."""
    compile_schema(dataset.json_schema)
    assert set(dataset.json_schema["required"]) <= dataset.fields
    for name, field in dataset.json_schema["properties"].items():
        assert field["title"], name
        assert field["description"], name
        if field["type"] == "string":
            assert {"maxLength", "enum", "format", "pattern"} & field.keys(), name
        if field["type"] in ("number", "integer"):
            assert {"minimum", "maximum"} <= field.keys(), name
        if field["type"] == "array":
            assert "maxItems" in field, name


def test_purposes_differ_and_need_less_than_everything(dataset: DatasetType) -> None:
    """Minimum necessary data (requirement 116): most purposes see a part."""
    fields = [frozenset(purpose.fields) for purpose in dataset.purposes.values()]
    assert len(set(fields)) == len(fields)
    assert sum(found == dataset.fields for found in fields) <= 1
    assert all(set(p.title) == {"ja", "en"} for p in dataset.purposes.values())
    if dataset.data_class is not DataClass.OPEN:
        assert len(dataset.purposes) >= 3


def test_protection_follows_the_data_class(dataset: DatasetType) -> None:
    """Special-care data needs qualified recipients and a second factor."""
    special = dataset.data_class in (DataClass.SPECIAL_CARE, DataClass.CLOSED)
    assert dataset.evidence_level == (2 if special else 1)
    assert bool(dataset.qualifications) == special
    if dataset.data_class is not DataClass.OPEN:
        assert "consent" in dataset.legal_basis
        assert not dataset.json_schema.get("additionalProperties", True)


def test_what_would_name_the_holder_is_marked(dataset: DatasetType) -> None:
    """A hidden read must not give the clinic's name away (requirement 7)."""
    naming = {"facility_name", "doctor_name", "store_name", "operator_name"}
    naming |= {"supplier_name", "office_name", "prescriber", "pharmacist", "staff_name"}
    if dataset.data_class is not DataClass.OPEN:
        assert naming & dataset.fields <= set(dataset.holder_fields)


def test_the_register_of_evacuees_never_leaves_its_city() -> None:
    """災害対策基本法: the municipality holds it."""
    register = TYPES["disaster.evacuee-support"]
    assert register.data_class is DataClass.CLOSED
    assert "law" in register.legal_basis


def test_free_text_has_a_place_in_every_type_about_people(dataset: DatasetType) -> None:
    """Organizations write remarks; without a field for them they hide elsewhere."""
    if dataset.data_class is not DataClass.OPEN:
        assert {"note", "remarks"} & dataset.fields


def test_importers_fill_only_fields_that_their_types_have() -> None:
    """Profiles and FHIR readers name types and fields by hand."""
    for profile in builtin_profiles():
        if profile.dataset_type is not None:
            fields = TYPES[profile.dataset_type].fields
            assert {column.field for column in profile.columns} <= fields
            assert set(profile.constants) <= fields
    found = {item.field for table in items() for item in table.values()}
    assert found <= TYPES[CHECKUP].fields
    assert {name for name, _, _ in READERS.values()} | {OBSERVATION} <= set(TYPES)


def test_profiles_for_people_say_whose_a_row_is() -> None:
    """Open data is about nobody; everything else has a person's column."""
    for profile in builtin_profiles():
        if profile.dataset_type is not None:
            is_open = TYPES[profile.dataset_type].data_class is DataClass.OPEN
            assert bool(profile.subject) == (not is_open), profile.name
            assert set(profile.title) == {"ja", "en"}
