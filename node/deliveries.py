# SPDX-License-Identifier: Apache-2.0
"""What the outbox delivers, and which failures are worth another try.

A message names its kind; the desk that puts it in also knows how to send it. Sending
builds the exchange anew each time, so tickets, proofs and memberships are fresh however
long the other side was away.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from federation.exchange import Answer, Refused
from federation.outbox import Delivered, Message, Undelivered
from protocol.errors import MachikuraError

_logger = logging.getLogger(__name__)

Sender = Callable[[Message], Awaitable[Answer | Refused | None]]
"""Sends one message; None means that there is nothing to send any more."""

TRANSIENT = frozenset(
    {
        "timeout",
        "deadline-passed",
        "peer-unreachable",
        "node-away",
        "no-route",
        "overloaded",
        "rate-limited",
        "not-ready",
        "internal",
        "link-failed",
        "link-lost",
        "cannot-connect",
        "unknown-key",
        "membership-expired",
        "not-a-member",
        "no-agreement",
        "holder-unknown",
        "expired",
        "not-yet-valid",
        "cannot-open",
        "token-invalid",
        "answer-invalid",
        "proof-stale",
        "proof-missing",
    }
)
"""Codes of states that pass: outages, routes, keys and memberships on their way."""


class HeldUp(MachikuraError):
    """A message that another party than its destination holds up; `slug` says why."""

    def __init__(self, cause: MachikuraError) -> None:
        super().__init__(cause.detail)
        self.slug = cause.slug


class Deliveries:
    """Knows how to send each kind of message."""

    def __init__(self) -> None:
        """Start without kinds."""
        self._senders: dict[str, Sender] = {}

    def on(self, kind: str, sender: Sender) -> None:
        """Say how messages of a kind are sent."""
        self._senders[kind] = sender

    async def deliver(self, message: Message) -> Delivered | Undelivered:
        """Send one message. Satisfies `federation.outbox.Deliver`."""
        destination, kind = message.destination, message.kind
        sender = self._senders.get(kind)
        if sender is None:
            return Undelivered("kind-not-offered", final=True)
        try:
            outcome = await sender(message)
        except MachikuraError as error:
            _logger.info("%s to %s not sent: %s", kind, destination, error.slug)
            return Undelivered(
                error.slug,
                final=error.slug not in TRANSIENT,
                elsewhere=isinstance(error, HeldUp),
            )
        if isinstance(outcome, Refused):
            code = outcome.refusal.code
            _logger.info("%s to %s refused: %s", kind, destination, code)
            return Undelivered(code, final=code not in TRANSIENT)
        return Delivered()
