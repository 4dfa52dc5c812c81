# SPDX-License-Identifier: Apache-2.0
"""What holds for every format: no file makes reading fail, nothing leaks."""

from __future__ import annotations

import ast
import base64
import io
import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.canonical import Json
from tests.protocol.published import published
from tests.vault.files import CITIES, ROOT, codes, read
from vault.dataset_types import built_in_types
from vault.formats.json_stream import BadJson, members
from vault.formats.problems import problem, texts
from vault.formats.profile import builtin_profiles
from vault.formats.reader import FORMATS, Format, read_rows
from vault.formats.rows import Row, RowProblem
from vault.schema import compile_schema

DEMO: dict[str, tuple[Format, int, int]] = {
    "hoshino/clinic/checkups.json": ("fhir", 20, 6),
    "hoshino/pharmacy/dispensing.json": ("fhir", 11, 3),
    "hoshino/market/purchases.csv": ("csv", 10, 5),
    "hoshino/market/points.csv": ("csv", 4, 2),
    "hoshino/transit/trips.ndjson": ("ndjson", 6, 5),
    "minato/nursery/attendance.csv": ("csv", 7, 4),
    "minato/nursery/development.csv": ("csv", 3, 1),
    "minato/energy/usage.csv": ("csv", 5, 3),
    "yamanami/clinic/records.json": ("fhir", 9, 3),
    "yamanami/bosai/evacuee-support.csv": ("csv", 4, 3),
    "yamanami/bosai/evacuation-sites.csv": ("csv", 4, 2),
}


def check_promises(data: bytes, form: Format) -> None:
    """Read a file to its end; what comes out is sound."""
    ended = False
    for found in read_rows(io.BytesIO(data), format=form):
        assert not ended, "nothing comes after a problem of the whole file"
        if isinstance(found, Row):
            orjson.dumps(found.content)
            orjson.dumps([found.subject, found.source_id])
            assert found.content
        else:
            assert found.code in texts()
            ended = found.level == "file"


@given(st.binary(max_size=2000), st.sampled_from(FORMATS))
def test_any_bytes_are_read_to_their_end(data: bytes, form: Format) -> None:
    """Whatever an upload holds, reading it raises nothing."""
    check_promises(data, form)


JSON_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)


def damaged(resource: dict[str, Json]) -> st.SearchStrategy[dict[str, Json]]:
    """Return variants of a resource with members left out or replaced."""
    return st.fixed_dictionaries(
        {},
        optional={
            name: st.just(value) | JSON_VALUES for name, value in resource.items()
        },
    )


@settings(max_examples=60)
@given(st.data())
def test_resources_with_any_damage_are_rows_or_problems(data: st.DataObject) -> None:
    """Every member of a sound bundle may be missing or anything else."""
    sound = json.loads((CITIES / "hoshino/clinic/checkups.json").read_bytes())
    chosen = data.draw(st.lists(st.sampled_from(sound["entry"]), max_size=6))
    entries = [
        {"resource": data.draw(damaged(entry["resource"]))}
        for entry in chosen
        if "resource" in entry
    ]
    text = json.dumps({"resourceType": "Bundle", "entry": entries})
    check_promises(text.encode("utf-8", "replace"), "fhir")
    lines = "\n".join(json.dumps(entry["resource"]) for entry in entries)
    check_promises(lines.encode("utf-8", "replace"), "fhir")


@settings(max_examples=60)
@given(st.sampled_from(builtin_profiles()), st.data())
def test_tables_with_any_cells_are_rows_or_problems(
    profile: object, data: st.DataObject
) -> None:
    """Every cell of every built-in table may hold anything."""
    chosen = next(p for p in builtin_profiles() if p is profile)
    names = [*chosen.subject[:1], *(column.names[0] for column in chosen.columns)]
    cell = st.text(max_size=12) | st.sampled_from(["1", "2024/5/1", "○", "9:00", "-"])
    rows = data.draw(st.lists(st.lists(cell, max_size=len(names)), max_size=4))
    quoted = [
        ",".join('"' + c.replace('"', '""') + '"' for c in row)
        for row in [names, *rows]
    ]
    check_promises("\n".join(quoted).encode("utf-8", "replace"), "csv")


@settings(max_examples=60)
@given(st.sampled_from(sorted(DEMO)), st.data())
def test_a_file_damaged_anywhere_is_read_to_its_end(
    name: str, data: st.DataObject
) -> None:
    """Bytes changed, cut off or put in, as transfers and disks do."""
    whole = (CITIES / name).read_bytes()
    place = data.draw(st.integers(0, len(whole)))
    width = data.draw(st.integers(0, 200))
    noise = data.draw(st.binary(max_size=40))
    check_promises(whole[:place] + noise + whole[place + width :], DEMO[name][0])


