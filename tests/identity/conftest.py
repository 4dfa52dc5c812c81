# SPDX-License-Identifier: Apache-2.0
"""A fresh home node for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from tests.identity.home import Home, database


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Open a fresh database in memory, inside one transaction."""
    engine = database()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def home(connection: Connection) -> Home:
    """Return a home node without residents."""
    return Home(connection)
