# SPDX-License-Identifier: Apache-2.0
"""Keeps every byte that this process receives, to prove what it could have learned.

Off unless the setting `capture` names a file. Frames are kept as they come out of TLS,
request bodies of the local API as sent. It is for tests, audits and the demo's table
"who learned what"; an operator who turns it on sees it in `machikura doctor`.
"""

from __future__ import annotations

from pathlib import Path


class Capture:
    """An append-only file of received bytes."""

    def __init__(self, path: Path) -> None:
        """Open the file, readable by its owner alone."""
        path.touch(mode=0o600)
        self._file = path.open("ab", buffering=0)

    def __call__(self, received: bytes) -> None:
        """Keep some bytes."""
        self._file.write(received + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
