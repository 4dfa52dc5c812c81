# SPDX-License-Identifier: Apache-2.0
"""Every failure becomes a problem document with cause and remedy, and leaks nothing."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from pydantic import BaseModel
from pytest_aiohttp import AiohttpClient

from identity.errors import NotFound
from node.logs import JsonLines
from node.problems import (
    MEDIA_TYPE,
    Problem,
    Refused,
    preferred_language,
    problem_middleware,
    problem_of,
)
from protocol.errors import BadSignature, Malformed, Misuse
from protocol.ids import NodeId
from protocol.model import Request
from protocol.problem import Refusal
from protocol.problem_catalog import CATALOG
from tests.node.conftest import CountedEntropy
from vault.errors import Fault, Rejected

CANARY = "星野花子-0123"

Ask: TypeAlias = Callable[..., Awaitable[tuple[ClientResponse, dict[str, Any]]]]


class Inner(Request):
    """A nested member."""

    node: NodeId
    count: int


class Outer(Request):
    """Some input."""

    inner: Inner


def invalid_input() -> None:
    """Fail as a body with wrong members does."""
    Outer.model_validate_json(
        json.dumps({"inner": {"node": CANARY, "count": CANARY}, CANARY: 1})
    )


def raising(error: Exception) -> Callable[[], None]:
    """Return a function that raises."""

    def fail() -> None:
        raise error

    return fail


FAILURES: dict[str, Callable[[], None]] = {
    "bad-signature": raising(BadSignature("the key does not verify it")),
    "not-found": raising(NotFound("no such record")),
    "refused": raising(
        Refused(Refusal("consent-withdrawn", "since Monday", by="minato/hall"))
    ),
    "limited": raising(Refused(Refusal("rate-limited", retry_after_ms=1500))),
    "input": invalid_input,
    "timeout": raising(TimeoutError()),
    "unexpected": raising(RuntimeError(f"cannot store {CANARY}")),
    "foreign": raising(ValueError(CANARY)),
    "unauthorized": raising(web.HTTPUnauthorized()),
    "large": raising(web.HTTPRequestEntityTooLarge(1, 2)),
    "media": raising(web.HTTPUnsupportedMediaType()),
    "redirect": raising(web.HTTPFound("/elsewhere")),
    "newer-code": raising(Refused(Refusal("a-code-of-the-future", "newer peer"))),
    "record": raising(
        Rejected((Fault("type", "weight", "must be a number", "数値ではありません"),))
    ),
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect what is logged, as a node would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("node")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


@pytest.fixture
async def ask(aiohttp_client: AiohttpClient) -> AsyncIterator[Ask]:
    """Return a function that asks an application which fails as the path says."""

    async def handler(request: web.Request) -> web.Response:
        FAILURES[request.match_info["name"]]()
        return web.Response()

    middleware = problem_middleware(CountedEntropy())
    app = web.Application(middlewares=[middleware], client_max_size=100)
    app.router.add_get("/{name}", handler)
    client: TestClient[web.Request, web.Application] = await aiohttp_client(app)

    async def get(
        path: str, method: str = "GET", **headers: str
    ) -> tuple[ClientResponse, dict[str, Any]]:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        response = await client.request(
            method, path, headers=named, allow_redirects=False
        )
        text = await response.text()
        is_problem = response.content_type == MEDIA_TYPE
        return response, json.loads(text) if is_problem else {}

    yield get


async def test_problem_has_all_its_members(ask: Ask) -> None:
    """RFC 9457's members, our code, and the words in both languages."""
    response, problem = await ask("/bad-signature")
    entry = CATALOG["bad-signature"]
    trace_id = problem.pop("trace_id")
    assert len(trace_id) == 32
    assert response.status == 403
    assert problem == {
        "type": "urn:machikura:problem:bad-signature",
        "title": entry.title_en,
        "status": 403,
        "code": "bad-signature",
        "detail": "the key does not verify it",
        "remedy": entry.remedy_en,
        "title_en": entry.title_en,
        "title_ja": entry.title_ja,
        "remedy_en": entry.remedy_en,
        "remedy_ja": entry.remedy_ja,
    }


async def test_language_follows_the_reader(ask: Ask) -> None:
    """Browsers of Japanese residents say so."""
    response, problem = await ask("/bad-signature", Accept_Language="ja,en;q=0.5")
    assert response.headers["Content-Language"] == "ja"
    assert problem["title"] == CATALOG["bad-signature"].title_ja
    assert problem["remedy"] == CATALOG["bad-signature"].remedy_ja


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/not-found", 404, "not-found"),
        ("/refused", 403, "consent-withdrawn"),
        ("/input", 422, "invalid-input"),
        ("/timeout", 504, "timeout"),
        ("/unexpected", 500, "internal"),
        ("/foreign", 500, "internal"),
        ("/unauthorized", 401, "unauthenticated"),
        ("/large", 413, "too-large"),
        ("/media", 415, "unsupported-media-type"),
        ("/record", 422, "schema-violation"),
        ("/newer-code", 502, "a-code-of-the-future"),
        ("/no/such/path", 404, "not-found"),
    ],
)
async def test_each_failure_has_its_status_and_code(
    ask: Ask, path: str, status: int, code: str
) -> None:
    """Aiohttp's own errors, ours and foreign ones alike."""
    response, problem = await ask(path)
    assert (response.status, problem["code"]) == (status, code)
    assert response.headers["Cache-Control"] == "no-store"


