# SPDX-License-Identifier: Apache-2.0
"""Calls a running node as its operator, through the admin Unix socket.

    client = ApiClient(settings.admin_socket)
    client.post("/v1/clients", {"id": "emr", "scopes": ["records:read"]})

Whoever can open the socket is the operator; there is no password to leak. Standard
library only, so that commands start quickly.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import urlencode

import orjson

from protocol.errors import MachikuraError

Query: TypeAlias = Mapping[str, str | int]
Content: TypeAlias = bytes | BinaryIO
"""Bytes, or an open file that is sent piece by piece."""


class NodeUnreachable(MachikuraError):
    """Nobody listens at the socket, or it does not speak as a node does.

    Attributes:
        stopped: nobody listens, so no node runs with this socket.
    """

    slug = "peer-unreachable"

    def __init__(self, detail: str, *, stopped: bool = False) -> None:
        super().__init__(detail)
        self.stopped = stopped


class NodeProblem(MachikuraError):
    """The node answered with a problem document.

    Attributes:
        status: HTTP status.
        document: the problem document.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or status))
        self.slug = str(document.get("code", "unknown-problem"))
        self.status = status
        self.document = document


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        # Files go in pieces of this size.
        super().__init__("localhost", timeout=timeout_s, blocksize=1 << 20)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of to host and port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class ApiClient:
    """One node, seen by its operator. Each call opens a connection of its own."""

    def __init__(
        self, admin_socket: Path, *, timeout_s: float = 30.0, session: str | None = None
    ) -> None:
        """Take what every call needs.

        Args:
            admin_socket: where the node listens for operators.
            timeout_s: longest silence of the node.
            session: a resident's session token; calls are then made as that resident,
                who may do less than the operator.
        """
        self._socket = admin_socket
        self._timeout_s = timeout_s
        self._session = session

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return the JSON document at `path`; raises as `request` does."""
        return self.request("GET", path, query=query)

    def post(self, path: str, body: object, query: Query | None = None) -> Any:
        """Post JSON and return the answer; raises as `request` does."""
        return self.request("POST", path, body=body, query=query)

    def put(self, path: str, body: object, query: Query | None = None) -> Any:
        """Put JSON and return the answer; raises as `request` does."""
        return self.request("PUT", path, body=body, query=query)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """Delete and return the answer; raises as `request` does."""
        return self.request("DELETE", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Query | None = None,
    ) -> Any:
        """Make one call.

        Args:
            method: HTTP method.
            path: path, already percent-encoded.
            body: sent as JSON, unless it is None.
            query: parameters.

        Returns:
            The parsed JSON of the answer, text of another type, None without a body.

        Raises:
            NodeUnreachable: the node does not run here, or does not answer in time.
            NodeProblem: it refused or failed.
        """
        if body is None:
            return self._call(method, path, query, None, "")
        return self._call(method, path, query, orjson.dumps(body), "application/json")

    def upload(
        self,
        path: str,
        content: Content,
        query: Query | None = None,
        *,
        media: str = "application/octet-stream",
    ) -> Any:
        """Post a file as it is; an open one is never read as a whole.

        Args:
            path: path, already percent-encoded.
            content: the bytes, or a file open for reading.
            query: parameters.
            media: type of the content.

        Returns, raises:
            as `request`.
        """
        return self._call("POST", path, query, content, media)

    @contextmanager
    def download(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Query | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Call, and give the answer's content to be read piece by piece.

        Reading raises `OSError` or `http.client.HTTPException` where the node or the
        connection breaks off.

        Raises:
            NodeUnreachable, NodeProblem: as `request`.
        """
        content = None if body is None else orjson.dumps(body)
        with self._open(method, path, query, content, "application/json") as response:
            if response.status >= 400:
                kind, payload = response.getheader("Content-Type"), response.read()
                _answer(response.status, kind, payload)
            yield response

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None,
        content: Content | None,
        media: str,
    ) -> Any:
        with self._open(method, path, query, content, media) as response:
            try:
                payload = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._silent(error) from error
            kind = response.getheader("Content-Type")
        return _answer(response.status, kind, payload)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: Query | None,
        content: Content | None,
        media: str,
    ) -> Iterator[http.client.HTTPResponse]:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept-Language": _accept_language()}
        if content is not None:
            headers["Content-Type"] = media
        if self._session is not None:
            headers["Authorization"] = f"Session {self._session}"
        connection = _SocketConnection(self._socket, self._timeout_s)
        try:
            # It may have refused before everything was sent: the answer says why.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body=content, headers=headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._silent(error) from error
        try:
            yield response
        finally:
            connection.close()

    def _silent(self, error: Exception) -> NodeUnreachable:
        return NodeUnreachable(
            f"nothing answers at {self._socket}; start it with `machikura serve`",
            stopped=isinstance(error, FileNotFoundError | ConnectionRefusedError),
        )


def _answer(status: int, content_type: str | None, payload: bytes) -> Any:
    kind = (content_type or "").partition(";")[0].strip()
    is_json = kind == "application/json" or kind.endswith("+json")
    try:
        content = orjson.loads(payload) if is_json and payload else payload.decode()
    except ValueError as error:
        raise NodeUnreachable("the answer is not what a node sends") from error
    if status >= 400:
        document = content if isinstance(content, dict) else {"title": "HTTP error"}
        raise NodeProblem(status, {"status": status, **document})
    return content or None if not is_json else content


def _accept_language() -> str:
    locale = os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "ja" if locale.startswith("ja") else "en"
