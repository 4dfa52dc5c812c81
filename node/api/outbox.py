# SPDX-License-Identifier: Apache-2.0
"""Operators look after messages that were refused for good."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.model import Request
from vault.errors import NotFound


class WaitingFor(Request):
    """Messages that wait for one destination."""

    destination: str
    waiting: int


class DeadLetter(Request):
    """A message that was refused for good; its content stays sealed."""

    id: int
    destination: str
    kind: str
    created_ms: int
    reason: str


class OutboxStatus(Request):
    """What waits and what is dead."""

    waiting: list[WaitingFor]
    dead: list[DeadLetter]


class LetterId(Request):
    """Which message."""

    id: Annotated[int, Field(ge=1, lt=2**63)]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts

    @registry.route(
        "GET",
        "/v1/outbox",
        scope=Scope.ADMIN,
        summary=("Messages that wait or were refused", "未配送・拒否メッセージ"),
        tag="outbox",
    )
    async def list_outbox() -> OutboxStatus:
        waiting = parts.database.read(parts.outbox.waiting)
        dead = parts.database.read(parts.outbox.dead_letters)
        return OutboxStatus(
            waiting=[WaitingFor(destination=d, waiting=n) for d, n in waiting.items()],
            dead=[
                DeadLetter(
                    id=letter.id,
                    destination=letter.destination,
                    kind=letter.kind,
                    created_ms=letter.created_ms,
                    reason=letter.reason,
                )
                for letter in dead
            ],
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
        found = await parts.database.write(
            partial(parts.outbox.retry, number=params.id)
        )
        if not found:
            raise NotFound("no such dead letter")
        parts.outbox.wake()

    @registry.route(
        "POST",
        "/v1/outbox/{id}/drop",
        scope=Scope.ADMIN,
        summary=("Throw a refused message away", "拒否メッセージの破棄"),
        tag="outbox",
        problems=("not-found",),
    )
    async def drop(params: LetterId) -> None:
        if not await parts.database.write(partial(parts.outbox.drop, number=params.id)):
            raise NotFound("no such dead letter")
