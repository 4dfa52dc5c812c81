# SPDX-License-Identifier: Apache-2.0
"""From a verified request to its signed answer: handle, sign, commit, once.

What only reads is dropped when nobody waits for it any more. What changes something is
carried to its end, also when the path fails on which it was asked; and a commit that
has begun is waited for. So it is always known whether an exchange was executed, and
the same request by another path gets the same answer (`federation.answered`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from federation.answered import Answered, Given, TooManyExchanges
from protocol.answer import ANSWER, AnswerBody, Result
from protocol.envelope import RoutingHeader
from protocol.errors import MachikuraError, Malformed
from protocol.hop import MAX_HOPS, HopRecord
from protocol.membership import Membership
from protocol.problem import ProblemBody
from protocol.request import Query
from protocol.signature import Received, digest_of, sign
from protocol.stream import Span, sealed_length
from protocol.suites import Signer

Q = TypeVar("Q")

MAX_GOING_ON = 4096
"""Changes that are carried to their end at the same time."""
LONGEST_KEPT_BYTES = 256 * 1024
"""Of an answer that is kept; a long one is a part of a transfer that asks again."""
_JUDGED = frozenset({"read", "fetch"})
"""Queries that are judged anew before their answer is given again."""
_READING = _JUDGED | {"locate-locator", "locate-handle", "status-list", "taken", "ping"}
"""Queries that change nothing but through `commit`: dropped when nobody waits."""
_ROOM_BYTES = MAX_HOPS * 1024 + 1024
"""What the way back adds to an answer: hop records, the seal, the frame."""


@dataclass(frozen=True)
class Asked:
    """A verified request, as handlers get it."""

    header: RoutingHeader
    query: Query
    sender: Membership
    request: str
    hops: tuple[HopRecord, ...]
    now_ms: int
    hops_digest: str = ""

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return self.now_ms // 1000

    def expect(self, model: type[Q]) -> Q:
        """Return the query as what the handler was registered for.

        Raises:
            Malformed: it is another query.
        """
        if not isinstance(self.query, model):
            raise Malformed("another query was expected")
        return self.query


class Chunked(NamedTuple):
    """Content that is sealed in chunks behind an answer, and where it belongs."""

    content: bytes | bytearray
    span: Span

    @property
    def sealed_bytes(self) -> int:
        """Bytes of the chunks."""
        return sealed_length(self.span.length)


Signed: TypeAlias = tuple[bytes, Chunked | None]
"""An answer as it was signed, and what follows it."""


@dataclass(frozen=True)
class Reply:
    """What a handler returns.

    Attributes:
        outcome: the result, or the problem that refuses it.
        commit: run with the answer's digest before the answer leaves.
        chunked: content of a `Segment`, which follows the answer.
    """

    outcome: Result | ProblemBody
    commit: Callable[[str], Awaitable[object]] | None = None
    chunked: Chunked | None = None


Handler = Callable[[Asked], Awaitable[Reply]]


class Replies:
    """Answers requests that were opened and verified."""

    def __init__(
        self,
        *,
        handle: Handler,
        observe: Callable[[str, str], None],
        now_ms: Callable[[], int],
        skew_ms: int,
        max_answer_bytes: Callable[[], int],
        kept_bytes: int,
    ) -> None:
        """Take the parts.

        Args:
            handle: answers any query.
            observe: told the kind and outcome of each.
            now_ms: clock.
            skew_ms: how long after its deadline an exchange id is remembered.
            max_answer_bytes: of an answer with all that the way back adds.
            kept_bytes: of answers kept, for requests that come again.
        """
        self._handle = handle
        self._observe = observe
        self._now_ms = now_ms
        self._skew_ms = skew_ms
        self._max_answer_bytes = max_answer_bytes
        self._answered = Answered(
            max_bytes=kept_bytes, longest_bytes=LONGEST_KEPT_BYTES
        )
        self._going_on: set[asyncio.Task[Signed]] = set()

    def close(self) -> None:
        """Drop what is still being executed."""
        for task in self._going_on:
            task.cancel()

    async def to(self, asked: Asked, signer: Signer, issuer: str) -> Signed:
        """Return the signed answer; what was answered before is not done again."""
        # With the sender, so that nobody can use up another's id.
        name = f"{asked.sender.sub} {asked.header.id}"
        until_ms = asked.header.deadline_ms + self._skew_ms
        if len(self._going_on) >= MAX_GOING_ON:
            raise TooManyExchanges("too many exchanges at once")
        claim = (name, asked.request, until_ms, asked.now_ms)
        if not self._answered.begin(*claim):
            earlier = await self._answered.earlier(*claim)
            if earlier is not None:
                return await self._again(asked, earlier, signer, issuer)
        if asked.query.op in _READING:
            return await self._execute(asked, signer, issuer, name)
        # What changes something is carried to its end, also when the path fails.
        task = asyncio.get_running_loop().create_task(
            self._to_the_end(asked, signer, issuer, name)
        )
        self._going_on.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _to_the_end(
        self, asked: Asked, signer: Signer, issuer: str, name: str
    ) -> Signed:
        left_ms = max(0, asked.header.deadline_ms - asked.now_ms)
        async with asyncio.timeout(left_ms / 1000):
            return await self._execute(asked, signer, issuer, name)

    def _finished(self, task: asyncio.Task[Signed]) -> None:
        self._going_on.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever still waits has it; nobody else is interested.

    async def _execute(
        self, asked: Asked, signer: Signer, issuer: str, name: str
    ) -> Signed:
        """Have the query handled, sign the answer, commit it."""
        committing: asyncio.Future[object] | None = None
        try:
            reply = await self._handle(asked)
            token = self._signed(asked, reply.outcome, signer, issuer)
            code, chunked = "ok", reply.chunked
            size = len(token) + (chunked.sealed_bytes if chunked is not None else 0)
            if isinstance(reply.outcome, ProblemBody):
                code = reply.outcome.code
            elif size > self._max_answer_bytes() - _ROOM_BYTES:
                code = "too-large"  # Not committed: what cannot leave is no release.
            elif reply.commit is not None:
                committing = asyncio.ensure_future(reply.commit(digest_of(token)))
                try:
                    await asyncio.shield(committing)
                except MachikuraError as error:
                    code = error.slug
            if code != "ok" and not isinstance(reply.outcome, ProblemBody):
                token = self._signed(asked, ProblemBody(code=code), signer, issuer)
        except BaseException:
            if committing is None:
                self._answered.abandon(name, again=asked.query.op in _READING)
            else:
                # Nobody waits any more, yet it may be on disk in a moment.
                self._settle(committing, name, token)
            raise
        self._answered.keep(name, token, asked.now_ms)
        self._observe(asked.query.op, code)
        return token, chunked if code == "ok" else None

    def _settle(
        self, committing: asyncio.Future[object], name: str, token: bytes
    ) -> None:
        """Keep the answer if its commit succeeds, after its asker has gone."""

        def settled(done: asyncio.Future[object]) -> None:
            if done.cancelled() or done.exception() is not None:
                self._answered.abandon(name, again=True)
            else:
                self._answered.keep(name, token, self._now_ms())

        committing.add_done_callback(settled)

    async def _again(
        self, asked: Asked, given: Given, signer: Signer, issuer: str
    ) -> Signed:
        """Return an answer that was given, for the path by which it is asked now.

        What could be read in between is judged anew: a consent that was withdrawn
        since then ends the repetition as well.
        """
        self._observe("again", asked.query.op)
        chunked: Chunked | None = None
        if asked.query.op in _JUDGED:
            judged = await self._handle(asked)
            if isinstance(judged.outcome, ProblemBody):
                return self._signed(asked, judged.outcome, signer, issuer), None
            chunked = judged.chunked
        size = len(given.answer)
        received = Received.parse(given.answer, ANSWER, max_bytes=size)
        body = AnswerBody.decode(received.payload, size)
        if body.result is None:
            chunked = None  # It was refused then, and stays so.
        if body.hops == asked.hops_digest:
            return given.answer, chunked
        changed = {"hops": asked.hops_digest, "first": digest_of(given.answer)}
        body = body.model_copy(update=changed)
        return sign(signer, ANSWER, body).token.encode("ascii"), chunked

    def _signed(
        self, asked: Asked, outcome: Result | ProblemBody, signer: Signer, issuer: str
    ) -> bytes:
        """Return the signed answer."""
        now = asked.now_ms // 1000
        body = AnswerBody(
            iss=issuer,
            aud=asked.header.sender,
            jti=asked.header.id,
            iat=now,
            exp=now + 3600,
            request=asked.request,
            hops=asked.hops_digest,
            result=None if isinstance(outcome, ProblemBody) else outcome,
            problem=outcome if isinstance(outcome, ProblemBody) else None,
        )
        return sign(signer, ANSWER, body).token.encode("ascii")
