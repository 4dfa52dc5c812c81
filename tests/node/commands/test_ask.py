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


def at_terminal(code: str, answer: bytes) -> tuple[int, str]:
    """Run a few lines at a terminal and answer what they ask; return what happened."""
    ours, theirs = pty.openpty()
    lines = f"from node.commands import ask\n{code}"
    process = subprocess.Popen(
        [sys.executable, "-c", lines],
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process, os.fdopen(ours, "wb", buffering=0) as keyboard:
        os.close(theirs)
        assert process.stdout is not None
        said = b""
        # What is typed before the question is thrown away by the terminal.
        while not said.endswith(b": "):
            letter = process.stdout.read(1)
            assert letter, said
            said += letter
        keyboard.write(answer)
        said += process.stdout.read()
    return process.returncode, said.decode()


def test_person_decides() -> None:
    """No is no."""
    question = "ask.agree('Drop it?', yes=False); print('gone')"
    status, said = at_terminal(question, b"y\n")
    assert (status, said.endswith("gone\n")) == (0, True)
    status, said = at_terminal(question, b"n\n")
    assert (status != 0, "gone" in said) == (True, False)


def test_script_is_not_asked() -> None:
    """Nobody sits there; `--yes` says it also at a terminal."""
    ask.agree("Drop it?", yes=False)
    ask.agree("Drop it?", yes=True)


def test_secret_is_typed_at_a_terminal() -> None:
    """Where no file is given."""
    question = "print('[' + ask.secret('Password', None, '-p') + ']')"
    assert "[hunter2 hunter2]" in at_terminal(question, b"hunter2 hunter2\n")[1]


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
