# SPDX-License-Identifier: Apache-2.0
"""The yardstick of a stream: one process of a plain HTTP download through proxies.

    python tests/bench/proxy.py PORT FILE         # serves the file
    python tests/bench/proxy.py PORT NEXT_PORT    # passes on what comes from there

aiohttp on uvloop, 64 KiB at a time, the file by `sendfile`. No TLS, no sealing, no
digest, no consent: the least that moving a file through two processes costs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop
from aiohttp import ClientSession, ClientTimeout, web

_PIECE_BYTES = 65_536


def serving(file: Path) -> web.Application:
    """Serve one file."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    app = web.Application()
    app.router.add_get("/", handle)
    return app


def passing_on(next_port: int) -> web.Application:
    """Pass on what the next process serves, piece by piece."""
    url = f"http://127.0.0.1:{next_port}/"

    async def handle(request: web.Request) -> web.StreamResponse:
        unlimited = ClientTimeout(total=None)
        async with ClientSession(timeout=unlimited) as session, session.get(url) as far:
            length = far.headers["Content-Length"]
            answer = web.StreamResponse(headers={"Content-Length": length})
            await answer.prepare(request)
            async for piece in far.content.iter_chunked(_PIECE_BYTES):
                await answer.write(piece)
            await answer.write_eof()
        return answer

    app = web.Application()
    app.router.add_get("/", handle)
    return app


def main() -> None:
    """Serve until terminated."""
    port, what = int(sys.argv[1]), sys.argv[2]
    app = passing_on(int(what)) if what.isdigit() else serving(Path(what))
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
