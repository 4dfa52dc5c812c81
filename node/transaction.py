# SPDX-License-Identifier: Apache-2.0
"""One SQLite transaction: jobs in savepoints that commit together, reads on a snapshot.

    group = run(connection, jobs)                # BEGIN, then a savepoint for each job
    group.failure = group.failure or commit(connection)
    group.resolve()                              # only now do the askers hear of it

A job that fails takes only itself back. When the disk is full or fails, SQLite ends the
whole transaction: then every job of the group fails, and the next group starts afresh.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from node.sqlite import driver
from protocol.errors import MachikuraError

T = TypeVar("T")


class StorageFailed(MachikuraError):
    """The database did not take a write: disk full, input or output error, locked."""

    slug = "not-ready"

    def copy(self) -> StorageFailed:
        """Return a copy: an exception raised twice would mix its tracebacks."""
        copied = StorageFailed(self.detail)
        copied.__cause__ = self.__cause__
        return copied


@dataclass(frozen=True)
class Job:
    """One write that waits."""

    work: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    alone: bool


@dataclass
class Group:
    """Jobs of one transaction with their results, before they are delivered."""

    results: list[tuple[asyncio.Future[Any], Any, Exception | None]] = field(
        default_factory=list
    )
    failure: StorageFailed | None = None

    @property
    def failed(self) -> int:
        """How many jobs of the group were not kept."""
        if self.failure:
            return len(self.results)
        return sum(error is not None for _, _, error in self.results)

    def resolve(self) -> None:
        """Tell the askers; on the event loop, after `commit`."""
        for future, value, error in self.results:
            if future.done():  # whoever asked has stopped waiting
                continue
            fault = self.failure.copy() if self.failure else error
            if fault is None:
                future.set_result(value)
            else:
                future.set_exception(fault)


def on_snapshot(connection: Connection, job: Callable[[Connection], T]) -> T:
    """Run `job` so that all its queries see one state, and take back what it wrote."""
    raw = driver(connection)
    raw.execute("BEGIN")
    try:
        return job(connection)
    finally:
        _roll_back(connection)


def run(connection: Connection, jobs: list[Job]) -> Group:
    """Begin a transaction and run each job in a savepoint of its own."""
    group = Group()
    try:
        raw = driver(connection)
        raw.execute("BEGIN IMMEDIATE")
        for job in jobs:
            value, error = _run_one(connection, raw, job)
            group.results.append((job.future, value, error))
    except Exception as error:  # the outermost loop of all writes: askers must hear
        # The transaction is gone or was never there, and with it every job.
        _roll_back(connection)
        return Group([(job.future, None, None) for job in jobs], _failure(error))
    return group


def _run_one(
    connection: Connection, raw: sqlite3.Connection, job: Job
) -> tuple[Any, Exception | None]:
    """Return the job's value or its error.

    Raises:
        sqlite3.Error: the transaction as a whole is lost. SQLite itself ends it when
            the disk is full or fails.
    """
    raw.execute("SAVEPOINT job")
    try:
        value = job.work(connection)
    except Exception as error:  # whatever it is belongs to the one who asked
        if not raw.in_transaction:
            raise sqlite3.OperationalError(_reason(error)) from error
        raw.execute("ROLLBACK TO job")
        raw.execute("RELEASE job")
        return None, _wrapped(error)
    raw.execute("RELEASE job")
    return value, None


def commit(connection: Connection) -> StorageFailed | None:
    """Commit what `run` began; return why that failed, or None when it is on disk."""
    try:
        if connection.in_transaction():
            connection.commit()
        else:
            driver(connection).execute("COMMIT")
    except Exception as error:  # the outermost loop of all writes: askers must hear
        _roll_back(connection)
        return _failure(error)
    return None


def _roll_back(connection: Connection) -> None:
    # A second failure changes nothing: the next BEGIN finds out and reports it.
    with suppress(sqlite3.Error, SQLAlchemyError):
        # Always: after a failed commit SQLAlchemy has a transaction that is not active.
        connection.rollback()
        raw = driver(connection)
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _wrapped(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError | OperationalError):
        return _failure(error)
    return error


def _failure(error: Exception) -> StorageFailed:
    failure = StorageFailed(_reason(error))
    failure.__cause__ = error
    return failure


def _reason(error: Exception) -> str:
    # SQLite's own words name tables at most, never values; SQLAlchemy adds the SQL.
    return str(error.orig if isinstance(error, DBAPIError) else error)
