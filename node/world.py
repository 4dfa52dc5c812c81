# SPDX-License-Identifier: Apache-2.0
"""What a node needs of the outside: time, chance and a way to connect.

Production hands in the machine's; a simulation virtual time, seeded entropy and
pipes in memory (`federation.simulation`). The node cannot tell which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from federation.ports import Clock, Connect


class Chance(Protocol):
    """Random bytes in both shapes that our code asks for."""

    def __call__(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes."""
        ...

    def token_bytes(self, size: int, /) -> bytes:
        """Return `size` unpredictable bytes."""
        ...


@dataclass(frozen=True)
class World:
    """The outside.

    Attributes:
        clock: the time of day, and waiting for it.
        entropy: random bytes.
        connect: opens a pipe to a URL.
    """

    clock: Clock
    entropy: Chance
    connect: Connect
