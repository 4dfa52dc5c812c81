# SPDX-License-Identifier: Apache-2.0
"""Who stands behind each nameless member key: known to the brokers of the city alone.

A hidden read goes to whoever holds the key that it names, whatever its token says. So
every broker of the city must know whose a key is. The authority writes it down when it
certifies one (`identity.member_keys`); a relay asks for what came after the last number
that it has. Numbers grow and are never given again. Names are sealed at rest; the rows
are pruned a day after a key has ended.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select

from identity.entropy import Entropy
from identity.errors import NotFound
from identity.key_register import forget_nameless
from identity.tables import city_member_keys
from protocol.answer import KeyOwner
from protocol.box import NONCE_BYTES, Box
from protocol.ids import NodeId

_columns = city_member_keys.c


class MemberKeyOwners:
    """The owners as kept at one broker."""

    def __init__(self, *, secret: bytes, entropy: Entropy) -> None:
        """Take 32 bytes that seal the names, and a source of random bytes."""
        self._box = Box(secret)
        self._entropy = entropy

    def add(
        self,
        connection: Connection,
        kids: Iterable[str],
        node: NodeId,
        *,
        ends: int,
        now: int,
    ) -> None:
        """Write down whose keys are that are certified now.

        Args:
            connection: transaction of the caller.
            kids: names of the keys.
            node: who stands behind them.
            ends: when they end, seconds since 1970.
            now: seconds since 1970.
        """
        for kid in kids:
            # By the clock, so that a number is not given again after pruning.
            number = max(self.newest(connection) + 1, now * 1000)
            self._keep(
                connection, KeyOwner(kid=kid, node=node, ends=ends, number=number)
            )

    def newest(self, connection: Connection) -> int:
        """Return the number of the youngest key that is known; 0 without any."""
        newest: int | None = connection.execute(
            select(func.max(_columns.number))
        ).scalar_one()
        return newest or 0

    def after(
        self, connection: Connection, number: int, *, limit: int = 1000
    ) -> tuple[KeyOwner, ...]:
        """Return the owners of keys that were certified after a number, in order."""
        rows = connection.execute(
            select(_columns.kid, _columns.sealed, _columns.ends, _columns.number)
            .where(_columns.number > number)
            .order_by(_columns.number)
            .limit(limit)
        )
        return tuple(
            KeyOwner(kid=kid, node=self._opened(kid, sealed), ends=ends, number=last)
            for kid, sealed, ends, last in rows
        )

    def learn(self, connection: Connection, owners: Iterable[KeyOwner]) -> None:
        """Keep what our authority has told; again changes nothing."""
        for one in owners:
            connection.execute(delete(city_member_keys).where(_columns.kid == one.kid))
            self._keep(connection, one)

    def behind(self, connection: Connection, kid: str) -> NodeId:
        """Return who stands behind a key. An act that operators answer for.

        Raises:
            NotFound: no such key, or forgotten.
        """
        query = select(_columns.sealed).where(_columns.kid == kid)
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
        if sealed is None:
            raise NotFound("no such member key")
        return self._opened(kid, sealed)

    def forget(self, connection: Connection, *, before: int) -> None:
        """Delete what is known of keys that ended before `before`."""
        ended = _columns.ends < before
        kids = connection.execute(select(_columns.kid).where(ended))
        forget_nameless(connection, kids.scalars().all())
        connection.execute(delete(city_member_keys).where(ended))

    def _keep(self, connection: Connection, owner: KeyOwner) -> None:
        nonce = self._entropy(NONCE_BYTES)
        sealed = self._box.seal(nonce, owner.node.encode(), "member-key", owner.kid)
        connection.execute(
            insert(city_member_keys).values(
                kid=owner.kid, sealed=sealed, ends=owner.ends, number=owner.number
            )
        )

    def _opened(self, kid: str, sealed: bytes) -> NodeId:
        return NodeId(self._box.open(sealed, "member-key", kid).decode("ascii"))
