# SPDX-License-Identifier: Apache-2.0
"""Dataset types: a file that contradicts itself is refused when it is registered."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.protocol.exchanges import DATASET, FIELDS, dataset

SCHEMA: dict[str, Any] = DATASET["schema"]
PURPOSE = {"title": {"en": "a"}, "fields": ["height"]}


def test_valid_type_tells_its_fields() -> None:
    """Fields are the top-level properties of the schema."""
    assert dataset().fields == frozenset(FIELDS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": {**SCHEMA, "type": "array"}}, "object with properties"),
        ({"schema": {"type": "object"}}, "object with properties"),
        ({"schema": {**SCHEMA, "properties": []}}, "object with properties"),
        ({"schema": {**SCHEMA, "additionalProperties": True}}, "additionalProperties"),
        (
            {"schema": {"type": "object", "properties": SCHEMA["properties"]}},
            "additionalProperties",
        ),
        ({"holder_fields": ["nowhere"]}, "not in the schema"),
        ({"searchable": ["nowhere"]}, "not in the schema"),
        ({"time_field": "nowhere"}, "not in the schema"),
        (
            {"purposes": {"treatment": {**PURPOSE, "fields": ["nowhere"]}}},
            "not in the schema",
        ),
        ({"qualifications": []}, "qualified recipients"),
        ({"qualifications": [], "data_class": "closed"}, "qualified recipients"),
    ],
)
def test_type_that_contradicts_itself_is_refused(
    change: dict[str, object], said: str
) -> None:
    """Purposes, indexes and hidden fields must exist; special care needs a check."""
    with pytest.raises(ValidationError, match=said):
        dataset(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "health"},
        {"version": 0},
        {"data_class": "secret"},
        {"evidence_level": 0},
        {"evidence_level": 4},
        {"purposes": {}},
        {"purposes": {"Treatment": PURPOSE}},
        {"purposes": {"treatment": {**PURPOSE, "fields": []}}},
        {"purposes": {"treatment": {**PURPOSE, "feilds": ["a"]}}},
        {"freshness_s": 0},
        {"freshness_s": 86401},
        {"fields": ["a"]},
    ],
)
def test_type_of_an_odd_shape_is_refused(change: dict[str, object]) -> None:
    """Also a misspelled member, which would else be silently ignored."""
    with pytest.raises(ValidationError):
        dataset(**change)


def test_personal_data_may_go_to_unqualified_recipients() -> None:
    """The demand for qualifications is that of special-care data."""
    assert dataset(qualifications=[], data_class="personal").qualifications == ()
