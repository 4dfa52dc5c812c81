# SPDX-License-Identifier: Apache-2.0
"""The names of a node's own keys, and how they are made and opened.

All stand in `keys/` under the data directory, sealed under the master key:

    node        signs for this node            sealing   opens what is sealed to it
    node-2, sealing-2 and so on: after a change of keys
    operating   signs for the city (authority) vault, identity, index   32-byte secrets
    tokens      opens location tokens of the city (authority)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from identity.keys import (
    KeyFile,
    KeyStore,
    MasterSource,
    PassphraseFile,
    create_master,
    open_master,
)
from identity.node_keys import NodeKeys
from node.config import Settings
from protocol.errors import Misuse
from protocol.suites import Suite

SIGNING = "node"
SEALING = "sealing"
OPERATING = "operating"
TOKENS = "tokens"
VAULT = "vault"
IDENTITY = "identity"
INDEX = "index"
SECRETS = (VAULT, IDENTITY, INDEX)


def has_operating(store: KeyStore) -> bool:
    """Tell whether a node has an operating key of its city, of any generation."""
    names = store.names()
    return OPERATING in names or any(n.startswith(f"{OPERATING}-") for n in names)


def node_keys(store: KeyStore) -> NodeKeys:
    """Return this node's own pairs, all generations."""
    return NodeKeys(store, SIGNING, SEALING)


def keys_folder(settings: Settings) -> Path:
    """Return the folder of the key files."""
    return settings.data_dir / "keys"


def master_source(settings: Settings) -> MasterSource:
    """Return where the master key comes from.

    Raises:
        Misuse: the settings name neither a passphrase file nor a key file.
    """
    table = settings.master_key
    if table.passphrase_file is not None:
        return PassphraseFile(table.passphrase_file)
    if table.key_file is not None:
        return KeyFile(table.key_file)
    raise Misuse("set master_key.passphrase_file or master_key.key_file")


def create_keys(settings: Settings, entropy: Callable[[int], bytes]) -> KeyStore:
    """Make the keys of a new node; those that an earlier try made stay as they are.

    Raises:
        Misuse: the master key's file is missing, unsafe or wrong.
    """
    folder, source = keys_folder(settings), master_source(settings)
    if (folder / "master.json").exists():
        master = open_master(folder, source)
    else:
        master = create_master(folder, source, entropy=entropy)
    store = KeyStore(folder, master, entropy=entropy)
    _create_missing(store, settings.suite)
    return store


def _create_missing(store: KeyStore, suite: Suite) -> None:
    if not store.has(SIGNING):
        store.create_signing(SIGNING, suite)
    if not store.has(SEALING):
        store.create_opening(SEALING, suite)
    for name in SECRETS:
        if not store.has(name):
            store.create_secret(name)


def open_keys(settings: Settings, entropy: Callable[[int], bytes]) -> KeyStore:
    """Open the keys of a node that was set up.

    Raises:
        Misuse: never set up, or the master key's file is missing, unsafe or wrong.
    """
    folder = keys_folder(settings)
    master = open_master(folder, master_source(settings))
    return KeyStore(folder, master, entropy=entropy)
