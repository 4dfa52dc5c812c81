# SPDX-License-Identifier: Apache-2.0
"""Attachments that go, and the files that must follow them.

A file cannot be removed within a transaction. So each file on disk has a row in one of
two tables at any time: of an attachment, or among the discarded. A file is entered as
discarded before its first byte is written, and becomes an attachment's when it is
whole; an attachment that goes leaves its file discarded. `AttachmentFiles.remove`
follows, also after a crash between the two.
"""

from __future__ import annotations

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    insert,
    literal,
    select,
)

from vault.statements import Hot
from vault.tables import attachments, discarded_files

_c = discarded_files.c
_ENTER = Hot(insert(discarded_files))
_LEAVE = Hot(delete(discarded_files).where(_c.id == bindparam("id")))


def discard(connection: Connection, which: ColumnElement[bool]) -> int:
    """Delete the attachments that `which` picks; return how many there were."""
    connection.execute(
        insert(discarded_files).from_select(
            ["id", "since_ms"],
            select(attachments.c.id, literal(0)).where(which),
        )
    )
    return connection.execute(delete(attachments).where(which)).rowcount


def enter(connection: Connection, file: str, now_ms: int) -> None:
    """Note a file that is about to be written."""
    _ENTER.run(connection, id=file, since_ms=now_ms)


def leave(connection: Connection, file: str) -> bool:
    """Forget a file that was removed, or is an attachment's now; False if unknown."""
    return _LEAVE.run(connection, id=file).rowcount == 1


def discarded(connection: Connection, limit: int = 1000) -> list[str]:
    """Return files that belong to no attachment, the oldest first."""
    query = select(_c.id).order_by(_c.since_ms, _c.id).limit(limit)
    return list(connection.execute(query).scalars())
