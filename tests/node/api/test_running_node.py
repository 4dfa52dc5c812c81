# SPDX-License-Identifier: Apache-2.0
"""A real node with every role, and everything that people may send to its API."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from sqlalchemy import Connection, func, select

from identity.totp import code_at
from node.api.build import build_registry
from node.api.openapi import Endpoint
from node.app import start
from node.clients import Scope
from node.core import Core
from node.health import Checks
from node.metrics import Metrics
from node.new_city import CityAnswers, create_city
from node.schema import METADATA
from node.system import SystemClock, system_entropy
from protocol.canonical import unb64url
from protocol.ids import CityId

NODE = "hoshino/broker"
PASSWORD = "a long enough password"
UNSTABLE = {"throttles", "known_sources", "access_tokens", "sessions"}


@dataclass
class Running:
    """A running node and the two ways in."""

    core: Core
    url: str
    operator: aiohttp.ClientSession
    public: aiohttp.ClientSession

    def endpoints(self) -> list[Endpoint]:
        """Return every endpoint that the node describes."""
        return build_registry(self.core, Metrics(), Checks()).endpoints

    def rows(self) -> dict[str, int]:
        """Count the rows of every table that a refused call must not touch."""

        def count(connection: Connection) -> dict[str, int]:
            return {
                table.name: connection.execute(
                    select(func.count()).select_from(table)
                ).scalar_one()
                for metadata in METADATA
                for table in metadata.sorted_tables
                if table.name not in UNSTABLE
            }

        return self.core.parts.database.read(count)

    async def token(self, *scopes: Scope) -> str:
        """Register an application with these scopes and return a token for it."""
        name = f"app-{system_entropy(4).hex()}"
        body = {"id": name, "scopes": [str(scope) for scope in scopes]}
        async with self.operator.post("/v1/clients", json=body) as made:
            secret = (await made.json())["secret"]
        form = {
            "grant_type": "client_credentials",
            "client_id": name,
            "client_secret": secret,
        }
        async with self.public.post("/oauth/token", data=form) as answer:
            return str((await answer.json())["access_token"])

    async def resident(self, login: str) -> dict[str, str]:
        """Register a resident and return the header of a session with both factors."""
        body = {"login": login, "password": PASSWORD, "name": login}
        async with self.operator.post("/v1/residents", json=body) as made:
            account = await made.json()
        secret, now = unb64url(account["totp_secret"]), SystemClock().now_ms() // 1000
        path = f"/v1/residents/{account['account']}/second-factor"
        code = {"code": code_at(secret, now - 30)}
        async with self.operator.post(path, json=code) as confirmed:
            assert confirmed.status == 204
        body = {"login": login, "password": PASSWORD, "code": code_at(secret, now)}
        async with self.public.post("/v1/sessions", json=body) as signed_in:
            session = await signed_in.json()
        return {"Authorization": f"Session {session['token']}"}


def free_port() -> int:
    """Return a port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def node() -> AsyncIterator[Running]:
    """Return a running node with every role."""
    folder, port = Path(tempfile.mkdtemp(prefix="mk")), free_port()
    made = await asyncio.to_thread(
        create_city,
        CityAnswers(
            city=CityId("hoshino"),
            hosts=("127.0.0.1",),
            port=free_port(),
            key_file=folder / "broker.key",
            settings=(
                ("api.port", port),
                ("link.host", "127.0.0.1"),
                ("node.roles", ("broker", "directory", "vault", "identity")),
            ),
        ),
        folder,
        b"a passphrase for a test",
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    async with AsyncExitStack() as stack:
        core = await start(made.broker, stack)
        operator = await stack.enter_async_context(
            aiohttp.ClientSession(
                "http://localhost",
                connector=aiohttp.UnixConnector(str(made.broker.admin_socket)),
            )
        )
        url = f"http://127.0.0.1:{port}"
        public = await stack.enter_async_context(aiohttp.ClientSession(url))
        yield Running(core, url, operator, public)
    shutil.rmtree(folder, ignore_errors=True)


def filled(path: str) -> str:
    """Return a path with something in the place of each parameter."""
    values = {
        "id": "00000000-0000-7000-8000-000000000000",
        "name": "health.checkup",
        "label": "nobody",
        "account": "nobody",
        "city": "nowhere",
        "agreement": "nothing",
    }
    if path.startswith("/v1/records"):
        values["id"] = (
            "urn:machikura:hoshino:broker:00000000-0000-7000-8000-000000000000"
        )
    if path.startswith("/v1/outbox"):
        values["id"] = "1"
    return path.format(**values)


async def problem(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the problem document, after holding it to its form."""
    assert answer.content_type == "application/problem+json", await answer.text()
    document: dict[str, Any] = json.loads(await answer.text())
    assert document["code"]
    assert document["status"] == answer.status
    for member in ("title_en", "title_ja", "remedy_en", "remedy_ja", "trace_id"):
        assert document[member]
    return document


async def test_api_document_is_valid_and_names_every_route(node: Running) -> None:
    """OpenAPI 3.1, served by the node itself."""
    async with node.public.get("/openapi.json") as answer:
        document = await answer.json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    for endpoint in node.endpoints():
        assert endpoint.method.lower() in document["paths"][endpoint.path]


async def test_health_readiness_figures_and_discovery(node: Running) -> None:
    """What a supervisor and a neighbor ask."""
    async with node.public.get("/healthz") as answer:
        assert (await answer.json())["status"] == "alive"
    async with node.public.get("/readyz") as answer:
        assert answer.status == 200, await answer.text()
    headers = {"Authorization": f"Bearer {await node.token(Scope.STATUS_READ)}"}
    async with node.public.get("/metrics", headers=headers) as answer:
        assert "database_commits" in await answer.text()
    async with node.public.get("/.well-known/machikura") as answer:
        assert (await answer.json())["city"] == "hoshino"


async def test_nobody_gets_in_without_token_scope_or_session(node: Running) -> None:
    """Default deny, generated from the route table."""
    every = {scope: await node.token(scope) for scope in Scope}
    for endpoint in node.endpoints():
        if endpoint.scope is None and not endpoint.resident:
            continue
        path = filled(endpoint.path)
        async with node.public.request(endpoint.method, path) as answer:
            assert answer.status == 401, endpoint.path
            await problem(answer)
        for scope, token in every.items():
            if scope == endpoint.scope:
                continue
            headers = {"Authorization": f"Bearer {token}"}
            async with node.public.request(
                endpoint.method, path, headers=headers
            ) as answer:
                assert answer.status == 403, (endpoint.path, scope)
                await problem(answer)


BAD_BODIES = {
    "empty": b"",
    "not json": b"{",
    "not utf-8": b'{"a":"\xff"}',
    "not an object": b"[]",
    "duplicate member": b'{"login":"a","login":"b"}',
    "not a number": b'{"a":NaN}',
    "deeply nested": b"[" * 5000 + b"]" * 5000,
    "unknown member": b'{"no-such-member":1}',
    "lone surrogate": b'{"login":"\\ud800"}',
}


@pytest.mark.parametrize("kind", BAD_BODIES)
async def test_bad_bodies_are_refused_and_leave_nothing(
    node: Running, kind: str
) -> None:
    """Each endpoint with a body answers a problem; no row appears or goes."""
    before = node.rows()
    for endpoint in node.endpoints():
        if endpoint.body is None or endpoint.resident:
            continue
        async with node.operator.request(
            endpoint.method,
            filled(endpoint.path),
            data=BAD_BODIES[kind],
            headers={"Content-Type": "application/json"},
        ) as answer:
            assert 400 <= answer.status < 500, (endpoint.path, await answer.text())
            await problem(answer)
    assert node.rows() == before


async def test_wrong_content_type_query_and_method_are_refused(node: Running) -> None:
    """The usual slips, each with its own code."""
    async with node.operator.post("/v1/records", data="a=b") as answer:
        assert answer.status == 415
    async with node.operator.get("/v1/status?verbose=1") as answer:
        assert (await problem(answer))["code"] == "invalid-input"
    async with node.operator.put("/v1/status") as answer:
        assert (await problem(answer))["code"] == "method-not-allowed"
    async with node.operator.get("/v1/nothing") as answer:
        assert (await problem(answer))["code"] == "not-found"


async def test_one_node_can_be_home_and_holder_and_residents_stay_apart(
    node: Running,
) -> None:
    """Roles are configuration; swapped ids in every /v1/me path find nothing."""
    hanako, taro = await node.resident("hanako"), await node.resident("taro-1")
    wish = {"holder": NODE}
    async with node.public.post(
        "/v1/me/link-codes", json=wish, headers=hanako
    ) as answer:
        code = (await answer.json())["code"]
    claim = {"home": NODE, "code": code, "subject": "H-1"}
    async with node.operator.post("/v1/links", json=claim) as answer:
        assert answer.status == 201, await answer.text()
    consent = {
        "recipients": ["hoshino/market"],
        "holders": [NODE],
        "scope": [{"dataset_type": "shopping.purchase"}],
        "purposes": ["household-budget"],
        "ends": SystemClock().now_ms() // 1000 + 86_400,
    }
    async with node.public.post(
        "/v1/me/consents", json=consent, headers=hanako
    ) as answer:
        assert answer.status == 201, await answer.text()
        identifier = (await answer.json())["id"]
    for endpoint in node.endpoints():
        if not endpoint.path.startswith("/v1/me/") or "{" not in endpoint.path:
            continue
        path = endpoint.path.format(id=identifier, city="hoshino", label="broker")
        async with node.public.request(
            endpoint.method, path, headers=taro, json={} if endpoint.body else None
        ) as answer:
            assert (await problem(answer))["code"] == "not-found", endpoint.path
    async with node.public.get("/v1/me/consents", headers=taro) as answer:
        assert (await answer.json())["consents"] == []
    async with node.public.get("/v1/me/consents", headers=hanako) as answer:
        (mine,) = (await answer.json())["consents"]
        assert mine["state"] == "active"
