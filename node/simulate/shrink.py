# SPDX-License-Identifier: Apache-2.0
"""The shortest list of events that still breaks the promise: delta debugging.

After Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002):
leave out ever smaller parts, as long as what is left still fails. Events that have lost
their ground do nothing, so every part of a story is a story.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

FirstFailing = Callable[[Sequence[tuple[T, ...]]], Awaitable[int | None]]
"""Returns the place of the first candidate that fails, None if none does."""


@dataclass(frozen=True)
class Shrunk(Generic[T]):
    """What is left.

    Attributes:
        parts: fails, and as long as it is `minimal` nothing can be left out of it.
        minimal: False if the attempts were used up before.
        attempts: candidates tried.
    """

    parts: tuple[T, ...]
    minimal: bool
    attempts: int


async def shrink(
    parts: Sequence[T], first_failing: FirstFailing[T], *, most: int
) -> Shrunk[T]:
    """Leave out what is not needed to fail.

    Args:
        parts: known to fail.
        first_failing: tries candidates.
        most: candidates to try at most.
    """
    left, attempts, pieces = tuple(parts), 0, 2
    while left:
        pieces = min(pieces, len(left))
        candidates = _without_each(left, pieces)[: most - attempts]
        if not candidates:
            return Shrunk(left, minimal=False, attempts=attempts)
        place = await first_failing(candidates)
        attempts += len(candidates) if place is None else place + 1
        if place is not None:
            left, pieces = candidates[place], max(pieces - 1, 2)
        elif len(candidates) < pieces:
            return Shrunk(left, minimal=False, attempts=attempts)
        elif pieces == len(left):
            break
        else:
            pieces *= 2
    return Shrunk(left, minimal=True, attempts=attempts)


def _without_each(parts: tuple[T, ...], pieces: int) -> list[tuple[T, ...]]:
    """Return the parts without the first piece, without the second, and so on."""
    size, rest = divmod(len(parts), pieces)
    found, start = [], 0
    for number in range(pieces):
        end = start + size + (number < rest)
        found.append(parts[:start] + parts[end:])
        start = end
    return found
