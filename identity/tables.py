# SPDX-License-Identifier: Apache-2.0
"""The tables of identity, by aggregate.

Times are seconds since 1970. Columns named `sealed` are `protocol.box` ciphertext, and
`*_index` are blind indexes: a stolen file shows sizes, counts, times and random ids.
Documents about organizations (members, agreements) are public within the federation
and stand in clear. Types exist in SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

# The city's authority (broker node).

city_members = Table(
    "city_members",
    metadata,
    Column("node", String(80), primary_key=True),
    Column("kid", String(43), nullable=False),
    Column("grant", LargeBinary, nullable=False),
    Column("membership", String, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("admitted", BigInteger, nullable=False),
    Column("removed", BigInteger),
    Column("revoked", BigInteger),  # when its keys were revoked, None while they hold
)

# Every key that was ever registered stays here, so none ever changes its owner.
city_keys = Table(
    "city_keys",
    metadata,
    Column("kid", String(43), primary_key=True),
    Column("node", String(80)),  # None: a nameless member key
    Column("retired", BigInteger),
    # Refused everywhere from `dead`; worth telling until `ends`, when the last
    # membership that names it has ended.
    Column("dead", BigInteger, index=True),
    Column("ends", BigInteger),
)

city_member_keys = Table(
    "city_member_keys",
    metadata,
    Column("kid", String(43), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
)

# Where the city's brokers listen, as each has said itself.
city_brokers = Table(
    "city_brokers",
    metadata,
    Column("node", String(80), primary_key=True),
    Column("url", String(512), nullable=False),
)

# Nameless keys of a holder (hidden reads).

nameless_keys = Table(
    "nameless_keys",
    metadata,
    Column("kid", String(43), primary_key=True),
    Column("suite", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("ends", BigInteger, nullable=False),
)

# What this node trusts.

trust_documents = Table(
    "trust_documents",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("document", String, nullable=False),
    Column("companion", String),
    Column("ends", BigInteger, nullable=False),
)

agreements = Table(
    "agreements",
    metadata,
    Column("id", String(512), nullable=False),
    Column("version", Integer, nullable=False),
    Column("city", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("wire", LargeBinary, nullable=False),
    Column("changed", BigInteger, nullable=False),
    # Where it ends before its day: when, and the words that say so.
    Column("ends", BigInteger),
    Column("ending", LargeBinary),
    PrimaryKeyConstraint("id", "version"),
)

# Residents' accounts (home node).

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("login_index", LargeBinary(16), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("sealed_details", LargeBinary, nullable=False),
    Column("sealed_credentials", LargeBinary, nullable=False),
    Column("totp_step", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("login_index"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("account", String(36), nullable=False, index=True),
    Column("level", Integer, nullable=False),
    Column("method", String(40), nullable=False),
    Column("ends", BigInteger, nullable=False),
)

# Counters of attempts, and sources from which a login has succeeded before.
throttles = Table(
    "throttles",
    metadata,
    Column("key_index", LargeBinary(16), primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
)

known_sources = Table(
    "known_sources",
    metadata,
    Column("source_index", LargeBinary(16), primary_key=True),
    Column("account", String(36), nullable=False, index=True),
    Column("last", BigInteger, nullable=False),
)

residents = Table(
    "residents",
    metadata,
    Column("account", String(36), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("link_index", LargeBinary(16), primary_key=True),
    Column("account", String(36), nullable=False, index=True),
    Column("handle_index", LargeBinary(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("handle_index"),
)

link_codes = Table(
    "link_codes",
    metadata,
    Column("code_index", LargeBinary(16), primary_key=True),
    Column("account", String(36), nullable=False, index=True),
    Column("ends", BigInteger, nullable=False),
)

# Consents (home node).

consents = Table(
    "consents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account", String(36), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("changed", BigInteger, nullable=False),
)

consent_versions = Table(
    "consent_versions",
    metadata,
    Column("consent", String(36), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("consent", "version"),
)

# Never deleted: an index that was given out is never given out again.
consent_statuses = Table(
    "consent_statuses",
    metadata,
    Column("list", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("consent", String(36), nullable=False),
    Column("status", Integer, nullable=False),
    PrimaryKeyConstraint("list", "position"),
)

status_lists = Table(
    "status_lists",
    metadata,
    Column("list", Integer, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("signed_changes", BigInteger, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
    Column("token", String, nullable=False),
)

withdrawal_notices = Table(
    "withdrawal_notices",
    metadata,
    Column("consent", String(36), nullable=False),
    Column("party_index", LargeBinary(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("acknowledged", BigInteger),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("consent", "party_index"),
)

Index("consent_statuses_by_consent", consent_statuses.c.consent)
Index("link_codes_by_end", link_codes.c.ends)
Index("city_member_keys_by_end", city_member_keys.c.ends)
Index("city_member_keys_by_number", city_member_keys.c.number)
