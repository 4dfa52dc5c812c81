# SPDX-License-Identifier: Apache-2.0
"""A full disk: a clear problem, nothing acknowledged is lost, and on by itself.

The holder's folder is a small file system of its own where this machine lets us mount
one. Elsewhere its process may not make files longer than they are (`RLIMIT_FSIZE`),
which SQLite meets as a failing write.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from node.commands.api_client import NodeProblem
from tests.network.pair import CLINIC, RELEASED, Pair, TwoCities, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE_BYTES = 640_000_000
"""Above what the node asks for before it calls itself ready; memory as it is used."""


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system over a folder; False where this machine forbids it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "mk", folder)
    try:
        yield mounted
    finally:
        if mounted:
            _run("umount", "--lazy", folder)
            # What could not be removed while it was mounted.
            shutil.rmtree(folder.parents[1], ignore_errors=True)


def _run(*command: object) -> bool:
    words = list(map(str, command))
    try:
        done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    except OSError:
        return False
    return done.returncode == 0


class Disk:
    """The holder's disk, which can be filled and emptied again."""

    def __init__(self, pair: Pair, *, mounted: bool) -> None:
        """Take the holder's folder."""
        self._node = pair.cities.nodes[CLINIC]
        self._mounted = mounted

    def fill(self) -> None:
        """Leave no room at all."""
        if self._mounted:
            found = os.statvfs(self._node.directory)
            self._resize((found.f_blocks - found.f_bfree) * found.f_frsize)
            return
        files = self._node.directory.glob("*sqlite*")
        self._limit(max(file.stat().st_size for file in files))

    def empty(self) -> None:
        """Give the room back."""
        if self._mounted:
            self._resize(SIZE_BYTES)
        else:
            self._limit(resource.RLIM_INFINITY)

    def _resize(self, size: int) -> None:
        options = f"remount,size={size}"
        assert _run("mount", "-o", options, self._node.directory), options

    def _limit(self, size: int) -> None:
        assert self._node.pid is not None
        hard = resource.RLIM_INFINITY
        resource.prlimit(self._node.pid, resource.RLIMIT_FSIZE, (size, hard))


async def test_full_disk_is_a_clear_problem_and_passes_by_itself() -> None:
    """Storing, releasing and withdrawing while there is no room, and afterwards."""
    with ExitStack() as stack:
        mounted: list[bool] = []

        def prepare(cities: TwoCities) -> None:
            folder = cities.folder / "hoshino" / "clinic"
            mounted.append(stack.enter_context(small_disk(folder)))

        async with started(prepare) as pair:
            await _story(pair, Disk(pair, mounted=mounted[0]))


async def _story(pair: Pair, disk: Disk) -> None:
    consent = await pair.give()
    ended = await pair.give()
    await pair.until_read(consent)
    await pair.until_read(ended)
    disk.fill()
    codes = await _until_refused(pair)
    assert codes == {"not-ready"}
    # Nothing is released that cannot be written down.
    before = len(await pair.history("provision"))
    assert await pair.read(consent) in ("not-ready", "internal")
    assert len(await pair.history("provision")) == before
    # The resident withdraws; the holder cannot sign for it now.
    await pair.withdraw(ended)
    await asyncio.to_thread(pair.api(CLINIC).get, "/healthz")
    assert not await pair.told(ended)
    disk.empty()
    await pair.until_read(consent)
    await pair.store(1)
    await pair.until(lambda: pair.told(ended), "the withdrawal is acknowledged", 60)
    assert await pair.read(ended) == "consent-withdrawn"
    node = pair.cities.nodes[CLINIC]
    await node.kill()
    await node.start()
    await pair.cities.ready(CLINIC)
    for record in pair.stored:
        await pair.call(partial(pair.api(CLINIC).get, f"/v1/records/{record}"))
    await pair.until(pair.drained, "every outbox is empty")
    assert await pair.read(ended) == "consent-withdrawn"
    assert await pair.read(consent) == RELEASED


async def _until_refused(pair: Pair) -> set[str]:
    """Store until the node says that it cannot; return the codes."""
    codes: set[str] = set()
    for number in range(400):
        try:
            await pair.store(number)
        except NodeProblem as problem:
            codes.add(str(problem.document.get("code")))
            if len(codes) + number > 3:
                return codes
    raise AssertionError("the disk is never full")
