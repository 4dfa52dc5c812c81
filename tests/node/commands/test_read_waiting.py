# SPDX-License-Identifier: Apache-2.0
"""Reads that wait: by command, by API, with a callback; real nodes on loopback."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from node import cli
from node.commands.read import moment_of
from tests.node.commands.test_read import WHAT, agreed
from tests.node.commands.town import Town, free_port

pytestmark = pytest.mark.slow
SECRET = "a secret of the application"
Call = tuple[dict[str, str], bytes]


def test_wait_is_given_as_a_time_or_as_how_long() -> None:
    """Anything else goes to the node as it is, which refuses it."""
    assert moment_of("90m", 1_800_000_000) == "2027-01-15T09:30:00Z"
    assert moment_of("3d", 1_800_000_000) == "2027-01-18T08:00:00Z"
    assert moment_of("2027-01-15T09:30:00Z", 0) == "2027-01-15T09:30:00Z"


async def test_read_waits_and_is_shown_when_the_holder_is_back(town: Town) -> None:
    """By command; the requester is restarted in between."""
    consent = await agreed(town)
    read = "read", "--consent", consent, *WHAT, "--wait-until"
    now = await town.json("market", *read, "1h")
    assert len(now["results"][0]["records"]) == 2
    await town.stop("energy")
    waits = await town.json("market", *read, "1h")
    assert waits["state"] == "waiting"
    assert waits["results"][0]["problem"]["code"] == "node-away"
    status = "read", "--status", waits["id"]
    assert "waits until" in await town.ok("market", *status)
    assert waits["id"] in await town.ok("market", "read", "--waiting")
    other = await town.json("market", *read, "2h")
    assert (await town.json("market", "read", "--cancel", other["id"]))["cancelled"]
    for act in ("--cancel", "--status"):
        assert await town.refused("market", "read", act, other["id"]) == "not-found"
    await town.stop("market")
    await town.start("market", "energy")
    ended = await town.eventually(
        "market", *status, true=lambda d: d["state"] == "ended"
    )
    (result,) = ended["results"]
    assert len(result["records"]) == 2
    assert "✓ hoshino/energy: 2 records" in await town.ok("market", *status)
    for bad in (("yesterday",), ("2020-01-01T00:00:00Z",)):
        assert await town.refused("market", *read, *bad) == "malformed"
    assert (await town.run("market", "read")).status == cli.USAGE
    both = "read", "--status", "a", "--cancel", "b"
    assert (await town.run("market", *both)).status == cli.USAGE


async def test_application_is_called_back_and_sees_its_own_reads_only(
    town: Town,
) -> None:
    """Signed; repeated until it is taken; the results need the application's token."""
    calls: list[Call] = []
    taken = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        calls.append((dict(request.headers), await request.read()))
        if len(calls) == 1:
            return web.Response(status=500)
        taken.set()
        return web.Response(status=204)

    port = free_port()
    _allow(town, f"http://127.0.0.1:{port}/hooks")
    consent = await agreed(town)
    await town.stop("energy")
    application = web.Application()
    application.router.add_post("/hooks/read", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with _Application(town, "one") as one, _Application(town, "two") as two:
            body = _wish(consent, f"http://127.0.0.1:{port}/hooks/read")
            prefer = {"Prefer": "respond-async, wait=3600"}
            async with one.post(READ, json=body, headers=prefer) as answer:
                assert answer.status == 202
                assert answer.headers["Preference-Applied"] == "respond-async"
                where = answer.headers["Location"]
                waits = await answer.json()
            assert waits["until_ms"] - waits["created_ms"] == 3_600_000
            for method in ("GET", "DELETE"):
                async with two.request(method, where) as answer:
                    assert answer.status == 404
            async with two.get(KEPT) as answer:
                assert (await answer.json())["reads"] == []
            await town.start("energy")
            async with asyncio.timeout(30):
                await taken.wait()
            async with one.get(where) as answer:
                ended = await answer.json()
            assert len(ended["results"][0]["records"]) == 2
            await _refuses_other_places(one, consent, port)
    finally:
        await runner.cleanup()
    first, second = calls
    for headers, payload in (first, second):
        assert json.loads(payload)["id"] == waits["id"]
        assert headers["webhook-signature"] == _signature(headers, payload)
        assert b"usage" not in payload


READ, KEPT = "/v1/exchanges/read", "/v1/exchanges/reads"


def _wish(consent: str, url: str) -> dict[str, Any]:
    return {
        "dataset_type": WHAT[1],
        "purpose": WHAT[3],
        "consent": consent,
        "callback": {"url": url, "secret": SECRET},
    }


async def _refuses_other_places(
    session: aiohttp.ClientSession, consent: str, port: int
) -> None:
    """No application may make the node call where the operator does not allow."""
    prefer = {"Prefer": "respond-async"}
    for url in (
        "http://169.254.169.254/latest",
        f"http://127.0.0.1:{port + 1}/hooks/read",
        f"http://127.0.0.1:{port}/hooks/../admin",
        f"http://user@127.0.0.1:{port}/hooks/read",
    ):
        body = _wish(consent, url)
        async with session.post(READ, json=body, headers=prefer) as answer:
            assert answer.status == 422, url
            assert (await answer.json())["code"] == "callback-not-allowed"
    async with session.post(READ, json=_wish(consent, "http://x/hooks")) as answer:
        assert (await answer.json())["code"] == "malformed"


def _signature(headers: dict[str, str], payload: bytes) -> str:
    """Return the signature that Standard Webhooks asks for."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
    mac = hmac.digest(SECRET.encode(), text + payload, "sha256")
    return f"v1,{base64.b64encode(mac).decode()}"


def _allow(town: Town, url: str) -> None:
    """Let the market's operator allow callbacks to a place; sets a port, too."""
    file = town.config("market")
    lines = file.read_text(encoding="utf-8").splitlines()
    at = lines.index("[api]") + 1
    lines[at:at] = [f'callback_urls = ["{url}"]']
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Application:
    """A local application of the market, with its token."""

    def __init__(self, town: Town, name: str) -> None:
        self._town, self._name = town, name

    async def __aenter__(self) -> aiohttp.ClientSession:
        settings = self._town.cores["market"].parts.settings
        operator = aiohttp.ClientSession(
            "http://localhost",
            connector=aiohttp.UnixConnector(str(settings.admin_socket)),
        )
        body = {"id": self._name, "scopes": ["exchange:read"]}
        async with operator:
            async with operator.post("/v1/clients", json=body) as made:
                secret = (await made.json())["secret"]
            form = {
                "grant_type": "client_credentials",
                "client_id": self._name,
                "client_secret": secret,
            }
            async with operator.post("/oauth/token", data=form) as answer:
                token = (await answer.json())["access_token"]
        # Through the operators' socket, too: who shows a token there acts as its owner.
        self._session = aiohttp.ClientSession(
            "http://localhost",
            connector=aiohttp.UnixConnector(str(settings.admin_socket)),
            headers={"Authorization": f"Bearer {token}"},
        )
        return self._session

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
