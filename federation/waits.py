# SPDX-License-Identifier: Apache-2.0
"""Who wants to be told when a node of our city has its link again (plain SQL).

A read whose holder has no link is refused; its routing header may name a *wait*: an id
and an end. The broker of the holder's city keeps the wait, and nothing of the read: no
body, no token, no person. When the holder's link is up, each requester is told the id,
and sends a fresh read by itself. So nothing that waits can be stale when it is carried
out, and a broker has nothing to open.

Waits are bounded: by requester, by the requester's city, and by holder. One that is
repeated is kept once.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from federation.tables import waits
from protocol.ids import CityId, NodeId

_c = waits.c


@dataclass(frozen=True)
class WaitLimits:
    """Bounds of what a broker keeps.

    Attributes:
        per_requester, per_city, per_holder: waits at most.
        longest_ms: from now; a later end is brought forward to it.
    """

    per_requester: int = 1_000
    per_city: int = 20_000
    per_holder: int = 10_000
    longest_ms: int = 7 * 86_400_000


@dataclass(frozen=True)
class KeptWait:
    """One wait.

    Attributes:
        requester: who is told.
        wait: the id that it gave.
        until_ms: when it no longer wants to know.
    """

    requester: NodeId
    wait: str
    until_ms: int


class Waits:
    """The waits of one city."""

    def __init__(self, limits: WaitLimits | None = None) -> None:
        """Touches no database."""
        self._limits = limits or WaitLimits()

    def is_kept(self, connection: Connection, requester: NodeId, wait: str) -> bool:
        """Tell whether a wait is kept already: a repeated one costs no write."""
        found = select(_c.wait).where(_c.requester == requester, _c.wait == wait)
        return connection.execute(found).first() is not None

    def keep(
        self,
        connection: Connection,
        *,
        requester: NodeId,
        wait: str,
        holder: NodeId,
        until_ms: int,
        now_ms: int,
    ) -> bool:
        """Keep a wait; return False where there is no room for it.

        Args:
            connection: a write transaction.
            requester: whom to tell.
            wait: its id for the wait.
            holder: the node that has no link.
            until_ms: until when.
            now_ms: clock.
        """
        if until_ms <= now_ms:
            return False
        if self.is_kept(connection, requester, wait):
            return True
        limits = self._limits
        bounds = (
            (_c.requester == requester, limits.per_requester),
            (_c.city == requester.city, limits.per_city),
            (_c.holder == holder, limits.per_holder),
        )
        if any(self._is_full(connection, which, most) for which, most in bounds):
            return False
        connection.execute(
            insert(waits).values(
                requester=requester,
                wait=wait,
                city=requester.city,
                holder=holder,
                until_ms=min(until_ms, now_ms + limits.longest_ms),
            )
        )
        return True

    def take(
        self, connection: Connection, holder: NodeId, now_ms: int, limit: int
    ) -> list[KeptWait]:
        """Forget up to `limit` waits for a holder that is back, and return them."""
        rows = connection.execute(
            select(_c.requester, _c.wait, _c.until_ms)
            .where(_c.holder == holder)
            .limit(limit)
        ).all()
        for requester, wait, _ in rows:
            connection.execute(
                delete(waits).where(_c.requester == requester, _c.wait == wait)
            )
        kept = [KeptWait(NodeId(r), wait, until) for r, wait, until in rows]
        return [one for one in kept if one.until_ms > now_ms]

    def any_for(self, connection: Connection, holder: NodeId) -> bool:
        """Tell whether anybody waits for a holder."""
        found = connection.execute(select(_c.wait).where(_c.holder == holder).limit(1))
        return found.first() is not None

    def forget(self, connection: Connection, now_ms: int) -> int:
        """Delete waits whose end has come; return how many."""
        return connection.execute(delete(waits).where(_c.until_ms <= now_ms)).rowcount

    def of_city(self, connection: Connection, city: CityId) -> int:
        """Return how many waits a city's requesters have here."""
        rows = connection.execute(select(_c.wait).where(_c.city == city))
        return len(rows.all())

    def _is_full(
        self, connection: Connection, which: ColumnElement[bool], most: int
    ) -> bool:
        found = select(_c.wait).where(which).offset(most - 1).limit(1)
        return connection.execute(found).first() is not None
