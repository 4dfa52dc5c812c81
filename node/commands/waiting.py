# SPDX-License-Identifier: Apache-2.0
"""Waiting for what comes by itself: a node that starts, a consent on its way.

For scripts; a person looks again. A node that does not answer yet, or says that there
is no such thing yet, is asked again until the time is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeAlias, TypeVar

import typer

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.system import SystemClock

Wait: TypeAlias = Annotated[
    float, typer.Option(min=0, help="Wait for it, seconds. 待つ秒数。")
]
T = TypeVar("T")
_PAUSE_S = 0.2


def waited(find: Callable[[], T | None], wait_s: float) -> T | None:
    """Return what `find` finds, or None after `wait_s` seconds.

    Args:
        find: asks once; None means not yet.
        wait_s: 0 asks once.

    Raises:
        NodeUnreachable: the node does not answer after the time either.
        NodeProblem: it refuses; `not-found` only after the time.
    """
    clock = SystemClock()
    end = clock.monotonic() + wait_s
    while True:
        try:
            found = find()
        except (NodeUnreachable, NodeProblem) as error:
            passing = isinstance(error, NodeUnreachable) or error.slug == "not-found"
            if not passing or clock.monotonic() >= end:
                raise
        else:
            if found is not None or clock.monotonic() >= end:
                return found
        asyncio.run(clock.sleep(_PAUSE_S))
