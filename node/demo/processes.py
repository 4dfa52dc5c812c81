# SPDX-License-Identifier: Apache-2.0
"""Starts, kills and measures the demo's nodes as operating-system processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from node.commands.api_client import ApiClient


@dataclass
class NodeProcess:
    """One node.

    Attributes:
        node: its id.
        directory: its data directory, with `node.toml`.
        command: starts the command line of the product.
    """

    node: str
    directory: Path
    command: tuple[str, ...] = (sys.executable, "-m", "node.cli")
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    peak_kib: int = field(default=0, init=False)

    @property
    def log(self) -> Path:
        """File with everything that the process printed."""
        return self.directory / "node.log"

    def client(self, session: str | None = None) -> ApiClient:
        """Return a client of the node: the operator's, or that of a resident."""
        return ApiClient(self.directory / "admin.sock", timeout_s=60, session=session)

    @property
    def api(self) -> ApiClient:
        """The operator's way in."""
        return self.client()

    async def start(self) -> None:
        """Start the process; `ready` waits for it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                "serve",
                "--config",
                str(self.directory / "node.toml"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> None:
        """Ask the process to end, and wait."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the process without warning (`kill -9`)."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the process where it stands; the kernel keeps its connections."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(how)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The kernel's number of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    def sample_memory(self) -> int:
        """Return the highest resident memory seen, in KiB, from the kernel's count."""
        if self._process is not None:
            status = Path(f"/proc/{self._process.pid}/status")
            if status.exists():
                for line in status.read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self.peak_kib = max(self.peak_kib, int(line.split()[1]))
        return self.peak_kib
