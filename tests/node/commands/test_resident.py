# SPDX-License-Identifier: Apache-2.0
"""`machikura resident`: accounts, both factors, and where the session is kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from identity.totp import STEP_S, code_at
from node import cli
from tests.node.commands.town import PASSWORD, Town, now, secret_of

pytestmark = pytest.mark.slow


@pytest.fixture
def password(copied: Path) -> Path:
    """Return a file with the password."""
    path = copied / "password"
    path.write_text(PASSWORD + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def other_password(copied: Path) -> Path:
    """Return a file with a password that is none."""
    path = copied / "other"
    path.write_text("something else", encoding="utf-8")
    path.chmod(0o600)
    return path


async def test_both_factors_make_level_two(town: Town, password: Path) -> None:
    """Each code counts once, so the sign-in takes the next one."""
    await town.start("broker", "hall")
    file = "--password-file", password
    contact = "--contact", "mail=hanako@example.jp"
    added = await town.json("hall", "resident", "add", "hanako", *file, *contact)
    secret, moment = secret_of(added["totp_uri"]), now()
    confirm = "resident", "confirm-factor", added["account"]
    code = code_at(secret, moment)
    await town.ok("hall", *confirm, code)
    sign_in = "resident", "sign-in", "hanako", *file
    assert await town.refused("hall", *sign_in, "--code", code) == "unauthenticated"
    text = await town.ok("hall", *sign_in, "--code", code_at(secret, moment + STEP_S))
    assert "level レベル  2" in text


async def test_password_alone_is_level_zero(town: Town, password: Path) -> None:
    """And the resident is told what that does not allow."""
    await town.start("broker", "hall")
    words = "--password-file", password
    await town.ok("hall", "resident", "add", "hanako", *words)
    text = await town.ok("hall", "resident", "sign-in", "hanako", *words)
    assert "level レベル  0" in text
    assert "not consent" in text


def mode_and_token(path: Path) -> tuple[int, bytes]:
    """Return who may read a kept session, and what it is."""
    return stat.S_IMODE(path.stat().st_mode), path.read_bytes()


def put_back(path: Path, token: bytes) -> None:
    """Write a session that was deleted."""
    assert not path.exists()
    path.write_bytes(token)
    path.chmod(0o600)


async def test_session_is_private_and_ends(town: Town, password: Path) -> None:
    """Kept in the user's own configuration; signing out deletes and ends it."""
    await town.start("broker", "hall")
    words = "--password-file", password
    await town.ok("hall", "resident", "add", "hanako", *words)
    signed = await town.json("hall", "resident", "sign-in", "hanako", *words)
    assert "token" not in signed
    path = Path(signed["session_file"])
    mode, token = mode_and_token(path)
    assert mode == 0o600
    await town.ok("hall", "link", "list")
    await town.ok("hall", "resident", "sign-out")
    put_back(path, token)
    assert await town.refused("hall", "link", "list") == "unauthenticated"


async def test_wrong_words_are_refused(
    town: Town, password: Path, other_password: Path
) -> None:
    """Wrong password, wrong code, unknown account, taken login."""
    await town.start("broker", "hall")
    file = "--password-file", password
    added = await town.json("hall", "resident", "add", "hanako", *file)
    assert await town.refused("hall", "resident", "add", "hanako", *file) == "conflict"
    confirm = "resident", "confirm-factor"
    await town.refused("hall", *confirm, added["account"], "12345x")
    await town.refused("hall", *confirm, "nobody", "123456")
    sign_in = "resident", "sign-in", "hanako", "--password-file", other_password
    assert await town.refused("hall", *sign_in) == "unauthenticated"


async def test_password_is_never_a_word_on_the_command_line(town: Town) -> None:
    """Others on the machine could read it; without a terminal the file is needed."""
    for act in ("add", "sign-in"):
        done = await town.run("hall", "resident", act, "hanako")
        assert done.status == cli.USAGE
        assert "--password-file" in done.stderr


async def test_contact_without_a_kind_is_wrong_usage(
    town: Town, password: Path
) -> None:
    """Before the account is opened."""
    words = "resident", "add", "hanako", "--password-file", password
    done = await town.run("hall", *words, "--contact", "hanako@example.jp")
    assert done.status == cli.USAGE
