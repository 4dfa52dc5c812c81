# SPDX-License-Identifier: Apache-2.0
"""Endpoints described once: strict input, checked permission, honest documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from aiohttp import ClientResponse, ClientSession, UnixConnector, web
from aiohttp.test_utils import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field
from pytest_aiohttp import AiohttpClient

from node.api.registry import Registry, Reply
from node.auth import Caller, Gate, bind_admin_socket
from node.clients import Scope
from node.database import InlineDatabase
from node.limits import RateLimit
from node.problems import problem_middleware
from protocol.ids import NodeId, RecordId
from protocol.model import Request
from tests.node.conftest import CountedEntropy, SetClock

RECORD = "urn:machikura:hoshino:clinic:01970000-0000-7000-8000-000000000000"


class Thing(Request):
    """Something to store."""

    name: Annotated[str, Field(max_length=10)]
    count: int = 0
    public: bool = False
    node: NodeId | None = None


class Where(Request):
    """Path and query."""

    id: RecordId
    limit: Annotated[int, Field(ge=1, le=100, description="Most entries.")] = 10
    deep: bool = False


class Echo(Request):
    """What the handler saw."""

    caller: str
    seen: str


def make_registry() -> Registry:
    """Return endpoints of every shape."""
    registry = Registry(title="Example", version="1")

    @registry.route(
        "POST",
        "/things",
        summary=("Store", "蓄積する"),
        tag="things",
        status=201,
        problems=("conflict",),
    )
    async def store(body: Thing, caller: Caller) -> Echo:
        return Echo(caller=caller.name, seen=repr((body.name, body.count, body.public)))

    @registry.route("GET", "/things/{id}", summary=("Show", "表示する"), tag="things")
    async def show(params: Where) -> Echo:
        return Echo(caller="", seen=repr((str(params.id), params.limit, params.deep)))

    @registry.route(
        "DELETE",
        "/things/{id}",
        summary=("Remove", "削除する"),
        tag="things",
        status=204,
    )
    async def remove(params: Where) -> None:
        return None

    @registry.route(
        "GET",
        "/guarded",
        summary=("Guarded", "要権限"),
        tag="things",
        scope=Scope.RECORDS_READ,
        resident=True,
    )
    async def guarded() -> Echo:
        return Echo(caller="", seen="")

    @registry.route(
        "POST",
        "/guarded",
        summary=("Guarded", "要権限"),
        tag="things",
        scope=Scope.RECORDS_WRITE,
    )
    async def guarded_store(body: Thing) -> Echo:
        return Echo(caller="", seen="")

    @registry.route(
        "GET", "/reply", summary=("Reply", "応答"), tag="things", returns=Echo
    )
    async def reply() -> Reply:
        echo = Echo(caller="", seen="x")
        return Reply(echo, status=202, headers={"Location": "/things/1"})

    @registry.route(
        "GET",
        "/stream",
        summary=("Stream", "逐次"),
        tag="things",
        media="application/x-ndjson",
    )
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        return response

    return registry


@pytest.fixture
async def client(
    aiohttp_client: AiohttpClient,
    database: InlineDatabase,
    clock: SetClock,
    admin_socket: Path,
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Serve the endpoints."""
    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=100, burst=100),
    )
    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_routes(make_registry().build(gate, max_body_bytes=1000))
    yield await aiohttp_client(app)


async def code(response: ClientResponse) -> tuple[int, str]:
    """Return status and code of a problem."""
    document = await response.json(content_type="application/problem+json")
    return response.status, document["code"]


