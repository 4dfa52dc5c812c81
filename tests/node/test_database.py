# SPDX-License-Identifier: Apache-2.0
"""Group commit: durable when answered, jobs isolated, failures clear and survivable."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from node.database import Database, GroupDatabase, InlineDatabase, StorageOverloaded
from node.sqlite import driver, file_engine, memory_engine
from node.transaction import StorageFailed

SCHEMA = "CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, body BLOB)"


def put(word: str, size: int = 0) -> Callable[[Connection], str]:
    """Return a job that stores `word` through SQLAlchemy."""

    def job(connection: Connection) -> str:
        values = {"word": word, "body": b"x" * size}
        connection.execute(text("INSERT INTO words VALUES (:word, :body)"), values)
        return word

    return job


def put_hot(word: str) -> Callable[[Connection], None]:
    """Return a job that stores `word` on the driver."""

    def job(connection: Connection) -> None:
        driver(connection).execute("INSERT INTO words VALUES (?, NULL)", (word,))

    return job


def words(connection: Connection) -> set[str]:
    """Return all stored words."""
    return set(connection.execute(text("SELECT word FROM words")).scalars())


def stored(path: Path) -> set[str]:
    """Return what another process would find in the file."""
    with sqlite3.connect(path) as connection:
        found = {word for (word,) in connection.execute("SELECT word FROM words")}
    connection.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database file with one table."""
    path = tmp_path / "data" / "node.sqlite3"
    with file_engine(path).begin() as connection:
        connection.execute(text(SCHEMA))
    return path


@pytest.fixture
async def grouped(path: Path) -> AsyncIterator[GroupDatabase]:
    """Return a database file as a node uses it."""
    database = GroupDatabase(path, max_waiting=100)
    yield database
    await database.close()


@pytest.fixture(params=["grouped", "inline"])
async def either(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Database]:
    """Return each kind of database in turn: both keep the same promises."""
    database: Database
    if request.param == "grouped":
        database = GroupDatabase(path)
    else:
        engine = memory_engine()
        with engine.begin() as connection:
            connection.execute(text(SCHEMA))
        database = InlineDatabase(engine)
    yield database
    await database.close()


async def test_write_returns_the_value_of_its_job(either: Database) -> None:
    """The caller gets what the store returned, and can read what it wrote."""
    assert await either.write(put("one")) == "one"
    assert either.read(words) == {"one"}
    assert await either.scan(words) == {"one"}


async def test_failing_job_takes_only_itself_back(either: Database) -> None:
    """Neighbors in the group are kept; what the failing job had written is not."""

    def half(connection: Connection) -> None:
        put("half")(connection)
        put_hot("one")(connection)  # is there already

    outcomes = await asyncio.gather(
        either.write(put("one")),
        either.write(half),
        either.write(put_hot("two")),
        return_exceptions=True,
    )
    assert [type(o) for o in outcomes] == [str, sqlite3.IntegrityError, type(None)]
    assert either.read(words) == {"one", "two"}


async def test_error_of_a_store_reaches_its_caller_as_it_is(either: Database) -> None:
    """Stores tell conflicts by the library's own classes."""
    await either.write(put("one"))
    with pytest.raises(IntegrityError):
        await either.write(put("one"))


async def test_error_never_shows_what_was_to_be_stored(either: Database) -> None:
    """Parameters are personal data; they stay out of messages and logs."""
    await either.write(put("secret-name"))
    with pytest.raises(IntegrityError) as caught:
        await either.write(put("secret-name"))
    assert "secret-name" not in str(caught.value)


async def test_statement_that_makes_no_sense_is_a_storage_failure(
    either: Database,
) -> None:
    """An operational error says which table was missing."""
    with pytest.raises(StorageFailed, match="no such table: missing"):
        await either.write(lambda c: c.execute(text("SELECT * FROM missing")))


async def test_job_that_ends_the_transaction_fails_and_spoils_nothing_later(
    either: Database,
) -> None:
    """A store that commits by itself is a bug that must be seen."""
    with pytest.raises(StorageFailed):
        await either.write(lambda c: driver(c).execute("COMMIT"))
    await either.write(put("after"))
    assert either.read(words) == {"after"}


