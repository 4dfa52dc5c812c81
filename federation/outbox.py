# SPDX-License-Identifier: Apache-2.0
"""Durable delivery: one queue per destination, at least once, in order.

`put` writes the message in the caller's own transaction, so it is sent if and only if
what caused it is kept. A worker delivers destination by destination; what cannot be
delivered now waits with a back-off that is stored, so it survives restarts; a peer that
we hear of ends it at once. A message refused for good, or whose time is over, is set
aside with its reason (dead letter) and does not hold up the ones behind it; one that
waits for a third party lets them pass. Destinations take turns, so that a long queue
does not hold up a short one. Memory is bounded whatever the number of dead peers: each
worker holds one message, and what waits is rows (`federation.letters`).

A message may arrive twice. Receivers MUST be idempotent: consents and withdrawals by
their versions, registrations because each replaces the one before, everything else by
the message's id, which stays the same in every attempt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection

from federation import letters
from federation.letters import DEAD, EXPIRED, WAITING, Head, Letter
from federation.ports import Clock
from protocol.box import NONCE_BYTES, Box
from protocol.envelope import Wait
from protocol.errors import CannotOpen, MachikuraError, Misuse
from protocol.ids import CityId, ExchangeId, NodeId, uuid7

_logger = logging.getLogger(__name__)

T = TypeVar("T")
_MAX_NAMED: Final = 10_000
"""Dead peers known by name, so that hearing of one ends its back-off at once; of more
than these each caller is looked up."""
_DAY_MS: Final = 86_400_000
AWAY: Final = "node-away"
"""Refused by a broker that will tell us when the destination is back."""
_LATEST_MS: Final = 1 << 50


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


@dataclass(frozen=True)
class Message:
    """A message on its way out.

    Attributes:
        id: the same in every attempt, a UUID.
        destination: who shall get it.
        kind: which sender delivers it.
        content: what was put in.
        expires_ms: when it is given up; None never.
        tried: an earlier attempt may have reached the receiver.
    """

    id: str
    destination: NodeId
    kind: str
    content: bytes
    expires_ms: int | None = None
    tried: bool = False

    @property
    def wait(self) -> Wait:
        """What the destination's broker is asked: to tell us when it is back."""
        return Wait(id=ExchangeId(self.id), until_ms=self.expires_ms or _LATEST_MS)


Deliver = Callable[[Message], Awaitable[Delivered | Undelivered]]