async def test_wrong_method_names_the_right_ones(ask: Ask) -> None:
    """RFC 9110 asks for Allow."""
    response, problem = await ask("/input", method="DELETE")
    assert problem["code"] == "method-not-allowed"
    assert "GET" in response.headers["Allow"]


async def test_missing_credentials_name_the_way_to_show_them(ask: Ask) -> None:
    """RFC 9110 asks for WWW-Authenticate."""
    response, _ = await ask("/unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_waiting_time_is_in_header_and_body(ask: Ask) -> None:
    """Rounded up: whoever waits as told is let in."""
    response, problem = await ask("/limited")
    assert response.headers["Retry-After"] == "2"
    assert problem["retry_after"] == 2


async def test_refusal_of_another_party_names_it(ask: Ask) -> None:
    """The asker learns who said no."""
    _, problem = await ask("/refused")
    assert (problem["by"], problem["detail"]) == ("minato/hall", "since Monday")


async def test_redirect_is_no_problem(ask: Ask) -> None:
    """Only failures are translated."""
    response, problem = await ask("/redirect")
    assert (response.status, problem) == (302, {})


async def test_wrong_members_are_named_and_never_repeated(ask: Ask) -> None:
    """Not even the name of an unknown member, where it is no plain word."""
    response, problem = await ask("/input")
    assert [e["field"] for e in problem["errors"]] == ["inner.node", "inner.count", "?"]
    assert CANARY not in await response.text()


async def test_faults_of_a_record_come_in_both_languages(ask: Ask) -> None:
    """People mend records, so they get sentences."""
    _, problem = await ask("/record")
    assert problem["errors"] == [
        {
            "field": "weight",
            "code": "type",
            "detail": "must be a number",
            "detail_ja": "数値ではありません",
        }
    ]


async def test_unexpected_failure_is_logged_by_place_and_trace_only(
    ask: Ask, log: io.StringIO
) -> None:
    """A foreign exception quotes values; neither answer nor log may."""
    response, problem = await ask("/unexpected")
    line = json.loads(log.getvalue())
    assert line["trace_id"] == problem["trace_id"]
    assert line["exception"]["type"] == "RuntimeError"
    assert any("test_problems.py" in place for place in line["exception"]["at"])
    assert CANARY not in log.getvalue()
    assert CANARY not in await response.text()


async def test_trace_of_the_caller_is_kept(ask: Ask) -> None:
    """W3C trace context: one id across nodes."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    _, problem = await ask("/input", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert problem["trace_id"] == trace


async def test_trace_that_is_none_is_replaced(ask: Ask) -> None:
    """A header of any content must not get into the log."""
    _, problem = await ask("/input", traceparent=f"00-{'x' * 32}-b7ad6b7169203331-01")
    assert "x" not in problem["trace_id"]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr,ja;q=0.3,en;q=0.2", "ja"),
        ("fr", "en"),
        ("ja;q=0", "en"),
        ("ja;q=nonsense,en;q=0.1", "en"),
        (",;,q=;" * 1000, "en"),
    ],
)
def test_preferred_language(header: str, language: str) -> None:
    """Broken headers mean English, never an error."""
    assert preferred_language(header) == language


def test_slug_of_every_error_is_in_the_catalog() -> None:
    """Else an operator would read `unknown-problem`."""

    def classes(root: type[Exception]) -> Iterator[type[Exception]]:
        yield root
        for below in root.__subclasses__():
            yield from classes(below)

    ours = [c for c in classes(Misuse) if c.__module__.split(".")[0] == "node"]
    assert ours
    assert {getattr(c, "slug", "") for c in ours} <= CATALOG.keys()


def test_foreign_exception_is_internal_and_silent() -> None:
    """Its text is nobody's business."""
    assert problem_of(KeyError(CANARY)) == Problem("internal")
    assert problem_of(Malformed("bad")).detail == "bad"


async def test_cancelled_request_stays_cancelled() -> None:
    """A client that leaves is no failure."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raise asyncio.CancelledError

    middleware = problem_middleware(CountedEntropy())
    request: Any = type("R", (), {"headers": {}})()
    with pytest.raises(asyncio.CancelledError):
        await middleware(request, handler)


def test_model_errors_of_other_libraries_hide_values() -> None:
    """The same rule for a model that is not one of ours."""

    class Foreign(BaseModel):
        number: int

    with pytest.raises(ValueError) as caught:
        Foreign.model_validate({"number": CANARY})
    problem = problem_of(caught.value)
    assert CANARY not in json.dumps(problem.document("en", ""), ensure_ascii=False)
