# SPDX-License-Identifier: Apache-2.0
"""When a kept consent must be fetched anew because somebody has changed keys.

A package that we keep holds a consent signed by its home node, and tickets sealed to
the other side. Both name keys, and keys are changed. While an old key is in overlap the
package still serves, and a fresh one is fetched beside it; after the overlap, or when a
hidden holder's member key has ended, the fresh one is waited for. So no read is lost,
and a home node that changes its key signs only those consents anew that are used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache

from identity.key_changes import KeysOf
from node.addressbook import Addressbook
from protocol.consent import CONSENT
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.membership import MEMBER_KEY, MEMBERSHIP, MemberKey, Membership
from protocol.signature import Received
from protocol.suites import thumbprint
from vault.ledger import KeptConsent

_logger = logging.getLogger(__name__)

Refresh = Callable[[KeptConsent], Awaitable[KeptConsent | None]]
_PAUSE_MS = 5_000
"""After a fetch failed, packages in overlap are not fetched again for so long."""
_MAX_FETCHING = 64


class Need(IntEnum):
    """How badly a fresh package is needed."""

    NONE = 0
    SOON = 1
    NOW = 2


async def _cannot(kept: KeptConsent) -> KeptConsent | None:
    return None


class Freshener:
    """Keeps packages usable over changes of keys."""

    def __init__(self, *, addressbook: Addressbook, now_ms: Callable[[], int]) -> None:
        """Take the parts; without the role `vault` nothing is ever fetched.

        Args:
            addressbook: knows the newest keys.
            now_ms: clock.
        """
        self._addressbook = addressbook
        self._now_ms = now_ms
        self.refresh: Refresh = _cannot
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._paused_until_ms = 0

    async def ready(self, kept: KeptConsent, patience_s: float) -> KeptConsent:
        """Return the package to use now.

        Args:
            kept: as it is kept.
            patience_s: how long a fresh one may be waited for, where it is needed.
        """
        need = self.need(kept)
        if need is Need.NONE:
            return kept
        if need is Need.SOON:
            self._fetch_beside(kept)
            return kept
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                return await self.refresh(kept) or kept
        return kept

    def need(self, kept: KeptConsent) -> Need:
        """Tell how badly a fresh package is needed; asks nobody."""
        found = self._of_home(kept)
        now = self._now_ms() // 1000
        for ticket in kept.package.holders:
            if ticket.member_key is not None:
                if _member_key_ends(ticket.member_key) <= now:
                    return Need.NOW
            elif ticket.node is not None and ticket.membership is not None:
                found = max(found, self._of_ticket(ticket.node, ticket.membership))
        return found

    def _of_home(self, kept: KeptConsent) -> Need:
        newest = self._addressbook.newest(NodeId(kept.consent.iss))
        return Need.NONE if newest is None else self._of(_signed_by(kept), newest)

    def _of_ticket(self, node: NodeId, shown: str) -> Need:
        newest = self._addressbook.newest(node)
        issued, kid = _glance(shown)
        if newest is None or newest.iat <= issued:
            return Need.NONE
        return self._of(kid, newest)

    def _of(self, kid: str, newest: Membership) -> Need:
        keys = KeysOf(newest, self._now_ms() // 1000)
        if keys.present == kid:
            return Need.NONE
        return Need.NOW if keys.earlier(kid) is None else Need.SOON

    def _fetch_beside(self, kept: KeptConsent) -> None:
        """Fetch a fresh package without anybody waiting for it."""
        name = str(kept.consent.jti)
        busy = name in self._fetching or len(self._fetching) >= _MAX_FETCHING
        if busy or self._now_ms() < self._paused_until_ms:
            return
        task = asyncio.create_task(self._fetch(kept))
        self._fetching[name] = task
        task.add_done_callback(lambda _: self._fetching.pop(name, None))

    async def _fetch(self, kept: KeptConsent) -> None:
        try:
            fresh = await self.refresh(kept)
        except MachikuraError as error:
            _logger.info("no fresh package of a consent: %s", error.slug)
            fresh = None
        if fresh is None:
            self._paused_until_ms = self._now_ms() + _PAUSE_MS


def _signed_by(kept: KeptConsent) -> str:
    return _kid_of(kept.package.consent)


@lru_cache(maxsize=4096)
def _kid_of(consent: str) -> str:
    return Received.parse(consent, CONSENT).kid


@lru_cache(maxsize=4096)
def _glance(membership: str) -> tuple[int, str]:
    # Verified where it is used; here it only says which key a ticket was sealed with.
    seen = Received.parse(membership, MEMBERSHIP).peek(Membership)
    return seen.iat, thumbprint(seen.key)


@lru_cache(maxsize=4096)
def _member_key_ends(member_key: str) -> int:
    return Received.parse(member_key, MEMBER_KEY).peek(MemberKey).exp
