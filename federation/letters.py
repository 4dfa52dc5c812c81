# SPDX-License-Identifier: Apache-2.0
"""The rows of the outbox: messages, and one queue for each destination (plain SQL).

A queue has a row while messages wait for its destination; the row says when the next
attempt is due. So the worker finds what is due with one look at an index, however many
destinations are dead. Messages of one destination leave in the order of their numbers:
its position is the oldest that is still there.

Everything runs in the caller's transaction, on the node's one writer: what is read
here cannot change before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from federation.tables import outbox, outbox_queues
from protocol.errors import Misuse
from protocol.ids import NodeId

WAITING, DEAD = "waiting", "dead"
EXPIRED: Final = "message-expired"
_MAX_REASON: Final = 64
_c, _q = outbox.c, outbox_queues.c


@dataclass(frozen=True)
class Letter:
    """A message in the outbox, as operators see it; the content stays sealed.

    Attributes:
        id: its number in this outbox.
        created_ms: when it was queued.
        expires_ms: when it is given up; None never.
        attempts: how often it was tried in vain.
        reason: why it was set aside; empty while it waits.
    """

    id: int
    destination: NodeId
    kind: str
    created_ms: int
    expires_ms: int | None
    attempts: int
    state: str
    reason: str


@dataclass(frozen=True)
class Queue:
    """What waits for one destination.

    Attributes:
        waiting: how many messages.
        oldest_ms: when the oldest of them was queued.
        failures: attempts in vain since the last success.
        next_ms: no attempt before this time.
        reason: why the last attempt failed; empty after a success.
    """

    destination: NodeId
    waiting: int
    oldest_ms: int
    failures: int
    next_ms: int
    reason: str


@dataclass(frozen=True)
class Head:
    """The next message of a destination, sealed as it is kept."""

    number: int
    message: str
    kind: str
    payload: bytes
    expires_ms: int | None
    attempts: int


# ------------------------------------------------------------------------- putting


def put(
    connection: Connection,
    *,
    destination: NodeId,
    kind: str,
    message: str,
    payload: bytes,
    now_ms: int,
    expires_ms: int | None,
) -> None:
    """Queue a message; a queue that only waits for somebody else is due again."""
    connection.execute(
        insert(outbox).values(
            message=message,
            destination=destination,
            kind=kind,
            payload=payload,
            created_ms=now_ms,
            expires_ms=expires_ms,
            attempts=0,
            state=WAITING,
        )
    )
    open_queue(connection, destination, now_ms)


def open_queue(connection: Connection, destination: str, now_ms: int) -> None:
    """Make sure that the worker looks after a destination."""
    known = connection.execute(
        select(_q.failures, _q.next_ms).where(_q.destination == destination)
    ).first()
    if known is None:
        connection.execute(
            insert(outbox_queues).values(
                destination=destination, failures=0, next_ms=now_ms
            )
        )
    elif known.failures == 0 and known.next_ms > now_ms:
        set_queue(connection, destination, failures=0, next_ms=now_ms)


def room_for(connection: Connection, destination: str, most: int) -> bool:
    """Tell whether fewer than `most` messages wait for a destination."""
    return connection.execute(_oldest(destination).offset(most - 1)).first() is None


# ------------------------------------------------------------------------- sending


def due(
    connection: Connection, *, busy: list[str], limit: int
) -> list[tuple[str, int]]:
    """Return destinations and when each is due, the longest due first."""
    rows = connection.execute(
        select(_q.destination, _q.next_ms)
        .where(_q.destination.not_in(busy))
        .order_by(_q.next_ms)
        .limit(limit)
    )
    return [(destination, next_ms) for destination, next_ms in rows]


def head(connection: Connection, destination: str) -> Head | None:
    """Return the next message of a destination."""
    row = connection.execute(
        _oldest(destination).add_columns(
            _c.message, _c.kind, _c.payload, _c.expires_ms, _c.attempts
        )
    ).first()
    return None if row is None else Head(*row)


def delivered(
    connection: Connection, destination: str, number: int, *, failing: bool = True
) -> None:
    """Forget a message that its receiver has; the destination is there.

    Args:
        connection: a write transaction.
        destination: whose message it is.
        number: which message.
        failing: there may be a back-off to end.
    """
    connection.execute(delete(outbox).where(_c.id == number))
    _answered(connection, destination, failing)


def set_aside(
    connection: Connection,
    destination: str,
    number: int,
    reason: str,
    now_ms: int,
    *,
    answered: bool = True,
) -> None:
    """Make a message a dead letter.

    Args:
        connection: a write transaction.
        destination: whose message it is.
        number: which message.
        reason: why.
        now_ms: when.
        answered: it was its receiver that refused it, so the receiver is there.
    """
    connection.execute(
        update(outbox)
        .where(_c.id == number)
        .values(state=DEAD, reason=reason[:_MAX_REASON], dead_ms=now_ms)
    )
    if answered:
        _answered(connection, destination)


def put_back(connection: Connection, number: int) -> int:
    """Put a message behind all others of its destination; return its new number."""
    row = connection.execute(select(outbox).where(_c.id == number)).first()
    if row is None:
        return number  # An operator has dropped it meanwhile.
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    values["attempts"] += 1
    connection.execute(delete(outbox).where(_c.id == number))
    inserted = connection.execute(insert(outbox).values(values)).inserted_primary_key
    if inserted is None:
        raise Misuse("the outbox numbers its messages")
    return int(inserted[0])


def failed(
    connection: Connection, destination: str, number: int, next_ms: int, reason: str
) -> None:
    """Note an attempt in vain."""
    tried = update(outbox).where(_c.id == number)
    connection.execute(tried.values(attempts=_c.attempts + 1))
    set_queue(
        connection,
        destination,
        failures=failures_of(connection, destination) + 1,
        next_ms=next_ms,
        reason=reason[:_MAX_REASON],
    )


def failures_of(connection: Connection, destination: str) -> int:
    """Return how often a destination was tried in vain since the last success."""
    found = connection.execute(
        select(_q.failures).where(_q.destination == destination)
    ).scalar()
    return found or 0


def set_queue(
    connection: Connection,
    destination: str,
    *,
    failures: int,
    next_ms: int,
    reason: str = "",
) -> None:
    """Say when a destination is due."""
    connection.execute(
        update(outbox_queues)
        .where(_q.destination == destination)
        .values(failures=failures, next_ms=next_ms, reason=reason)
    )


def close_if_empty(connection: Connection, destination: str) -> None:
    """Forget the queue of a destination for which nothing waits."""
    if connection.execute(_oldest(destination)).first() is None:
        connection.execute(delete(outbox_queues).where(_q.destination == destination))


def _answered(connection: Connection, destination: str, failing: bool = True) -> None:
    close_if_empty(connection, destination)
    if not failing:
        return
    connection.execute(
        update(outbox_queues)
        .where(_q.destination == destination, _q.failures > 0)
        .values(failures=0, next_ms=0, reason="")
    )


# ------------------------------------------------------------------ ends of back-off


def call_now(
    connection: Connection, now_ms: int, destination: str | None = None
) -> int:
    """End back-offs: of one destination, or of all; return how many."""
    chosen = _q.next_ms > now_ms
    if destination is not None:
        chosen = and_(chosen, _q.destination == destination)
    changed = connection.execute(
        update(outbox_queues)
        .where(chosen)
        .values(failures=0, next_ms=now_ms, reason="")
    )
    return changed.rowcount


def waits_for(connection: Connection, message: str) -> NodeId | None:
    """Return for whom a message waits; None if it does not, or is none of ours."""
    found = connection.execute(
        select(_c.destination).where(_c.message == message, _c.state == WAITING)
    ).scalar()
    return None if found is None else NodeId(found)


def backing_off(connection: Connection, limit: int) -> list[str]:
    """Return destinations that were tried in vain, at most so many."""
    rows = connection.execute(
        select(_q.destination).where(_q.failures > 0).limit(limit)
    )
    return list(rows.scalars())


def recover(connection: Connection, now_ms: int, latest_ms: int) -> int:
    """Make the queues right after a start; return the highest number given out.

    Ends waits that only a clock which was wrong can have set, and opens a queue for
    every destination that lacks one.
    """
    connection.execute(
        update(outbox_queues)
        .where(_q.next_ms > latest_ms)
        .values(failures=0, next_ms=now_ms)
    )
    names = _destinations()
    waits = _oldest(names.c.destination).scalar_subquery()
    lacking = connection.execute(
        select(names.c.destination).where(
            waits.is_not(None),
            names.c.destination.not_in(select(_q.destination)),
        )
    )
    for destination in lacking.scalars().all():
        open_queue(connection, destination, now_ms)
    return connection.execute(select(func.max(_c.id))).scalar() or 0


def _destinations() -> CTE:
    """Return the query for all destinations: one step of the index for each.

    Grouping would read every waiting message: 276 ms with a million messages for
    twenty dead peers, against two.
    """
    first = select(func.min(_c.destination).label("destination"))
    names = first.cte("destinations", recursive=True)
    following = (
        select(func.min(_c.destination))
        .where(_c.destination > names.c.destination)
        .scalar_subquery()
    )
    return names.union_all(
        select(following).select_from(names).where(names.c.destination.is_not(None))
    )


def _oldest(destination: str | ColumnElement[str]) -> Select[tuple[int]]:
    """Return the query for the oldest waiting message of a destination."""
    return (
        select(_c.id)
        .where(_c.destination == destination, _c.state == WAITING)
        .order_by(_c.id)
        .limit(1)
    )


# ------------------------------------------------------------------------ the end


def expire(connection: Connection, now_ms: int, limit: int = 1_000) -> int:
    """Set aside waiting messages whose time is over; return how many."""
    rows = connection.execute(
        select(_c.id, _c.destination)
        .where(_c.state == WAITING, _c.expires_ms <= now_ms)
        .order_by(_c.expires_ms)
        .limit(limit)
    ).all()
    for number, destination in rows:
        set_aside(connection, destination, number, EXPIRED, now_ms, answered=False)
        close_if_empty(connection, destination)
    return len(rows)


def bury(connection: Connection, before_ms: int) -> int:
    """Delete letters that died before some time; return how many."""
    return connection.execute(
        delete(outbox).where(_c.state == DEAD, _c.dead_ms < before_ms)
    ).rowcount


# ------------------------------------------------------------------- for operators


def waiting(connection: Connection) -> dict[NodeId, int]:
    """Return how many messages wait per destination."""
    counted = select(_c.destination, func.count()).where(_c.state == WAITING)
    rows = connection.execute(counted.group_by(_c.destination))
    return {NodeId(destination): n for destination, n in rows}


def queues(connection: Connection, limit: int = 1_000) -> list[Queue]:
    """Return what waits, by destination."""
    counted = (
        select(
            _c.destination,
            func.count().label("n"),
            func.min(_c.created_ms).label("oldest_ms"),
        )
        .where(_c.state == WAITING)
        .group_by(_c.destination)
        .subquery()
    )
    rows = connection.execute(
        select(counted, _q.failures, _q.next_ms, _q.reason)
        .join(outbox_queues, _q.destination == counted.c.destination)
        .order_by(counted.c.destination)
        .limit(limit)
    )
    return [Queue(NodeId(r[0]), *r[1:]) for r in rows]


def letters(
    connection: Connection,
    state: str,
    *,
    destination: NodeId | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[Letter]:
    """Return messages of one state, oldest first, numbered above `after`."""
    columns = (
        _c.id,
        _c.destination,
        _c.kind,
        _c.created_ms,
        _c.expires_ms,
        _c.attempts,
        _c.state,
        _c.reason,
    )
    query = select(*columns).where(_c.state == state, _c.id > after)
    if destination is not None:
        query = query.where(_c.destination == destination)
    rows = connection.execute(query.order_by(_c.id).limit(limit))
    return [Letter(r[0], NodeId(r[1]), *r[2:]) for r in rows]


def revive(
    connection: Connection,
    now_ms: int,
    life_ms: int | None,
    *,
    number: int | None = None,
    destination: NodeId | None = None,
) -> int:
    """Put dead letters back in their queues; return how many.

    Args:
        connection: a write transaction.
        now_ms: clock.
        life_ms: how long one that had expired lives on; None for ever.
        number: only this one.
        destination: only those to it.
    """
    chosen = _chosen(DEAD, number, destination)
    found = connection.execute(select(_c.destination).where(chosen).distinct())
    destinations = list(found.scalars())
    again = None if life_ms is None else now_ms + life_ms
    connection.execute(
        update(outbox)
        .where(chosen, or_(_c.reason == EXPIRED, _c.expires_ms <= now_ms))
        .values(expires_ms=again)
    )
    changed = connection.execute(
        update(outbox).where(chosen).values(state=WAITING, reason="", dead_ms=None)
    )
    for name in destinations:
        open_queue(connection, name, now_ms)
        call_now(connection, now_ms, name)
    return changed.rowcount


def drop(
    connection: Connection,
    *,
    state: str = DEAD,
    number: int | None = None,
    destination: NodeId | None = None,
) -> int:
    """Delete messages of one state; return how many."""
    gone = connection.execute(delete(outbox).where(_chosen(state, number, destination)))
    if state == WAITING and destination is not None:
        close_if_empty(connection, destination)
    return gone.rowcount


def _chosen(
    state: str, number: int | None, destination: NodeId | None
) -> ColumnElement[bool]:
    chosen = [_c.state == state]
    if number is not None:
        chosen.append(_c.id == number)
    if destination is not None:
        chosen.append(_c.destination == destination)
    return and_(*chosen)
