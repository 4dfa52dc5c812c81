# SPDX-License-Identifier: Apache-2.0
"""Where brokers listen: those of our own city, and those of our neighbors.

Our own have told the authority over their links. A neighbor's stand in what it says of
itself; they are kept so that a broker that starts finds them while the ones that the
agreement names are away. Bounded by the agreements: a city without one is not heard.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from identity.tables import city_brokers
from protocol.ids import CityId, NodeId


def note(connection: Connection, node: NodeId, url: str) -> None:
    """Keep where a broker listens; an empty URL forgets it."""
    connection.execute(delete(city_brokers).where(city_brokers.c.node == node))
    if url:
        connection.execute(insert(city_brokers).values(node=node, url=url))


def note_city(connection: Connection, city: CityId, entries: tuple[str, ...]) -> None:
    """Keep where a neighbor's brokers listen, each `NODE@URL`; forget all others."""
    connection.execute(
        delete(city_brokers).where(city_brokers.c.node.startswith(f"{city}/"))
    )
    for entry in entries:
        node, _, url = entry.rpartition("@")
        if node.startswith(f"{city}/"):
            note(connection, NodeId(node), url)


def listed(connection: Connection) -> dict[NodeId, str]:
    """Return what is known, by node id."""
    rows = connection.execute(select(city_brokers).order_by(city_brokers.c.node))
    return {NodeId(row.node): row.url for row in rows}
