# SPDX-License-Identifier: Apache-2.0
"""Tables of the evidence: signed batches, alarms, routes of our own exchanges.

Rows grow with time, not with exchanges, but for routes: one row for each exchange that
this node asked or answered. What is older than `evidence.keep_days` is deleted by the
housekeeping (`EvidenceStore.purge`), alarms once they are acknowledged. Leaves, hop
records and routes are sealed under the node's key: they say who exchanged with whom,
never about whom.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from federation.tables import metadata

batches = Table(
    "evidence_batches",
    metadata,
    Column("peer", String(65), primary_key=True),
    # `own`: we signed it; `peer`: the peer did.
    Column("side", String(4), primary_key=True),
    Column("stream", String(22), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    # Own leaves that the peer has not confirmed yet.
    Column("open", Integer, nullable=False),
    Column("digest", String(43), nullable=False),
    Column("kid", String(43), nullable=False),
    Column("statement", Text, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Index("evidence_batches_by_time", "to_ms"),
)

hop_batches = Table(
    "evidence_hops",
    metadata,
    Column("stream", String(22), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("digest", String(43), nullable=False),
    Column("kid", String(43), nullable=False),
    Column("statement", Text, nullable=False),
    Column("entries", LargeBinary, nullable=False),
    Index("evidence_hops_by_time", "to_ms"),
)

signers = Table(
    "evidence_signers",
    metadata,
    # Without it a statement could not be verified once its signer has a newer key.
    Column("kid", String(43), primary_key=True),
    Column("node", String(65), nullable=False),
    Column("credentials", LargeBinary, nullable=False),
)

alarms = Table(
    "evidence_alarms",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("peer", String(65), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("detail", String(512), nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("acknowledged_ms", BigInteger),
    # What a court would want to see: two statements, or a word and a record.
    Column("proof", LargeBinary),
    UniqueConstraint("peer", "kind", "subject"),
)

routes = Table(
    "evidence_routes",
    metadata,
    Column("exchange", String(36), primary_key=True),
    # `asked` or `answered`.
    Column("role", String(8), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("evidence_routes_by_time", "at_ms"),
)

state = Table(
    "evidence_state",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
)
