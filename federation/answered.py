# SPDX-License-Identifier: Apache-2.0
"""What this node answers, each exchange id once: the same request again gets it again.

When a path fails after a request was sent, a broker sends the same bytes over another
path (`federation.broker`), and cannot know whether they arrived before. So the holder
makes that safe:

1. The first to come is *executed*; its answer is kept, for as long as the exchange
   lasts and memory allows.
2. The same request again while it is executed *waits* for that answer.
3. The same request again later *gets* that answer. Nothing is executed a second time.
4. Another request under the same id, one whose answer is no longer kept, and one that
   came too often, is `replayed`. A refusal is safe: the asker asks anew.
5. A request whose asker has gone, and of which nothing was made durable, is as if it
   had not come: the next one is executed.

After a restart memory is empty: then the durable record of a release, which carries the
exchange id, refuses a second one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from federation.replay import SeenIds
from protocol.errors import MachikuraError, Replayed

TIMES = 4
"""How often one request is answered at most: the first time, and three more paths."""


class TooManyExchanges(MachikuraError):
    """No further exchange id can be remembered."""

    slug = "overloaded"


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given before.

    Attributes:
        request: digest of the request that it answers.
        answer: the signed answer.
        until_ms: when the exchange is over.
    """

    request: str
    answer: bytes = field(repr=False)
    until_ms: int


@dataclass(slots=True)
class _Running:
    """A request that is being executed, and who else waits for its answer."""

    request: str
    until_ms: int
    waiting: list[asyncio.Future[None]] = field(default_factory=list)


class Answered:
    """Requests that are being executed, and answers given lately, by name.

    The name is sender and exchange id: nobody can use up another's ids.
    """

    def __init__(self, *, max_bytes: int, longest_bytes: int) -> None:
        """Start empty.

        Args:
            max_bytes: of the answers kept; the oldest go first.
            longest_bytes: of one answer; a longer one is not kept.
        """
        self._max_bytes = max_bytes
        self._longest_bytes = longest_bytes
        self._seen = SeenIds(times=TIMES)
        self._running: dict[str, _Running] = {}
        self._given: OrderedDict[str, Given] = OrderedDict()
        self._bytes = 0

    def begin(self, name: str, request: str, until_ms: int, now_ms: int) -> bool:
        """Take up a request; True if it is new and to be executed.

        The caller MUST then call `keep` or `abandon`.
        """
        sender = name.partition(" ")[0]
        if not self._seen.add(name, until_ms, now_ms, sender=sender):
            return False
        self._running[name] = _Running(request, until_ms)
        return True

    async def earlier(
        self, name: str, request: str, until_ms: int, now_ms: int
    ) -> Given | None:
        """Return the answer that was given before, or is being made now.

        Returns:
            None if whoever executed it gave up: it is now the caller's, as after
            `begin`.

        Raises:
            Replayed: there is none to give again.
            TooManyExchanges: there is no room for another id.
        """
        while not self.begin(name, request, until_ms, now_ms):
            running = self._running.get(name)
            given = self._given.get(name)
            if running is None and given is None and name not in self._seen:
                raise TooManyExchanges("too many exchanges at once")
            known = running or given
            if known is None or known.request != request:
                raise Replayed("exchange id seen before")
            if not self._seen.again(name):
                raise Replayed("the request came too often")
            if running is None:
                return given
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            running.waiting.append(waiter)
            await waiter
        return None

    def keep(self, name: str, answer: bytes, now_ms: int) -> None:
        """Note the answer of a request that was executed."""
        running = self._running.pop(name)
        self._drop(name)
        if len(answer) <= self._longest_bytes:
            self._given[name] = Given(running.request, answer, running.until_ms)
            self._bytes += len(answer)
        while self._given and (
            self._bytes > self._max_bytes
            or next(iter(self._given.values())).until_ms <= now_ms
        ):
            self._drop(next(iter(self._given)))
        _wake(running)

    def abandon(self, name: str, *, again: bool) -> None:
        """Note that a request came to no answer.

        Args:
            name: of the request.
            again: nothing was made durable: the next to come is executed.
        """
        running = self._running.pop(name)
        if again:
            self._seen.forget(name)
        _wake(running)

    def _drop(self, name: str) -> None:
        given = self._given.pop(name, None)
        if given is not None:
            self._bytes -= len(given.answer)


def _wake(running: _Running) -> None:
    for waiter in running.waiting:
        if not waiter.done():
            waiter.set_result(None)
