# SPDX-License-Identifier: Apache-2.0
"""What expires when: received records, own records by type, old provision records."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from vault.dataset_types import DatasetTypes
from vault.provisions import Provisions
from vault.received import ReceivedRecords
from vault.records import Records
from vault.tables import records

DAY_S = 86_400
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows went."""

    received: int
    own: int
    provisions: int


class Retention:
    """Deletes what is due. Run daily."""

    def __init__(
        self,
        *,
        types: DatasetTypes,
        store: Records,
        received: ReceivedRecords,
        provisions: Provisions,
        provision_days: int = 3 * 366,
    ) -> None:
        """Take the parts.

        Args:
            types: says how long own records of a type are kept.
            store: the records.
            received: those of other organizations.
            provisions: what was released.
            provision_days: how long provision records are kept; three years is the
                longest that APPI articles 29 and 30 ask for.
        """
        self._types = types
        self._store = store
        self._received = received
        self._provisions = provisions
        self._provision_days = provision_days

    def purge(self, connection: Connection, now_s: int) -> Purged:
        """Delete what is due, at most 1,000 own records of a type at a time."""
        received = self._received.purge(connection, now_s)
        own = sum(
            self._purge_type(connection, dataset.name, now_s)
            for dataset in self._types.all()
        )
        before_ms = (now_s - self._provision_days * DAY_S) * 1000
        return Purged(received, own, self._provisions.purge(connection, before_ms))

    def _purge_type(self, connection: Connection, name: str, now_s: int) -> int:
        days = self._types.retention_days(name)
        if days is None:
            return 0
        columns = records.c
        serials = list(
            connection.execute(
                select(columns.id)
                .where(
                    columns.dataset_type == name,
                    columns.time_s < now_s - days * DAY_S,
                    columns.consent_index.is_(None),
                )
                .limit(_BATCH)
            ).scalars()
        )
        self._store.delete_serials(connection, serials)
        return len(serials)