@pytest.mark.parametrize("name", sorted(DEMO))
def test_the_example_cities_import_but_for_what_is_broken_on_purpose(name: str) -> None:
    """Each file gives the rows it should, all of them sound by their schemas."""
    form, rows_expected, refused_expected = DEMO[name]
    rows, problems = read((CITIES / name).read_bytes(), form)
    schemas = {t.name: compile_schema(t.json_schema) for t in built_in_types()}
    by_name = {str(key): schema for key, schema in schemas.items()}
    assert [by_name[row.dataset_type].problems(row.content) for row in rows] == [
        [] for _ in rows
    ]
    assert len(rows) == rows_expected
    assert len({number for number, _, _ in codes(problems)}) == refused_expected
    assert all(problem.level != "file" for problem in problems)


def test_every_example_file_is_tested() -> None:
    """A new file joins the table above."""
    found = {
        path.relative_to(CITIES).as_posix()
        for path in CITIES.rglob("*")
        if path.suffix in (".json", ".csv", ".ndjson")
    }
    assert found == set(DEMO)


def json_cases() -> list[dict[str, object]]:
    """Return the published JSON texts, or none where they are absent."""
    path = ROOT.parent / "shared" / "vectors" / "json_parsing_a.json"
    return list(json.loads(path.read_bytes())) if path.exists() else []


def data_of(case: dict[str, object]) -> bytes:
    """Return the bytes of a published case."""
    if "data_b64" in case:
        return base64.b64decode(str(case["data_b64"]))
    repeated = base64.b64decode(str(case["repeat_b64"])) * int(str(case["count"]))
    return repeated + base64.b64decode(str(case.get("tail_b64", "")))


def is_accepted(data: bytes) -> bool:
    """Tell whether the large-file parser takes the text."""
    try:
        return bool(list(members(data.decode("utf-8"), "entry", 32)))
    except (BadJson, UnicodeDecodeError):
        return False


def test_json_is_parsed_as_the_standard_says() -> None:
    """RFC 8259, by the published suite; duplicate members are refused on purpose."""
    published("vectors/json_parsing_a.json")
    stricter = {"y_object_duplicated_key_and_value.json", "y_object_empty.json"}
    wrong = [
        case["name"]
        for case in json_cases()
        if is_accepted(data_of(case)) != (case["expect"] == "accept")
        and case["name"] not in stricter
    ]
    assert wrong == []


@pytest.mark.parametrize("form", FORMATS)
def test_published_json_texts_meet_no_error(form: Format) -> None:
    """Not even the deeply nested ones that exhaust a recursive parser."""
    published("vectors/json_parsing_a.json")
    for case in json_cases():
        check_promises(data_of(case), form)


def test_every_code_in_the_source_is_described_and_every_description_used() -> None:
    """A problem without a sentence would be a crash while reporting another fault."""
    words: set[str] = set()
    for path in sorted((ROOT / "vault" / "formats").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    assert set(texts()) <= words
    raised = {
        word
        for path in sorted((ROOT / "vault" / "formats").rglob("*.py"))
        for word in _codes_raised(path)
    }
    assert raised <= set(texts())


def _codes_raised(path: Path) -> set[str]:
    """Return the literal codes given to BadValue, BadJson, Unreadable and problem."""
    found: set[str] = set()
    makers = {"BadValue": 0, "BadJson": 0, "Unreadable": 0, "problem": 1}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = makers.get(node.func.id)
            if place is not None and len(node.args) > place:
                code = node.args[place]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    found.add(code.value)
    return found


def test_every_description_is_a_sentence_in_both_languages() -> None:
    """Facts are filled in where the sentence asks for them."""
    facts: dict[str, int | str] = {
        "limit": 1,
        "place": 2,
        "places": "3, 4",
        "count": 5,
        "fields": "a",
        "profiles": "b, c",
        "rows": 10,
        "kind": "Claim",
        "reason": "url-invalid",
    }
    for code, (level, english, japanese) in texts().items():
        told = problem(3, code, "field", **facts)
        assert isinstance(told, RowProblem)
        assert (told.number, told.field, told.level) == (3, "field", level)
        assert level in ("file", "row", "notice")
        assert english.endswith((".", "?"))
        assert japanese.endswith("。")
        assert "{" not in told.detail_en + told.detail_ja
