# SPDX-License-Identifier: Apache-2.0
"""Calls a node over its operator's socket, as operator or as a signed-in resident."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from node.commands.api_client import NodeProblem, NodeUnreachable


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DemoClient:
    """One node's API; each call opens a connection of its own."""

    def __init__(self, path: Path, session: str = "") -> None:
        """Talk to the node at `path`."""
        self._path = path
        self._session = session

    def signed_in(self, session: str) -> DemoClient:
        """Return a client that acts for a resident."""
        return DemoClient(self._path, session)

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        """Return the document at `path`."""
        return self._call("GET", path, None, query)

    def post(self, path: str, body: object, query: dict[str, str] | None = None) -> Any:
        """Post JSON and return the answer."""
        return self._call("POST", path, json.dumps(body).encode(), query)

    def upload(
        self, path: str, data: bytes, query: dict[str, str] | None = None
    ) -> Any:
        """Post bytes as they are."""
        return self._call("POST", path, data, query, "application/octet-stream")

    def _call(
        self,
        method: str,
        path: str,
        data: bytes | None,
        query: dict[str, str] | None,
        media: str = "application/json",
    ) -> Any:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Content-Type": media} if data is not None else {}
        if self._session:
            headers["Authorization"] = f"Session {self._session}"
        connection = _Connection(self._path)
        try:
            connection.request(method, target, body=data, headers=headers)
            response = connection.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnreachable("the node does not answer") from error
        finally:
            connection.close()
        try:
            content = json.loads(payload) if payload else None
        except ValueError:
            content = {"detail": payload.decode("utf-8", "replace")}
        if response.status >= 400:
            document = content if isinstance(content, dict) else {}
            raise NodeProblem(response.status, document)
        return content
