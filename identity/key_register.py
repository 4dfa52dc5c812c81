# SPDX-License-Identifier: Apache-2.0
"""The city's register of keys: a key has one owner, once, for ever.

Without it, whoever registers another node's public key as its own could have that
node's signatures counted as its own. A retired key (replaced, or of a removed node)
never comes back: it may have been stolen.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select, update

from identity.errors import Conflict
from identity.tables import city_keys
from protocol.ids import NodeId
from protocol.membership import MAX_REVOKED
from protocol.sealed import PublicSealingKey
from protocol.signature import digest_of
from protocol.suites import VerifyingKey


def kids_of(key: VerifyingKey, sealing: PublicSealingKey) -> tuple[str, str]:
    """Return the names of a node's two keys.

    Raises:
        BadKey: the sealing key must not be used.
    """
    return key.kid, digest_of(sealing.load().raw)


def claim(connection: Connection, node: NodeId, kids: Iterable[str]) -> None:
    """Register keys as a node's; again by the same node changes nothing.

    Raises:
        Conflict: a key is another's, nameless, or retired.
    """
    for kid in kids:
        row = connection.execute(
            select(city_keys).where(city_keys.c.kid == kid)
        ).one_or_none()
        if row is None:
            connection.execute(insert(city_keys).values(kid=kid, node=node))
        elif row.node != node:
            raise Conflict("the key is registered to another node")
        elif row.retired is not None:
            raise Conflict("the key was retired; bring a new one")


def claim_nameless(connection: Connection, kids: Iterable[str]) -> None:
    """Register fresh keys that are shown without an owner.

    Raises:
        Conflict: a key is known already; it would name its node or link two consents.
    """
    for kid in kids:
        known = select(city_keys.c.kid).where(city_keys.c.kid == kid)
        if connection.execute(known).one_or_none() is not None:
            raise Conflict("a member key must be fresh")
        connection.execute(insert(city_keys).values(kid=kid))


def retire(
    connection: Connection, node: NodeId, *, now: int, keep: tuple[str, ...] = ()
) -> None:
    """Retire a node's signing and sealing keys.

    Args:
        connection: transaction of the caller.
        node: whose.
        keep: names of keys that stay in use.
        now: seconds since 1970.
    """
    connection.execute(
        update(city_keys)
        .where(
            city_keys.c.node == node,
            city_keys.c.retired.is_(None),
            city_keys.c.kid.not_in(keep),
        )
        .values(retired=now)
    )


def forget_nameless(connection: Connection, kids: Iterable[str]) -> None:
    """Delete nameless keys that have ended."""
    nameless = city_keys.c.node.is_(None)
    for kid in kids:
        connection.execute(delete(city_keys).where(nameless, city_keys.c.kid == kid))


def condemn(connection: Connection, kid: str, *, dead: int, ends: int) -> None:
    """Note from when a signature key is refused, and until when that must be told.

    Args:
        connection: transaction of the caller.
        kid: the key's name.
        dead: seconds since 1970; an earlier time that is known already stays.
        ends: when the last membership that names it ends.
    """
    known = select(city_keys.c.dead).where(city_keys.c.kid == kid)
    before: int | None = connection.execute(known).scalar_one_or_none()
    dead = dead if before is None else min(dead, before)
    connection.execute(
        update(city_keys).where(city_keys.c.kid == kid).values(dead=dead, ends=ends)
    )


def condemned(connection: Connection, *, now: int, skew_s: int) -> tuple[str, ...]:
    """Return the keys to be told as revoked now, the latest first."""
    query = (
        select(city_keys.c.kid)
        .where(city_keys.c.dead <= now, city_keys.c.ends > now - skew_s)
        .order_by(city_keys.c.dead.desc(), city_keys.c.kid)
        .limit(MAX_REVOKED)
    )
    return tuple(connection.execute(query).scalars().all())
