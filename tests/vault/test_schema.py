# SPDX-License-Identifier: Apache-2.0
"""Records against the schemas of their dataset types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.published import published
from vault.schema import TEXTS, SchemaRefused, compile_schema

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "date": {"type": "string", "format": "date"},
        "height": {"type": "number", "minimum": 30, "maximum": 260},
        "code": {"type": "string", "pattern": "^[0-9]{3}$"},
        "mark": {"enum": ["-", "+"]},
        "note": {"type": "string", "minLength": 1, "maxLength": 5},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
    },
    "required": ["date"],
    "additionalProperties": False,
    "$defs": {"part": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"date": "2024-05-10"}, []),
        ({"date": "2024-05-10", "height": 160.5, "mark": "+", "parts": [1]}, []),
        ({}, [("date", "required")]),
        ({"date": "2024-02-30"}, [("date", "wrong-format")]),
        ({"date": 5}, [("date", "wrong-type")]),
        ({"date": "2024-05-10", "height": 500}, [("height", "out-of-range")]),
        ({"date": "2024-05-10", "code": "12"}, [("code", "wrong-format")]),
        ({"date": "2024-05-10", "mark": "?"}, [("mark", "not-listed")]),
        ({"date": "2024-05-10", "note": "123456"}, [("note", "wrong-length")]),
        ({"date": "2024-05-10", "parts": [1, "x", "y"]}, [("parts", "wrong-type")]),
        ({"date": "2024-05-10", "山田花子": 1}, [(None, "unknown-field")]),
        ({"date": "2024-05-10", "height": float("nan")}, [(None, "not-json")]),
        ({"date": "2024-05-10", "note": "\ud800"}, [(None, "not-json")]),
        ({"date": "2024-05-10", "height": 10**30}, [(None, "not-json")]),
    ],
)
def test_each_fault_is_named_by_field_and_code(
    content: dict[str, Any], expected: list[tuple[str | None, str]]
) -> None:
    """What a clerk needs to mend the record, and no more."""
    found = compile_schema(SCHEMA).problems(content)
    assert [(p.field, p.code) for p in found] == expected


def test_all_faults_are_told_in_order() -> None:
    """One answer for the whole record."""
    found = compile_schema(SCHEMA).problems({"note": "", "mark": "?", "height": "x"})
    assert [p.field for p in found] == ["date", "height", "mark", "note"]


def test_no_problem_holds_a_value_or_a_foreign_name() -> None:
    """Validators quote both; these are personal data."""
    canary = "canary-7f3a"
    content: dict[str, Any] = dict.fromkeys(SCHEMA["properties"], canary)
    content[canary] = {canary: canary}
    found = compile_schema(SCHEMA).problems(content)
    assert found
    assert canary not in repr(found)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists)))
def test_any_content_is_judged(content: dict[str, Any]) -> None:
    """No record makes the judgement fail."""
    for found in compile_schema(SCHEMA).problems(content):
        assert (found.detail_en, found.detail_ja) == TEXTS[found.code]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"properties": {"a": {"$dynamicRef": "other.json#x"}}},
        {"items": [{"$ref": "other.json"}]},
        {"$id": "https://example.com/x", "$ref": "#/a"},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"$ref": "#/$defs/none"},
        {"type": "nothing"},
        {"pattern": "("},
        {"pattern": "(?=look)ahead"},
        {"x": float},
        {"enum": ["x" * 300_000]},
    ],
)
def test_a_schema_that_reaches_outside_or_is_none_is_refused(
    schema: dict[str, Any],
) -> None:
    """Nothing is fetched, and no pattern can be made to run for hours."""
    with pytest.raises(SchemaRefused):
        compile_schema(schema)


def test_a_schema_nested_without_end_is_refused() -> None:
    """It would exhaust the compiler."""
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"not": schema}
    with pytest.raises(SchemaRefused, match="deep"):
        compile_schema(schema)


def test_a_pattern_that_backtracks_elsewhere_runs_at_once() -> None:
    """(a+)+$ on forty letters takes other engines years."""
    schema = compile_schema({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert [p.code for p in schema.problems({"a": "a" * 40 + "b"})] == ["wrong-format"]


def test_published_schemas_of_an_older_draft_are_refused() -> None:
    """Draft 4 means other things by the same words."""
    listed = published("vectors/openmhealth_schemas.json")
    found = [s["schema"] for s in listed["schemas"] if "$schema" in s["schema"]]
    assert found
    for schema in found:
        with pytest.raises(SchemaRefused):
            compile_schema(schema)
