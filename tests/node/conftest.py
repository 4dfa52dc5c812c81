# SPDX-License-Identifier: Apache-2.0
"""A clock that is set, entropy that repeats, a database in memory, a served API."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from node.database import InlineDatabase
from node.schema import create_all
from node.sqlite import memory_engine

START_MS = 1_800_000_000_000


@dataclass
class SetClock:
    """Time stands still until the test moves it."""

    ms: int = START_MS

    def now_ms(self) -> int:
        """Return the time."""
        return self.ms

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.ms += int(seconds * 1000)


@dataclass
class CountedEntropy:
    """Bytes that differ at each call and repeat in each run."""

    calls: int = field(default=0)

    def __call__(self, size: int) -> bytes:
        """Return `size` bytes."""
        self.calls += 1
        return hashlib.shake_256(b"%d" % self.calls).digest(size)


@pytest.fixture
def clock() -> SetClock:
    """Return a clock that is set."""
    return SetClock()


@pytest.fixture
def entropy() -> CountedEntropy:
    """Return entropy that repeats."""
    return CountedEntropy()


@pytest.fixture
def engine() -> Engine:
    """Return a database in memory with all tables."""
    engine = memory_engine()
    create_all(engine)
    return engine


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[InlineDatabase]:
    """Return the database as the node uses it."""
    database = InlineDatabase(engine)
    yield database
    await database.close()
    engine.dispose()


@pytest.fixture
def admin_socket(tmp_path: Path) -> Path:
    """Return a place for the operators' socket."""
    return tmp_path / "admin.sock"
