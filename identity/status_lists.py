# SPDX-License-Identifier: Apache-2.0
"""Freshness proofs as the home node makes them: one signature per list and epoch.

A consent gets a place (list, index) for ever. A change of its status counts up the
list's changes in the same transaction; the next `current` then signs at once, however
young the last signature is. Without a change one signature serves a whole epoch, so
that a recipient's proof has most of its life ahead. The epoch number only grows, also
when the clock was set back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from identity.cache import Cache
from identity.entropy import Entropy, new_id
from identity.errors import NotFound
from identity.tables import consent_statuses, status_lists
from protocol.consent import StatusReference
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.model import ANYONE
from protocol.signature import Received, Signed, SingleKey, sign
from protocol.status import BLOCK, STATUS_LIST, Status, StatusList, pack
from protocol.suites import Signer


class StatusLists:
    """All status lists of a home node."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        entropy: Entropy,
        max_age_s: int = 60,
        epoch_s: int | None = None,
    ) -> None:
        """Take the parts.

        Args:
            node: this home node.
            signer: its key.
            entropy: source of random bytes.
            max_age_s: T: life of a list, in seconds.
            epoch_s: how long one signature is given out; None for a third of T.
        """
        self._node = node
        self._signer = signer
        self._entropy = entropy
        self._life_s = max_age_s
        self._epoch_s = epoch_s or max(1, max_age_s // 3)
        self._signed: Cache[Signed[StatusList]] = Cache(1024)

    def allocate(self, connection: Connection, consent: str) -> StatusReference:
        """Give a consent the next place; places are never given out again."""
        last = select(
            func.max(consent_statuses.c.list * BLOCK + consent_statuses.c.position)
        )
        highest: int | None = connection.execute(last).scalar_one()
        number, index = divmod(0 if highest is None else highest + 1, BLOCK)
        if index == 0:
            connection.execute(
                insert(status_lists).values(
                    list=number,
                    changes=0,
                    epoch=0,
                    signed_changes=-1,
                    signed_at=0,
                    token="",
                )
            )
        connection.execute(
            insert(consent_statuses).values(
                list=number, position=index, consent=consent, status=Status.VALID.value
            )
        )
        return StatusReference(list=number, index=index)

    def set(
        self, connection: Connection, reference: StatusReference, status: Status
    ) -> None:
        """Change a consent's status; the list is signed anew at the next question."""
        connection.execute(
            update(consent_statuses)
            .where(
                consent_statuses.c.list == reference.list,
                consent_statuses.c.position == reference.index,
            )
            .values(status=status.value)
        )
        connection.execute(
            update(status_lists)
            .where(status_lists.c.list == reference.list)
            .values(changes=status_lists.c.changes + 1)
        )

    def peek(
        self, connection: Connection, number: int, *, now: int
    ) -> Signed[StatusList] | None:
        """Return the list if its last signature still serves; reads only.

        Raises:
            NotFound: no such list.
        """
        return self._serving(self._row(connection, number), now)

    def current(
        self, connection: Connection, number: int, *, now: int
    ) -> Signed[StatusList]:
        """Return the list as it is now, signed anew where needed (writes then).

        Args:
            connection: transaction of the caller.
            number: which list.
            now: seconds since 1970.

        Raises:
            NotFound: no such list.
        """
        row = self._row(connection, number)
        serving = self._serving(row, now)
        if serving is not None:
            return serving
        states = connection.execute(
            select(consent_statuses.c.position, consent_statuses.c.status).where(
                consent_statuses.c.list == number,
                consent_statuses.c.status != Status.VALID.value,
            )
        )
        claims = StatusList(
            iss=self._node,
            aud=ANYONE,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=now + self._life_s,
            list=number,
            epoch=row.epoch + 1,
            lst=pack({s.position: Status(s.status) for s in states}),
        )
        signed = sign(self._signer, STATUS_LIST, claims)
        connection.execute(
            update(status_lists)
            .where(status_lists.c.list == number)
            .values(
                epoch=claims.epoch,
                signed_changes=row.changes,
                signed_at=now,
                token=signed.token,
            )
        )
        return signed

    def _row(self, connection: Connection, number: int) -> Row[Any]:
        query = select(status_lists).where(status_lists.c.list == number)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("no such status list")
        return row

    def _serving(self, row: Row[Any], now: int) -> Signed[StatusList] | None:
        unchanged = row.signed_changes == row.changes
        if not unchanged or not 0 <= now - row.signed_at < self._epoch_s:
            return None
        token: str = row.token
        known = self._signed.get(token)
        if known is not None:
            return known
        own = SingleKey(self._node, self._signer.public)
        try:
            signed = Received.parse(token, STATUS_LIST).verify(StatusList, own)
        except MachikuraError:
            # Signed before this node's key changed.
            return None
        return self._signed.put(signed, token)
