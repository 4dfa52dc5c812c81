# SPDX-License-Identifier: Apache-2.0
"""The small files that cities and nodes hand each other: read whole, written whole."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from protocol.errors import Misuse, TooLarge


def opened(path: Path) -> BinaryIO:
    """Return a file open for reading.

    Raises:
        Misuse: it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from error


def read(path: Path, max_bytes: int) -> bytes:
    """Return a file of at most `max_bytes`.

    Raises:
        Misuse: it cannot be read.
        TooLarge: it has more.
    """
    with opened(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"{path}: more than {max_bytes} bytes")
    return data


def write(path: Path, data: bytes) -> None:
    """Write a file; an older one is replaced.

    Raises:
        Misuse: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Make sure that `write` will work, before something is done that it reports.

    Raises:
        Misuse: it will not.
    """
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from error
    if not existed:
        path.unlink()
