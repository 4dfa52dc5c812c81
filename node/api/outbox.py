# SPDX-License-Identifier: Apache-2.0
"""Operators see what waits, and look after messages that could not be delivered."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from federation import letters
from federation.letters import Letter, Queue
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.ids import NodeId
from protocol.model import Request
from vault.errors import NotFound


class WaitingFor(Request):
    """Messages that wait for one destination, and how its attempts went."""

    destination: str
    waiting: int
    oldest_ms: int
    failures: int
    next_ms: int
    reason: str


class DeadLetter(Request):
    """A message that was set aside; its content stays sealed."""

    id: int
    destination: str
    kind: str
    created_ms: int
    attempts: int
    reason: str


class OutboxStatus(Request):
    """What waits and what is dead."""

    waiting: list[WaitingFor]
    dead: list[DeadLetter]


class OutboxFilter(Request):
    """Which dead letters to show: to one destination, numbered above `after`."""

    destination: NodeId | None = None
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class LetterId(Request):
    """Which message."""

    id: Annotated[int, Field(ge=1, lt=2**63)]


class RetryOrder(Request):
    """Which dead letters to send again: to one destination, or all."""

    destination: NodeId | None = None


class DropOrder(Request):
    """What to throw away: dead letters to a destination, or all that waits for it."""

    destination: NodeId
    waiting: bool = False


class Changed(Request):
    """How many messages it was."""

    changed: int


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts
    outbox, database = parts.outbox, parts.database

    @registry.route(
        "GET",
        "/v1/outbox",
        scope=Scope.ADMIN,
        summary=("Messages that wait or were refused", "未配送・拒否メッセージ"),
        tag="outbox",
    )
    async def list_outbox(params: OutboxFilter) -> OutboxStatus:
        waiting = await database.scan(letters.queues)
        dead = database.read(
            partial(
                outbox.dead_letters,
                limit=params.limit,
                destination=params.destination,
                after=params.after,
            )
        )
        chosen = params.destination
        return OutboxStatus(
            waiting=[_waiting(q) for q in waiting if chosen in (None, q.destination)],
            dead=[_dead(letter) for letter in dead],
        )

    @registry.route(
        "POST",
        "/v1/outbox/{id}/retry",
        scope=Scope.ADMIN,
        summary=("Try a refused message again", "拒否メッセージの再送"),
        tag="outbox",
        problems=("not-found",),
    )
    async def retry(params: LetterId) -> None:
        if not await database.write(partial(outbox.retry, number=params.id)):
            raise NotFound("no such dead letter")
        outbox.wake()

    @registry.route(
        "POST",
        "/v1/outbox/{id}/drop",
        scope=Scope.ADMIN,
        summary=("Throw a refused message away", "拒否メッセージの破棄"),
        tag="outbox",
        problems=("not-found",),
    )
    async def drop(params: LetterId) -> None:
        if not await database.write(partial(outbox.drop, number=params.id)):
            raise NotFound("no such dead letter")

    @registry.route(
        "POST",
        "/v1/outbox/retry",
        scope=Scope.ADMIN,
        summary=(
            "Try again now what was refused, and what waits",
            "拒否・待機メッセージの一括再送",
        ),
        tag="outbox",
    )
    async def retry_all(body: RetryOrder) -> Changed:
        retry = partial(outbox.retry, destination=body.destination)
        changed = await database.write(retry)
        outbox.wake()
        return Changed(changed=changed)

    @registry.route(
        "POST",
        "/v1/outbox/drop",
        scope=Scope.ADMIN,
        summary=(
            "Throw away what was refused by, or waits for, a destination",
            "宛先ごとの一括破棄",
        ),
        tag="outbox",
    )
    async def drop_all(body: DropOrder) -> Changed:
        drop = partial(outbox.drop, destination=body.destination, waiting=body.waiting)
        return Changed(changed=await database.write(drop))


def _waiting(queue: Queue) -> WaitingFor:
    return WaitingFor(**vars(queue))


def _dead(letter: Letter) -> DeadLetter:
    return DeadLetter(
        id=letter.id,
        destination=letter.destination,
        kind=letter.kind,
        created_ms=letter.created_ms,
        attempts=letter.attempts,
        reason=letter.reason,
    )
