# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the federation's tests: a fresh small world, and a database in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.federation.store import open_file
from tests.federation.world import City, World


@pytest.fixture
def world() -> World:
    """Return a world without cities."""
    return World()


@pytest.fixture
def two_cities(world: World) -> tuple[City, City]:
    """Return hoshino and minato, which agree on everything and are linked."""
    hoshino, minato = world.chain("hoshino", "minato")
    return hoshino, minato


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    """Return where the database of a test lies."""
    return tmp_path / "node.db"


@pytest.fixture
def engine(database_file: Path) -> Iterator[Engine]:
    """Return the open database with the federation's tables."""
    engine = open_file(database_file)
    yield engine
    engine.dispose()
