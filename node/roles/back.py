# SPDX-License-Identifier: Apache-2.0
"""Takes the word of a broker that a node of its city has its link again.

What waits here for that node is tried now: messages in the outbox, and reads. The word
can do no more than that, and is believed from a broker of the node's own city only.
Whoever else says so learns nothing: the answer is the same.
"""

from __future__ import annotations

from federation.exchange import Asked, Handler, Reply
from federation.outbox import Outbox
from node.database import Database
from node.waiting import WaitingDesk
from protocol.answer import Done
from protocol.membership import Role
from protocol.problem import ProblemBody
from protocol.request import NodeBack


class BackDesk:
    """Listens for nodes that are back."""

    def __init__(self, *, outbox: Outbox, database: Database) -> None:
        """Take the parts.

        Args:
            outbox: messages that wait.
            database: where.
        """
        self._outbox = outbox
        self._database = database
        self.waiting: WaitingDesk | None = None

    def handlers(self) -> dict[str, Handler]:
        """Return what every node answers."""
        return {"node-back": self._back}

    async def _back(self, asked: Asked) -> Reply:
        wait, sender = asked.expect(NodeBack).wait, asked.sender
        if Role.BROKER not in sender.roles:
            return Reply(ProblemBody(code="forbidden", detail="not a broker"))
        city = sender.sub.city
        told = await self._database.write(lambda c: self._outbox.told(c, wait, city))
        if told is not None:
            self._outbox.is_there(told)
        elif self.waiting is not None:
            await self.waiting.told(wait, city)
        return Reply(Done())
