# SPDX-License-Identifier: Apache-2.0
"""Tables of the federation: location entries, outbox, remembered back-off.

No personal data in clear: locators are blind indexes, outbox payloads are sealed.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

location_entries = Table(
    "location_entries",
    metadata,
    Column("locator", LargeBinary(16), primary_key=True),
    Column("node", String(65), primary_key=True),
    Column("dataset_type", String(160), primary_key=True),
    Column("home", String(65), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("destination", String(65), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", String(64), nullable=False, server_default=""),
    Column("by_node", String(65), nullable=False, server_default=""),
    Index("outbox_next", "destination", "state", "id"),
)

backoff = Table(
    "outbox_backoff",
    metadata,
    Column("destination", String(65), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
)

dial_state = Table(
    "dial_state",
    metadata,
    Column("peer", String(512), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
)
