# SPDX-License-Identifier: Apache-2.0
"""A vault for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Open a vault on a fresh SQLite file and close it afterwards."""
    world = World(tmp_path / "vault.sqlite")
    yield world
    world.engine.dispose()
