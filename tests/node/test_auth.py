# SPDX-License-Identifier: Apache-2.0
"""Who is calling: over real sockets, since the operator is told by the socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from aiohttp import ClientSession, UnixConnector, web
from aiohttp.typedefs import Handler
from pytest_aiohttp import AiohttpServer
from sqlalchemy import Connection

from node import clients
from node.auth import OPERATOR, Caller, CallerKind, Gate, bind_admin_socket
from node.clients import EVERY_SCOPE, Scope
from node.database import Database, InlineDatabase
from node.limits import RateLimit
from node.problems import Refused, problem_middleware
from tests.node.conftest import CountedEntropy, SetClock

SESSION = "the-session-token"


async def resolve(token: str) -> Caller | None:
    """Know one resident."""
    if token != SESSION:
        return None
    return Caller(CallerKind.RESIDENT, "account-1", session="details")


def make_gate(database: Database, clock: SetClock, admin_socket: Path) -> Gate:
    """Return a gate that lets two requests a second in, after a burst of five."""
    return Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=2, burst=5),
        residents=resolve,
    )


def make_app(gate: Gate) -> web.Application:
    """Return an application with an endpoint for each kind of permission."""

    def endpoint(scope: Scope | None, resident: bool) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            caller = await gate.admit(request, scope=scope, resident=resident)
            return web.json_response([caller.kind, caller.name, len(caller.scopes)])

        return handler

    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_get("/open", endpoint(None, False))
    app.router.add_get("/read", endpoint(Scope.RECORDS_READ, False))
    app.router.add_get("/mine", endpoint(None, True))
    app.router.add_get("/both", endpoint(Scope.CONSENTS_READ, True))
    return app


@dataclass
class Api:
    """The served application."""

    session: ClientSession
    url: str
    database: InlineDatabase
    clock: SetClock

    async def get(self, path: str, *authorization: str) -> tuple[int, object]:
        """Return status, and the caller or the problem's code."""
        headers = [("Authorization", value) for value in authorization]
        async with self.session.get(self.url + path, headers=headers) as response:
            content = await response.json(content_type=None)
        if isinstance(content, dict):
            return response.status, content["code"]
        return response.status, content

    async def token(self, *scopes: Scope, life_s: int = 60) -> str:
        """Return a token of the application `emr`."""
        entropy = CountedEntropy()
        asked = frozenset(scopes)

        def issue(connection: Connection) -> str:
            now_ms = self.clock.now_ms()
            clients.add(
                connection, "emr", "Records", asked, now_ms=now_ms, entropy=entropy
            )
            client = clients.listed(connection)[0]
            return clients.issue_token(
                connection, client, asked, now_ms=now_ms, life_s=life_s, entropy=entropy
            ).token

        return await self.database.write(issue)


@pytest.fixture
async def api(
    aiohttp_server: AiohttpServer,
    database: InlineDatabase,
    clock: SetClock,
    admin_socket: Path,
) -> AsyncIterator[Api]:
    """Serve the application on a port."""
    server = await aiohttp_server(make_app(make_gate(database, clock, admin_socket)))
    async with ClientSession() as session:
        yield Api(session, str(server.make_url("")).rstrip("/"), database, clock)


async def test_anyone_may_call_what_is_open(api: Api) -> None:
    """Such as the token endpoint and the health checks."""
    assert await api.get("/open") == (200, ["anyone", "anyone", 0])


@pytest.mark.parametrize("path", ["/read", "/mine", "/both"])
async def test_without_credentials_nothing_else_is_allowed(api: Api, path: str) -> None:
    """Default deny."""
    assert await api.get(path) == (401, "unauthenticated")


async def test_token_allows_what_its_scopes_say(api: Api) -> None:
    """And nothing more."""
    bearer = f"Bearer {await api.token(Scope.RECORDS_READ)}"
    assert await api.get("/read", bearer) == (200, ["application", "emr", 1])
    assert await api.get("/both", bearer) == (403, "forbidden")


async def test_even_an_administrator_application_is_no_resident(api: Api) -> None:
    """What a resident sees is for the resident, whatever the scopes."""
    bearer = f"Bearer {await api.token(*Scope)}"
    assert await api.get("/mine", bearer) == (403, "forbidden")


async def test_token_ends_at_its_time(api: Api) -> None:
    """One millisecond decides."""
    bearer = f"Bearer {await api.token(Scope.RECORDS_READ, life_s=60)}"
    api.clock.ms += 59_999
    assert (await api.get("/read", bearer))[0] == 200
    api.clock.ms += 1
    assert await api.get("/read", bearer) == (401, "unauthenticated")


async def test_removing_the_client_ends_its_tokens_at_once(api: Api) -> None:
    """A lost device is locked out by one command."""
    bearer = f"Bearer {await api.token(Scope.RECORDS_READ)}"
    await api.database.write(lambda c: clients.remove(c, "emr"))
    assert await api.get("/read", bearer) == (401, "unauthenticated")


async def test_resident_may_call_what_is_for_residents_only(api: Api) -> None:
    """A session has no scopes."""
    session = f"Session {SESSION}"
    assert await api.get("/mine", session) == (200, ["resident", "account-1", 0])
    assert (await api.get("/both", session))[0] == 200
    assert await api.get("/read", session) == (403, "forbidden")


