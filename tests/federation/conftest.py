# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the federation's tests: a fresh small world, and two cities in it."""

from __future__ import annotations

import pytest

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
