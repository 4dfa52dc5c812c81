# SPDX-License-Identifier: Apache-2.0
"""Back-off of dialing, kept in the database so that it survives restarts."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from federation.dialer import Backoff
from federation.tables import dial_state
from node.database import Database


class DialState:
    """Satisfies `federation.dialer.BackoffStore`."""

    def __init__(self, database: Database) -> None:
        """Keep states in `database`."""
        self._database = database

    async def load(self, node: str) -> Backoff | None:
        """Return what was saved last for a node."""
        row = self._database.read(
            lambda c: c.execute(
                select(dial_state).where(dial_state.c.peer == node)
            ).first()
        )
        return None if row is None else Backoff(row.failures, row.next_ms)

    async def save(self, node: str, backoff: Backoff) -> None:
        """Keep the state of a node."""

        def put(connection: Connection) -> None:
            connection.execute(delete(dial_state).where(dial_state.c.peer == node))
            connection.execute(
                insert(dial_state).values(
                    peer=node, failures=backoff.failures, next_ms=backoff.next_ms
                )
            )

        await self._database.write(put)
