# SPDX-License-Identifier: Apache-2.0
"""The broker's side of waiting reads: keep waits, tell the requesters.

When a member's link comes up, what waits for it is moved into the outbox, in one
transaction: told exactly to those that were kept, at least once, also through a crash
of this broker. See `federation.waits`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from federation.exchange import Answer, Endpoint, Refused
from federation.outbox import Message, Outbox, OutboxFull
from federation.waits import Waits
from node.addressbook import Addressbook
from node.database import Database
from node.deliveries import Deliveries
from protocol.envelope import Kind, RoutingHeader
from protocol.ids import NodeId
from protocol.request import NodeBack

_logger = logging.getLogger(__name__)

_KIND: Final = "node-back"
_CHUNK: Final = 200
"""Waits that are moved into the outbox in one transaction."""


class WaitsDesk:
    """Keeps waits at the broker of the holder's city, and tells when it is over."""

    def __init__(
        self,
        *,
        waits: Waits,
        exchanges: Endpoint,
        addressbook: Addressbook,
        outbox: Outbox,
        deliveries: Deliveries,
        database: Database,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts and say how requesters are told."""
        self._waits = waits
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._outbox = outbox
        self._database = database
        self._now_ms = now_ms
        deliveries.on(_KIND, self._send)

    async def keep(self, header: RoutingHeader, holder: NodeId) -> bool:
        """Keep the wait that an exchange names, whose receiver has no link.

        Args:
            header: of the exchange; it has passed every check of a relay step.
            holder: where it would have gone.

        Returns:
            Whether the sender will be told.
        """
        wait = header.wait
        if wait is None:
            return False
        known = self._database.read(
            lambda c: self._waits.is_kept(c, header.sender, wait.id)
        )
        if known:
            return True
        return await self._database.write(
            lambda c: self._waits.keep(
                c,
                requester=header.sender,
                wait=wait.id,
                holder=holder,
                until_ms=wait.until_ms,
                now_ms=self._now_ms(),
            )
        )

    async def back(self, holder: NodeId) -> None:
        """Tell everybody who waits for a holder that its link is up."""
        waited = partial(self._waits.any_for, holder=holder)
        move = partial(self._move, holder=holder)
        while self._database.read(waited):
            await self._database.write(move)
            self._outbox.wake()

    def _move(self, connection: Connection, holder: NodeId) -> None:
        for one in self._waits.take(connection, holder, self._now_ms(), _CHUNK):
            try:
                self._outbox.put(
                    connection,
                    one.requester,
                    _KIND,
                    one.wait.encode(),
                    expires_ms=one.until_ms,
                )
            except OutboxFull:
                # It asks again by itself, only later.
                _logger.info("nobody tells %s: its queue is full", one.requester)

    def forget(self, connection: Connection, now: int) -> None:
        """Delete waits that are over."""
        self._waits.forget(connection, now * 1000)

    async def _send(self, message: Message) -> Answer | Refused | None:
        target = await self._addressbook.target(message.destination)
        return await self._exchanges.ask(
            target, Kind.NOTIFY, NodeBack(wait=message.content.decode())
        )