@pytest.mark.parametrize(
    "header",
    [
        "Session wrong",
        "Bearer wrong",
        "Bearer",
        f"Bearer {SESSION}",
        "Basic ZW1yOng=",
        "Bearer " + "x" * 600,
        "Bearer \xff",
    ],
)
async def test_credentials_that_are_none_are_refused_even_where_anyone_may_come(
    api: Api, header: str
) -> None:
    """A caller who thinks to be signed in must learn of the mistake."""
    for path in ("/read", "/mine", "/open"):
        assert await api.get(path, header) == (401, "unauthenticated")


async def test_two_credentials_at_once_are_refused(api: Api) -> None:
    """Proxies and servers disagree on which of the two counts."""
    bearer = f"Bearer {await api.token(Scope.RECORDS_READ)}"
    assert (await api.get("/read", bearer, f"Session {SESSION}"))[0] == 401


async def test_application_that_asks_too_often_has_to_wait(api: Api) -> None:
    """Others are not affected."""
    bearer = f"Bearer {await api.token(Scope.RECORDS_READ)}"
    outcomes = [(await api.get("/read", bearer))[0] for _ in range(6)]
    assert outcomes == [200] * 5 + [429]
    assert (await api.get("/mine", f"Session {SESSION}"))[0] == 200
    api.clock.advance(0.5)
    assert (await api.get("/read", bearer))[0] == 200


async def ask_through(path: Path, target: str, **headers: str) -> tuple[int, object]:
    """Ask through a Unix socket."""
    connector = UnixConnector(str(path))
    async with (
        ClientSession(connector=connector) as session,
        session.get(f"http://localhost{target}", headers=headers) as response,
    ):
        content = await response.json(content_type=None)
    return response.status, content["code"] if isinstance(content, dict) else content


async def serve_both_sockets(folder: Path) -> list[tuple[int, object]]:
    """Serve one application on the admin socket and on another one, and ask both."""
    admin, other = folder / "admin.sock", folder / "proxy.sock"
    app = make_app(make_gate(InlineDatabase(), SetClock(), admin))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin)).start()
    await web.UnixSite(runner, str(other)).start()
    try:
        return [
            await ask_through(admin, "/read"),
            await ask_through(admin, "/mine"),
            await ask_through(admin, "/mine", Authorization=f"Session {SESSION}"),
            await ask_through(admin, "/read", Authorization=f"Session {SESSION}"),
            await ask_through(admin, "/read", Authorization="Session wrong"),
            await ask_through(other, "/read"),
            await ask_through(other, "/read", Host=str(admin)),
        ]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_operator_is_whoever_comes_through_the_admin_socket(
    tmp_path: Path, run: Callable[..., list[tuple[int, object]]]
) -> None:
    """Not through another one, whatever the headers; and an operator is no resident.

    Who shows a session there acts as that resident, and may do no more than they.
    """
    everything = len(EVERY_SCOPE)
    assert run(serve_both_sockets(tmp_path)) == [
        (200, ["operator", "operator", everything]),
        (403, "forbidden"),
        (200, ["resident", "account-1", 0]),
        (403, "forbidden"),
        (401, "unauthenticated"),
        (401, "unauthenticated"),
        (401, "unauthenticated"),
    ]


def test_admin_socket_is_private(tmp_path: Path) -> None:
    """The file's mode is the operator's password."""
    path = tmp_path / "run" / "admin.sock"
    with bind_admin_socket(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    """A node must start again by itself."""
    path = tmp_path / "admin.sock"
    bind_admin_socket(path).close()
    assert path.exists()
    with bind_admin_socket(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()


def test_socket_of_a_running_node_is_not_taken(tmp_path: Path) -> None:
    """Two nodes on one data folder would be a disaster."""
    path = tmp_path / "admin.sock"
    with bind_admin_socket(path), pytest.raises(OSError, match="another process"):
        bind_admin_socket(path)


async def test_application_a_little_too_fast_is_delayed_before_it_is_refused(
    aiohttp_server: AiohttpServer,
    database: InlineDatabase,
    clock: SetClock,
    admin_socket: Path,
) -> None:
    """Half a second of debt at two a second: one more call, later."""
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=2, burst=5),
        sleep=sleep,
        longest_delay_ms=500,
    )
    server = await aiohttp_server(make_app(gate))
    async with ClientSession() as session:
        api = Api(session, str(server.make_url("")).rstrip("/"), database, clock)
        bearer = f"Bearer {await api.token(Scope.RECORDS_READ)}"
        codes = [(await api.get("/read", bearer))[0] for _ in range(7)]
    assert codes == [200] * 6 + [429]
    assert delays == [0.5]


def test_application_with_many_calls_going_on_leaves_room_for_others(
    database: InlineDatabase, clock: SetClock, admin_socket: Path
) -> None:
    """At most half of what the node works on at once; the operator always comes in."""
    gate = Gate(
        database=database,
        now_ms=clock.now_ms,
        admin_socket=admin_socket,
        rate=RateLimit(per_s=2, burst=5),
        in_flight=4,
    )
    flood, other = (Caller(CallerKind.APPLICATION, name) for name in ("a", "b"))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(gate.at_work(flood))
        with pytest.raises(Refused) as refused, gate.at_work(flood):
            pass
        assert refused.value.refusal.code == "overloaded"
        assert refused.value.refusal.retry_after_ms
        stack.enter_context(gate.at_work(other))
        for _ in range(9):
            stack.enter_context(gate.at_work(OPERATOR))
    with gate.at_work(flood):
        pass
