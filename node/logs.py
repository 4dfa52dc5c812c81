# SPDX-License-Identifier: Apache-2.0
"""What the node writes about its work: JSON lines for machines, text for a terminal.

No personal data: messages hold identifiers of nodes, exchanges and settings only. Of an
exception the type and the places in our code are written, its text only where it is
ours (`MachikuraError`, whose details are free of personal data by contract); foreign
exceptions quote the values they stumbled over.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TextIO

import orjson

from node.config import LogTable
from protocol.errors import MachikuraError

TRACE_ID: Final[ContextVar[str]] = ContextVar("trace_id", default="")
"""The trace that the running task belongs to; `node.problems` sets it per request."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for `record`."""
        line: dict[str, object] = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace_id := TRACE_ID.get():
            line["trace_id"] = trace_id
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line["fields"] = dict(fields)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """One line for a person: clock, level, message, the exception below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatException(  # noqa: N802  (the name is the standard library's)
        self, ei: object
    ) -> str:
        """Return type and places of the exception, see `describe`."""
        error = ei[1] if isinstance(ei, tuple) else None
        if not isinstance(error, BaseException):
            return ""
        found = describe(error)
        return "\n".join(f"    {key}: {value}" for key, value in found.items())


def describe(error: BaseException) -> dict[str, object]:
    """Return what of an exception may be written down."""
    described: dict[str, object] = {"type": type(error).__qualname__}
    if isinstance(error, MachikuraError):
        described["detail"] = error.detail
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    described["at"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    if error.__cause__ is not None:
        described["cause"] = describe(error.__cause__)
    return described


def set_up(settings: LogTable, stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (standard error).

    aiohttp's access log is left out: paths may name records; metrics count requests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
