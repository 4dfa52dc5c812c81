# SPDX-License-Identifier: Apache-2.0
"""A cable that can be pulled: forwards TCP on loopback until it is cut.

The demo puts one between a home node and its broker, to show what happens to consents
when a home node is cut off: every open connection breaks, and new ones are refused
until the cable is plugged in again.
"""

from __future__ import annotations

import asyncio
import contextlib


class Cable:
    """One forwarded port."""

    def __init__(self, target_port: int) -> None:
        """Prepare a cable to a port on loopback."""
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port to connect to."""
        return self._port

    async def plug(self) -> None:
        """Start forwarding, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self._target_port
            )
        except OSError:
            writer.close()
            self._open.discard(writer)
            return
        self._open.add(far_writer)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
