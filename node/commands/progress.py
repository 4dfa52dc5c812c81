# SPDX-License-Identifier: Apache-2.0
"""How far a transfer is: a bar on a terminal, lines of JSON for a script.

Both go to standard error, so that standard output has the result alone. Without a
terminal and without `--json` nothing is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from node.system import SystemClock

EVERY_S = 0.5
"""Between two lines of JSON."""


@contextmanager
def shown(
    what: str, size: int | None, position: int, *, as_json: bool
) -> Iterator[Callable[[int], None]]:
    """Show a transfer; yields what takes the position, in bytes, each time it grows.

    Args:
        what: short name of what is transferred.
        size: bytes of it all; None where that is not known.
        position: where it begins.
        as_json: lines such as `{"position": 1048576, "size": 1073741824}`.
    """
    if as_json:
        yield _lines(size)
        return
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=size, completed=position)
        yield lambda now: bar.update(task, completed=now)


def _lines(size: int | None) -> Callable[[int], None]:
    clock = SystemClock()
    last = 0.0

    def tell(position: int) -> None:
        nonlocal last
        now = clock.monotonic()
        if position == size or now - last >= EVERY_S:
            last = now
            line = orjson.dumps({"position": position, "size": size}) + b"\n"
            sys.stderr.write(line.decode())
            sys.stderr.flush()

    return tell
