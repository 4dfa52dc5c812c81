# SPDX-License-Identifier: Apache-2.0
"""The database's schema and its revision: current, or brought there by Alembic.

At every start one cheap query compares the revision in the database with `HEAD`; only
when they differ is Alembic imported, which takes half a second. A migration is one
transaction: it is done as a whole or not at all. A database that a newer program has
migrated is refused and left as it is.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, inspect, text

import federation.evidence_tables
import federation.tables
import identity.tables
import node.tables
import vault.tables
from node.sqlite import driver
from protocol.errors import MachikuraError

HEAD = "0001"
"""The newest revision in `node/migrations/versions`."""

METADATA: tuple[MetaData, ...] = (
    identity.tables.metadata,
    vault.tables.metadata,
    federation.tables.metadata,
    node.tables.metadata,
)
"""All tables, by package."""

_FOLDER = Path(__file__).parent / "migrations"


class NewerSchema(MachikuraError):
    """The database belongs to a newer version of this program."""

    slug = "unsupported-version"


def prepare(engine: Engine) -> bool:
    """Bring the schema to `HEAD`; return whether anything had to be done.

    Raises:
        NewerSchema: the database has a revision that this program does not know.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return False
        # A second process that starts at the same time waits here, then finds it done.
        driver(connection).execute("BEGIN IMMEDIATE")
        try:
            found = revision(connection)
            if found != HEAD:
                _upgrade(connection, found)
            connection.commit()
        finally:
            if driver(connection).in_transaction:
                driver(connection).execute("ROLLBACK")
        return found != HEAD


def revision(connection: Connection) -> str | None:
    """Return the revision of the database, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    value = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if value is None else str(value)


def create_all(engine: Engine) -> None:
    """Create all tables without a revision: for databases that never grow old."""
    for metadata in METADATA:
        metadata.create_all(engine)


def _upgrade(connection: Connection, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    known = {
        script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()
    }
    if found is not None and found not in known:
        raise NewerSchema(f"the database has revision {found}, this program {HEAD}")
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise MachikuraError("the database could not be migrated") from error
