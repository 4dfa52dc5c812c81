# SPDX-License-Identifier: Apache-2.0
"""Links are renewed before the memberships that opened them end.

A link ends with the credentials that either side has shown in its handshake, though
both have newer ones by then. So the side that dialed opens a second link in time; new
exchanges take the younger one, and the old one ends when nothing can be under way on
it any more. No exchange is lost to a renewal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

from federation.dialer import Dialer
from federation.hub import LinkHub
from federation.link import Link
from federation.ports import Clock, Connect
from protocol.errors import MachikuraError

_logger = logging.getLogger(__name__)

_CONNECT_S = 30.0


class Relinker:
    """Replaces the dialed links of one node."""

    def __init__(
        self,
        *,
        hub: LinkHub,
        dialer: Dialer,
        connect: Connect,
        clock: Clock,
        own_ends: Callable[[], int],
        margin_s: int,
        drain_s: float,
    ) -> None:
        """Take the parts.

        Args:
            hub: the links.
            dialer: knows where each peer listens.
            connect: opens a pipe.
            clock: for the end of memberships, and for waiting.
            own_ends: when our present membership ends, seconds since 1970.
            margin_s: a link is replaced so long before it ends.
            drain_s: how long an exchange may be under way.
        """
        self._hub = hub
        self._dialer = dialer
        self._connect = connect
        self._clock = clock
        self._own_ends = own_ends
        self._margin_s = margin_s
        self._drain_s = drain_s
        self._ends: WeakKeyDictionary[Link, int] = WeakKeyDictionary()
        self._leaving: WeakKeyDictionary[Link, bool] = WeakKeyDictionary()

    def note(self, link: Link) -> None:
        """Note what was shown when a link came up."""
        self._ends[link] = min(self._own_ends(), link.peer.expires_ms // 1000)

    async def renew(self) -> int:
        """Replace the links that end soon; returns how many were."""
        now = self._clock.now_ms() // 1000
        due = [link for link in self._hub.links if self._is_due(link, now)]
        replaced = [link for link in due if await self._replace(link)]
        if replaced:
            await self._clock.sleep(self._drain_s)
            for link in replaced:
                link.end()
        return len(replaced)

    def _is_due(self, link: Link, now: int) -> bool:
        if not link.dialed or link in self._leaving:
            return False
        ends = self._ends.get(link)
        # A link to somebody who shows nothing newer than before gains nothing.
        fresh = self._own_ends() - now > self._margin_s
        return ends is not None and ends - now <= self._margin_s and fresh

    async def _replace(self, link: Link) -> bool:
        for status in self._dialer.status():
            if status.target.node == link.peer.node:
                break
        else:
            return False
        self._leaving[link] = True
        try:
            async with asyncio.timeout(_CONNECT_S):
                pipe = await self._connect(status.target.url)
            await self._hub.dial(pipe, expected=link.peer.node)
        except (MachikuraError, OSError, TimeoutError) as error:
            _logger.info("the link to %s is not renewed yet: %s", link.peer.node, error)
            del self._leaving[link]
            return False
        return True
