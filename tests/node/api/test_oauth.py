# SPDX-License-Identifier: Apache-2.0
"""Client credentials (RFC 6749): both ways to authenticate, errors as the RFC says."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from node import clients
from node.api.oauth import TokenEndpoint
from node.clients import Scope, by_token
from node.database import InlineDatabase
from node.limits import RateLimit
from node.problems import problem_middleware
from tests.node.conftest import CountedEntropy, SetClock

FORM = "application/x-www-form-urlencoded"
GRANT = "grant_type=client_credentials"
SCOPES = frozenset({Scope.RECORDS_READ, Scope.EXCHANGE_READ})

Ask: TypeAlias = Callable[..., Awaitable[tuple[int, dict[str, Any], dict[str, str]]]]


@pytest.fixture
async def secret(database: InlineDatabase) -> str:
    """Register the application `emr`."""
    entropy = CountedEntropy()
    return await database.write(
        lambda c: clients.add(c, "emr", "", SCOPES, now_ms=0, entropy=entropy)
    )


@pytest.fixture
async def ask(
    aiohttp_client: AiohttpClient, database: InlineDatabase, clock: SetClock
) -> AsyncIterator[Ask]:
    """Serve the token endpoint: three failed attempts, then one in ten seconds."""
    endpoint = TokenEndpoint(
        database=database,
        now_ms=clock.now_ms,
        entropy=CountedEntropy(calls=100),
        life_s=600,
        failures=RateLimit(per_s=0.1, burst=3),
    )
    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_routes(endpoint.routes())
    client = await aiohttp_client(app)

    async def post(
        body: str | bytes, authorization: str = "", kind: str = FORM
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"Content-Type": kind}
        if authorization:
            headers["Authorization"] = authorization
        response = await client.post("/oauth/token", data=body, headers=headers)
        return response.status, await response.json(), dict(response.headers)

    yield post


def basic(client: str, secret: str) -> str:
    """Return the header of client_secret_basic (section 2.3.1)."""
    pair = f"{quote_plus(client)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def posted(client: str, secret: str) -> str:
    """Return the form of client_secret_post."""
    return f"{GRANT}&client_id={client}&client_secret={quote_plus(secret)}"


async def test_token_is_given_and_works(
    ask: Ask, secret: str, database: InlineDatabase, clock: SetClock
) -> None:
    """With all scopes of the client, if it asks for none."""
    status, answer, headers = await ask(GRANT, basic("emr", secret))
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    token = answer.pop("access_token")
    assert answer == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "exchange:read records:read",
    }
    owner = database.read(lambda c: by_token(c, token, clock.now_ms()))
    assert owner is not None
    assert (owner.client, owner.scopes) == ("emr", SCOPES)


async def test_secret_in_the_form_works_too(ask: Ask, secret: str) -> None:
    """Some libraries only do that."""
    assert (await ask(posted("emr", secret)))[0] == 200


async def test_token_may_be_asked_with_less_scope(ask: Ask, secret: str) -> None:
    """Least rights, chosen by the application itself."""
    body = f"{GRANT}&scope=records%3Aread"
    assert (await ask(body, basic("emr", secret)))[1]["scope"] == "records:read"


@pytest.mark.parametrize(
    "scope", ["admin", "records:read+admin", "", "+", "no-such", "RECORDS:READ"]
)
async def test_scope_beyond_the_client_is_refused(
    ask: Ask, secret: str, scope: str
) -> None:
    """Not narrowed silently: the application would fail later and elsewhere."""
    status, answer, _ = await ask(f"{GRANT}&scope={scope}", basic("emr", secret))
    assert (status, answer["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("client", "shown"),
    [("emr", "wrong"), ("emr", ""), ("nobody", "wrong"), ("", ""), ("EMR", "wrong")],
)
async def test_wrong_secret_and_unknown_client_look_alike(
    ask: Ask, secret: str, client: str, shown: str
) -> None:
    """Nobody learns which applications there are."""
    expected = {
        "error": "invalid_client",
        "error_description": "unknown client or wrong secret",
    }
    status, answer, headers = await ask(GRANT, basic(client, shown))
    assert (status, answer) == (401, expected)
    assert headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("body", "authorization", "error"),
    [
        ("", "", "invalid_request"),
        ("grant_type=", "", "unsupported_grant_type"),
        ("grant_type=password&username=a", "", "unsupported_grant_type"),
        (f"{GRANT}&{GRANT}", "", "invalid_request"),
        (GRANT, "", "invalid_client"),
        (GRANT, "Bearer abc", "invalid_client"),
        (GRANT, "Basic !!!", "invalid_request"),
        (GRANT, "Basic " + base64.b64encode(b"no-colon").decode(), "invalid_request"),
        (GRANT, "Basic " + base64.b64encode(b"\xff:x").decode(), "invalid_request"),
        (posted("emr", "x"), basic("emr", "x"), "invalid_request"),
        (f"{GRANT}&client_id=other", basic("emr", "x"), "invalid_request"),
        (f"{GRANT}&pad={'x' * 5000}", basic("emr", "x"), "invalid_request"),
        (b"\xff\xfe", "", "invalid_request"),
        (f"{GRANT}&scope=%ff", basic("emr", "x"), "invalid_request"),
    ],
)
async def test_bad_request_is_refused_in_the_words_of_the_rfc(
    ask: Ask, secret: str, body: str | bytes, authorization: str, error: str
) -> None:
    """Errors of section 5.2, never a stack trace."""
    status, answer, _ = await ask(body, authorization)
    assert answer["error"] == error
    assert status == (401 if error == "invalid_client" else 400)


async def test_json_is_no_form(ask: Ask, secret: str) -> None:
    """The RFC allows the one encoding."""
    answer = (await ask(b"{}", "", kind="application/json"))[1]
    assert answer["error"] == "invalid_request"


async def test_guessing_is_slowed_down_even_for_the_right_secret(
    ask: Ask, secret: str, clock: SetClock
) -> None:
    """Else the waiting itself would tell when a guess is right."""
    for _ in range(3):
        assert (await ask(GRANT, basic("emr", "wrong")))[0] == 401
    status, answer, headers = await ask(GRANT, basic("emr", secret))
    assert (status, answer["error"], headers["Retry-After"]) == (429, "slow_down", "10")
    clock.advance(10)
    assert (await ask(GRANT, basic("emr", secret)))[0] == 200


async def test_guessing_one_client_does_not_lock_out_another(
    ask: Ask, secret: str
) -> None:
    """All applications may sit behind one address."""
    for _ in range(4):
        await ask(GRANT, basic("other", "wrong"))
    assert (await ask(GRANT, basic("emr", secret)))[0] == 200


async def test_good_requests_cost_nothing(ask: Ask, secret: str) -> None:
    """Only failures are counted."""
    statuses = [(await ask(GRANT, basic("emr", secret)))[0] for _ in range(10)]
    assert statuses == [200] * 10
