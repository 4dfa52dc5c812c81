# SPDX-License-Identifier: Apache-2.0
"""NDJSON files: whole records, or raw objects under a profile."""

from __future__ import annotations

import json

import pytest

from protocol.canonical import Json
from tests.protocol.published import published
from tests.vault.files import MY_NUMBER, codes, notices, one_column, read
from vault.formats.rows import Limits

TRIP = {
    "card_id": "IC-1",
    "board_time": "2024-05-01T07:48:10+09:00",
    "board_stop_name": "一番町",
    "route_type": "3",
    "fare": 210,
}


def record(**changed: Json) -> str:
    """Return a line that is a whole record."""
    whole: dict[str, Json] = {
        "dataset_type": "energy.usage",
        "subject": "E-1",
        "content": {"usage": 1.5},
        **changed,
    }
    return json.dumps(whole)


def test_a_whole_record_is_taken_as_it_is() -> None:
    """Numbers may be floats; the source's own id is kept."""
    rows, problems = read(
        f"\ufeff{record(source_id='a')}\n\n{record(subject=None)}", "ndjson"
    )
    assert problems == []
    assert [(r.number, r.subject, r.source_id) for r in rows] == [
        (1, "E-1", "a"),
        (3, None, None),
    ]
    assert rows[0].content == {"usage": 1.5}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "line-not-json"),
        ('{"a":1,"a":2}', "line-not-json"),
        ('{"a":NaN}', "line-not-json"),
        ("[" * 100_000, "line-not-json"),
        ("[]", "not-an-object"),
        ("1", "not-an-object"),
        (record(dataset_type=5), "members-wrong"),
        (record(dataset_type="x y"), "members-wrong"),
        (record(content=[]), "members-wrong"),
        (record(extra=1), "members-wrong"),
        (record(source_id=5), "members-wrong"),
        (record(subject={}), "subject-invalid"),
        (record(subject=True), "subject-invalid"),
        (record(subject="x" * 300), "subject-invalid"),
        (record(subject=""), "subject-missing"),
        (record(subject=MY_NUMBER), "my-number-refused"),
        (record(subject=int(MY_NUMBER)), "my-number-refused"),
        (record(source_id=MY_NUMBER), "my-number-refused"),
        (record(content={"個人番号": MY_NUMBER}), "my-number-refused"),
        (record(content={"a": "\x07"}), "control-character"),
        (record(content={"a": 10**18}), "number-too-large"),
    ],
)
def test_a_broken_line_is_told_and_the_next_is_read(line: str, code: str) -> None:
    """One problem, without a field name that only the file knows."""
    rows, problems = read(f"{line}\n{record()}\n", "ndjson")
    assert codes(problems) == [(1, code, None)]
    assert [row.number for row in rows] == [2]


def test_raw_objects_find_their_profile_by_their_members() -> None:
    """The members are the columns; JSON numbers stay numbers."""
    rows, problems = read(json.dumps(TRIP), "ndjson")
    assert problems == []
    assert rows[0].content == {
        "boarded_at": "2024-05-01T07:48:10+09:00",
        "boarded_stop": "一番町",
        "mode": "bus",
        "fare_yen": 210,
    }


def test_members_may_change_from_line_to_line() -> None:
    """Optional members are left out by most systems."""
    lines = [
        TRIP,
        {**TRIP, "memo": "往復", "謎": 1},
        {k: v for k, v in TRIP.items() if k != "board_stop_name"},
        {**TRIP, "fare": [1]},
    ]
    rows, problems = read("\n".join(json.dumps(line) for line in lines), "ndjson")
    assert [row.number for row in rows] == [1, 2]
    assert codes(problems) == [
        (3, "value-missing", "boarded_stop"),
        (4, "value-kind", "fare_yen"),
    ]
    assert notices(problems) == {"extra-members"}


def test_objects_of_no_known_kind_need_a_profile() -> None:
    """Nothing is guessed from two members."""
    rows, problems = read('{"a":1,"b":2}\n' * 3, "ndjson")
    assert rows == []
    assert [(p.code, p.level) for p in problems] == [("profile-needed", "file")]


def test_a_named_profile_reads_raw_objects() -> None:
    """Also objects that look like whole records."""
    rows, _ = read('{"v":"２"}', "ndjson", one_column("number"))
    assert rows[0].content == {"v": 2}


def test_a_line_without_end_stops_the_file() -> None:
    """Memory stays bounded; what stood before was read."""
    data = record() + "\n" + " " * 5000 + "\n" + record()
    rows, problems = read(data, "ndjson", None, Limits(max_line_bytes=1000))
    assert len(rows) == 1
    assert [(p.number, p.code) for p in problems] == [(2, "line-too-large")]


def test_an_empty_file_is_told() -> None:
    """An export that failed looks like this."""
    assert [p.code for p in read("", "ndjson")[1]] == ["empty-file"]


def test_published_health_documents_come_through_unchanged() -> None:
    """Open mHealth's documents, valid by their own schemas or not, are content."""
    cases = published("vectors/openmhealth_cases_a.json")
    documents = [case["doc"] for case in cases if isinstance(case["doc"], dict)]
    text = "\n".join(
        record(dataset_type="health.observation", content=doc) for doc in documents
    )
    rows, problems = read(text, "ndjson")
    assert problems == []
    assert [row.content for row in rows] == documents
