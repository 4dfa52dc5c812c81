# SPDX-License-Identifier: Apache-2.0
"""Uploads that are cut off, too long or not what they say: nothing is left of them."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.system import SystemClock
from tests.node.served import Answer, Served, serving

pytestmark = pytest.mark.slow
CONTENT = bytes(range(256)) * 12_000  # some 3 MB: more than a request may have


@pytest.fixture(scope="module")
def node() -> Iterator[Served]:
    """Serve one node for this module."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def record(node: Served) -> str:
    """Store a record."""
    body = {
        "dataset_type": "health.checkup",
        "subject": "H-1",
        "content": {"date": "2026-10-01", "systolic_mmhg": 120},
    }
    stored = node.call("POST", "/v1/records", body, operator=True)
    assert stored.status == 201, stored.body
    return str(stored.document["id"])


def sha256(content: bytes) -> str:
    """Return a digest: megabytes are nothing to print where they differ."""
    return hashlib.sha256(content).hexdigest()


def files(node: Served) -> list[Path]:
    """Return every file on disk."""
    folder = node.settings.attachments_folder
    return [path for path in folder.rglob("*") if path.is_file()]


def attach(node: Served, record: str, query: str = "", **more: bytes) -> Answer:
    """Attach something."""
    path = f"/v1/records/{record}/attachments?field=ecg_finding{query}"
    data = more.get("data", CONTENT)
    headers = {"Content-Type": "image/png"}
    return node.call("POST", path, data=data, headers=headers, operator=True)


def test_upload_is_longer_than_a_request_may_be(node: Served, record: str) -> None:
    """It is streamed; what comes down is what went up, from any byte on."""
    stored = attach(node, record, "&name=ecg.png")
    assert stored.status == 201, stored.body
    name = stored.document["id"]
    down = node.call("GET", f"/v1/attachments/{name}", operator=True)
    assert (down.status, down.media) == (200, "image/png")
    assert sha256(down.body) == sha256(CONTENT)
    for offset in (1, 65_536, 100_001, len(CONTENT)):
        path = f"/v1/attachments/{name}?offset={offset}"
        part = node.call("GET", path, operator=True).body
        assert sha256(part) == sha256(CONTENT[offset:])
    beyond = f"/v1/attachments/{name}?offset={len(CONTENT) + 1}"
    assert node.call("GET", beyond, operator=True).problem()["code"] == "malformed"
    node.call("DELETE", f"/v1/attachments/{name}", operator=True)
    assert files(node) == []


def test_digest_that_is_told_is_held_to(node: Served, record: str) -> None:
    """In hexadecimal or base64; what does not match is not kept."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    stored = attach(node, record, f"&sha256={digest}")
    assert stored.status == 201
    node.call("DELETE", f"/v1/attachments/{stored.document['id']}", operator=True)
    refused = attach(node, record, f"&sha256={digest}", data=CONTENT + b"!")
    assert refused.problem()["code"] == "digest-mismatch"
    assert attach(node, record, "&sha256=abc").problem()["code"] == "malformed"
    assert files(node) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [("&name=" + "n" * 201, "invalid-input"), ("&colour=red", "invalid-input")],
)
def test_wrong_parameters_are_refused(
    node: Served, record: str, query: str, code: str
) -> None:
    """Before anything is written."""
    assert attach(node, record, query).problem()["code"] == code
    assert files(node) == []


def test_record_or_field_that_is_not_there_takes_nothing(
    node: Served, record: str
) -> None:
    """As stable codes."""
    other = record[:-4] + "0000"
    assert attach(node, other).problem()["code"] == "not-found"
    path = f"/v1/records/{record}/attachments?field=colour"
    headers = {"Content-Type": "image/png"}
    answer = node.call("POST", path, data=b"x", headers=headers, operator=True)
    assert answer.problem()["code"] == "schema-violation"


@pytest.mark.parametrize("chunked", [False, True])
def test_upload_that_is_cut_off_leaves_nothing(
    node: Served, record: str, chunked: bool
) -> None:
    """With a stated length or in chunks: the caller goes in the middle."""
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 9000000"
    head = (
        f"POST /v1/records/{record}/attachments?field=ecg_finding HTTP/1.1\r\n"
        f"Host: localhost\r\nContent-Type: image/png\r\n{framing}\r\n\r\n"
    )
    before = node.rows()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(10)
        caller.connect(str(node.settings.admin_socket))
        caller.sendall(head.encode())
        block = b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT) if chunked else CONTENT
        caller.sendall(block)
        wait_until(node, there=True)
    wait_until(node, there=False)
    listed = node.call("GET", f"/v1/records/{record}/attachments", operator=True)
    assert listed.document == {"attachments": []}
    assert node.rows() == before


def wait_until(node: Served, *, there: bool) -> None:
    """Wait until a file is being written, or none is left."""
    clock = SystemClock()
    end = clock.monotonic() + 20
    while bool(files(node)) is not there:
        assert clock.monotonic() < end, "nothing happened"
        node.inside(lambda: clock.sleep(0.01))
