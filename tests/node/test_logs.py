# SPDX-License-Identifier: Apache-2.0
"""Log lines: readable by machines, and empty of what people would not want in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from node.config import LogTable
from node.logs import TRACE_ID, describe, set_up
from protocol.errors import BadSignature, Malformed

CANARY = "星野花子"


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def write(table: LogTable) -> tuple[io.StringIO, logging.Logger]:
    """Return a stream and a logger that writes to it."""
    stream = io.StringIO()
    set_up(table, stream)
    return stream, logging.getLogger("node.example")


def test_line_is_one_json_object() -> None:
    """With the trace of the running task and named fields."""
    stream, log = write(LogTable())
    token = TRACE_ID.set("abc")
    log.info("linked to %s", "hoshino/broker", extra={"fields": {"rtt_ms": 3}})
    TRACE_ID.reset(token)
    line = json.loads(stream.getvalue())
    assert line.pop("time_ms") > 0
    assert line == {
        "level": "info",
        "logger": "node.example",
        "message": "linked to hoshino/broker",
        "trace_id": "abc",
        "fields": {"rtt_ms": 3},
    }


def test_text_is_for_a_terminal() -> None:
    """One line, then type and place of the exception."""
    stream, log = write(LogTable(format="text"))
    try:
        raise Malformed("not a record")
    except Malformed:
        log.exception("refused")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("ERROR   node.example: refused")
    assert lines[1:3] == ["    type: Malformed", "    detail: not a record"]


@pytest.mark.parametrize("kind", ["json", "text"])
def test_foreign_exception_never_shows_its_text(kind: str) -> None:
    """It quotes values; causes too."""
    stream, log = write(LogTable.model_validate({"format": kind}))
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(CANARY) from error
    except ValueError:
        log.exception("failed")
    assert CANARY not in json.dumps(stream.getvalue(), ensure_ascii=False)
    assert "ValueError" in stream.getvalue()
    assert "KeyError" in stream.getvalue()


def test_lines_below_the_level_are_left_out() -> None:
    """As the settings say."""
    stream, log = write(LogTable(level="warning"))
    log.info("not interesting")
    assert stream.getvalue() == ""


def test_paths_of_requests_are_not_logged() -> None:
    """They may name records."""
    stream, _ = write(LogTable(level="debug"))
    logging.getLogger("aiohttp.access").info("GET /v1/records/%s", CANARY)
    assert stream.getvalue() == ""


def test_described_exception_has_type_detail_and_place() -> None:
    """Enough to find a bug, not more."""
    try:
        raise BadSignature("the key does not verify it")
    except BadSignature as error:
        described = describe(error)
    assert described["type"] == "BadSignature"
    assert described["detail"] == "the key does not verify it"
    places = described["at"]
    assert isinstance(places, list)
    assert places[0].startswith("test_logs.py:")
