# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/operations.md, as they stand there, on this machine.

Every `sh` block of the section is taken in order and run by one shell in an empty
folder. The only thing that is given is which ports are free.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTION = "A second city in ten minutes"
TEN_MINUTES_S = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TEN_MINUTES_S)]


def script() -> str:
    """Return the section's commands."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {SECTION}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    assert len(blocks) >= 5
    return "".join(blocks)


def free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody uses now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return an empty folder; its path leaves room for Unix sockets."""
    path = Path(mkdtemp(prefix="mk"))
    yield path
    shutil.rmtree(path)


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `machikura` is this checkout's."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "machikura"
    command = shlex.join([sys.executable, "-P", "-m", "node.cli"])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    kept = {n: v for n, v in os.environ.items() if not n.startswith("MACHIKURA_")}
    hoshino, minato = free_ports(2)
    return {
        **kept,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
        "HOSHINO_PORT": str(hoshino),
        "MINATO_PORT": str(minato),
    }


def run(folder: Path) -> tuple[int, str]:
    """Run the commands; return status and everything that was printed."""
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail", "-c", script()],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(TEN_MINUTES_S - 10)
        finally:
            end(process)
    return status, log.read_text(encoding="utf-8")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the shell and whatever it has started and left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def test_second_city_is_set_up_and_read_from(folder: Path) -> None:
    """Found, join, agree, test the way, read, withdraw: nothing else is needed."""
    status, said = run(folder)
    logs = "".join(p.read_text(encoding="utf-8")[-500:] for p in folder.glob("*.log"))
    assert status == 0, said[-3000:] + logs
    assert "✓ A canary exchange  (canary)" in said
    assert "minato/broker@wss://127.0.0.1:" in said
    assert re.search(r"^\* +minato +minato +minato ", said, re.M), "a direct way"
    assert "✓ minato/energy: 2 records" in said
    assert "usage: 254" in said
    assert re.search(r"hop 中継 \+0 ms  hoshino/broker → minato", said)
    assert "→ hoshino/market" in said, "where the data is, and who got it"
    assert "acknowledged 確認済: 2 / 2" in said
    assert "(consent-withdrawn)" in said
