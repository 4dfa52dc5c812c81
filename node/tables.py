# SPDX-License-Identifier: Apache-2.0
"""The node's own tables: its organization's applications and their access tokens.

Times are milliseconds since 1970. Secrets and tokens stand as SHA-256 only; both are 32
random bytes, so a hash cannot be tried against a word list. No personal data.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

clients = Table(
    "clients",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False),
    Column("scopes", String(400), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("client", String(64), nullable=False, index=True),
    Column("scopes", String(400), nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
)

Index("access_tokens_by_end", access_tokens.c.ends_ms)
