# SPDX-License-Identifier: Apache-2.0
"""A node's private keys at rest, each in a file sealed under the master key.

    master = create_master(directory, PassphraseFile(path), entropy=entropy)
    store = KeyStore(directory, master, entropy=entropy)
    store.create_signing("node", Suite.HYBRID)
    store.signing("node").sign(data)

The master key comes from a passphrase file (Argon2id; salt and cost stand beside the
keys) or from a key file of 32 bytes; it is never written. What is stored is the seed,
bound to kind, name and suite, so a file renamed to another key's name does not open.
Keys appear only through an explicit `create_…`, none is ever replaced, and they go only
through `destroy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from identity.entropy import Entropy
from identity.errors import NotFound, WrongPassphrase
from identity.passwords import SALT_BYTES, Cost, stretch
from identity.secretfile import read_secret, remove, write_new
from protocol.box import KEY_BYTES, NONCE_BYTES, Box
from protocol.canonical import b64url, unb64url
from protocol.errors import CannotOpen, Malformed, Misuse
from protocol.model import Document
from protocol.sealed import SEALING_SEED_BYTES, OpeningKey
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite

_MASTER_FILE = "master.json"
_CHECK = b"machikura master key 1"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_MIN_PASSPHRASE_BYTES = 12

KeyKind: TypeAlias = Literal["signing", "opening", "secret"]
_SEED_BYTES: dict[KeyKind, int] = {
    "signing": SIGNING_SEED_BYTES,
    "opening": SEALING_SEED_BYTES,
    "secret": KEY_BYTES,
}


@dataclass(frozen=True)
class PassphraseFile:
    """The master key is stretched from the passphrase in this file."""

    path: Path


@dataclass(frozen=True)
class KeyFile:
    """The master key is the 32 bytes in this file."""

    path: Path


MasterSource: TypeAlias = PassphraseFile | KeyFile


@dataclass(frozen=True)
class MasterKey:
    """The key that seals all others. Lives in memory only."""

    key: bytes = field(repr=False)

    @property
    def box(self) -> Box:
        """Encryption under this key."""
        return Box(self.key)


class _MasterRecord(Document):
    """What stands in `master.json`: how to get the key, and how to know it is right."""

    v: Literal[1] = 1
    source: Literal["passphrase", "key-file"]
    salt: str
    memory_kib: int
    iterations: int
    lanes: int
    check: str


def create_master(
    directory: Path, source: MasterSource, *, entropy: Entropy, cost: Cost | None = None
) -> MasterKey:
    """Set up the master key of a new node.

    Args:
        directory: the node's key directory; made with mode 0700 if absent.
        source: where passphrase or key stand.
        entropy: source of random bytes.
        cost: of stretching a passphrase; None for the default.

    Raises:
        Conflict: the directory has a master key already.
        UnsafeFile, NotFound: the source's file.
        Misuse: passphrase too short, or not 32 bytes.
    """
    cost = cost or Cost()
    salt = entropy(SALT_BYTES)
    master = MasterKey(_derive(source, salt, cost))
    record = _MasterRecord(
        source=_source_name(source),
        salt=b64url(salt),
        memory_kib=cost.memory_kib,
        iterations=cost.iterations,
        lanes=cost.lanes,
        check=b64url(master.box.seal(entropy(NONCE_BYTES), _CHECK, "master")),
    )
    write_new(directory / _MASTER_FILE, record.encode())
    return master


def open_master(directory: Path, source: MasterSource) -> MasterKey:
    """Get the master key again.

    Raises:
        NotFound: never set up, or the source's file is missing.
        WrongPassphrase: another passphrase or key file than at set-up.
        UnsafeFile: a file that others can read.
    """
    record = _MasterRecord.decode(read_secret(directory / _MASTER_FILE))
    if record.source != _source_name(source):
        raise WrongPassphrase(f"these keys were set up with a {record.source}")
    cost = Cost(record.memory_kib, record.iterations, record.lanes)
    master = MasterKey(_derive(source, unb64url(record.salt), cost))
    try:
        master.box.open(unb64url(record.check), "master")
    except CannotOpen as error:
        raise WrongPassphrase(
            "the passphrase or key file does not open this node's keys"
        ) from error
    return master


def _source_name(source: MasterSource) -> Literal["passphrase", "key-file"]:
    return "passphrase" if isinstance(source, PassphraseFile) else "key-file"


def _derive(source: MasterSource, salt: bytes, cost: Cost) -> bytes:
    data = read_secret(source.path)
    if isinstance(source, KeyFile):
        if len(data) != KEY_BYTES:
            raise Misuse(f"a key file has exactly {KEY_BYTES} bytes, not {len(data)}")
        return data
    passphrase = data.rstrip(b"\r\n")
    if len(passphrase) < _MIN_PASSPHRASE_BYTES:
        raise Misuse(f"a passphrase has at least {_MIN_PASSPHRASE_BYTES} bytes")
    return stretch(passphrase, salt, cost)


class _KeyRecord(Document):
    """What stands in a key's file."""

    v: Literal[1] = 1
    kind: KeyKind
    suite: Suite | None = None
    sealed: str


