# SPDX-License-Identifier: Apache-2.0
"""One link: many requests at once over one pipe, in both directions.

    answer = await link.request(payload, deadline_ms=clock.now_ms() + 5_000)

What holds, whatever the peer does:

1. A request ends by its deadline: with the answer, with a `LinkProblem` that the
   peer or this side stated, with `DeadlinePassed`, or with `LinkLost`.
2. Streams do not wait for each other (`federation.writer`, `federation.flow`).
3. Requests, bytes to send and bytes held are bounded by `LinkLimits`. Above a bound
   the answer is the problem `overloaded` at once, never a queue.
4. When the asker gives up, the handler of the request is cancelled.
5. A peer that breaks the protocol, leaves a ping unanswered until the next one, is
   silent for two `probe_s` while it owes an answer, or outlives its credentials, loses
   the link.

Payloads are opaque here, and frames are authenticated by the pipe (TLS), to which
the handshake has bound the peer: a small request costs one task and one future, no
timer and no cryptography of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

from federation import frames
from federation.flow import Inbox
from federation.frames import ANSWER, NOTICE, REQUEST, Frame, FrameError
from federation.handshake import PeerIdentity
from federation.limits import LinkCounters, LinkLimits
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.pending import Pending
from federation.ports import Clock, Payload, Pipe, PipeClosed
from federation.serving import Notices, Requests
from federation.shares import Shares
from federation.versions import LinkTerms
from federation.writer import PacketWriter, size_of

_logger = logging.getLogger(__name__)

RequestHandler: TypeAlias = Callable[["Link", bytes], Awaitable[Payload]]
"""Answers one request, in a task of its own that is cancelled when the asker gives up.