async def test_read_and_scan_refuse_to_write(either: Database) -> None:
    """Only the writer writes, whatever a store tries."""
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        either.read(put_hot("one"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await either.scan(put_hot("one"))
    assert either.read(words) == set()


async def test_bulk_writes_as_a_job_of_its_own(either: Database) -> None:
    """A long write is atomic too, and its neighbors do not depend on it."""

    def many(connection: Connection) -> None:
        for number in range(100):
            put(f"n{number}")(connection)
        raise ValueError("at the end")

    outcomes = await asyncio.gather(
        either.write(put("before")),
        either.bulk(many),
        either.write(put("after")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ValueError)
    assert either.read(words) == {"before", "after"}


async def test_concurrent_writes_share_commits(grouped: GroupDatabase) -> None:
    """That is the point: one fsync for many answers."""
    await asyncio.gather(*(grouped.write(put(f"n{i}")) for i in range(90)))
    assert grouped.counters.jobs == 90
    assert grouped.counters.groups <= 3
    assert len(grouped.read(words)) == 90


async def test_answered_write_is_in_the_file(
    grouped: GroupDatabase, path: Path
) -> None:
    """Another process sees it the moment the future is done."""
    await grouped.write(put("durable"))
    assert stored(path) == {"durable"}


async def test_write_is_not_answered_before_its_commit(grouped: GroupDatabase) -> None:
    """While the writer thread is held up, nothing is promised."""
    held = threading.Event()
    first = grouped.bulk(lambda c: held.wait(10))
    second = grouped.write(put("later"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    assert grouped.read(words) == set()
    held.set()
    assert await first
    assert await second == "later"


async def test_loop_goes_on_while_a_bulk_write_runs(grouped: GroupDatabase) -> None:
    """A long write blocks other writes, not the event loop nor reads."""
    held = threading.Event()
    long = grouped.bulk(lambda c: held.wait(10))
    await asyncio.sleep(0)
    assert grouped.read(words) == set()
    held.set()
    assert await long


async def test_full_queue_refuses_instead_of_growing(grouped: GroupDatabase) -> None:
    """Memory stays bounded when the disk cannot follow."""
    accepted = [grouped.write(put(f"n{i}")) for i in range(100)]
    with pytest.raises(StorageOverloaded):
        grouped.write(put("one too many"))
    await asyncio.gather(*accepted)
    assert await grouped.write(put("room again")) == "room again"


async def test_caller_that_gave_up_does_not_disturb_its_group(
    grouped: GroupDatabase,
) -> None:
    """A cancelled request's write may be kept; the others' must be."""
    given_up, kept = grouped.write(put("given up")), grouped.write(put("kept"))
    given_up.cancel()
    assert await kept == "kept"


async def test_full_disk_while_writing_fails_the_job_and_is_survived(
    grouped: GroupDatabase,
) -> None:
    """The error says why, nothing of the job stays, and room helps at once."""

    def limit(pages: int) -> Callable[[Connection], None]:
        return lambda c: c.execute(text(f"PRAGMA max_page_count = {pages}")).close()

    await grouped.bulk(limit(8))
    with pytest.raises(StorageFailed, match="full") as caught:
        await grouped.write(put("large", size=200_000))
    assert caught.value.slug == "not-ready"
    await grouped.bulk(limit(1_000_000))
    await grouped.write(put("after", size=200_000))
    assert grouped.read(words) == {"after"}


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow: every write beyond fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


async def test_full_disk_at_commit_fails_the_whole_group_and_is_survived(
    path: Path,
) -> None:
    """No job of a group that is not on disk is ever answered with success."""
    database = GroupDatabase(path)
    await database.write(put("before"))
    with full_disk(path):
        outcomes = await asyncio.gather(
            *(database.write(put(f"n{i}", size=5000)) for i in range(3)),
            return_exceptions=True,
        )
    assert [type(o) for o in outcomes] == [StorageFailed] * 3
    assert database.counters.last_failure
    assert database.counters.failed_groups == 1
    await database.write(put("after"))
    assert database.counters.last_failure == ""
    await database.close()
    assert stored(path) == {"before", "after"}


async def test_violation_found_at_commit_fails_the_group_and_is_rolled_back(
    grouped: GroupDatabase,
) -> None:
    """A constraint that is checked late must not leave a transaction open."""
    schema = (
        "CREATE TABLE late (parent TEXT REFERENCES words (word) "
        "DEFERRABLE INITIALLY DEFERRED)"
    )
    await grouped.write(lambda c: c.execute(text(schema)).close())
    orphan = "INSERT INTO late VALUES ('nobody')"
    with pytest.raises(StorageFailed):
        await grouped.write(lambda c: driver(c).execute(orphan).close())
    assert await grouped.write(put("after")) == "after"


async def test_snapshot_of_a_scan_does_not_see_later_writes(
    grouped: GroupDatabase,
) -> None:
    """A long report is consistent, and holds nobody up."""
    started, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> set[str]:
        first = words(connection)
        started.set()
        go_on.wait(10)
        return first | words(connection)

    scan = asyncio.create_task(grouped.scan(slow))
    await asyncio.to_thread(started.wait, 10)
    await grouped.write(put("meanwhile"))
    go_on.set()
    assert await scan == set()
    assert grouped.read(words) == {"meanwhile"}


async def test_close_finishes_what_was_accepted(path: Path) -> None:
    """A node that stops loses no write that it had taken."""
    database = GroupDatabase(path, group_jobs=2)
    writes = [database.write(put(f"n{i}")) for i in range(9)]
    await database.close()
    assert len(await asyncio.gather(*writes)) == 9
    assert len(stored(path)) == 9


async def test_closed_database_refuses_writes(path: Path) -> None:
    """Late requests get a clear answer; closing twice is harmless."""
    database = GroupDatabase(path)
    await database.close()
    await database.close()
    with pytest.raises(StorageFailed, match="closed"):
        database.write(put("late"))


async def test_files_are_private_to_their_owner(
    grouped: GroupDatabase, path: Path
) -> None:
    """Also the write-ahead log, which holds the newest data."""
    await grouped.write(put("one"))
    modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    assert set(modes) == {"node.sqlite3", "node.sqlite3-wal", "node.sqlite3-shm"}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_commits_are_synchronous(grouped: GroupDatabase) -> None:
    """NORMAL lost acknowledged commits in a power-loss trial."""

    def pragmas(connection: Connection) -> tuple[object, object]:
        read = driver(connection).execute
        mode = read("PRAGMA journal_mode").fetchone()[0]
        return mode, read("PRAGMA synchronous").fetchone()[0]

    assert await grouped.bulk(pragmas) == ("wal", 2)


async def test_write_that_nobody_waits_for_is_not_begun(path: Path) -> None:
    """Work whose asker has gone is cut while it waits; its neighbors are written."""
    database = GroupDatabase(path)
    kept = database.write(put("kept"))
    given_up = [database.write(put(f"gone {number}")) for number in range(3)]
    alone = database.bulk(put("gone alone"))
    for future in (*given_up, alone):
        future.cancel()
    assert await kept == "kept"
    last = database.write(put("last"))
    last.cancel()
    await database.write(put("after"))
    only = database.write(put("only"))
    only.cancel()
    await database.close()
    assert stored(path) == {"kept", "after"}