async def test_models_go_in_and_out(client: TestClient[Any, Any]) -> None:
    """The handler sees what was sent; the answer is its model."""
    response = await client.post("/things", json={"name": "a", "count": 2})
    assert response.status == 201
    assert response.content_type == "application/json"
    assert await response.json() == {"caller": "anyone", "seen": "('a', 2, False)"}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"", (400, "malformed")),
        (b"{", (400, "malformed")),
        (b"\xff", (400, "malformed")),
        (b'{"name": "a", "name": "b"}', (400, "malformed")),
        (b'{"name": "a", "count": NaN}', (400, "malformed")),
        (b'{"name": "\\ud800"}', (400, "malformed")),
        (b"[" * 900, (413, "too-large")),
        (b'{"name": "' + b"a" * 1000 + b'"}', (413, "too-large")),
        (b"[]", (422, "invalid-input")),
        (b"null", (422, "invalid-input")),
        (b"{}", (422, "invalid-input")),
        (b'{"name": "a", "surprise": 1}', (422, "invalid-input")),
        (b'{"name": "a", "count": "1"}', (422, "invalid-input")),
        (b'{"name": "a", "count": 1.0}', (422, "invalid-input")),
        (b'{"name": "a", "count": true}', (422, "invalid-input")),
        (b'{"name": "a", "public": 0}', (422, "invalid-input")),
        (b'{"name": 5}', (422, "invalid-input")),
        (b'{"name": "more than ten"}', (422, "invalid-input")),
        (b'{"name": "a", "node": "no node id"}', (422, "invalid-input")),
    ],
)
async def test_bad_body_is_refused(
    client: TestClient[Any, Any], body: bytes, outcome: tuple[int, str]
) -> None:
    """Number 0 is never false, text is never a number, and no member is ignored."""
    headers = {"Content-Type": "application/json"}
    response = await client.post("/things", data=body, headers=headers)
    assert await code(response) == outcome


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/json; charset=latin-1", "application/xml", ""],
)
async def test_body_of_another_type_is_refused(
    client: TestClient[Any, Any], kind: str
) -> None:
    """A form of another site in a browser cannot send JSON unasked."""
    response = await client.post(
        "/things", data=b'{"name": "a"}', headers={"Content-Type": kind}
    )
    assert await code(response) == (415, "unsupported-media-type")


async def test_parameters_come_from_path_and_query(
    client: TestClient[Any, Any],
) -> None:
    """As one model, with their types."""
    response = await client.get(f"/things/{RECORD}?limit=5&deep=true")
    assert (await response.json())["seen"] == repr((RECORD, 5, True))
    response = await client.get(f"/things/{RECORD}")
    assert (await response.json())["seen"] == repr((RECORD, 10, False))


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        ("/things/5", (422, "invalid-input")),
        (f"/things/{RECORD}?limit=0", (422, "invalid-input")),
        (f"/things/{RECORD}?limit=many", (422, "invalid-input")),
        (f"/things/{RECORD}?limit=", (422, "invalid-input")),
        (f"/things/{RECORD}?deep=perhaps", (422, "invalid-input")),
        (f"/things/{RECORD}?surprise=1", (422, "invalid-input")),
        (f"/things/{RECORD}?limit=1&limit=2", (400, "malformed")),
        (f"/things/{RECORD}?id={RECORD}", (400, "malformed")),
        ("/reply?surprise=1", (422, "invalid-input")),
        ("/nowhere", (404, "not-found")),
    ],
)
async def test_bad_parameters_are_refused(
    client: TestClient[Any, Any], target: str, outcome: tuple[int, str]
) -> None:
    """Unknown, repeated and ill-typed ones."""
    assert await code(await client.get(target)) == outcome


async def test_permission_comes_before_the_body(client: TestClient[Any, Any]) -> None:
    """Strangers learn nothing about what a body should be."""
    response = await client.post("/guarded", data=b"{{{")
    assert await code(response) == (401, "unauthenticated")


async def test_answer_without_body_is_204(client: TestClient[Any, Any]) -> None:
    """And has none."""
    response = await client.delete(f"/things/{RECORD}")
    assert (response.status, await response.read()) == (204, b"")


async def test_reply_sets_status_and_headers(client: TestClient[Any, Any]) -> None:
    """Where the model alone is not enough."""
    response = await client.get("/reply")
    assert (response.status, response.headers["Location"]) == (202, "/things/1")


async def test_handler_may_stream(client: TestClient[Any, Any]) -> None:
    """Large answers never stand in memory as a whole."""
    assert await (await client.get("/stream")).read() == b"{}\n"


