# SPDX-License-Identifier: Apache-2.0
"""Files that hold secrets: private to their owner, whole or absent, never replaced.

`read_secret` refuses a file that group or others may touch: a passphrase that every
local user can read protects nothing. `write_new` makes the file appear in one step, on
disk, and never over an existing one: an overwritten key is lost data.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from identity.errors import Conflict, NotFound, UnsafeFile

MAX_SECRET_BYTES = 64 * 1024
_POSIX = os.name == "posix"


def read_secret(path: Path) -> bytes:
    """Read a small secret file.

    Raises:
        NotFound: no such file.
        UnsafeFile: group or others have access, or it is no plain small file.
    """
    try:
        # O_NONBLOCK: a named pipe in the file's place must not hang the start.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path.name}") from error
    except OSError as error:
        raise UnsafeFile(f"cannot read {path.name}: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        _check(os.fstat(file.fileno()), path.name)
        return file.read(MAX_SECRET_BYTES + 1)


def _check(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFile(f"{name} is not a plain file")
    if status.st_size > MAX_SECRET_BYTES:
        raise UnsafeFile(f"{name} is too large for a secret")
    if _POSIX and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UnsafeFile(f"{name} has mode {mode:04o}; set it to 0600 (chmod 600)")


def write_new(path: Path, data: bytes) -> None:
    """Write a secret file that does not exist yet; it is on disk on return.

    Raises:
        Conflict: the file exists; it is left as it is.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A hard link fails where the name is taken; a rename would replace it.
        os.link(temporary, path)
    except FileExistsError as error:
        raise Conflict(f"{path.name} exists already and is not replaced") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def remove(path: Path) -> None:
    """Overwrite and remove a secret file; gone from the disk on return.

    A file that is not there is no fault: removing again does no harm.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if not _POSIX:
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