class KeyStore:
    """The keys in one directory. Opened keys stay in memory.

    Not for several threads at once; keys are fetched at start.
    """

    def __init__(self, directory: Path, master: MasterKey, *, entropy: Entropy) -> None:
        self._directory = directory
        self._box = master.box
        self._entropy = entropy
        self._open: dict[str, tuple[KeyKind, Suite | None, bytes]] = {}

    def has(self, name: str) -> bool:
        """Tell whether there is a key of that name."""
        return self._path(name).exists()

    def names(self) -> tuple[str, ...]:
        """Return the names of all keys, sorted."""
        found = (path.name.removesuffix(".key") for path in self._files())
        return tuple(sorted(name for name in found if _NAME.fullmatch(name)))

    def destroy(self, name: str) -> None:
        """Destroy a key for good; it is gone from the disk on return.

        Backups still have it, sealed under the master key.
        """
        self._open.pop(name, None)
        remove(self._path(name))

    def _files(self) -> Iterator[Path]:
        return self._directory.glob("*.key")

    def create_signing(self, name: str, suite: Suite) -> SigningKey:
        """Make a signature key; raises `Conflict` if the name is taken."""
        return SigningKey(suite, self._create(name, "signing", suite))

    def create_opening(self, name: str, suite: Suite) -> OpeningKey:
        """Make a key to be sealed to; raises `Conflict` if the name is taken."""
        return OpeningKey(suite, self._create(name, "opening", suite))

    def create_secret(self, name: str) -> bytes:
        """Make 32 secret bytes; raises `Conflict` if the name is taken."""
        return self._create(name, "secret", None)

    def signing(self, name: str) -> SigningKey:
        """Return a signature key.

        Raises:
            NotFound: no key of that name and kind.
            WrongPassphrase: sealed under another master key, or altered.
        """
        suite, seed = self._load(name, "signing")
        if suite is None:
            raise Malformed(f"the key file of {name} names no suite")
        return SigningKey(suite, seed)

    def opening(self, name: str) -> OpeningKey:
        """Return a key to be sealed to; raises as `signing` does."""
        suite, seed = self._load(name, "opening")
        if suite is None:
            raise Malformed(f"the key file of {name} names no suite")
        return OpeningKey(suite, seed)

    def secret(self, name: str) -> bytes:
        """Return 32 secret bytes; raises as `signing` does."""
        return self._load(name, "secret")[1]

    def _create(self, name: str, kind: KeyKind, suite: Suite | None) -> bytes:
        seed = self._entropy(_SEED_BYTES[kind])
        nonce = self._entropy(NONCE_BYTES)
        sealed = self._box.seal(nonce, seed, *_context(name, kind, suite))
        record = _KeyRecord(kind=kind, suite=suite, sealed=b64url(sealed))
        write_new(self._path(name), record.encode())
        self._open[name] = kind, suite, seed
        return seed

    def _load(self, name: str, kind: KeyKind) -> tuple[Suite | None, bytes]:
        kept = self._open.get(name) or self._read(name)
        if kept[0] != kind:
            raise NotFound(f"{name} is a {kept[0]} key, not a {kind} key")
        self._open[name] = kept
        return kept[1], kept[2]

    def _read(self, name: str) -> tuple[KeyKind, Suite | None, bytes]:
        record = _KeyRecord.decode(read_secret(self._path(name)))
        context = _context(name, record.kind, record.suite)
        try:
            seed = self._box.open(unb64url(record.sealed), *context)
        except CannotOpen as error:
            raise WrongPassphrase(
                f"the key {name} does not open under this master key"
            ) from error
        return record.kind, record.suite, seed

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise Misuse("a key's name is lower-case letters, digits and hyphens")
        return self._directory / f"{name}.key"


def _context(name: str, kind: KeyKind, suite: Suite | None) -> tuple[str, ...]:
    return "key", kind, name, suite or ""
