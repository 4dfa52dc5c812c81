# SPDX-License-Identifier: Apache-2.0
"""Files that are handed over: faults are told, not traced."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.commands import files
from protocol.errors import Misuse, TooLarge


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """And an older file is replaced."""
    path = tmp_path / "a.json"
    files.check_writable(path)
    assert not path.exists()
    for content in (b"old", b"new"):
        files.write(path, content)
        files.check_writable(path)
    assert files.read(path, 3) == b"new"


def test_faults_are_named(tmp_path: Path) -> None:
    """Missing, too large, or in a folder that is not there."""
    (tmp_path / "big").write_bytes(b"1234")
    with pytest.raises(TooLarge):
        files.read(tmp_path / "big", 3)
    with pytest.raises(Misuse, match="No such file"):
        files.read(tmp_path / "none", 3)
    for act in (files.check_writable, lambda path: files.write(path, b"")):
        with pytest.raises(Misuse, match="No such file"):
            act(tmp_path / "none" / "a")
