# SPDX-License-Identifier: Apache-2.0
"""Chance as an argument: whoever needs random bytes is handed a source of them.

    entropy(32)  ->  32 bytes that nobody can guess

In production it is the operating system's generator (`node.system`); in simulation a
seeded one, so that a run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from protocol.ids import uuid7

Entropy: TypeAlias = Callable[[int], bytes]


def new_id(now: int, entropy: Entropy) -> str:
    """Return a fresh time-ordered id (UUID version 7).

    Args:
        now: seconds since 1970.
        entropy: source of random bytes.
    """
    return str(uuid7(now * 1000, entropy(10)))
