# SPDX-License-Identifier: Apache-2.0
"""Store calls off the event loop's back: one writer with group commit, free readers.

    await db.write(lambda c: records.insert(c, record))   # on disk when it returns
    row = db.read(lambda c: records.get(c, record_id))    # inline, a snapshot
    page = await db.scan(lambda c: records.search(c, …))  # in a thread, a snapshot
    await db.bulk(lambda c: records.import_all(c, …))     # a long write, in the thread

Writes that wait while a commit is under way form the next group: one transaction, one
`fsync`, each job in a savepoint of its own, so that a failing job takes only itself
back. Futures are resolved after COMMIT, never before.

The jobs of a group run on the event loop and only COMMIT runs in the writer thread.
Running them in the thread too was measured: every statement hands the interpreter's
lock over and back, and beside a loop that computes (signatures) the throughput with 32
writers fell to 58 %, while a lone writer gained nothing. A job therefore has to be
short; long ones go through `bulk`.

Jobs are synchronous functions of an `sqlalchemy.Connection`, MUST NOT commit or roll
back, and MUST NOT change memory that a failed commit would leave wrong.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from node.sqlite import driver, file_engine, memory_engine
from node.transaction import Group, Job, StorageFailed, commit, on_snapshot, run
from protocol.errors import MachikuraError

T = TypeVar("T")


class StorageOverloaded(MachikuraError):
    """More writes wait than the queue may hold."""

    slug = "overloaded"


class Database(Protocol):
    """What stores are called through: a `GroupDatabase` or an `InlineDatabase`."""

    def write(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Run a short write; durable when awaited.

        Who cancels it before it was started has not written; after that, nobody knows.

        Raises:
            StorageFailed: nothing of it was kept.
            StorageOverloaded: it was not started.
        """
        ...

    def bulk(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Run a long write as a group of its own, off the event loop."""
        ...

    def read(self, job: Callable[[Connection], T]) -> T:
        """Run short queries at once, on one snapshot; writing is refused."""
        ...

    async def scan(self, job: Callable[[Connection], T]) -> T:
        """Run long queries in a thread, on one snapshot; writing is refused."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then close the connections."""
        ...


@dataclass
class WriteCounters:
    """What the writer has done so far, for metrics and checks."""

    jobs: int = 0
    groups: int = 0
    failed_jobs: int = 0
    failed_groups: int = 0
    waiting: int = 0
    last_failure: str = ""
    """Why the last commit failed; empty again after the next that succeeds."""

    def count(self, group: Group) -> None:
        """Add one group."""
        self.groups += 1
        self.jobs += len(group.results)
        self.failed_groups += group.failure is not None
        self.failed_jobs += group.failed
        self.last_failure = group.failure.detail if group.failure else ""


class GroupDatabase:
    """A SQLite file with one writer. Made on the event loop that uses it."""

    def __init__(
        self,
        path: Path,
        *,
        group_jobs: int = 64,
        max_waiting: int = 4096,
        scan_threads: int = 2,
    ) -> None:
        """Open the file and start the threads.

        Args:
            path: the database file; its schema must be current (`node.schema`).
            group_jobs: the most jobs in one transaction.
            max_waiting: the most writes that wait; one more is refused.
            scan_threads: threads for long reads.
        """
        self.counters = WriteCounters()
        self._engine = file_engine(path)
        self._loop = asyncio.get_running_loop()
        self._group_jobs, self._max_waiting = group_jobs, max_waiting
        self._waiting: deque[Job] = deque()
        self._busy = self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer = self._engine.connect()
        self._reader = _reader(self._engine)
        self._commits: queue.SimpleQueue[Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(
            target=self._serve, name="database-writer", daemon=True
        )
        self._thread.start()
        self._scans = _Scans(self._engine, scan_threads)

    def write(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """See `Database.write`. Must be called on the event loop's thread."""
        return self._enqueue(job, alone=False)

    def bulk(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """See `Database.bulk`."""
        return self._enqueue(job, alone=True)

    def read(self, job: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        return on_snapshot(self._reader, job)

    async def scan(self, job: Callable[[Connection], T]) -> T:
        """See `Database.scan`."""
        return await self._scans.run(job)

    async def close(self) -> None:
        """See `Database.close`. Later calls fail; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        self._commits.put(None)
        await asyncio.to_thread(self._thread.join)
        await self._scans.close()
        self._reader.close()
        self._writer.close()
        self._engine.dispose()

    def _enqueue(
        self, job: Callable[[Connection], T], *, alone: bool
    ) -> asyncio.Future[T]:
        if self._closed:
            raise StorageFailed("the database is closed")
        if len(self._waiting) >= self._max_waiting:
            raise StorageOverloaded("too many writes are waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(Job(job, future, alone))
        self.counters.waiting = len(self._waiting)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            # Not at once: writes of the same turn of the loop join the group.
            self._loop.call_soon(self._next_group)
        return future

    def _next_group(self) -> None:
        """Run the waiting jobs and hand their commit to the thread."""
        waiting = self._waiting
        while waiting and waiting[0].future.cancelled():
            waiting.popleft()  # Nobody waits for it any more, and it has not begun.
        if not waiting:
            self._rest()
            return
        first = waiting.popleft()
        if first.alone:
            self._commits.put(lambda: self._finish(run(self._writer, [first])))
            return
        jobs = [first]
        while waiting and len(jobs) < self._group_jobs and not waiting[0].alone:
            job = waiting.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        group = run(self._writer, jobs)
        self._commits.put(lambda: self._finish(group))

    def _finish(self, group: Group) -> None:
        """Commit, in the writer thread, and send the results to the loop."""
        group.failure = group.failure or commit(self._writer)
        self._loop.call_soon_threadsafe(self._deliver, group)

    def _deliver(self, group: Group) -> None:
        """Resolve the futures of a group, on the loop, and start the next group."""
        self.counters.count(group)
        group.resolve()
        self.counters.waiting = len(self._waiting)
        if self._waiting:
            self._next_group()
        else:
            self._rest()

    def _rest(self) -> None:
        self._busy = False
        self._idle.set()

    def _serve(self) -> None:
        while (work := self._commits.get()) is not None:
            work()


class InlineDatabase:
    """The same without threads: each write commits at once. For simulations, tests.

    Satisfies `Database`. All connections share one database in memory unless another
    engine is given, which outlives this object (a simulated crash and restart).
    """

    def __init__(self, engine: Engine | None = None) -> None:
        """Open the database; its schema must be current (`node.schema`)."""
        self.counters = WriteCounters()
        self._connection = (engine or memory_engine()).connect()

    def write(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """See `Database.write`; done when it returns."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        group = run(self._connection, [Job(job, future, alone=True)])
        group.failure = group.failure or commit(self._connection)
        self.counters.count(group)
        group.resolve()
        return future

    def bulk(self, job: Callable[[Connection], T]) -> asyncio.Future[T]:
        """See `Database.bulk`."""
        return self.write(job)

    def read(self, job: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        raw = driver(self._connection)
        raw.execute("PRAGMA query_only = ON")
        try:
            return on_snapshot(self._connection, job)
        finally:
            raw.execute("PRAGMA query_only = OFF")

    async def scan(self, job: Callable[[Connection], T]) -> T:
        """See `Database.scan`."""
        return self.read(job)

    async def close(self) -> None:
        """See `Database.close`."""
        self._connection.close()


class _Scans:
    """Readers in threads, one connection each."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="database-scan")
        self._readers = [_reader(engine) for _ in range(threads)]
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        for reader in self._readers:
            self._free.put(reader)

    async def run(self, job: Callable[[Connection], T]) -> T:
        def work() -> T:
            reader = self._free.get()
            try:
                return on_snapshot(reader, job)
            finally:
                self._free.put(reader)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for reader in self._readers:
            reader.close()


def _reader(engine: Engine) -> Connection:
    connection = engine.connect()
    driver(connection).execute("PRAGMA query_only = ON")
    return connection
