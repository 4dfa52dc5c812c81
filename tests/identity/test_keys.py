# SPDX-License-Identifier: Apache-2.0
"""Keys at rest: created once, sealed, bound to their names."""

from pathlib import Path

import pytest

from identity.errors import Conflict, NotFound, UnsafeFile, WrongPassphrase
from identity.keys import (
    KeyFile,
    KeyStore,
    MasterKey,
    PassphraseFile,
    create_master,
    open_master,
)
from identity.secretfile import write_new
from protocol.errors import Misuse
from protocol.suites import Suite
from tests.identity.home import CHEAP, Chance

PASSPHRASE = b"a long enough passphrase\n"


def passphrase_file(folder: Path, text: bytes = PASSPHRASE) -> PassphraseFile:
    """Write a passphrase file."""
    write_new(folder / "passphrase", text)
    return PassphraseFile(folder / "passphrase")


def store(folder: Path, master: MasterKey | None = None) -> KeyStore:
    """Open a key store in a folder, under a fixed master key."""
    return KeyStore(folder, master or MasterKey(bytes(32)), entropy=Chance())


def test_passphrase_gives_the_same_master_key_again(tmp_path: Path) -> None:
    """A restart opens what was sealed before."""
    source = passphrase_file(tmp_path)
    master = create_master(tmp_path / "keys", source, entropy=Chance(), cost=CHEAP)
    assert open_master(tmp_path / "keys", source) == master


def test_key_file_gives_the_same_master_key_again(tmp_path: Path) -> None:
    """The same without stretching."""
    write_new(tmp_path / "key", bytes(range(32)))
    source = KeyFile(tmp_path / "key")
    master = create_master(tmp_path / "keys", source, entropy=Chance(), cost=CHEAP)
    assert master.key == bytes(range(32))
    assert open_master(tmp_path / "keys", source) == master


def test_wrong_passphrase_is_named_as_such(tmp_path: Path) -> None:
    """Not a stack trace about a cipher."""
    create_master(
        tmp_path / "keys", passphrase_file(tmp_path), entropy=Chance(), cost=CHEAP
    )
    other = passphrase_file(tmp_path / "other", b"another passphrase")
    with pytest.raises(WrongPassphrase, match="does not open"):
        open_master(tmp_path / "keys", other)


def test_key_file_where_a_passphrase_was_used_is_named(tmp_path: Path) -> None:
    """A mix-up of settings is told apart from a wrong secret."""
    create_master(
        tmp_path / "keys", passphrase_file(tmp_path), entropy=Chance(), cost=CHEAP
    )
    write_new(tmp_path / "key", bytes(32))
    with pytest.raises(WrongPassphrase, match="set up with a passphrase"):
        open_master(tmp_path / "keys", KeyFile(tmp_path / "key"))


def test_readable_passphrase_file_is_refused(tmp_path: Path) -> None:
    """Whoever reads it has every key."""
    source = passphrase_file(tmp_path)
    source.path.chmod(0o644)
    with pytest.raises(UnsafeFile):
        create_master(tmp_path / "keys", source, entropy=Chance(), cost=CHEAP)


@pytest.mark.parametrize("text", [b"", b"short\n", b"eleven byte"])
def test_short_passphrase_is_refused(tmp_path: Path, text: bytes) -> None:
    """The stolen directory can be guessed at without limit."""
    source = passphrase_file(tmp_path, text)
    with pytest.raises(Misuse, match="at least 12"):
        create_master(tmp_path / "keys", source, entropy=Chance(), cost=CHEAP)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_file_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    """A truncated key must not pass as a weak one."""
    write_new(tmp_path / "key", bytes(size))
    with pytest.raises(Misuse, match="exactly 32"):
        create_master(tmp_path, KeyFile(tmp_path / "key"), entropy=Chance())


