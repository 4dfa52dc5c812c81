# SPDX-License-Identifier: Apache-2.0
"""Bad input to a running node: refused by its own code, and nothing is left behind.

Generated from the route table, so that a new endpoint is tested when it is described.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from node.api.openapi import Endpoint
from node.system import SystemClock
from protocol.problem_catalog import CATALOG
from tests.node.served import NODE, Answer, Served, serving

JSON = {"Content-Type": "application/json"}
RECORD = "urn:machikura:hoshino:broker:00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def node() -> Iterator[Served]:
    """Return a served node."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def resident(node: Served) -> dict[str, str]:
    """Return the session of a resident."""
    return node.resident("hanako")


def _filled(path: str) -> str:
    """Return a path with something in the place of each parameter."""
    values = {"id": "x", "name": "health.checkup", "label": "nobody", "city": "nowhere"}
    if path.startswith("/v1/records"):
        values["id"] = RECORD
    elif path.startswith("/v1/outbox"):
        values["id"] = "1"
    return path.format(account="nobody", agreement="none", **values)


def _send(
    node: Served, endpoint: Endpoint, resident: dict[str, str], **how: Any
) -> Answer:
    """Call an endpoint as whoever may."""
    headers = {**how.pop("headers", {}), **(resident if endpoint.resident else {})}
    path = _filled(endpoint.path) + how.pop("query", "")
    operator = not endpoint.resident
    return node.call(endpoint.method, path, headers=headers, operator=operator, **how)


def _with_body(node: Served) -> list[Endpoint]:
    return [endpoint for endpoint in node.endpoints() if endpoint.body is not None]


BODIES: dict[str, tuple[bytes, set[str]]] = {
    "nothing": (b"", {"malformed"}),
    "no JSON": (b"{", {"malformed"}),
    "two documents": (b"{}{}", {"malformed"}),
    "not UTF-8": (b'{"a":"\xff"}', {"malformed"}),
    "byte order mark": (b"\xef\xbb\xbf{}", {"malformed", "invalid-input"}),
    "an array": (b"[]", {"malformed", "invalid-input"}),
    "a string": (b'"x"', {"malformed", "invalid-input"}),
    "null": (b"null", {"malformed", "invalid-input"}),
    "a member twice": (b'{"a":1,"a":1}', {"malformed"}),
    "a member twice, escaped": (b'{"a":1,"\\u0061":1}', {"malformed"}),
    "not a number": (b'{"a":NaN}', {"malformed"}),
    "infinity": (b'{"a":1e999}', {"malformed", "invalid-input"}),
    "a huge number": (b'{"a":' + b"9" * 5_000 + b"}", {"malformed", "invalid-input"}),
    "deep nesting": (
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        {"malformed", "too-large"},
    ),
    "a lone surrogate": (b'{"a":"\\ud800"}', {"malformed", "invalid-input"}),
    "a NUL": (b'{"a\\u0000":1}', {"malformed", "invalid-input"}),
    "an unknown member": (b'{"no_such_member":1}', {"invalid-input"}),
    "wrong types": (b'{"login":1,"id":[],"scopes":"x","content":7}', {"invalid-input"}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bad_body_is_refused_everywhere_and_leaves_nothing(
    node: Served, resident: dict[str, str], kind: str
) -> None:
    """With a code that says what is wrong; no row appears or goes."""
    data, codes = BODIES[kind]
    before = node.rows()
    for endpoint in _with_body(node):
        answer = _send(node, endpoint, resident, data=data, headers=JSON)
        problem = answer.problem()
        takes_nothing = not endpoint.body.model_json_schema().get("required")  # type: ignore[union-attr]  # `_with_body`
        allowed = codes | ({"not-found"} if takes_nothing else set())
        assert problem["code"] in allowed, endpoint.path
    assert node.rows() == before


def test_what_was_sent_is_never_repeated_in_a_problem(
    node: Served, resident: dict[str, str]
) -> None:
    """A wrong value may be personal data (STYLE, section 1)."""
    canary = "CANARY-山田花子"
    body = json.dumps({canary: canary, "login": [canary]}).encode()
    for endpoint in _with_body(node):
        answer = _send(node, endpoint, resident, data=body, headers=JSON)
        text = answer.body.decode()
        assert canary not in text, endpoint.path
        assert "\\u5c71" not in text, endpoint.path


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/json; charset=utf-16",
    ],
)
def test_other_media_types_are_refused(
    node: Served, resident: dict[str, str], media: str
) -> None:
    """Also by the token endpoint, in its own words."""
    for endpoint in _with_body(node):
        headers = {"Content-Type": media}
        answer = _send(node, endpoint, resident, data=b"{}", headers=headers)
        assert answer.problem()["code"] == "unsupported-media-type", endpoint.path


def test_too_long_body_is_refused_before_it_is_read(
    node: Served, resident: dict[str, str]
) -> None:
    """By what it says of itself, and by its length if it says nothing."""
    before = node.rows()
    limit = node.settings.limits.max_body_bytes
    data = b'{"a":"' + b"x" * limit + b'"}'
    for endpoint in _with_body(node):
        answer = _send(node, endpoint, resident, data=data, headers=JSON)
        assert answer.problem()["code"] == "too-large", endpoint.path
    assert node.rows() == before


