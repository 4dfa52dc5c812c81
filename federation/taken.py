# SPDX-License-Identifier: Apache-2.0
"""Durable messages that were carried out: the same one is carried out once.

A message keeps its id through every attempt of its sender, each of which is an exchange
of its own. The receiver notes the id in the transaction that carries it out, under the
proven sender, and remembers it until the sender gives the message up. So the memory is
bounded by what each sender had accepted, and outlives restarts.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from federation.tables import received_messages
from protocol.errors import Malformed
from protocol.ids import NodeId

MAX_LIFE_MS: Final = 400 * 86_400_000
"""The longest that a sender may make us remember a message."""

_c = received_messages.c


def is_taken(connection: Connection, sender: NodeId, message: str) -> bool:
    """Tell whether this sender's message was carried out."""
    found = connection.execute(
        select(_c.message).where(_c.sender == sender, _c.message == message)
    )
    return found.first() is not None


def take(
    connection: Connection,
    sender: NodeId,
    message: str,
    *,
    until_ms: int,
    now_ms: int,
) -> bool:
    """Note a message in the transaction that carries it out.

    Args:
        connection: that transaction.
        sender: who sent it, proven.
        message: its id.
        until_ms: when its sender gives it up.
        now_ms: clock.

    Returns:
        False if it was carried out before: then nothing may be done again.

    Raises:
        Malformed: it is to be remembered for longer than anything may be.
    """
    if until_ms > now_ms + MAX_LIFE_MS:
        raise Malformed("a message may be sent for 400 days at most")
    if is_taken(connection, sender, message):
        return False
    connection.execute(
        insert(received_messages).values(
            sender=sender, message=message, until_ms=until_ms
        )
    )
    return True


def forget(connection: Connection, before_ms: int) -> int:
    """Forget messages that nobody sends any more; return how many."""
    return connection.execute(
        delete(received_messages).where(_c.until_ms < before_ms)
    ).rowcount
