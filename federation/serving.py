# SPDX-License-Identifier: Apache-2.0
"""The peer's requests and notices in hand, and the handlers that work on them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from federation.flow import Inbox
from federation.outcome import LinkProblem
from federation.ports import LinkError, Payload

_logger = logging.getLogger(__name__)


class Requests:
    """Requests of the peer that are being answered, each in a task of its own."""

    def __init__(
        self,
        *,
        peer: str,
        inbox: Inbox,
        handle: Callable[[bytes], Awaitable[Payload]],
        answer: Callable[[int, Payload], None],
        refuse: Callable[[int, LinkProblem], None],
    ) -> None:
        """Starts with none.

        Args:
            peer: node id, for the log.
            inbox: counts a request's bytes as held until its handler has ended.
            handle: answers one request.
            answer: sends the answer on a stream; may raise `LinkError`.
            refuse: sends a problem on a stream; never raises.
        """
        self._peer = peer
        self._inbox = inbox
        self._handle = handle
        self._answer = answer
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, stream: int) -> bool:
        return stream in self._tasks

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(list(self._tasks.values()))

    def start(self, stream: int, payload: bytes) -> None:
        """Runs the handler; the payload's bytes are held by the inbox already."""
        task = self._loop.create_task(self._run(stream, payload))
        self._tasks[stream] = task
        # Not at the end of the coroutine: a task that is cancelled before its first
        # step never runs its body.
        task.add_done_callback(partial(self._ended, stream, len(payload)))

    def cancel(self, stream: int) -> None:
        """Stops the handler, because the asker no longer waits."""
        task = self._tasks.get(stream)
        if task is not None:
            task.cancel()

    async def _run(self, stream: int, payload: bytes) -> None:
        """Runs the handler and sends what it returns."""
        try:
            self._answer(stream, await self._handle(payload))
        except LinkProblem as problem:
            self._refuse(stream, problem)
        except LinkError as error:
            self._refuse(stream, LinkProblem(error.slug))
        except Exception:
            _logger.exception("handler of a request by %s failed", self._peer)
            self._refuse(stream, LinkProblem("internal"))

    def _ended(self, stream: int, size: int, task: asyncio.Task[None]) -> None:
        """Forgets a handler that has ended."""
        del self._tasks[stream]
        self._inbox.release(size)
        if task.cancelled():
            # Either the asker gave up and will not read this, or something inside
            # the handler was cancelled and the asker must not wait for nothing.
            self._refuse(stream, LinkProblem("internal"))


class Notices:
    """Notices of the peer, handled one by one in the order sent."""

    def __init__(
        self,
        *,
        peer: str,
        inbox: Inbox,
        handle: Callable[[bytes], Awaitable[None]],
        max_waiting: int,
    ) -> None:
        """Starts with none.

        Args:
            peer: node id, for the log.
            inbox: counts a notice's bytes as held until its handler has ended.
            handle: takes one notice. What it raises is logged, and the next one
                follows: a notice that we cannot use must not end the link.
            max_waiting: notices that may wait.
        """
        self._peer = peer
        self._inbox = inbox
        self._handle = handle
        self._max_waiting = max_waiting
        self._waiting: deque[bytes] = deque()
        self.task: asyncio.Task[None] | None = None

    def add(self, notice: bytes) -> bool:
        """Returns whether there was room; the notice's bytes are held already."""
        if len(self._waiting) >= self._max_waiting:
            return False
        self._waiting.append(notice)
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())
        return True

    def clear(self) -> None:
        """Gives up the notices that wait: the link has ended."""
        while self._waiting:
            self._inbox.release(len(self._waiting.popleft()))

    async def _run(self) -> None:
        """Hands over the notices that wait, then ends."""
        while self._waiting:
            notice = self._waiting.popleft()
            try:
                await self._handle(notice)
            except Exception:
                _logger.exception("handler of a notice by %s failed", self._peer)
            finally:
                self._inbox.release(len(notice))
        self.task = None
