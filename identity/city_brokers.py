# SPDX-License-Identifier: Apache-2.0
"""Where the brokers of a city listen, as each has told the authority over its link."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from identity.tables import city_brokers
from protocol.ids import NodeId


def note(connection: Connection, node: NodeId, url: str) -> None:
    """Keep where a broker listens; an empty URL forgets it."""
    connection.execute(delete(city_brokers).where(city_brokers.c.node == node))
    if url:
        connection.execute(insert(city_brokers).values(node=node, url=url))


def listed(connection: Connection) -> dict[NodeId, str]:
    """Return what is known, by node id."""
    rows = connection.execute(select(city_brokers).order_by(city_brokers.c.node))
    return {NodeId(row.node): row.url for row in rows}