async def test_operator_passes_every_scope(
    aiohttp_client: AiohttpClient, database: InlineDatabase, admin_socket: Path
) -> None:
    """The same endpoints serve the command line."""
    gate = Gate(
        database=database,
        now_ms=lambda: 0,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=1, burst=1),
    )
    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_routes(make_registry().build(gate, max_body_bytes=1000))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin_socket)).start()
    connector = UnixConnector(str(admin_socket))
    async with (
        ClientSession(connector=connector) as session,
        session.get("http://localhost/guarded") as response,
    ):
        assert response.status == 200
    await runner.cleanup()


async def test_document_is_valid_openapi_and_served(
    client: TestClient[Any, Any],
) -> None:
    """Offline, at a fixed place, by the official schema of OpenAPI 3.1."""
    document = await (await client.get("/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]["/things/{id}"]) == {"get", "delete"}


def test_document_says_what_the_endpoints_do() -> None:
    """Summaries in two languages, permissions, parameters, problems by status."""
    paths = make_registry().openapi()["paths"]
    store, show = paths["/things"]["post"], paths["/things/{id}"]["get"]
    assert (store["summary"], store["x-summary-ja"]) == ("Store", "蓄積する")
    assert "security" not in store
    assert paths["/guarded"]["get"]["security"] == [
        {"application": ["records:read"]},
        {"resident": []},
    ]
    body = store["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Thing"}
    assert [(p["name"], p["in"], p["required"]) for p in show["parameters"]] == [
        ("id", "path", True),
        ("limit", "query", False),
        ("deep", "query", False),
    ]
    assert "conflict" in store["responses"]["409"]["description"]
    assert "204" in paths["/things/{id}"]["delete"]["responses"]


def test_document_holds_no_input_model_for_parameters() -> None:
    """They are listed one by one; a second time would confuse generators."""
    schemas = make_registry().openapi()["components"]["schemas"]
    assert schemas.keys() == {"Thing", "Echo", "Problem"}


class Lax(BaseModel):
    """A model that takes "1" for 1."""

    count: int


def test_lax_model_cannot_be_an_input() -> None:
    """The mistake is found when the program starts, not by an attacker."""
    registry = Registry(title="Example", version="1")
    with pytest.raises(TypeError, match="Lax must be strict"):

        @registry.route("POST", "/", summary=("", ""), tag="x")
        async def handler(body: Lax) -> None: ...


def test_handler_cannot_ask_for_what_does_not_exist() -> None:
    """Also found at start."""
    registry = Registry(title="Example", version="1")
    with pytest.raises(TypeError, match="cannot ask for database"):

        @registry.route("GET", "/", summary=("", ""), tag="x")
        async def handler(database: int) -> None: ...


def test_document_can_be_written_as_json() -> None:
    """Nothing in it is a Python object."""
    json.dumps(make_registry().openapi())


@pytest.mark.parametrize(
    ("method", "path", "goes_on"),
    [("GET", "/slow", False), ("POST", "/ask", False), ("POST", "/change", True)],
)
async def test_work_that_nobody_waits_for_ends_unless_it_changes_something(
    database: InlineDatabase,
    clock: SetClock,
    admin_socket: Path,
    method: str,
    path: str,
    goes_on: bool,
) -> None:
    """The caller hangs up in the middle."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), list[str]()
    done = asyncio.Event()
    registry = Registry(title="t", version="1")

    async def work() -> None:
        begun.set()
        try:
            await go_on.wait()
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cut")
            raise
        finally:
            done.set()

    words = ("s", "要約")
    registry.route("GET", "/slow", summary=words, tag="t")(work)
    registry.route("POST", "/ask", summary=words, tag="t", abandoned=True)(work)
    registry.route("POST", "/change", summary=words, tag="t")(work)
    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=100, burst=100),
    )
    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_routes(registry.build(gate, max_body_bytes=1000))
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin_socket)).start()
    connector = UnixConnector(str(admin_socket))
    async with ClientSession(connector=connector) as session:
        asking = asyncio.ensure_future(
            session.request(method, f"http://localhost{path}")
        )
        async with asyncio.timeout(10):
            await begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    if goes_on:
        go_on.set()
    async with asyncio.timeout(10):
        await done.wait()
    assert ended == ["finished" if goes_on else "cut"]
    await runner.cleanup()
