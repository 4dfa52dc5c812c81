# SPDX-License-Identifier: Apache-2.0
"""What was carried on the links with one peer, noted as it happens.

This is on the path of every exchange, so it only keeps what cannot be had later: the
request's front (about 1.5 kB) and the digest of the answer. Everything else is done
when a batch is made (`federation.evidence`). Nothing waits, nothing is written.

An exchange is noted before its answer leaves, and by the asker before it reads the
answer: so what one side has signed, the other had noted already, unless it has crashed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.peers import Carrier
from protocol.evidence import MAX_LEAVES, NOTHING, Outcome, answer_digest, front_of

_MAX_FRESH: Final = 16 * MAX_LEAVES
"""Exchanges that may wait for their batch: above it, new ones are refused."""

_RETRY_MS: Final = 1_000
_REMEMBERED: Final = 256
_REMEMBERED_BYTES: Final = 65_536
_TAG_BYTES: Final = 16


class Carried(NamedTuple):
    """One exchange, noted."""

    asked: bool
    outcome: Outcome
    front: bytes
    answer: bytes


class AnswerDigests:
    """Digests of answers; one that passes two links is hashed once.

    A broker gives an answer on with one more hop record in front of the same payload.
    The tag at its end finds the digest, comparing the payload proves it the same.
    """

    def __init__(self, *, relays: bool) -> None:
        """Start empty; who does not relay remembers nothing."""
        self._relays = relays
        self._known: dict[bytes, tuple[bytes, bytes]] = {}

    def came(self, answer: bytes) -> bytes:
        """Return the digest of an answer that came in and may go on."""
        digest = answer_digest(answer)
        if self._relays and len(answer) <= _REMEMBERED_BYTES:
            self._known[answer[-_TAG_BYTES:]] = answer, digest
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return digest

    def goes(self, answer: bytes) -> bytes:
        """Return the digest of an answer that goes out."""
        known = self._known.pop(answer[-_TAG_BYTES:], None)
        if known is not None and _payload(known[0]) == _payload(answer):
            return known[1]
        return answer_digest(answer)


def _payload(answer: bytes) -> bytes:
    hops = int.from_bytes(answer[1:5], "big")
    return answer[:1] + answer[5 + hops :]


@dataclass
class Witness:
    """Notes about one peer, whatever the number of links with it.

    Attributes:
        digests: of answers, shared by all witnesses of a node.
        now_ms: clock.
        wake: called when there is something to make a batch of; with True when that
            cannot wait.
        fresh: noted since the last batch, in the order of their end.
        since_ms: when the first of these was noted.
        asking, serving: fronts of exchanges that have not ended yet.
    """

    digests: AnswerDigests
    now_ms: Callable[[], int]
    wake: Callable[[bool], None]
    fresh: list[Carried] = field(default_factory=list)
    asking: dict[int, bytes] = field(default_factory=dict)
    serving: dict[int, bytes] = field(default_factory=dict)
    since_ms: int = 0
    _number: int = 0

    def note(self, carried: Carried) -> None:
        """Note an exchange that has ended here."""
        fresh = self.fresh
        fresh.append(carried)
        if len(fresh) == 1:
            self.since_ms = self.now_ms()
            self.wake(False)
        elif len(fresh) >= MAX_LEAVES:
            self.wake(True)

    def begin(self, table: dict[int, bytes], front: bytes) -> int:
        """Note an exchange that begins, in `asking` or `serving`.

        Raises:
            LinkProblem: more exchanges wait for their batch than may; the disk is
                full, or a peer is faster than this machine.
        """
        if len(self.fresh) >= _MAX_FRESH:
            raise LinkProblem("overloaded", _RETRY_MS)
        self._number = number = self._number + 1
        table[number] = front
        return number

    async def serve(
        self, payload: bytes, handle: Callable[[bytes], Awaitable[bytes]]
    ) -> bytes:
        """Answer one request of the peer through `handle`, and note it."""
        front = front_of(payload)
        if not front:
            return await handle(payload)
        number = self.begin(self.serving, front)
        outcome, digest = Outcome.CANCELED, NOTHING
        try:
            answer = await handle(payload)
            outcome, digest = Outcome.ANSWERED, self.digests.goes(answer)
        except asyncio.CancelledError:
            raise
        except BaseException:
            outcome = Outcome.REFUSED
            raise
        finally:
            del self.serving[number]
            self.note(Carried(False, outcome, front, digest))
        return answer


class WitnessedLink:
    """A link whose requests are noted; satisfies `Carrier`."""

    def __init__(self, link: Carrier, witness: Witness) -> None:
        """Take the link and the notes about its peer."""
        self.link = link
        self._witness = witness

    @property
    def up(self) -> bool:
        """Whether it can take a request now."""
        return self.link.up

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the last heartbeat."""
        return self.link.rtt_ms

    async def request(self, payload: bytes, *, deadline_ms: int) -> bytes:
        """Carry one request, note how it ended, and return its answer.

        Raises:
            LinkError: as the link does.
        """
        witness, front = self._witness, front_of(payload)
        if not front:
            return await self.link.request(payload, deadline_ms=deadline_ms)
        number = witness.begin(witness.asking, front)
        outcome, digest = Outcome.CANCELED, NOTHING
        try:
            answer = await self.link.request(payload, deadline_ms=deadline_ms)
            outcome, digest = Outcome.ANSWERED, witness.digests.came(answer)
        except DeadlinePassed:
            outcome = Outcome.TIMEOUT
            raise
        except LinkLost:
            outcome = Outcome.LOST
            raise
        except LinkProblem:
            outcome = Outcome.REFUSED
            raise
        finally:
            del witness.asking[number]
            witness.note(Carried(True, outcome, front, digest))
        return answer

    def notify(self, payload: bytes) -> None:
        """Send a one-way notice."""
        self.link.notify(payload)

    def end(self) -> None:
        """End the link; both sides learn it."""
        self.link.end()