A `LinkError` that it raises is answered as that problem. Anything else is logged and
answered as `internal`.
"""

NoticeHandler: TypeAlias = Callable[["Link", bytes], Awaitable[None]]
"""Takes one notice. Notices of a link are handled one by one, in the order sent."""

_STREAMS: Final = 2**32
_PLAIN: Final = LinkTerms()

_CLOSE_CODES: Final = {
    "closed": 0,
    "malformed": 1,
    "expired": 2,
    "overloaded": 3,
    "silent": 4,
    "internal": 5,
}


class Link:
    """A multiplexed connection to one authenticated peer.

    Attributes:
        peer: whom the handshake has established.
        dialed: whether this side dialed.
        terms: version and capabilities that both sides speak.
        counters: what was carried so far.
    """

    def __init__(
        self,
        pipe: Pipe,
        *,
        peer: PeerIdentity,
        dialed: bool,
        terms: LinkTerms = _PLAIN,
        clock: Clock,
        on_request: RequestHandler,
        on_notice: NoticeHandler | None = None,
        on_lost: Callable[[Link, str], None] | None = None,
        limits: LinkLimits | None = None,
        shares: Shares | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        """Wraps a pipe whose handshake is done; nothing moves before `start`.

        Args:
            pipe: owned by the link from now on.
            peer: whom the handshake has established.
            dialed: whether this side dialed: it then uses the odd stream numbers.
            terms: version and capabilities that the handshake has settled.
            clock: for deadlines and for the end of the peer's credentials.
            on_request: answers the peer's requests.
            on_notice: takes the peer's notices; without it they are dropped.
            on_lost: is told the reason at once when the link ends; must not raise.
            limits: the bounds of this link.
            shares: of bytes in hand on all links together.
            tap: is given every packet as received, to show what a party has learned.
        """
        self.peer = peer
        self.dialed = dialed
        self.terms = terms
        self.counters = LinkCounters()
        self._pipe = pipe
        self._clock = clock
        self._on_lost = on_lost
        self._limits = limits or LinkLimits()
        self._tap = tap
        self._loop = asyncio.get_running_loop()
        self._first_stream = 1 if dialed else 2
        self._next_stream = self._first_stream
        self._pending = Pending(self._abandon)
        self._inbox = Inbox(
            self._limits.max_message_bytes,
            self._limits.max_bytes_in,
            shares,
            peer.node,
        )
        self._writer = PacketWriter(self._limits.max_bytes_out, self.counters)
        self._serving = Requests(
            peer=peer.node,
            inbox=self._inbox,
            handle=partial(on_request, self),
            answer=self._answer,
            refuse=self._refuse,
        )
        self._notices = Notices(
            peer=peer.node,
            inbox=self._inbox,
            handle=partial(on_notice or _drop_notice, self),
            max_waiting=self._limits.max_notices,
        )
        self._beat_timer: asyncio.TimerHandle | None = None
        self._beats = 0
        self._pinged_at: float | None = None
        self._next_ping_at = self._heard_at = self._loop.time()
        self._tick_s = min(self._limits.probe_s, self._limits.heartbeat_s)
        self._lost: LinkLost | None = None
        self._ending: asyncio.Future[None] = self._loop.create_future()
        self._supervisor: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ for the caller

    def start(self) -> None:
        """Begins to read, write and ping. Once."""
        self._supervisor = self._loop.create_task(self._supervise())
        self._heard_at = self._loop.time()
        self._beat_timer = self._loop.call_later(self._tick_s, self._beat)

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the last heartbeat; None before the first."""
        return self.counters.rtt_ms

    @property
    def up(self) -> bool:
        """Whether requests can be sent."""
        return self._lost is None

    async def request(self, payload: Payload, *, deadline_ms: int) -> bytes:
        """Sends a request and waits for its answer.

        Args:
            payload: the request.
            deadline_ms: when waiting ends, epoch milliseconds.

        Returns:
            The answer.

        Raises:
            LinkProblem: the peer's link, or this one, refuses it.
            DeadlinePassed: no answer came in time; the peer has been told to stop.
            LinkLost: the link has ended. Whether the request was done is unknown.
        """
        timeout_s = (deadline_ms - self._clock.now_ms()) / 1000
        if timeout_s <= 0:
            raise DeadlinePassed
        if len(self._pending) >= self._limits.max_requests_out:
            raise self._overloaded()
        size = self._admit(payload)
        stream = self._open_stream()
        answer = self._pending.add(stream, timeout_s)
        self.counters.requests_out += 1
        self._writer.send(REQUEST, stream, payload, size)
        try:
            return await answer
        finally:
            # True only when the caller was cancelled while it waited.
            if self._pending.discard(stream):
                self._abandon(stream)

    def notify(self, payload: Payload) -> None:
        """Sends a notice, which is not answered; it may be lost with the link.

        Raises:
            LinkProblem: it is too large, or too much is waiting to be sent.
            LinkLost: the link has ended.
        """
        size = self._admit(payload)
        self._writer.send(NOTICE, self._open_stream(), payload, size)

    def doubt(self) -> None:
        """Pings at once, since another link to this peer has gone silent."""
        if self._lost is None:
            self._ping(self._loop.time())
            doubted = self._beats
            self._loop.call_later(self._limits.doubt_s, self._resolve, doubted)

    def end(self) -> None:
        """Ends the link for both sides; what is queued is still sent."""
        self._lose("closed")

    async def close(self) -> None:
        """Ends the link and returns when everything of it has stopped."""
        self._lose("closed")
        await self.wait_closed()

    async def wait_closed(self) -> str:
        """Returns the reason once the link has ended and all its tasks with it."""
        if self._supervisor is not None:
            await asyncio.shield(self._supervisor)
        return self._lost.reason if self._lost is not None else "closed"

    # ------------------------------------------------------------------- sending

    def _admit(self, payload: Payload) -> int:
        """Returns the size of a message that may be sent now."""
        if self._lost is not None:
            raise LinkLost(self._lost.reason)
        size = size_of(payload)
        if size > self._limits.max_message_bytes:
            raise LinkProblem("too-large")
        if not self._writer.has_room(size):
            raise self._overloaded()
        return size

    def _open_stream(self) -> int:
        """Returns the next stream number of this side that is not in use."""
        while True:
            stream = self._next_stream
            following = stream + 2
            self._next_stream = (
                following if following < _STREAMS else self._first_stream
            )
            if stream not in self._pending and stream not in self._writer:
                return stream

    def _abandon(self, stream: int) -> None:
        """Tells the peer that the answer on a stream is no longer wanted."""
        self._inbox.drop(stream)
        if self._lost is None:
            self._writer.drop(stream)
            self._writer.put(frames.encode(frames.CANCEL, 0, stream, b""))

    def _overloaded(self) -> LinkProblem:
        return LinkProblem("overloaded", self._limits.retry_after_ms)

    # ----------------------------------------------------------------- receiving

    async def _read(self) -> None:
        """Takes packets until the link ends."""
        counters = self.counters
        while True:
            packet = await self._pipe.receive()
            self._heard_at = self._loop.time()
            if self._tap is not None:
                self._tap(packet)
            received = frames.decode(packet)
            counters.packets_in += 1
            counters.bytes_in += len(packet)
            counters.frames_in += len(received)
            for frame in received:
                self._take(frame)
                if self._lost is not None:
                    return
            if self._writer.overflowing:
                # It makes us answer and does not read what we answer.
                self._lose("overloaded")
                return

    def _take(self, frame: Frame) -> None:
        """Acts on one frame, the frequent ones first."""
        kind, flags, stream, payload = frame
        if kind == REQUEST:
            self._take_request(flags, stream, payload)
        elif kind == ANSWER:
            self._take_answer(flags, stream, payload)
        elif kind == frames.DATA:
            self._take_chunk(stream, payload)
        elif kind == frames.WINDOW:
            self._writer.grant(stream, frames.read_u32(payload))
        elif kind == frames.CANCEL:
            self._take_cancel(stream)
        elif kind == NOTICE:
            self._take_notice(flags, stream, payload)
        elif kind == frames.PING:
            self._writer.put(frames.encode(frames.PONG, 0, 0, payload))
        elif kind == frames.PONG:
            self._take_pong(payload)
        else:
            code, reason = frames.read_close(payload)
            self._lose("peer-closed", f"{code} {reason!r}")

    def _take_request(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_opened_by_peer(stream)
        self.counters.requests_in += 1
        size = frames.read_u32(payload) if flags else len(payload)
        if len(self._serving) >= self._limits.max_requests_in:
            self._refuse(stream, self._overloaded())
        elif fault := self._inbox.fault(size):
            self._refuse(stream, self._problem(fault))
        elif flags:
            self._inbox.announce(stream, REQUEST, size)
        else:
            self._inbox.hold(size)
            self._serving.start(stream, payload)

    def _take_answer(self, flags: int, stream: int, payload: bytes) -> None:
        if stream not in self._pending:
            return  # We gave up; the peer's answer has crossed our CANCEL.
        if stream in self._inbox:
            raise FrameError("bad-stream")
        if flags != frames.MORE:
            self._writer.drop(stream)
            if flags:
                self._pending.fail(stream, LinkProblem.decode(payload))
            else:
                self._pending.answer(stream, payload)
            return
        size = frames.read_u32(payload)
        if fault := self._inbox.fault(size):
            self._pending.fail(stream, self._problem(fault))
            self._abandon(stream)
        else:
            self._inbox.announce(stream, ANSWER, size)

    def _take_notice(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_opened_by_peer(stream)
        size = frames.read_u32(payload) if flags else len(payload)
        if self._inbox.fault(size, shared=False):
            # There is no answer by which to refuse it, and a gap between notices
            # would go unseen; both sides start afresh on a new link.
            self._lose("overloaded")
        elif flags:
            self._inbox.announce(stream, NOTICE, size)
        else:
            self._inbox.hold(size)
            self._add_notice(payload)

    def _add_notice(self, notice: bytes) -> None:
        if not self._notices.add(notice):
            self._lose("overloaded")

    def _take_chunk(self, stream: int, chunk: bytes) -> None:
        message, credit = self._inbox.add(stream, chunk)
        if credit:
            self._writer.put(frames.encode_window(stream, credit))
        if message is None:
            return
        if message.kind == REQUEST:
            self._serving.start(stream, message.message())
        elif message.kind == ANSWER:
            self._inbox.release(message.size)
            self._writer.drop(stream)
            self._pending.answer(stream, message.message())
        else:
            self._add_notice(message.message())

    def _take_cancel(self, stream: int) -> None:
        self._inbox.drop(stream)
        self._writer.drop(stream)
        self._serving.cancel(stream)

    def _check_opened_by_peer(self, stream: int) -> None:
        """Refuses a stream number that is ours, or that is in use."""
        if (
            stream % 2 == self._first_stream % 2
            or stream in self._serving
            or stream in self._inbox
            or stream in self._writer
        ):
            raise FrameError("bad-stream")

    # ------------------------------------------------------------------- serving

    def _answer(self, stream: int, answer: Payload) -> None:
        """Sends what a handler has returned."""
        self._writer.send(ANSWER, stream, answer, self._admit(answer))

    def _refuse(self, stream: int, problem: LinkProblem) -> None:
        """Answers with a problem."""
        if self._lost is None:
            self.counters.refused_in += 1
            answer = frames.encode(ANSWER, frames.PROBLEM, stream, problem.encode())
            self._writer.put(answer)

    def _problem(self, fault: str) -> LinkProblem:
        return self._overloaded() if fault == "overloaded" else LinkProblem(fault)

    # ----------------------------------------------------------------- heartbeat

    def _beat(self) -> None:
        """Sends a ping when one is due; ends a link that does not answer."""
        now = self._loop.time()
        if self._clock.now_ms() >= self.peer.expires_ms:
            self._lose("expired")
            return
        owes = len(self._pending) > 0 and now - self._heard_at >= self._tick_s
        if self._pinged_at is None:
            if owes or now >= self._next_ping_at:
                self._ping(now)
        elif now - self._pinged_at >= (
            self._tick_s if owes else self._limits.heartbeat_s
        ):
            self._lose("silent")
            return
        self._beat_timer = self._loop.call_later(self._tick_s, self._beat)

    def _resolve(self, doubted: int) -> None:
        """Ends the link if the ping of a doubt was not answered."""
        if self._pinged_at is not None and self._beats == doubted:
            self._lose("silent")

    def _ping(self, now: float) -> None:
        self._beats += 1
        self._pinged_at = now
        self._next_ping_at = now + self._limits.heartbeat_s
        self._writer.put(
            frames.encode(frames.PING, 0, 0, self._beats.to_bytes(8, "big"))
        )

    def _take_pong(self, payload: bytes) -> None:
        number = int.from_bytes(payload, "big")
        if self._pinged_at is not None and number == self._beats:
            self.counters.rtt_ms = (self._loop.time() - self._pinged_at) * 1000
            self._pinged_at = None

    # ------------------------------------------------------------------- the end

    def _lose(self, reason: str, detail: str = "") -> None:
        """Ends the link: every request of ours fails now, tasks stop soon."""
        if self._lost is not None:
            return
        self._lost = LinkLost(reason, detail)
        self._pending.fail_all(lambda: LinkLost(reason, detail))
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        code = _CLOSE_CODES.get(reason)
        self._writer.finish(None if code is None else frames.encode_close(code, reason))
        if not self._ending.done():
            self._ending.set_result(None)
        if self._on_lost is not None:
            self._on_lost(self, reason)

    async def _supervise(self) -> None:
        """Runs reader and writer until the link ends, then stops everything."""
        reader = self._loop.create_task(self._guard(self._read()))
        writer = self._loop.create_task(self._guard(self._writer.run(self._pipe)))
        try:
            await self._ending
            await asyncio.wait([writer], timeout=self._limits.close_grace_s)
        finally:
            self._lose("closed")
            tasks = [reader, writer, *self._serving]
            if self._notices.task is not None:
                tasks.append(self._notices.task)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=self._limits.close_grace_s)
            self._inbox.clear()
            self._notices.clear()
            await self._pipe.close()

    async def _guard(self, work: Awaitable[None]) -> None:
        """Turns what ends the reader or the writer into the end of the link."""
        try:
            await work
        except PipeClosed:
            self._lose("pipe-closed")
        except FrameError as error:
            self._lose("malformed", error.fault)
        except Exception:
            _logger.exception("link with %s failed", self.peer.node)
            self._lose("internal")


async def _drop_notice(_link: Link, _notice: bytes) -> None:
    """Stands in for a handler of notices where nobody has given one."""
