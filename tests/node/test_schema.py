# SPDX-License-Identifier: Apache-2.0
"""The schema: brought to the newest revision as a whole, or refused and left alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from node import schema
from node.sqlite import file_engine, memory_engine


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return an empty database file."""
    return file_engine(tmp_path / "node.sqlite3")


def described(engine: Engine) -> dict[str, object]:
    """Return tables, columns and indexes."""
    found = inspect(engine)
    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"])
                for c in found.get_columns(table)
            ],
            sorted(str(i["name"]) for i in found.get_indexes(table)),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def test_empty_database_gets_every_table(engine: Engine) -> None:
    """A new node needs no command for it; the second start does nothing."""
    assert schema.prepare(engine)
    assert not schema.prepare(engine)
    declared = {t.name for metadata in schema.METADATA for t in metadata.sorted_tables}
    assert declared == described(engine).keys()


def test_migrated_database_equals_the_declarations(engine: Engine) -> None:
    """Old nodes and simulations have the same tables."""
    schema.prepare(engine)
    fresh = memory_engine()
    schema.create_all(fresh)
    assert described(engine) == described(fresh)
    fresh.dispose()


def test_packages_do_not_share_table_names() -> None:
    """They live in one database."""
    names = [t.name for metadata in schema.METADATA for t in metadata.sorted_tables]
    assert len(names) == len(set(names))


def test_head_is_the_newest_revision() -> None:
    """The cheap comparison at start depends on it."""
    folder = Path(schema.__file__).parent / "migrations" / "versions"
    numbers = [m[1] for p in folder.iterdir() if (m := re.match(r"(\d+)_", p.name))]
    assert max(numbers) == schema.HEAD


def test_newer_database_is_refused_and_left_as_it_is(engine: Engine) -> None:
    """Going back to an older program must not destroy data."""
    schema.prepare(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(schema.NewerSchema, match="9999"):
        schema.prepare(engine)
    with engine.connect() as connection:
        assert schema.revision(connection) == "9999"


def test_failed_migration_leaves_nothing(engine: Engine) -> None:
    """Half a schema would look like a whole one at the next start."""
    last = [t for metadata in schema.METADATA for t in metadata.sorted_tables][-1]
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {last.name} (in_the_way TEXT)"))
    with pytest.raises(Exception, match="already exists"):
        schema.prepare(engine)
    assert inspect(engine).get_table_names() == [last.name]


def test_current_database_does_not_load_alembic(engine: Engine, tmp_path: Path) -> None:
    """It takes half a second to import, at every start."""
    schema.prepare(engine)
    for name in [n for n in sys.modules if n.partition(".")[0] == "alembic"]:
        del sys.modules[name]
    schema.prepare(engine)
    assert "alembic" not in sys.modules
