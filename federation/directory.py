# SPDX-License-Identifier: Apache-2.0
"""The location directory: which nodes hold what under a locator (requirements 20, 43).

It holds no content and knows nobody: a locator is a per-city pseudonym, kept as a blind
index. An entry exists only under a location grant that the resident's home node signed
for that holder; only the home node that granted may ask. Registering again replaces the
holder's entries under that locator, an empty list removes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from federation.tables import location_entries as entries
from protocol.box import blind_index
from protocol.ids import CityId, DatasetTypeName, NodeId
from protocol.location import LocationEntry, LocationGrant
from protocol.model import Document

_USE = "locator"
MAX_ENTRIES = 1000

_LOOK_UP = (
    select(entries.c.node, entries.c.dataset_type, entries.c.since)
    .where(
        entries.c.locator == bindparam("locator"),
        entries.c.home == bindparam("home"),
        entries.c.expires > bindparam("now"),
    )
    .order_by(entries.c.node, entries.c.dataset_type)
    .limit(MAX_ENTRIES)
)


class GrantMismatch(Document):
    """Why a registration is refused."""

    detail: str


class Directory:
    """One city's directory."""

    def __init__(self, *, city: CityId, index_key: bytes) -> None:
        """Take the city and the key (32 bytes) of the blind index."""
        self._city = city
        self._index_key = index_key

    def register(
        self,
        connection: Connection,
        *,
        grant: LocationGrant,
        node: NodeId,
        dataset_types: Sequence[DatasetTypeName],
        now: int,
    ) -> GrantMismatch | None:
        """Replace what `node` has registered under the grant's locator.

        Args:
            connection: open transaction.
            grant: verified grant of the home node.
            node: proven sender of the registration.
            dataset_types: what it holds now; empty removes it.
            now: seconds since 1970.

        Returns:
            None, or why the grant does not fit.
        """
        if grant.aud != self._city:
            return GrantMismatch(detail="the grant is for another city's directory")
        if grant.holder != node:
            return GrantMismatch(detail="the grant is for another holder")
        locator = self._blind(grant.locator)
        connection.execute(
            delete(entries).where(entries.c.locator == locator, entries.c.node == node)
        )
        rows = [
            {
                "locator": locator,
                "node": node,
                "dataset_type": name,
                "home": grant.iss,
                "since": now,
                "expires": grant.exp,
            }
            for name in sorted(set(dataset_types))
        ]
        if rows:
            connection.execute(insert(entries), rows)
        return None

    def look_up(
        self, connection: Connection, *, locator: str, home: NodeId, now: int
    ) -> tuple[LocationEntry, ...]:
        """Return who holds what, for the home node that granted it; else nothing.

        A locator that nobody registered and one granted by another home node look
        alike, so nobody can probe for residents.
        """
        found = connection.execute(
            _LOOK_UP, {"locator": self._blind(locator), "home": home, "now": now}
        )
        return tuple(
            LocationEntry(
                node=NodeId(row.node),
                dataset_type=DatasetTypeName(row.dataset_type),
                since=row.since,
            )
            for row in found
        )

    def remove_node(self, connection: Connection, node: NodeId) -> int:
        """Forget everything that a removed node had registered; returns how much."""
        return connection.execute(
            delete(entries).where(entries.c.node == node)
        ).rowcount

    def purge(self, connection: Connection, now: int) -> int:
        """Forget entries whose grant has ended; returns how many."""
        return connection.execute(
            delete(entries).where(entries.c.expires <= now)
        ).rowcount

    def _blind(self, locator: str) -> bytes:
        return blind_index(self._index_key, _USE, locator)
