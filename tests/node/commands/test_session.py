# SPDX-License-Identifier: Apache-2.0
"""The kept session: private, replaced at each sign-in, told when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import Unauthenticated, UnsafeFile
from node.commands import session
from protocol.errors import Malformed

SOCKET = Path("none.sock")


def test_session_is_kept_and_forgotten(tmp_path: Path) -> None:
    """A second sign-in replaces the first."""
    path = tmp_path / "s" / "session"
    for token in ("first", "second"):
        assert session.keep(token, path) == path
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o077 == 0
    session.forget(path)
    session.forget(path)
    assert not path.exists()


def test_usual_place_is_the_user_s_own_configuration(tmp_path: Path) -> None:
    """Not the node's folder: a resident is no operator."""
    assert session.session_path(None) == tmp_path / "config" / "machikura" / "session"


def test_faults_are_named(tmp_path: Path) -> None:
    """Nobody signed in, others can read it, or it is something else."""
    path = tmp_path / "session"
    with pytest.raises(Unauthenticated, match="sign-in"):
        session.as_resident(path, SOCKET, path)
    path.write_bytes(b"\xff")
    path.chmod(0o644)
    with pytest.raises(UnsafeFile):
        session.as_resident(path, SOCKET, path)
    path.chmod(0o600)
    with pytest.raises(Malformed):
        session.as_resident(path, SOCKET, path)
