# SPDX-License-Identifier: Apache-2.0
"""Calls the application back when its read has ended.

The call says which read has ended and nothing of its content; the application fetches
the results under its own token. It is signed in the form of Standard Webhooks, with the
secret that the application gave for this read:

    webhook-id: <id of the read>
    webhook-timestamp: <seconds since 1970>
    webhook-signature: v1,<base64 HMAC-SHA256(secret, "id.timestamp.body")>

A call counts once it is answered with 2xx; else it is repeated by a back-off that is
stored, until the results are deleted. It goes only where the operator allows: else any
application could make this node call into the operator's own network.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import re
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import orjson

from federation.ports import Clock
from node.database import Database
from node.waiting import Wish
from node.world import Post
from protocol.errors import MachikuraError
from vault.waiting import WaitingRead, WaitingReads

_logger = logging.getLogger(__name__)

_AT_ONCE: Final = 4
_FIRST_MS: Final = 2_000
_LONGEST_MS: Final = 600_000
_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[A-Za-z0-9:/?&=._~\[\]-]{1,1000}")
"""No escapes, no backslashes: what different programs read in different ways."""


class CallbackRefused(MachikuraError):
    """Callbacks may not go to this address."""

    slug = "callback-not-allowed"


def allowed(url: str, permitted: tuple[str, ...]) -> bool:
    """Tell whether callbacks may go to a URL.

    Args:
        url: what an application asks for.
        permitted: URLs whose origin, and start of path, it must share.
    """
    wanted = _place(url)
    return wanted is not None and any(
        _leads_to(known, wanted)
        for known in map(_place, permitted)
        if known is not None
    )


_Place: TypeAlias = tuple[str, str, int | None, str]


def _place(url: str) -> _Place | None:
    """Return scheme, host, port and path; None for what could be read in two ways."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    odd = parts.username is not None or parts.fragment or not _PLAIN.fullmatch(url)
    if parts.scheme not in _PORTS or not parts.hostname or odd:
        return None
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        return None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path


def _leads_to(known: _Place, wanted: _Place) -> bool:
    """Tell whether a place lies under another."""
    start, path = known[3].rstrip("/"), wanted[3]
    same = known[:3] == wanted[:3]
    return same and (path == start or path.startswith(start + "/") or not start)


def sign(secret: str, identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that prove where a call comes from."""
    text = f"{identifier}.{timestamp}.".encode() + body
    mac = hmac.digest(secret.encode(), text, "sha256")
    return {
        "Content-Type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class Callbacks:
    """Calls what is due."""

    def __init__(
        self,
        *,
        store: WaitingReads,
        database: Database,
        clock: Clock,
        post: Post,
        permitted: tuple[str, ...],
    ) -> None:
        """Take the parts; nobody is called before `run`.

        Args:
            store: which reads have ended.
            database: where they are kept.
            clock: time.
            post: the way out.
            permitted: see `allowed`.
        """
        self._store = store
        self._database = database
        self._clock = clock
        self._post = post
        self._permitted = permitted
        self._changed = asyncio.Event()

    def check(self, url: str) -> None:
        """Hold an address to what the operator allows.

        Raises:
            CallbackRefused: it is not among them.
        """
        if not allowed(url, self._permitted):
            raise CallbackRefused("see the setting api.callback_urls")

    def wake(self) -> None:
        """Look for work now."""
        self._changed.set()

    async def run(self) -> None:
        """Call until cancelled."""
        while True:
            self._changed.clear()
            now_ms = self._clock.now_ms()
            due = self._database.read(
                partial(self._store.due_callbacks, limit=_AT_ONCE)
            )
            ready = [read for read, at_ms in due if at_ms <= now_ms]
            if ready:
                await asyncio.gather(*(self._call(read) for read in ready))
                continue
            pause_s = (due[0][1] - now_ms) / 1000 if due else None
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _call(self, identifier: str) -> None:
        read = self._database.read(lambda c: self._store.get(c, identifier))
        if read is None:
            return
        callback = Wish.decode(read.wish).callback
        # Looked at again: the operator may have changed the settings since.
        if callback is None or not allowed(callback.url, self._permitted):
            await self._note(read, None)
            return
        now_ms = self._clock.now_ms()
        body = orjson.dumps({"type": "read.ended", "id": identifier, "at_ms": now_ms})
        headers = sign(callback.secret, identifier, now_ms // 1000, body)
        try:
            status = await self._post(callback.url, body, headers)
        except (OSError, TimeoutError) as error:
            _logger.info("callback of %s failed: %s", identifier, type(error).__name__)
            status = 0
        if 200 <= status < 300:
            await self._note(read, None)
        else:
            wait = min(_FIRST_MS << min(read.callback_failures, 20), _LONGEST_MS)
            await self._note(read, now_ms + wait)

    async def _note(self, read: WaitingRead, at_ms: int | None) -> None:
        failures = 0 if at_ms is None else read.callback_failures + 1
        await self._database.write(
            lambda c: self._store.set_callback(c, read.id, at_ms, failures)
        )
