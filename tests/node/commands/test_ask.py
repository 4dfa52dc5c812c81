# SPDX-License-Identifier: Apache-2.0
"""Asking: in a terminal only, and secrets from private files only."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from identity.errors import NotFound, UnsafeFile
from node.commands import ask

ROOT = Path(__file__).resolve().parents[3]


def at_terminal(code: str, answer: bytes) -> subprocess.CompletedProcess[str]:
    """Run a few lines whose standard input is a terminal."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        return subprocess.run(
            [sys.executable, "-c", f"from node.commands import ask\n{code}"],
            cwd=ROOT,
            stdin=theirs,
            capture_output=True,
            encoding="utf-8",
            start_new_session=True,
            timeout=30,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def test_person_decides() -> None:
    """No is no."""
    question = "ask.agree('Drop it?', yes=False); print('gone')"
    assert "gone" in at_terminal(question, b"y\n").stdout
    refused = at_terminal(question, b"n\n")
    assert refused.returncode != 0
    assert "gone" not in refused.stdout


def test_script_is_not_asked() -> None:
    """Nobody sits there; `--yes` says it also at a terminal."""
    ask.agree("Drop it?", yes=False)
    ask.agree("Drop it?", yes=True)


def test_secret_is_typed_at_a_terminal() -> None:
    """Where no file is given."""
    done = at_terminal(
        "print(ask.secret('Password', None, '-p'))", b"hunter2 hunter2\n"
    )
    assert done.stdout.endswith("hunter2 hunter2\n")


def test_secret_comes_from_a_private_file(tmp_path: Path) -> None:
    """Its last line end does not count; one that others can read is refused."""
    path = tmp_path / "passphrase"
    path.write_bytes("合言葉は長い\r\n".encode())
    path.chmod(0o600)
    assert ask.passphrase(path) == "合言葉は長い".encode()
    path.chmod(0o644)
    with pytest.raises(UnsafeFile):
        ask.passphrase(path)
    with pytest.raises(NotFound):
        ask.passphrase(tmp_path / "none")


def test_secret_that_nobody_can_give_is_wrong_usage(tmp_path: Path) -> None:
    """The option is named."""
    with pytest.raises(typer.BadParameter, match="--password-file is missing"):
        ask.secret("Password", None, "--password-file")
    path = tmp_path / "latin"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(typer.BadParameter, match="not UTF-8"):
        ask.passphrase(path)
