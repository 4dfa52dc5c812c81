# SPDX-License-Identifier: Apache-2.0
"""How a SQLite file is opened: durable, private, readable while it is written.

WAL with `synchronous=FULL`: in a power-loss trial NORMAL lost every acknowledged
commit, FULL none. The driver runs in autocommit mode, so that transactions begin and
end where `node.transaction` says, not where the driver guesses. SQLAlchemy never shows
parameters in its errors: they are personal data.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool, StaticPool

BUSY_TIMEOUT_S = 5.0
"""Seconds to wait for another process that has the file locked (a backup tool)."""

_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # What was erased is overwritten, not left in free pages.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -8192",
    "PRAGMA journal_size_limit = 67108864",
)


def file_engine(path: Path) -> Engine:
    """Return an engine over a file that only its owner can read.

    Each `connect()` opens a connection of its own, which may pass between threads as
    long as one uses it at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite gives the WAL and its index the mode of the database file.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    return create_engine(
        "sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True
    )


def memory_engine() -> Engine:
    """Return an engine over one database in memory, shared by all its connections."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    return create_engine(
        "sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True
    )


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection under a SQLAlchemy one, for hot statements."""
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError("not a SQLite connection")
    return raw