def test_body_that_claims_more_than_it_sends_gets_no_answer_of_success(
    node: Served,
) -> None:
    """Attack: promise a gigabyte, send a byte, hang up."""
    before = node.rows()
    host, _, port = node.url.removeprefix("http://").partition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=5) as caller:
            caller.sendall(
                b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{"
            )
    assert node.call("GET", "/healthz").status == 200
    assert node.rows() == before


def test_unknown_and_repeated_query_parameters_are_refused(
    node: Served, resident: dict[str, str]
) -> None:
    """A typo must not silently mean "all"."""
    for endpoint in node.endpoints():
        if "request" in endpoint.takes and endpoint.body is None:
            continue  # Streams read their own body; their parameters are tested below.
        body = {"data": b"{}", "headers": JSON} if endpoint.body else {}
        answer = _send(node, endpoint, resident, query="?no_such=1", **body)
        assert answer.problem()["code"] == "invalid-input", endpoint.path
    for path in (
        "/v1/records?dataset_type=health.checkup&dataset_type=health.checkup",
        f"/v1/records/{RECORD}?id={RECORD}",
    ):
        assert node.call("GET", path, operator=True).problem()["code"] == "malformed"
    assert (
        node.call(
            "POST", "/v1/import?format=csv&colour=red", data=b"", operator=True
        ).problem()["code"]
        == "invalid-input"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/records/no-urn",
        "/v1/records/urn:machikura:hoshino:broker:1",
        "/v1/datasets/..%2F..%2Fetc",
        "/v1/datasets/UPPER",
        "/v1/outbox/0/retry",
        "/v1/outbox/99999999999999999999/retry",
        "/v1/outbox/one/retry",
        "/v1/members/a%2Fb",
        "/v1/clients/%00",
    ],
)
def test_malformed_path_is_refused(node: Served, path: str) -> None:
    """Before it reaches any store."""
    method = "POST" if "outbox" in path else "GET"
    if "members" in path or "clients" in path:
        method = "DELETE"
    answer = node.call(method, path, operator=True)
    assert answer.problem()["code"] in ("invalid-input", "malformed", "not-found")


def test_every_problem_of_the_documents_is_a_known_one(node: Served) -> None:
    """Declared codes have words for people."""
    for endpoint in node.endpoints():
        assert set(endpoint.problems) <= CATALOG.keys(), endpoint.path


def test_record_changes_are_whole_or_not_at_all(node: Served) -> None:
    """A correction that does not fit the schema leaves the old version."""
    content = {"date": "2026-04-01", "systolic_mmhg": 120}
    body = {"dataset_type": "health.checkup", "subject": "H-1", "content": content}
    made = node.call("POST", "/v1/records", body, operator=True)
    assert made.status == 201
    path = f"/v1/records/{made.document['id']}"
    for wrong in (
        {"content": {"date": "yesterday"}, "version": 1},
        {"content": {**content, "shoe_size": 23}, "version": 1},
        {"content": content | {"systolic_mmhg": "120"}, "version": 1},
        {"content": content | {"systolic_mmhg": 121}, "version": 7},
    ):
        problem = node.call("PUT", path, wrong, operator=True).problem()
        assert problem["code"] in ("schema-violation", "conflict")
    kept = node.call("GET", path, operator=True).document
    assert (kept["content"], kept["version"]) == (content, 1)


def test_my_number_is_refused_where_a_person_is_named(node: Served) -> None:
    """個人番号 is never an identifier (DESIGN section 3)."""
    before = node.rows()
    body = {
        "dataset_type": "health.checkup",
        "subject": "123456789018",
        "content": {"date": "2026-04-01"},
    }
    answer = node.call("POST", "/v1/records", body, operator=True)
    assert answer.problem()["code"] == "my-number-refused"
    assert "123456789018" not in answer.body.decode()
    assert node.rows() == before


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("csv", b"\xff\xfe\x00\x01"),
        ("ndjson", b"{]\n" * 10),
        ("fhir", b"[" * 10_000),
        ("fhir", b'{"resourceType":"Bundle","entry":[{"resource":7}]}'),
        ("csv", b"a," * 200_000),
    ],
)
def test_broken_file_is_reported_and_stores_nothing(
    node: Served, form: str, data: bytes
) -> None:
    """Row by row, without its content."""
    before = node.rows()
    answer = node.call("POST", f"/v1/import?format={form}", data=data, operator=True)
    if answer.status == 200:
        assert answer.document["stored"] == 0
    else:
        answer.problem()
    assert node.rows() == before


def test_consent_that_the_law_forbids_leaves_nothing(
    node: Served, resident: dict[str, str]
) -> None:
    """Special-care data without an end, opt-out, unknown types and parties."""
    code = node.call(
        "POST", "/v1/me/link-codes", {"holder": NODE}, headers=resident
    ).document["code"]
    claim = {"home": NODE, "code": code, "subject": "H-9"}
    assert node.call("POST", "/v1/links", claim, operator=True).status == 201
    node.drained()
    before = node.rows()
    good: dict[str, Any] = {
        "recipients": ["hoshino/market"],
        "holders": [NODE],
        "scope": [{"dataset_type": "health.checkup"}],
        "purposes": ["treatment"],
        "ends": SystemClock().now_ms() // 1000 + 86_400,
    }
    for change, code in (
        ({"ends": None}, "special-care-no-end"),
        ({"opt": "out"}, "special-care-opt-out"),
        ({"ends": 1}, "invalid-input"),
        ({"holders": ["hoshino/stranger"]}, "invalid-input"),
        ({"recipients": [NODE]}, "invalid-input"),
        ({"purposes": ["no-such-purpose"]}, "invalid-input"),
        ({"scope": [{"dataset_type": "no.such"}]}, "unknown-dataset-type"),
        (
            {"scope": [{"dataset_type": "health.checkup", "fields": ["shoe_size"]}]},
            "invalid-input",
        ),
        ({"scope": []}, "invalid-input"),
    ):
        answer = node.call("POST", "/v1/me/consents", good | change, headers=resident)
        assert answer.problem()["code"] == code, change
    assert node.rows() == before
    assert node.call("POST", "/v1/me/consents", good, headers=resident).status == 201
