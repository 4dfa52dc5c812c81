# SPDX-License-Identifier: Apache-2.0
"""Plays stories in copies of one founded process, as many at a time as there are jobs.

Founding five cities of twenty nodes costs as much as a story. So it is done once; then
each story gets a copy of the whole process (`fork`), with everybody's memory, databases
and links as they are. The copy plays, reports through a pipe and ends. A virtual event
loop has neither threads nor sockets, so nothing of it is lost in the copy.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import select
import signal
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from federation.simulation import Network, run
from node.builder import Builder
from node.simulate.cast import Cast
from node.simulate.events import Event
from node.simulate.scene import Violation
from node.simulate.stage import Outcome, Stage
from protocol.errors import Misuse

T = TypeVar("T")

_MEMORY = Path("/dev/shm")  # noqa: S108  key files are synced to disk: a world has many
LONGEST_S: Final = 300.0
"""Seconds of the real clock after which a copy is taken to hang."""


@dataclass(frozen=True)
class Story:
    """What a copy plays.

    Attributes:
        seed: decides delays and bytes.
        events: what happens.
        villain: the node in hostile hands; empty without.
    """

    seed: int
    events: tuple[Event, ...]
    villain: str = ""


@dataclass(frozen=True)
class Played:
    """A story that a copy has played.

    Attributes:
        story: which.
        outcome: how it ended.
        cpu_s: processor seconds of the copy.
        memory_mb: most memory that it had, shared with the others for the most part.
    """

    story: Story
    outcome: Outcome
    cpu_s: float
    memory_mb: float


@dataclass
class _Copy:
    """A process that plays."""

    story: Story
    pid: int
    pipe: int
    until_s: float
    report: bytearray


class Nursery:
    """Makes copies of a founded federation."""

    def __init__(
        self, stage: Stage, *, jobs: int, monotonic: Callable[[], float]
    ) -> None:
        """Take a stage that is founded.

        Args:
            stage: what is copied.
            jobs: copies at a time.
            monotonic: the real clock, for the longest time that a copy may take.
        """
        self._stage = stage
        self._jobs = jobs
        self._monotonic = monotonic

    async def play(self, stories: Iterable[Story]) -> AsyncIterator[Played]:
        """Play stories; yield each as soon as it has ended, in no particular order."""
        left = iter(stories)
        copies: list[_Copy] = []
        try:
            while True:
                while len(copies) < self._jobs:
                    story = next(left, None)
                    if story is None:
                        break
                    copies.append(await self._copy(story))
                if not copies:
                    return
                for copy in self._ended(copies):
                    copies.remove(copy)
                    yield _report(copy)
        finally:
            for copy in copies:
                _end(copy)

    async def first_failing(self, stories: Sequence[Story], rule: str) -> int | None:
        """Return the place of the first story that breaks a rule, None if none does.

        Stories are played a few at a time, so the ones behind it cost nothing.
        """
        for start in range(0, len(stories), self._jobs):
            group = stories[start : start + self._jobs]
            failing = [
                group.index(played.story)
                async for played in self.play(group)
                if any(v.rule == rule for v in played.outcome.violations)
            ]
            if failing:
                return start + min(failing)
        return None

    async def _copy(self, story: Story) -> _Copy:
        """Fork; only the original returns."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            # asyncio forgets its loop in a copy, for the sake of those with sockets.
            asyncio._set_running_loop(loop)
            await _perform(self._stage, story, writing)
        os.close(writing)
        until_s = self._monotonic() + LONGEST_S
        return _Copy(story, pid, reading, until_s, bytearray())

    def _ended(self, copies: list[_Copy]) -> list[_Copy]:
        """Wait until at least one has ended, or takes too long; return them."""
        ended: list[_Copy] = []
        while not ended:
            ready, _, _ = select.select([copy.pipe for copy in copies], [], [], 1.0)
            for copy in copies:
                if copy.pipe in ready:
                    part = os.read(copy.pipe, 1 << 16)
                    copy.report += part
                    if not part:
                        ended.append(copy)
                elif self._monotonic() > copy.until_s:
                    os.kill(copy.pid, signal.SIGKILL)
                    ended.append(copy)
        return ended


async def _perform(stage: Stage, story: Story, pipe: int) -> None:
    """Play in the copy and end it; never returns."""
    status = 1
    try:
        gc.disable()  # It lives for seconds, and collecting would copy shared memory.
        try:
            outcome = await stage.play(story.seed, story.events, story.villain)
        except Exception:  # the outermost loop of this process
            outcome = _broken(traceback.format_exc())
        report = memoryview(pickle.dumps(outcome))
        while report:
            report = report[os.write(pipe, report) :]
        status = 0
    finally:
        # Without the original's exit handlers, buffers and temporary folders.
        os._exit(status)


def _report(copy: _Copy) -> Played:
    """Read what a copy has reported."""
    os.close(copy.pipe)
    _, status, usage = os.wait4(copy.pid, 0)
    if status == 0:
        # From our own copy through our own pipe.
        outcome = pickle.loads(copy.report)  # noqa: S301
    else:
        outcome = _broken(f"the process ended with status {status}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Played(copy.story, outcome, cpu_s, usage.ru_maxrss / 1024)


def _broken(detail: str) -> Outcome:
    return Outcome([Violation("internal", detail, 0)], "", 0, 0.0)


def _end(copy: _Copy) -> None:
    os.kill(copy.pid, signal.SIGKILL)
    os.close(copy.pipe)
    os.waitpid(copy.pid, 0)


def with_nursery(
    cast: Cast,
    work: Callable[[Nursery], Awaitable[T]],
    *,
    jobs: int,
    monotonic: Callable[[], float],
    kind: type[Builder] = Builder,
) -> T:
    """Found a federation and let work use copies of it.

    Args:
        cast: who takes part.
        work: plays stories; must not wait for virtual time itself.
        jobs: copies at a time.
        monotonic: the real clock.
        kind: builds every node; one that errs shows that it is found.

    Raises:
        Misuse: this machine cannot copy processes.
    """
    if not hasattr(os, "fork"):
        raise Misuse("the simulator copies processes, which this system cannot")

    async def world(network: Network) -> T:
        with _folder() as folder:
            stage = Stage(network, cast, Path(folder), kind)
            await stage.found()
            gc.collect()
            gc.freeze()
            result = await work(Nursery(stage, jobs=jobs, monotonic=monotonic))
            await stage.close()
            return result

    return run(world, limit_s=float("inf"))


def play_here(cast: Cast, story: Story, kind: type[Builder] = Builder) -> Outcome:
    """Found a federation and play one story in this very process."""

    async def world(network: Network) -> Outcome:
        with _folder() as folder:
            stage = Stage(network, cast, Path(folder), kind)
            await stage.found()
            outcome = await stage.play(story.seed, story.events, story.villain)
            await stage.close()
            return outcome

    return run(world)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
