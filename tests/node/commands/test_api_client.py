# SPDX-License-Identifier: Apache-2.0
"""The operator's way in: problems come back as they are, silence is told as silence."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from node.auth import bind_admin_socket
from node.commands.api_client import ApiClient, NodeProblem, NodeUnreachable
from node.problems import Refused, problem_middleware
from protocol.problem import Refusal
from tests.node.conftest import CountedEntropy


async def echo(request: web.Request) -> web.Response:
    """Return what was asked."""
    body = await request.json() if request.can_read_body else None
    return web.json_response(
        {"method": request.method, "query": dict(request.query), "body": body}
    )


async def refuse(request: web.Request) -> web.Response:
    """Refuse."""
    raise Refused(Refusal("consent-withdrawn", "since Monday", by="minato/hall"))


async def text(request: web.Request) -> web.Response:
    """Return figures."""
    return web.Response(text="figure 1\n")


async def nothing(request: web.Request) -> web.Response:
    """Return nothing."""
    return web.Response(status=204)


async def bare(request: web.Request) -> web.Response:
    """Fail without a problem document."""
    return web.Response(status=502, text="bad gateway")


async def measure(request: web.Request) -> web.Response:
    """Return how an upload arrived."""
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    chunked = request.headers.get("Transfer-Encoding") == "chunked"
    return web.json_response([size, chunked, request.content_type])


async def deaf(request: web.Request) -> web.Response:
    """Refuse without reading what is sent."""
    raise Refused(Refusal("too-large"))


async def who(request: web.Request) -> web.Response:
    """Return what the caller shows."""
    return web.json_response([request.headers.get("Authorization")])


@pytest.fixture
async def client(admin_socket: Path) -> AsyncIterator[ApiClient]:
    """Serve a few paths."""
    app = web.Application(middlewares=[problem_middleware(CountedEntropy())])
    app.router.add_route("*", "/echo", echo)
    for handler in (refuse, text, nothing, bare, who):
        app.router.add_get(f"/{handler.__name__}", handler)
    for handler in (measure, deaf):
        app.router.add_post(f"/{handler.__name__}", handler)
    runner = web.AppRunner(app, lingering_time=0)
    await runner.setup()
    await web.SockSite(runner, bind_admin_socket(admin_socket)).start()
    yield ApiClient(admin_socket)
    await runner.cleanup()


async def test_json_goes_both_ways(client: ApiClient) -> None:
    """With query parameters, percent-encoded."""
    answer = await asyncio.to_thread(client.post, "/echo", {"a": "星"}, {"q": "x y&z"})
    assert answer == {"method": "POST", "query": {"q": "x y&z"}, "body": {"a": "星"}}
    answer = await asyncio.to_thread(client.put, "/echo", [])
    assert (answer["method"], answer["body"]) == ("PUT", [])


async def test_text_and_nothing_come_back_as_such(client: ApiClient) -> None:
    """Figures are text; a removal has no body."""
    assert await asyncio.to_thread(client.get, "/text") == "figure 1\n"
    assert await asyncio.to_thread(client.get, "/nothing") is None


async def test_problem_is_raised_with_its_document(client: ApiClient) -> None:
    """The command prints cause and remedy from it."""
    with pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(client.get, "/refuse")
    assert (caught.value.status, caught.value.slug) == (403, "consent-withdrawn")
    assert caught.value.document["by"] == "minato/hall"


async def test_failure_without_a_problem_document_is_one_too(
    client: ApiClient,
) -> None:
    """Something between us and the node may answer."""
    with pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(client.get, "/bare")
    assert caught.value.status == 502


async def test_open_file_is_sent_in_pieces(client: ApiClient, tmp_path: Path) -> None:
    """Its size does not matter; bytes go as they are."""
    path = tmp_path / "big"
    path.write_bytes(bytes(3_000_000))
    with path.open("rb") as file:
        answer = await asyncio.to_thread(client.upload, "/measure", file)
    assert answer == [3_000_000, True, "application/octet-stream"]
    upload = partial(client.upload, "/measure", b"{}", media="application/json")
    assert await asyncio.to_thread(upload) == [2, False, "application/json"]


async def test_refusal_arrives_although_not_everything_was_sent(
    client: ApiClient, tmp_path: Path
) -> None:
    """The node closes; the answer that it sent before still says why."""
    path = tmp_path / "big"
    path.write_bytes(bytes(30_000_000))
    with path.open("rb") as file, pytest.raises(NodeProblem) as caught:
        await asyncio.to_thread(client.upload, "/deaf", file)
    assert caught.value.slug == "too-large"


async def test_session_is_shown_at_each_call(
    client: ApiClient, admin_socket: Path
) -> None:
    """Without one the operator calls."""
    assert await asyncio.to_thread(client.get, "/who") == [None]
    resident = ApiClient(admin_socket, session="abc")
    assert await asyncio.to_thread(resident.get, "/who") == ["Session abc"]


def test_node_that_does_not_run_is_told(tmp_path: Path) -> None:
    """With the command that starts it."""
    with pytest.raises(NodeUnreachable, match="machikura serve") as caught:
        ApiClient(tmp_path / "admin.sock").get("/")
    assert caught.value.stopped


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-nonsense\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n\xff",
    ],
)
def test_nonsense_is_told_as_no_answer(tmp_path: Path, answer: bytes) -> None:
    """Another program may sit at the socket."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(NodeUnreachable):
            ApiClient(path).get("/")
        thread.join()


def test_silence_ends_at_the_timeout(tmp_path: Path) -> None:
    """A command never hangs."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(NodeUnreachable) as caught:
            ApiClient(path, timeout_s=0.05).get("/")
    assert not caught.value.stopped