@dataclass(frozen=True)
class OutboxLimits:
    """Bounds of delivery.

    Attributes:
        first_ms, longest_ms: back-off after the first failure, and at most.
        workers: destinations that are served at once.
        turn: messages to one destination before the next one gets its turn.
        max_waiting: messages per destination; more are refused to the caller.
        life_ms: how long a message is tried that names no end of its own.
        dead_ms: how long dead letters are kept.
    """

    first_ms: int = 500
    longest_ms: int = 300_000
    workers: int = 16
    turn: int = 64
    max_waiting: int = 100_000
    life_ms: int = 30 * _DAY_MS
    dead_ms: int = 90 * _DAY_MS


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
        self._failing: set[str] = set()
        self._again: set[str] = set()
        self._all_named = True
        self._last_before = 0

    def put(
        self,
        connection: Connection,
        destination: NodeId,
        kind: str,
        message: bytes,
        *,
        always: bool = False,
        expires_ms: int | None = None,
    ) -> None:
        """Queue a message in the caller's transaction; call `wake` after commit.

        A destination that only waits for somebody else is tried again at once.

        Args:
            connection: transaction of the caller.
            destination: who shall get it.
            kind: which sender delivers it.
            message: the content; sealed where it is kept.
            always: queue it however much waits, and never give it up: a resident's
                withdrawal must not fail because a recipient is away.
            expires_ms: when it is given up; None takes the usual life.

        Raises:
            OutboxFull: too many messages wait for this destination already.
        """
        limits, now_ms = self._limits, self._clock.now_ms()
        most = limits.max_waiting
        if not always and not letters.room_for(connection, destination, most):
            raise OutboxFull(f"{most} messages wait for {destination}")
        if expires_ms is None and not always:
            expires_ms = now_ms + limits.life_ms
        letters.put(
            connection,
            destination=destination,
            kind=kind,
            message=str(uuid7(now_ms, self._entropy(10))),
            payload=self._box.seal(
                self._entropy(NONCE_BYTES), message, "outbox", destination, kind
            ),
            now_ms=now_ms,
            expires_ms=expires_ms,
        )

    def wake(self) -> None:
        """Look for work now."""
        self._changed.set()

    def heard_of(self, peer: str) -> bool:
        """Tell whether hearing of a peer may end a back-off; costs no look-up."""
        return peer in self._failing or not self._all_named

    async def called_by(self, destination: NodeId) -> None:
        """End the back-off of a peer that we hear of."""
        if not self._store.read(partial(letters.failures_of, destination=destination)):
            return
        ended = partial(
            letters.call_now,
            now_ms=self._clock.now_ms(),
            destination=destination,
        )
        await self._store.write(ended)
        self._failing.discard(destination)
        self.wake()

    def told(self, connection: Connection, message: str, city: CityId) -> NodeId | None:
        """End the back-off of a destination in that city, for which a message waits.

        Args:
            connection: a write transaction; call `is_there` after it.
            message: id of the message, as `Message.wait` gave it.
            city: whose broker says that the destination is back.

        Returns:
            The destination; None where nothing of the kind waits.
        """
        destination = letters.waits_for(connection, message)
        if destination is None or destination.city != city:
            return None
        letters.call_now(connection, self._clock.now_ms(), destination)
        return destination

    def is_there(self, destination: NodeId) -> None:
        """Look for work now, for a destination that was told to be back."""
        if destination in self._active:
            self._again.add(destination)
        self._failing.discard(destination)
        self.wake()

    async def all_due(self) -> None:
        """End every back-off: our way out is there again."""
        await self._store.write(partial(letters.call_now, now_ms=self._clock.now_ms()))
        self._failing.clear()
        self._all_named = True
        self.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._recover()
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

    async def _recover(self) -> None:
        """Take up what an earlier process has left."""
        now_ms = self._clock.now_ms()
        recover = partial(
            letters.recover,
            now_ms=now_ms,
            latest_ms=now_ms + self._limits.longest_ms,
        )
        # Of these nobody knows whether a first attempt got through.
        self._last_before = await self._store.write(recover)
        names = self._store.read(partial(letters.backing_off, limit=_MAX_NAMED))
        self._failing.update(names)
        self._all_named = len(names) < _MAX_NAMED

    def _start_due(self) -> float | None:
        """Start a worker for each destination that is due; return seconds to wait."""
        now_ms = self._clock.now_ms()
        free = self._limits.workers - len(self._active)
        busy = list(self._active)
        rows = self._store.read(partial(letters.due, busy=busy, limit=free + 1))
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
        self._again.discard(destination)
        self.wake()

    async def _serve(self, destination: NodeId) -> None:
        """Serve one destination; a fault of our own must not make the loop spin."""
        try:
            await self._drain(destination)
        except Exception:
            _logger.exception("outbox: delivery to %s failed", destination)
            await self._clock.sleep(self._limits.first_ms / 1000)

    async def _drain(self, destination: NodeId) -> None:
        """Deliver to one destination until it is empty, fails, or its turn is over."""
        passed_over: set[int] = set()
        for _ in range(self._limits.turn):
            head = self._store.read(partial(letters.head, destination=destination))
            if head is None:
                close = partial(letters.close_if_empty, destination=destination)
                await self._store.write(close)
                return
            if head.number in passed_over:
                await self._wait(destination)
                return
            if not await self._settle(destination, head, passed_over):
                return
        now_ms = self._clock.now_ms()
        await self._store.write(
            lambda c: letters.set_queue(c, destination, failures=0, next_ms=now_ms)
        )

    async def _settle(
        self, destination: NodeId, head: Head, passed_over: set[int]
    ) -> bool:
        """Deal with the next message; return whether the one behind may follow."""
        now_ms, number = self._clock.now_ms(), head.number
        if head.expires_ms is not None and head.expires_ms <= now_ms:
            await self._store.write(
                lambda c: letters.set_aside(
                    c, destination, number, EXPIRED, now_ms, answered=False
                )
            )
            return True
        outcome = await self._attempt(destination, head)
        if isinstance(outcome, Delivered):
            failing = self.heard_of(destination)
            await self._store.write(
                lambda c: letters.delivered(c, destination, number, failing=failing)
            )
        elif outcome.final:
            _logger.warning("outbox: %s refused: %s", destination, outcome.code)
            await self._store.write(
                lambda c: letters.set_aside(
                    c, destination, number, outcome.code, now_ms
                )
            )
        elif outcome.elsewhere:
            passed_over.add(
                await self._store.write(lambda c: letters.put_back(c, number))
            )
            return True
        else:
            await self._store.write(
                lambda c: self._failed(c, destination, number, outcome.code)
            )
            self._note_failing(destination)
            return False
        self._failing.discard(destination)
        return True

    async def _attempt(
        self, destination: NodeId, head: Head
    ) -> Delivered | Undelivered:
        """Try once; whatever goes wrong, the messages behind must get their turn."""
        try:
            content = self._box.open(head.payload, "outbox", destination, head.kind)
        except CannotOpen as error:
            return Undelivered(error.slug, final=True)
        message = Message(
            id=head.message,
            destination=destination,
            kind=head.kind,
            content=content,
            expires_ms=head.expires_ms,
            tried=head.attempts > 0 or head.number <= self._last_before,
        )
        try:
            return await self._deliver(message)
        except Misuse as error:
            return Undelivered(error.slug, final=True)
        except MachikuraError as error:
            return Undelivered(error.slug, final=False)
        except Exception:
            _logger.exception("outbox: a message to %s failed", destination)
            return Undelivered("internal", final=False)

    def _failed(
        self, connection: Connection, destination: NodeId, number: int, code: str
    ) -> None:
        failures, limits = letters.failures_of(connection, destination), self._limits
        full = min(limits.first_ms << min(failures, 20), limits.longest_ms)
        if code == AWAY:
            full = limits.longest_ms  # We are told when it is back.
        # Between half and all of it, so that many senders do not call in step.
        wait = full // 2 + int.from_bytes(self._entropy(4), "big") % (full // 2 + 1)
        if destination in self._again:
            wait = 0  # The word that it is back came while we tried.
        next_ms = self._clock.now_ms() + wait
        letters.failed(connection, destination, number, next_ms, code)

    def _note_failing(self, destination: str) -> None:
        if len(self._failing) < _MAX_NAMED:
            self._failing.add(destination)
        else:
            self._all_named = False

    async def _wait(self, destination: NodeId) -> None:
        """Look again in a while; no failure of the destination is counted."""
        next_ms = self._clock.now_ms() + self._limits.longest_ms // 10
        await self._store.write(
            lambda c: letters.set_queue(
                c, destination, failures=0, next_ms=next_ms, reason="held-up"
            )
        )

    # ---------------------------------------------------------- for operators

    def waiting(self, connection: Connection) -> dict[NodeId, int]:
        """Return how many messages wait per destination."""
        return letters.waiting(connection)

    def dead_letters(
        self,
        connection: Connection,
        limit: int = 100,
        *,
        destination: NodeId | None = None,
        after: int = 0,
    ) -> list[Letter]:
        """Return messages that were set aside, oldest first, numbered above `after`."""
        return letters.letters(
            connection, DEAD, destination=destination, after=after, limit=limit
        )

    def retry(
        self,
        connection: Connection,
        number: int | None = None,
        *,
        destination: NodeId | None = None,
    ) -> int:
        """Put dead letters back in their queues and end the back-off; `wake` after.

        Args:
            connection: a write transaction.
            number: only this one.
            destination: only those to it; what waits for it is due at once too.

        Returns:
            How many letters were put back.
        """
        now_ms = self._clock.now_ms()
        if number is None:
            letters.call_now(connection, now_ms, destination)
        return letters.revive(
            connection,
            now_ms,
            self._limits.life_ms,
            number=number,
            destination=destination,
        )

    def drop(
        self,
        connection: Connection,
        number: int | None = None,
        *,
        destination: NodeId | None = None,
        waiting: bool = False,
    ) -> int:
        """Throw dead letters away, or what waits for a destination; return how many."""
        return letters.drop(
            connection,
            state=WAITING if waiting else DEAD,
            number=number,
            destination=destination,
        )

    def purge(self, connection: Connection) -> int:
        """Give up what has expired, and delete letters that have been dead for long."""
        now_ms = self._clock.now_ms()
        expired = letters.expire(connection, now_ms)
        return expired + letters.bury(connection, now_ms - self._limits.dead_ms)
