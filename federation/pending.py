# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for an answer, each until its deadline.

One timer serves all of them: it is set to the earliest deadline known and looks
again when it fires. A timer for each request would cost more than the request, since
nearly all are answered long before their deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from federation.outcome import DeadlinePassed
from federation.ports import LinkError

_GRAIN_S: Final = 0.005
"""Deadlines this close together are handled by one look."""

_ROUNDING_S: Final = 1e-6
"""A timer may fire this much early, because time is a float."""


class _Waiting(NamedTuple):
    """One request: who waits, and until when on the loop's clock."""

    future: asyncio.Future[bytes]
    due: float


class Pending:
    """The table of requests that are out, by stream."""

    def __init__(self, on_late: Callable[[int], None]) -> None:
        """Starts empty.

        Args:
            on_late: is told the stream of each request whose deadline has passed.
        """
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, stream: int) -> bool:
        return stream in self._waiting

    def add(self, stream: int, timeout_s: float) -> asyncio.Future[bytes]:
        """Returns what resolves to the answer, or fails with a `LinkError`."""
        due = self._loop.time() + timeout_s
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[stream] = _Waiting(future, due)
        timer = self._timer
        if timer is None or due < timer.when():
            self._set_timer(due)
        return future

    def answer(self, stream: int, message: bytes) -> None:
        """Wakes the request on the stream; a late answer is nobody's."""
        waiting = self._waiting.pop(stream, None)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_result(message)

    def fail(self, stream: int, error: LinkError) -> None:
        """Ends the request on the stream, if it still waits, with the error."""
        waiting = self._waiting.pop(stream, None)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_exception(error)

    def fail_all(self, make_error: Callable[[], LinkError]) -> None:
        """Ends every request, each with an error of its own, and the timer."""
        for stream in list(self._waiting):
            self.fail(stream, make_error())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def discard(self, stream: int) -> bool:
        """Returns whether the request still waited; from now on it does not."""
        return self._waiting.pop(stream, None) is not None

    def _set_timer(self, due: float) -> None:
        """Looks at the deadlines again at that time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """Ends what is late and waits for the next deadline."""
        self._timer = None
        now = self._loop.time()
        late = [
            stream
            for stream, waiting in self._waiting.items()
            if waiting.due <= now + _ROUNDING_S
        ]
        for stream in late:
            self.fail(stream, DeadlinePassed())
            self._on_late(stream)
        if self._waiting:
            nearest = min(waiting.due for waiting in self._waiting.values())
            self._set_timer(max(nearest, now + _GRAIN_S))
