# SPDX-License-Identifier: Apache-2.0
"""Secret files: private, whole, never replaced."""

import os
from pathlib import Path

import pytest

from identity.errors import Conflict, NotFound, UnsafeFile
from identity.secretfile import MAX_SECRET_BYTES, read_secret, write_new


def test_written_file_is_read_back(tmp_path: Path) -> None:
    """The plain way."""
    write_new(tmp_path / "key", b"secret")
    assert read_secret(tmp_path / "key") == b"secret"


def test_written_file_is_private_to_its_owner(tmp_path: Path) -> None:
    """Other users of the machine must not read keys."""
    write_new(tmp_path / "deep" / "key", b"secret")
    assert (tmp_path / "deep" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that the group can read, or swap, is none."""
    write_new(tmp_path / "key", b"secret")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        read_secret(tmp_path / "key")


def test_existing_file_is_never_replaced(tmp_path: Path) -> None:
    """An overwritten key is lost data."""
    write_new(tmp_path / "key", b"first")
    with pytest.raises(Conflict):
        write_new(tmp_path / "key", b"second")
    assert read_secret(tmp_path / "key") == b"first"


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    """Neither success nor refusal leaves a second copy of the secret."""
    write_new(tmp_path / "key", b"first")
    with pytest.raises(Conflict):
        write_new(tmp_path / "key", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The operator reads which file to make."""
    with pytest.raises(NotFound, match="passphrase"):
        read_secret(tmp_path / "passphrase")


def test_pipe_in_place_of_the_file_does_not_hang(tmp_path: Path) -> None:
    """Waiting for a writer would keep the node from starting."""
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(UnsafeFile, match="plain file"):
        read_secret(tmp_path / "key")


def test_huge_file_is_refused(tmp_path: Path) -> None:
    """A wrong path must not fill the memory."""
    write_new(tmp_path / "key", bytes(MAX_SECRET_BYTES + 1))
    with pytest.raises(UnsafeFile, match="too large"):
        read_secret(tmp_path / "key")
