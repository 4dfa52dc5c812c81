# SPDX-License-Identifier: Apache-2.0
"""Takes a membership into a node that does not run yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from identity.trust import TrustStore
from node.city_root import read_root
from node.config import Settings
from node.database import InlineDatabase
from node.keys import node_keys, open_keys
from node.schema import prepare
from node.sqlite import file_engine
from node.standing import Standing
from protocol.membership import Credentials, Membership


def accept_offline(
    settings: Settings,
    credentials: Credentials,
    *,
    now: int,
    entropy: Callable[[int], bytes],
) -> Membership:
    """Check a membership and keep it; the node must not run.

    Raises:
        ProtocolViolation: it is not for this node, or does not verify.
        Misuse: keys or the city's root key are missing.
    """
    keys = open_keys(settings, entropy)
    root = read_root(settings.root_key_file)
    engine = file_engine(settings.database_file)
    prepare(engine)

    async def accept() -> Membership:
        database = InlineDatabase(engine)
        trust = TrustStore(
            city=settings.city_id,
            root=root,
            skew_s=settings.trust.skew_s,
            suites=settings.accepts,
        )
        standing = Standing(
            node=settings.node.id,
            keys=node_keys(keys),
            trust=trust,
            database=database,
        )
        try:
            return await standing.accept(credentials, now)
        finally:
            await database.close()

    try:
        return asyncio.run(accept())
    finally:
        engine.dispose()
