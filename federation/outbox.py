# SPDX-License-Identifier: Apache-2.0
"""Durable delivery: one queue per destination, at least once, in order.

`put` writes the message in the caller's own transaction, so it is sent if and only if
what caused it is kept. A worker delivers destination by destination; what cannot be
delivered now waits with a back-off that is stored, so it survives restarts; a peer that
calls us ends it at once. A message refused for good is set aside with its reason (dead
letter) and does not hold up the ones behind it; one that waits for a third party lets
them pass. Memory is bounded whatever the number
of dead peers: each worker holds one message.

Receivers MUST be idempotent: a message may arrive twice. Consents and withdrawals carry
versions, records carry ids and versions, so a second arrival changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import CTE, Connection, Select, delete, func, insert, select, update

from federation.ports import Clock
from federation.tables import backoff, outbox
from protocol.box import NONCE_BYTES, Box
from protocol.errors import CannotOpen, MachikuraError, Misuse
from protocol.ids import NodeId

_logger = logging.getLogger(__name__)

T = TypeVar("T")
WAITING, DEAD = "waiting", "dead"


class OutboxFull(MachikuraError):
    """A destination has as many messages waiting as the limit allows."""

    slug = "overloaded"


class Store(Protocol):
    """Runs work on the database (see `node.database`)."""

    def write(self, job: Callable[[Connection], T], /) -> Awaitable[T]:
        """Run `job` in a transaction; durable when awaited."""

    def read(self, job: Callable[[Connection], T], /) -> T:
        """Run a short query."""


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class Undelivered:
    """It did not get through.

    Attributes:
        code: why.
        final: trying again cannot help.
        elsewhere: another party than the destination holds the message up, so the
            messages behind it may pass.
    """

    code: str
    final: bool
    elsewhere: bool = False


Deliver = Callable[[NodeId, str, bytes], Awaitable[Delivered | Undelivered]]


@dataclass(frozen=True)
class OutboxLimits:
    """Bounds of delivery.

    Attributes:
        first_ms, longest_ms: back-off after the first failure, and at most.
        workers: destinations that are served at once.
        max_waiting: messages per destination; more are refused to the caller.
    """

    first_ms: int = 500
    longest_ms: int = 300_000
    workers: int = 16
    max_waiting: int = 100_000


@dataclass(frozen=True)
class Letter:
    """A message in the outbox, as operators see it; the content stays sealed."""

    id: int
    destination: NodeId
    kind: str
    created_ms: int
    state: str
    reason: str


class Outbox:
    """All outgoing messages of this node."""

    def __init__(
        self,
        *,
        store: Store,
        box: Box,
        clock: Clock,
        entropy: Callable[[int], bytes],
        deliver: Deliver,
        limits: OutboxLimits | None = None,
    ) -> None:
        """Take the parts; nothing is sent before `run`."""
        self._store = store
        self._box = box
        self._clock = clock
        self._entropy = entropy
        self._deliver = deliver
        self._limits = limits or OutboxLimits()
        self._changed = asyncio.Event()
        self._active: dict[str, asyncio.Task[None]] = {}

    def put(
        self,
        connection: Connection,
        destination: NodeId,
        kind: str,
        message: bytes,
        *,
        always: bool = False,
    ) -> None:
        """Queue a message in the caller's transaction; call `wake` after commit.

        A destination that only waits for somebody else is tried again at once.

        Args:
            connection: transaction of the caller.
            destination: who shall get it.
            kind: which sender delivers it.
            message: the content; sealed where it is kept.
            always: queue it however much waits: a resident's withdrawal must not fail
                because a recipient is away.

        Raises:
            OutboxFull: too many messages wait for this destination already.
        """
        most = self._limits.max_waiting
        if always:
            most = 0
        if (
            most
            and connection.execute(_waiting_for(destination).offset(most - 1)).first()
        ):
            raise OutboxFull(f"{most} messages wait for {destination}")
        sealed = self._box.seal(
            self._entropy(NONCE_BYTES), message, "outbox", destination, kind
        )
        connection.execute(
            insert(outbox).values(
                destination=destination,
                kind=kind,
                payload=sealed,
                created_ms=self._clock.now_ms(),
                state=WAITING,
            )
        )
        connection.execute(
            delete(backoff).where(
                backoff.c.destination == destination, backoff.c.failures == 0
            )
        )

    def wake(self) -> None:
        """Look for work now."""
        self._changed.set()

    async def called_by(self, destination: NodeId) -> None:
        """End the back-off of a peer that called us."""
        waits = self._store.read(
            lambda c: c.execute(
                select(backoff.c.failures).where(backoff.c.destination == destination)
            ).first()
        )
        if waits is not None:
            await self._store.write(partial(_forget_backoff, destination=destination))
            self.wake()

    async def all_due(self) -> None:
        """End every back-off: our way out is there again."""
        await self._store.write(lambda c: c.execute(delete(backoff)).rowcount)
        self.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._store.write(self._forget_impossible)
        try:
            while True:
                self._changed.clear()
                pause_s = self._start_due()
                try:
                    async with asyncio.timeout(pause_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._active.values():
                task.cancel()
            await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _start_due(self) -> float | None:
        """Start a worker for each destination that is due; return seconds to wait."""
        now_ms = self._clock.now_ms()
        free = self._limits.workers - len(self._active)
        busy = list(self._active)
        rows = self._store.read(partial(_due, busy=busy, limit=free + 1))
        later: int | None = None
        for destination, next_ms in rows:
            if next_ms > now_ms:
                later = next_ms - now_ms
                break
            if free <= 0:
                return None
            free -= 1
            task = asyncio.create_task(self._serve(NodeId(destination)))
            self._active[destination] = task
            task.add_done_callback(partial(self._ended, destination))
        return None if later is None else later / 1000

    def _ended(self, destination: str, _: asyncio.Task[None]) -> None:
        self._active.pop(destination, None)
        self.wake()

    async def _serve(self, destination: NodeId) -> None:
        """Drain one destination; a fault of our own must not make the loop spin."""
        try:
            await self._drain(destination)
        except Exception:
            _logger.exception("outbox: delivery to %s failed", destination)
            await self._clock.sleep(self._limits.first_ms / 1000)

    async def _drain(self, destination: NodeId) -> None:
        """Deliver to one destination until it is empty or fails."""
        put_back: set[int] = set()
        while True:
            row = self._store.read(partial(_first, destination=destination))
            if row is None:
                return
            number, kind, sealed = row
            if number in put_back:
                held_up = partial(self._held_up, destination=destination)
                await self._store.write(held_up)
                return
            outcome = await self._attempt(destination, kind, sealed)
            if isinstance(outcome, Delivered):
                done = partial(_done, destination=destination, number=number)
                await self._store.write(done)
            elif outcome.final:
                _logger.warning("outbox: %s refused: %s", destination, outcome.code)
                dead = partial(
                    _dead, destination=destination, number=number, reason=outcome.code
                )
                await self._store.write(dead)
            elif outcome.elsewhere:
                put_back.add(await self._store.write(partial(_put_back, number=number)))
            else:
                await self._store.write(partial(self._failed, destination=destination))
                return

    async def _attempt(
        self, destination: NodeId, kind: str, sealed: bytes
    ) -> Delivered | Undelivered:
        """Try once; whatever goes wrong, the messages behind must get their turn."""
        try:
            message = self._box.open(sealed, "outbox", destination, kind)
        except CannotOpen as error:
            return Undelivered(error.slug, final=True)
        try:
            return await self._deliver(destination, kind, message)
        except Misuse as error:
            return Undelivered(error.slug, final=True)
        except MachikuraError as error:
            return Undelivered(error.slug, final=False)
        except Exception:
            _logger.exception("outbox: a message to %s failed", destination)
            return Undelivered("internal", final=False)

    def _forget_impossible(self, connection: Connection) -> None:
        """End waits that only a clock which was wrong can have set."""
        latest_ms = self._clock.now_ms() + self._limits.longest_ms
        connection.execute(delete(backoff).where(backoff.c.next_ms > latest_ms))

    def _failed(self, connection: Connection, *, destination: NodeId) -> None:
        known = connection.execute(
            select(backoff.c.failures).where(backoff.c.destination == destination)
        ).scalar()
        failures = (known or 0) + 1
        limits = self._limits
        full = min(limits.first_ms << min(failures - 1, 20), limits.longest_ms)
        # Between half and all of it, so that many senders do not call in step.
        wait = full // 2 + int.from_bytes(self._entropy(4), "big") % (full // 2 + 1)
        _forget_backoff(connection, destination=destination)
        connection.execute(
            insert(backoff).values(
                destination=destination,
                failures=failures,
                next_ms=self._clock.now_ms() + wait,
            )
        )

    def _held_up(self, connection: Connection, *, destination: NodeId) -> None:
        """Look again in a while; no failure of the destination is counted."""
        _forget_backoff(connection, destination=destination)
        next_ms = self._clock.now_ms() + self._limits.longest_ms // 10
        connection.execute(
            insert(backoff).values(destination=destination, failures=0, next_ms=next_ms)
        )

    # ---------------------------------------------------------- for operators

    def waiting(self, connection: Connection) -> dict[NodeId, int]:
        """Return how many messages wait per destination."""
        counted = select(outbox.c.destination, func.count()).where(
            outbox.c.state == WAITING
        )
        rows = connection.execute(counted.group_by(outbox.c.destination))
        return {NodeId(destination): n for destination, n in rows}

    def dead_letters(self, connection: Connection, limit: int = 100) -> list[Letter]:
        """Return messages that were refused for good, oldest first."""
        columns = outbox.c
        rows = connection.execute(
            select(
                columns.id,
                columns.destination,
                columns.kind,
                columns.created_ms,
                columns.state,
                columns.reason,
            )
            .where(columns.state == DEAD)
            .order_by(columns.id)
            .limit(limit)
        )
        return [Letter(r[0], NodeId(r[1]), r[2], r[3], r[4], r[5]) for r in rows]

    def retry(self, connection: Connection, number: int) -> bool:
        """Put a dead letter back in its queue."""
        changed = connection.execute(
            update(outbox)
            .where(outbox.c.id == number, outbox.c.state == DEAD)
            .values(state=WAITING, reason="")
        )
        return changed.rowcount == 1

    def drop(self, connection: Connection, number: int) -> bool:
        """Throw a dead letter away."""
        return (
            connection.execute(
                delete(outbox).where(outbox.c.id == number, outbox.c.state == DEAD)
            ).rowcount
            == 1
        )


def _due(
    connection: Connection, *, busy: list[str], limit: int
) -> list[tuple[str, int]]:
    """Return destinations with waiting messages and when each is due.

    Those that are due soonest come first; among equals, whose message is oldest.
    """
    names = _destinations()
    due = func.coalesce(backoff.c.next_ms, 0)
    oldest = (
        select(func.min(outbox.c.id))
        .where(outbox.c.destination == names.c.destination, outbox.c.state == WAITING)
        .scalar_subquery()
    )
    found = connection.execute(
        select(names.c.destination, due)
        .select_from(
            names.outerjoin(backoff, backoff.c.destination == names.c.destination)
        )
        .where(oldest.is_not(None), names.c.destination.not_in(busy))
        .order_by(due, oldest)
        .limit(limit)
    )
    return [(destination, next_ms) for destination, next_ms in found]


def _destinations() -> CTE:
    """Return the query for all destinations: one step of the index for each.

    Grouping would read every waiting message, and this is asked at every wake: 276 ms
    with a million messages for twenty dead peers, against two.
    """
    first = select(func.min(outbox.c.destination).label("destination"))
    names = first.cte("destinations", recursive=True)
    following = (
        select(func.min(outbox.c.destination))
        .where(outbox.c.destination > names.c.destination)
        .scalar_subquery()
    )
    return names.union_all(
        select(following).select_from(names).where(names.c.destination.is_not(None))
    )


def _waiting_for(destination: str) -> Select[tuple[int]]:
    """Return the query for one waiting message of a destination, the oldest."""
    return (
        select(outbox.c.id)
        .where(outbox.c.destination == destination, outbox.c.state == WAITING)
        .order_by(outbox.c.id)
        .limit(1)
    )


def _first(
    connection: Connection, *, destination: str
) -> tuple[int, str, bytes] | None:
    row = connection.execute(
        _waiting_for(destination).add_columns(outbox.c.kind, outbox.c.payload)
    ).first()
    return None if row is None else (row.id, row.kind, row.payload)


def _put_back(connection: Connection, *, number: int) -> int:
    """Put a message behind all others of its destination; return its new number."""
    row = connection.execute(select(outbox).where(outbox.c.id == number)).one()
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    connection.execute(delete(outbox).where(outbox.c.id == number))
    inserted = connection.execute(insert(outbox).values(values)).inserted_primary_key
    if inserted is None:
        raise Misuse("the outbox numbers its messages")
    return int(inserted[0])


def _done(connection: Connection, *, destination: str, number: int) -> None:
    connection.execute(delete(outbox).where(outbox.c.id == number))
    _forget_backoff(connection, destination=destination)


def _dead(
    connection: Connection, *, destination: str, number: int, reason: str
) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.id == number)
        .values(state=DEAD, reason=reason[:64])
    )
    _forget_backoff(connection, destination=destination)


def _forget_backoff(connection: Connection, *, destination: str) -> None:
    connection.execute(delete(backoff).where(backoff.c.destination == destination))