def test_second_master_key_is_refused(tmp_path: Path) -> None:
    """It would make all keys of the first one unreadable."""
    source = passphrase_file(tmp_path)
    create_master(tmp_path / "keys", source, entropy=Chance(), cost=CHEAP)
    with pytest.raises(Conflict):
        create_master(tmp_path / "keys", source, entropy=Chance("2"), cost=CHEAP)


@pytest.mark.parametrize("suite", list(Suite))
def test_signing_key_is_the_same_after_a_restart(tmp_path: Path, suite: Suite) -> None:
    """The node keeps its identity."""
    made = store(tmp_path).create_signing("node", suite)
    again = store(tmp_path).signing("node")
    again.public.verify(made.sign(b"x"), b"x")
    assert again.public == made.public


@pytest.mark.parametrize("suite", list(Suite))
def test_opening_key_opens_after_a_restart(tmp_path: Path, suite: Suite) -> None:
    """What was sealed to us before is not lost."""
    sealed = store(tmp_path).create_opening("node", suite).public.seal("l", b"", b"hi")
    assert store(tmp_path).opening("node").open("l", b"", sealed) == b"hi"


def test_secret_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """Blind indexes still find."""
    made = store(tmp_path).create_secret("index")
    assert len(made) == 32
    assert store(tmp_path).secret("index") == made


def test_existing_key_is_not_made_anew(tmp_path: Path) -> None:
    """Silently replacing a key loses data and identity."""
    made = store(tmp_path).create_secret("vault")
    with pytest.raises(Conflict):
        KeyStore(tmp_path, MasterKey(bytes(32)), entropy=Chance("other")).create_secret(
            "vault"
        )
    assert store(tmp_path).secret("vault") == made


def test_missing_key_is_not_made_by_asking(tmp_path: Path) -> None:
    """A wrong directory must not look like a fresh node."""
    with pytest.raises(NotFound):
        store(tmp_path).signing("node")
    assert not store(tmp_path).has("node")


def test_key_does_not_open_under_another_master(tmp_path: Path) -> None:
    """The stolen directory is worth nothing."""
    store(tmp_path).create_secret("vault")
    with pytest.raises(WrongPassphrase):
        store(tmp_path, MasterKey(bytes(31) + b"\1")).secret("vault")


def test_key_file_renamed_to_another_key_does_not_open(tmp_path: Path) -> None:
    """Swapping keys on the disk is noticed."""
    store(tmp_path).create_secret("vault")
    (tmp_path / "vault.key").rename(tmp_path / "index.key")
    with pytest.raises(WrongPassphrase):
        store(tmp_path).secret("index")


def test_key_file_with_another_suite_does_not_open(tmp_path: Path) -> None:
    """Changing the suite on the disk is noticed."""
    store(tmp_path).create_signing("node", Suite.HYBRID)
    path = tmp_path / "node.key"
    path.write_bytes(path.read_bytes().replace(b"hybrid", b"strict"))
    with pytest.raises(WrongPassphrase):
        store(tmp_path).signing("node")


def test_key_of_another_kind_is_not_handed_out(tmp_path: Path) -> None:
    """A secret is no signing seed."""
    keys = store(tmp_path)
    keys.create_secret("vault")
    with pytest.raises(NotFound, match="not a signing key"):
        keys.signing("vault")
    with pytest.raises(NotFound, match="not a signing key"):
        store(tmp_path).signing("vault")


@pytest.mark.parametrize("name", ["", "../node", "Node", "a/b", "a.b"])
def test_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    """Names are words, never paths."""
    with pytest.raises(Misuse):
        store(tmp_path).create_secret(name)


def test_no_seed_stands_in_a_file(tmp_path: Path) -> None:
    """Sealed means that the disk does not show it."""
    key = store(tmp_path).create_signing("node", Suite.HYBRID)
    assert key.seed not in (tmp_path / "node.key").read_bytes()
    assert key.seed.hex() not in (tmp_path / "node.key").read_text()


def test_keys_do_not_show_in_messages() -> None:
    """A logged object must not be a leak."""
    assert "\\x00" not in repr(MasterKey(bytes(32)))
