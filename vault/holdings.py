# SPDX-License-Identifier: Apache-2.0
"""What this node holds of a person and with whom it is shared (requirement 20)."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from protocol.answer import Holding, Holdings
from protocol.ids import NodeId, RecordId
from vault.keyring import SubjectId
from vault.provisions import Provisions
from vault.queries import Held, Queries

MAX_RECORDS = 1000


def holdings(
    connection: Connection,
    subject: SubjectId,
    *,
    node: NodeId,
    queries: Queries,
    provisions: Provisions,
    records: bool = False,
) -> Holdings:
    """Answer the resident's `locate-handle`.

    Args:
        connection: a read connection.
        subject: whose.
        node: this node.
        queries: counts the records.
        provisions: counts the releases.
        records: list record ids too, the first 1,000 of each type.
    """
    sharing = provisions.sharing(connection, subject)
    found = []
    for count in queries.counts(connection, subject):
        name = count.dataset_type
        serials: list[str] = []
        if records:
            serials = queries.serials(connection, subject, name, held=Held.BOTH)
        found.append(
            Holding(
                dataset_type=name,
                count=count.count,
                first=count.first,
                last=count.last,
                sharing=sharing.get(name, ()),
                records=tuple(
                    RecordId.of(node, uuid.UUID(serial))
                    for serial in serials[:MAX_RECORDS]
                ),
            )
        )
    return Holdings(holdings=tuple(found))
