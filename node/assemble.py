# SPDX-License-Identifier: Apache-2.0
"""The composition root: a node built from settings, keys, a database and a world."""

from __future__ import annotations

from collections.abc import Callable

from identity.keys import KeyStore
from node.assemble_broker import add_broker
from node.assemble_roles import add_directory, add_identity, add_vault
from node.builder import Builder
from node.config import Settings
from node.database import Database
from node.parts import Parts
from node.world import World
from protocol.membership import Role
from protocol.suites import VerifyingKey


def assemble(
    settings: Settings,
    keys: KeyStore,
    root: VerifyingKey,
    database: Database,
    world: World,
    capture: Callable[[bytes], None] | None = None,
    kind: type[Builder] = Builder,
) -> Parts:
    """Build a node.

    Args:
        settings: its settings.
        keys: its opened keys.
        root: its city's root key.
        database: with the current schema.
        world: time, chance, connections.
        capture: is given every byte received, to prove what was learned.
        kind: builds what every node has; a simulation hands in one that errs.
    """
    builder = kind(settings, keys, root, database, world, capture)
    parts = builder.build()
    for role, add in (
        (Role.BROKER, add_broker),
        (Role.DIRECTORY, add_directory),
        (Role.VAULT, add_vault),
        (Role.IDENTITY, add_identity),
    ):
        if role in builder.roles:
            add(builder)
    return parts
