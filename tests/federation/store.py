# SPDX-License-Identifier: Apache-2.0
"""A database in a file as a node has it: SQLite with a write-ahead log.

Only that no commit waits for the disk: tests end processes, not the power.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from federation.tables import metadata

T = TypeVar("T")


def open_file(path: Path) -> Engine:
    """Open a database file; makes it, and the federation's tables, where missing."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    metadata.create_all(engine)
    return engine


def bytes_of(path: Path) -> bytes:
    """Return everything that the database has on disk, its log included."""
    files = sorted(path.parent.glob(f"{path.name}*"))
    return b"".join(file.read_bytes() for file in files)


class FileStore:
    """Runs work on the file. Satisfies `federation.outbox.Store`.

    Attributes:
        frozen: no write ends any more, as in a process that is about to die.
        broken: every write fails, as on a full disk.
    """

    def __init__(self, engine: Engine) -> None:
        """Take an open database."""
        self._engine = engine
        self.frozen = False
        self.broken = False

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        if self.frozen:
            await asyncio.Event().wait()
        if self.broken:
            raise OSError("no space left")
        with self._engine.begin() as connection:
            return work(connection)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run a query."""
        with self._engine.connect() as connection:
            return work(connection)
