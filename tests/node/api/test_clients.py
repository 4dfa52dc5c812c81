# SPDX-License-Identifier: Apache-2.0
"""Operators manage applications over the API, through a real admin socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from node.api import clients
from node.api.registry import Registry
from node.auth import Gate, bind_admin_socket
from node.commands.api_client import ApiClient, NodeProblem
from node.database import InlineDatabase
from node.limits import RateLimit
from node.problems import problem_middleware
from tests.node.conftest import START_MS, CountedEntropy, SetClock

EMR = {"id": "emr", "title": "電子カルテ", "scopes": ["records:write", "records:read"]}


@pytest.fixture
async def api(
    database: InlineDatabase, clock: SetClock, admin_socket: Path
) -> AsyncIterator[ApiClient]:
    """Serve the endpoints to the operator."""
    registry = Registry(title="Example", version="1")
    entropy = CountedEntropy()
    clients.register(registry, database=database, now_ms=clock.now_ms, entropy=entropy)
    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=1, burst=1),
    )
    app = web.Application(middlewares=[problem_middleware(entropy)])
    app.router.add_routes(registry.build(gate, max_body_bytes=10_000))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin_socket)).start()
    yield ApiClient(admin_socket)
    await runner.cleanup()


async def test_application_is_registered_listed_and_removed(api: ApiClient) -> None:
    """Its secret is seen once."""
    added = await asyncio.to_thread(api.post, "/v1/clients", EMR)
    secret = added.pop("secret")
    assert len(secret) == 43
    assert added == {
        "id": "emr",
        "title": "電子カルテ",
        "scopes": ["records:read", "records:write"],
        "created_ms": START_MS,
    }
    assert await asyncio.to_thread(api.get, "/v1/clients") == {"clients": [added]}
    assert await asyncio.to_thread(api.delete, "/v1/clients/emr") is None
    assert await asyncio.to_thread(api.get, "/v1/clients") == {"clients": []}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**EMR, "id": "Emr"}, "invalid-input"),
        ({**EMR, "id": "../x"}, "invalid-input"),
        ({**EMR, "scopes": []}, "invalid-input"),
        ({**EMR, "scopes": ["everything"]}, "invalid-input"),
        ({**EMR, "secret": "mine"}, "invalid-input"),
        ([], "invalid-input"),
    ],
)
async def test_bad_application_is_refused(
    api: ApiClient, body: object, code: str
) -> None:
    """Nobody chooses a secret, an empty right or an odd name."""
    with pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(api.post, "/v1/clients", body)
    assert caught.value.slug == code


async def test_second_of_a_name_and_unknown_one_are_told(api: ApiClient) -> None:
    """Conflict and not-found."""
    await asyncio.to_thread(api.post, "/v1/clients", EMR)
    with pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(api.post, "/v1/clients", EMR)
    assert (caught.value.status, caught.value.slug) == (409, "conflict")
    with pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(api.delete, "/v1/clients/other")
    assert (caught.value.status, caught.value.slug) == (404, "not-found")
