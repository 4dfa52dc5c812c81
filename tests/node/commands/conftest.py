# SPDX-License-Identifier: Apache-2.0
"""A quiet terminal for every command, and a running town for those that need one."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.config_file import CONFIG_VARIABLE
from tests.node.commands.town import Town, prepare, short_folder


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Speak English to a wide terminal; the user's own configuration is elsewhere."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def prepared() -> Iterator[Path]:
    """Return the folder of a city whose nodes have joined; nothing runs."""
    with short_folder() as folder:
        prepare(folder)
        yield folder


@pytest.fixture
def copied(prepared: Path) -> Iterator[Path]:
    """Return a copy of that folder, for one test."""
    with short_folder() as folder:
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        yield folder


@pytest.fixture
async def town(copied: Path) -> AsyncIterator[Town]:
    """Return the town; the test starts the nodes that it needs."""
    town = Town(copied)
    yield town
    await town.stop()
