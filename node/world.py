# SPDX-License-Identifier: Apache-2.0
"""What a node needs of the outside: time, chance and a way to connect.

Production hands in the machine's; a simulation virtual time, seeded entropy and
pipes in memory (`federation.simulation`). The node cannot tell which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from federation.ports import Clock, Connect

T = TypeVar("T")


class Chance(Protocol):
    """Random bytes in both shapes that our code asks for."""

    def __call__(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes."""
        ...

    def token_bytes(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes."""
        ...


class Aside(Protocol):
    """Does work that would hold up the event loop: files, long computation."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Return what `work` returns, or raise what it raises."""
        ...


async def at_once(work: Callable[[], T], /) -> T:
    """Do it here and now: for simulations, in which nothing runs beside the loop."""
    return work()


Post: TypeAlias = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Sends a body with headers to a URL; returns the HTTP status.

Raises `OSError` or `TimeoutError` where nobody answers.
"""


async def to_nobody(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Reach nobody: for simulations, which have no local applications."""
    raise OSError("there is no way out")


@dataclass(frozen=True)
class World:
    """The outside.

    Attributes:
        clock: the time of day, and waiting for it.
        entropy: random bytes.
        connect: opens a pipe to a URL.
        aside: does slow work beside the event loop.
        post: calls local applications.
    """

    clock: Clock
    entropy: Chance
    connect: Connect
    aside: Aside = at_once
    post: Post = to_nobody
