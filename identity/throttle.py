# SPDX-License-Identifier: Apache-2.0
"""Counting attempts, so that guessing takes longer than it is worth.

A window of fixed length starts with the first attempt; when it is full, further ones
are refused until it ends. A refused attempt is not counted, so an attacker cannot keep
a window open for ever. Keys (logins, addresses) are stored as blind indexes only.

Attempts are counted *before* they are judged: parallel guesses all count, and the
caller keeps the count by answering a failure with a value instead of an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from identity.tables import throttles
from protocol.box import blind_index


@dataclass(frozen=True)
class Limit:
    """So many attempts in so much time.

    Attributes:
        count: attempts per window.
        window_s: length of the window in seconds.
    """

    count: int
    window_s: int


class Throttle:
    """All counters of a node."""

    def __init__(self, *, index: bytes) -> None:
        """Take the blind index key (32 bytes)."""
        self._index = index

    def take(
        self, connection: Connection, use: str, key: str, limit: Limit, *, now: int
    ) -> int:
        """Count an attempt.

        Args:
            connection: transaction of the caller, who must commit it.
            use: what is attempted.
            key: by whom or on whom.
            limit: how often.
            now: seconds since 1970.

        Returns:
            0 if it may go on, else seconds to wait.
        """
        name = blind_index(self._index, f"throttle {use}", key)
        row = connection.execute(
            select(throttles).where(throttles.c.key_index == name)
        ).one_or_none()
        # A clock that was set back must not leave a window open for years.
        over = row is not None and not 0 <= now - row.since < limit.window_s
        if row is None or over:
            connection.execute(delete(throttles).where(throttles.c.key_index == name))
            connection.execute(
                insert(throttles).values(key_index=name, since=now, attempts=1)
            )
            return 0
        if row.attempts >= limit.count:
            wait: int = row.since + limit.window_s - now
            return wait
        connection.execute(
            update(throttles)
            .where(throttles.c.key_index == name)
            .values(attempts=row.attempts + 1)
        )
        return 0

    def clear(self, connection: Connection, use: str, key: str) -> None:
        """Forget the attempts, after one that succeeded."""
        name = blind_index(self._index, f"throttle {use}", key)
        connection.execute(delete(throttles).where(throttles.c.key_index == name))

    def forget(self, connection: Connection, *, before: int) -> None:
        """Delete windows that began before `before`, seconds since 1970."""
        connection.execute(delete(throttles).where(throttles.c.since < before))
