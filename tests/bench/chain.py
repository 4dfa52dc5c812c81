# SPDX-License-Identifier: Apache-2.0
"""The yardstick: one process of a bare HTTP chain that verifies and signs at each hop.

    python tests/bench/chain.py PORT [NEXT_PORT]

aiohttp on uvloop, kept connections, a 1.5 kB body, one Ed25519 verification of what
came in and one signature over what goes out (PyNaCl). No storage, no consent, no
sealing: what a federated read over the same number of processes is measured against.
"""

from __future__ import annotations

import sys

import nacl.bindings
import uvloop
from aiohttp import ClientSession, TCPConnector, web

SEED = bytes(range(32))
PUBLIC, SECRET = nacl.bindings.crypto_sign_seed_keypair(SEED)
RECORD = b"x" * 1500


def sign(body: bytes) -> str:
    """Return the signature over `body` in hex."""
    return nacl.bindings.crypto_sign(body, SECRET)[:64].hex()


def verify(signature: str, body: bytes) -> None:
    """Raise unless the signature is good."""
    nacl.bindings.crypto_sign_open(bytes.fromhex(signature) + body, PUBLIC)


def application(next_port: int | None) -> web.Application:
    """Return one hop: the last one answers, the others pass on."""
    session = web.AppKey("session", ClientSession)

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        verify(request.headers["X-Signature"], body)
        if next_port is None:
            return web.Response(body=RECORD, headers={"X-Signature": sign(RECORD)})
        headers = {"X-Signature": sign(body)}
        url = f"http://127.0.0.1:{next_port}/"
        async with request.app[session].post(url, data=body, headers=headers) as far:
            answer = await far.read()
        return web.Response(body=answer, headers=headers)

    async def keep_session(app: web.Application):  # type: ignore[no-untyped-def]  # aiohttp's shape
        app[session] = ClientSession(connector=TCPConnector(limit=0))
        yield
        await app[session].close()

    app = web.Application()
    app.router.add_post("/", handle)
    app.cleanup_ctx.append(keep_session)
    return app


def main() -> None:
    """Serve until terminated."""
    port = int(sys.argv[1])
    next_port = int(sys.argv[2]) if len(sys.argv) > 2 else None
    web.run_app(
        application(next_port),
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
