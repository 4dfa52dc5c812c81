# SPDX-License-Identifier: Apache-2.0
"""Tables of the federation: location entries, outbox, messages taken, back-off.

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
    # Names the message for good: receivers tell by it what they have taken already.
    Column("message", String(36), nullable=False),
    Column("destination", String(65), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # NULL: never given up.
    Column("expires_ms", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", String(64), nullable=False, server_default=""),
    # When it was set aside; NULL while it waits.
    Column("dead_ms", BigInteger),
    Index("outbox_next", "destination", "state", "id"),
    Index("outbox_expiry", "state", "expires_ms"),
    Index("outbox_message", "message"),
    # A number is never given out again: operators drop by it.
    sqlite_autoincrement=True,
)
"""Outgoing messages. Delivery deletes them; dead letters go after
`limits.dead_letter_days` (`federation.letters`)."""

outbox_queues = Table(
    "outbox_queues",
    metadata,
    Column("destination", String(65), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("reason", String(64), nullable=False, server_default=""),
    Index("outbox_queues_due", "next_ms"),
)
"""One row for each destination for which messages wait, with its back-off."""

received_messages = Table(
    "received_messages",
    metadata,
    Column("sender", String(65), primary_key=True),
    Column("message", String(36), primary_key=True),
    Column("until_ms", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Durable messages that were carried out, until their sender gives them up."""

waits = Table(
    "waits",
    metadata,
    Column("requester", String(65), primary_key=True),
    Column("wait", String(36), primary_key=True),
    Column("city", String(32), nullable=False, index=True),
    Column("holder", String(65), nullable=False, index=True),
    Column("until_ms", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Who is told when a node of this city is back; bounded, deleted at `until_ms`."""

dial_state = Table(
    "dial_state",
    metadata,
    Column("peer", String(512), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
)
