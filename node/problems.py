# SPDX-License-Identifier: Apache-2.0
"""From errors and refusals to problem documents (RFC 9457): the only such place.

    {"type": "urn:machikura:problem:consent-withdrawn", "title": "…", "status": 403,
     "code": "consent-withdrawn", "detail": "…", "remedy": "…", "trace_id": "…",
     "title_ja": "…", "remedy_ja": "…", "title_en": "…", "remedy_en": "…"}

`title` and `remedy` are in the language that `Accept-Language` prefers. What a caller
sent is never repeated: a wrong value may be personal data. An unexpected exception is
answered with `internal` and a trace id, under which the log has type and place.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from node.logs import TRACE_ID
from protocol.errors import MachikuraError
from protocol.problem import Refusal, describe
from vault.errors import Rejected

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:machikura:problem:"

_log = logging.getLogger(__name__)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_CODE_OF_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    409: "conflict",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-input",
    429: "rate-limited",
    503: "not-ready",
    504: "timeout",
}
_KEPT_HEADERS = ("Allow", "WWW-Authenticate", "Retry-After")


class Refused(MachikuraError):
    """Ends a request with a refusal that is a value elsewhere."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail or refusal.code)
        self.slug = refusal.code
        self.refusal = refusal


@dataclass(frozen=True)
class InputFault:
    """What is wrong with one member of the input.

    Attributes:
        field: its place, such as `period.end`.
        code: stable word of the validator.
        detail, detail_ja: the sentence, empty where there is none in that language.
    """

    field: str
    code: str
    detail: str = ""
    detail_ja: str = ""


@dataclass(frozen=True)
class Problem:
    """A problem before it is written down.

    Attributes:
        code: stable slug of `protocol.problem_catalog`.
        detail: this case, in English, free of personal data.
        retry_after_ms: when asking again may help.
        by: the node that refused, where it was another.
        faults: members of the input that are wrong.
        headers: further headers of the answer.
    """

    code: str
    detail: str = ""
    retry_after_ms: int | None = None
    by: str | None = None
    faults: tuple[InputFault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self, language: str, trace_id: str) -> dict[str, Any]:
        """Return the members of the problem document."""
        entry = describe(self.code)
        ja = language == "ja"
        members: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": entry.title_ja if ja else entry.title_en,
            "status": entry.status,
            "code": self.code,
            "detail": self.detail,
            "remedy": entry.remedy_ja if ja else entry.remedy_en,
            "trace_id": trace_id,
            "title_en": entry.title_en,
            "title_ja": entry.title_ja,
            "remedy_en": entry.remedy_en,
            "remedy_ja": entry.remedy_ja,
        }
        if self.retry_after_ms is not None:
            members["retry_after"] = -(-self.retry_after_ms // 1000)
        if self.by is not None:
            members["by"] = self.by
        if self.faults:
            members["errors"] = [
                {name: value for name, value in vars(fault).items() if value}
                for fault in self.faults
            ]
        return members

    def response(self, request: web.Request) -> web.Response:
        """Return the answer to `request`."""
        language = preferred_language(request.headers.get("Accept-Language", ""))
        document = self.document(language, TRACE_ID.get())
        headers = {**self.headers, "Content-Language": language}
        headers["Vary"] = "Accept-Language"
        headers["Cache-Control"] = "no-store"
        if document["status"] == web.HTTPUnauthorized.status_code:
            headers.setdefault("WWW-Authenticate", 'Bearer realm="machikura"')
        if "retry_after" in document:
            headers["Retry-After"] = str(document["retry_after"])
        return web.Response(
            status=document["status"],
            body=orjson.dumps(document),
            content_type=MEDIA_TYPE,
            headers=headers,
        )


def problem_of(error: Exception) -> Problem:
    """Return the problem that an exception is; `internal` for unexpected ones."""
    if isinstance(error, Refused):
        refusal = error.refusal
        return Problem(refusal.code, refusal.detail, refusal.retry_after_ms, refusal.by)
    if isinstance(error, Rejected):
        faults = tuple(
            InputFault(f.field or "", f.code, f.detail_en, f.detail_ja)
            for f in error.faults
        )
        return Problem(error.slug, error.detail, faults=faults)
    if isinstance(error, MachikuraError):
        return Problem(error.slug, error.detail)
    if isinstance(error, ValidationError):
        faults = input_faults(error)
        return Problem(
            "invalid-input", "some members are not acceptable", faults=faults
        )
    if isinstance(error, TimeoutError):
        return Problem("timeout")
    if isinstance(error, web.HTTPException):
        kept = {k: error.headers[k] for k in _KEPT_HEADERS if k in error.headers}
        return Problem(_CODE_OF_STATUS.get(error.status, "internal"), headers=kept)
    return Problem("internal")


def input_faults(error: ValidationError) -> tuple[InputFault, ...]:
    """Return what pydantic found, without a single value of the input."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return tuple(
        InputFault(_place(fault["loc"]), fault["type"], _sentence(fault))
        for fault in found[:20]
    )


def _place(location: tuple[int | str, ...]) -> str:
    # Member names of the input stand here too, where they are unknown: only plain ones.
    parts = (str(part)[:64] for part in location)
    return ".".join(p if re.fullmatch(r"[\w.-]+", p, re.ASCII) else "?" for p in parts)


def _sentence(fault: Mapping[str, Any]) -> str:
    # These two quote characters of the input.
    if fault["type"] in ("uuid_parsing", "json_invalid"):
        return "Input is not of the right form"
    return str(fault["msg"])


def preferred_language(accept: str) -> str:
    """Return `ja` or `en`, whichever an Accept-Language header prefers."""
    best, language = 0.0, "en"
    for item in accept.split(",")[:20]:
        tag, _, parameter = item.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter.strip())
        if primary in ("ja", "en") and quality > best:
            best, language = quality, primary
    return language


def _quality(parameter: str) -> float:
    match = re.fullmatch(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", parameter)
    return float(match[1]) if match else 0.0 if parameter else 1.0


def problem_middleware(entropy: Callable[[int], bytes]) -> Middleware:
    """Return the middleware that turns every exception into a problem document.

    Args:
        entropy: makes trace ids where the caller sends no `traceparent` (W3C).
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
        token = TRACE_ID.set(match[1] if match else entropy(16).hex())
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return problem_of(error).response(request)
        except Exception as error:  # the outermost loop of a request
            problem = problem_of(error)
            if problem.code == "internal":
                _log.error("a request failed unexpectedly", exc_info=error)
            return problem.response(request)
        finally:
            TRACE_ID.reset(token)

    return middleware
