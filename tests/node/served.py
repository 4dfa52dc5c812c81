# SPDX-License-Identifier: Apache-2.0
"""A real node with every role, served in a thread, for tests that call it from outside.

Tools that speak HTTP by themselves (schemathesis) block; so the node runs on an event
loop of its own, exactly as `machikura serve` runs it, and the test keeps its thread.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select

from identity.totp import code_at
from node.api.build import build_registry
from node.api.openapi import Endpoint
from node.app import start
from node.clients import Scope
from node.config import Settings
from node.core import Core
from node.health import Checks
from node.metrics import Metrics
from node.new_city import CityAnswers, create_city
from node.schema import METADATA
from node.system import SystemClock, system_entropy
from protocol.canonical import unb64url
from protocol.ids import CityId

T = TypeVar("T")

NODE = "hoshino/broker"
PASSWORD = "a long enough password"
UNSTABLE = frozenset({"throttles", "known_sources", "access_tokens", "sessions"})
"""Tables that a call may touch which is refused afterwards."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    media: str
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def problem(self) -> dict[str, Any]:
        """Return the problem document, after holding it to its form (RFC 9457)."""
        assert self.media == "application/problem+json", self.body[:200]
        document: dict[str, Any] = self.document
        assert document["status"] == self.status
        for member in ("type", "title", "code", "remedy", "trace_id"):
            assert document[member], member
        return document


class Served:
    """A running node and the ways in."""

    def __init__(self, settings: Settings, core: Core, loop: Any, url: str) -> None:
        """Take what runs."""
        self.settings, self.core, self.url = settings, core, url
        self._loop = loop
        self._host = url.removeprefix("http://")

    def endpoints(self) -> list[Endpoint]:
        """Return every endpoint that the node describes."""
        return build_registry(self.core, Metrics(), Checks()).endpoints

    def inside(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something on the node's own loop."""

        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

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

        async def read() -> dict[str, int]:
            return self.core.parts.database.read(count)

        return self.inside(read)

    def drained(self) -> None:
        """Wait until no message waits to be delivered."""
        parts, clock = self.core.parts, SystemClock()
        end = clock.monotonic() + 20

        async def wait() -> None:
            while parts.database.read(parts.outbox.waiting):
                assert clock.monotonic() < end, "messages still wait"
                await clock.sleep(0.01)

        self.inside(wait)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        data: bytes | None = None,
        operator: bool = False,
    ) -> Answer:
        """Call the API.

        Args:
            method: HTTP method.
            path: with the query.
            body: sent as JSON.
            headers: further headers.
            data: sent as it is, instead of `body`.
            operator: through the operators' socket instead of TCP.
        """
        sent = dict(headers or {})
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = (
            _OverSocket(self.settings.admin_socket)
            if operator
            else HTTPConnection(self._host, timeout=30)
        )
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        media = response.headers.get_content_type()
        return Answer(response.status, media, content)

    def token(self, *scopes: Scope) -> dict[str, str]:
        """Register an application with these scopes; return its header."""
        name = f"app-{system_entropy(4).hex()}"
        made = self.call(
            "POST",
            "/v1/clients",
            {"id": name, "scopes": [str(scope) for scope in scopes]},
            operator=True,
        )
        form = (
            f"grant_type=client_credentials&client_id={name}"
            f"&client_secret={made.document['secret']}"
        )
        granted = self.call(
            "POST",
            "/oauth/token",
            data=form.encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        return {"Authorization": f"Bearer {granted.document['access_token']}"}

    def resident(self, login: str) -> dict[str, str]:
        """Register a resident; return the header of a session with two factors."""
        body = {"login": login, "password": PASSWORD, "name": login}
        account = self.call("POST", "/v1/residents", body, operator=True).document
        secret, now = unb64url(account["totp_secret"]), SystemClock().now_ms() // 1000
        path = f"/v1/residents/{account['account']}/second-factor"
        first = {"code": code_at(secret, now - 30)}
        assert self.call("POST", path, first, operator=True).status < 300
        code = code_at(secret, now)
        body = {"login": login, "password": PASSWORD, "code": code}
        session = self.call("POST", "/v1/sessions", body).document
        return {"Authorization": f"Session {session['token']}"}


class _OverSocket(HTTPConnection):
    """HTTP over the operators' socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def free_port() -> int:
    """Return a port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving() -> Iterator[Served]:
    """Serve a node with every role until the block ends."""
    folder, port = Path(tempfile.mkdtemp(prefix="mk")), free_port()
    made = create_city(
        CityAnswers(
            city=CityId("hoshino"),
            hosts=("127.0.0.1",),
            port=free_port(),
            key_file=folder / "broker.key",
            settings=(
                ("api.port", port),
                ("link.host", "127.0.0.1"),
                ("metrics.open", True),
                (
                    "node.roles",
                    ("broker", "directory", "vault", "identity", "portal"),
                ),
                ("limits.client_rate_per_s", 100_000.0),
                ("limits.client_burst", 100_000),
                ("limits.max_body_bytes", 1_000_000),
                ("limits.deadline_ms", 1_000),
            ),
        ),
        folder,
        b"a passphrase for a test",
        now_ms=SystemClock().now_ms(),
        entropy=system_entropy,
    )
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    cores: list[Core] = []

    async def run() -> None:
        async with AsyncExitStack() as stack:
            cores.append(await start(made.broker, stack))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(30), "the node did not start"
        yield Served(made.broker, cores[0], loop, f"http://127.0.0.1:{port}")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
