# SPDX-License-Identifier: Apache-2.0
"""The yardstick: one process of a bare HTTP chain that verifies and signs at each hop.

    python tests/bench/chain.py PORT [NEXT_PORT]

aiohttp on uvloop, kept connections, a 1.5 kB body each way. Every process verifies one
Ed25519 signature over what came in and signs what goes out (PyNaCl): the first three
what they pass on, the last one the record. An answer goes back as it came. No storage,
no consent, no sealing, no TLS, no log: the least that a signed federated read over four
processes can cost, against which the real one is measured.

It is given what our nodes give themselves: uvloop, one session with kept connections,
no access log, and the garbage collector kept off everything alive after start.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator

import nacl.bindings
import uvloop
from aiohttp import ClientSession, TCPConnector, web

BODY_BYTES = 1500
SIGNATURE = "X-Signature"
PUBLIC, SECRET = nacl.bindings.crypto_sign_seed_keypair(bytes(range(32)))
RECORD = b"x" * BODY_BYTES
SESSION: web.AppKey[ClientSession] = web.AppKey("session", ClientSession)


def sign(body: bytes) -> str:
    """Return the signature over `body` in hex."""
    signed: bytes = nacl.bindings.crypto_sign(body, SECRET)
    return signed[:64].hex()


def verify(signature: str, body: bytes) -> None:
    """Raise unless the signature is good."""
    nacl.bindings.crypto_sign_open(bytes.fromhex(signature) + body, PUBLIC)


def session() -> ClientSession:
    """Return a client that keeps as many connections as there are requests."""
    return ClientSession(connector=TCPConnector(limit=0))


async def answer(request: web.Request) -> web.Response:
    """Verify, and answer with the record, signed: the last process."""
    verify(request.headers[SIGNATURE], await request.read())
    return web.Response(body=RECORD, headers={SIGNATURE: sign(RECORD)})


def passing_on(next_port: int) -> web.Application:
    """Verify, sign and pass on: each of the other processes."""
    url = f"http://127.0.0.1:{next_port}/"

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        verify(request.headers[SIGNATURE], body)
        headers = {SIGNATURE: sign(body)}
        async with request.app[SESSION].post(url, data=body, headers=headers) as far:
            record = await far.read()
            kept = {SIGNATURE: far.headers[SIGNATURE]}
        return web.Response(body=record, headers=kept)

    async def keep_session(app: web.Application) -> AsyncIterator[None]:
        async with session() as app[SESSION]:
            yield

    app = web.Application()
    app.router.add_post("/", handle)
    app.cleanup_ctx.append(keep_session)
    return app


def last() -> web.Application:
    """Return the application of the last process."""
    app = web.Application()
    app.router.add_post("/", answer)
    return app


async def quiet_collector(_: web.Application) -> None:
    """Keep the garbage collector off what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def main() -> None:
    """Serve until terminated."""
    app = last() if len(sys.argv) < 3 else passing_on(int(sys.argv[2]))
    app.on_startup.append(quiet_collector)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
