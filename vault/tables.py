# SPDX-License-Identifier: Apache-2.0
"""The vault's tables.

Nothing personal stands in clear: names, content, consents and provisions are sealed
under the person's key and found by blind indexes. Whoever steals the disk sees random
subject ids, dataset types, record times (needed for range queries), sizes and counts.

`info["backup"]` of a table says how it is backed up (DESIGN section 8):

* `keys`: in the key backup, which honours tombstones. It holds the person keys and the
  names (local ids, handles) that lead to a person.
* `records`: in the ordinary backup. Without the key backup it is noise.
* `derived`: not at all. Source ids and searchable attributes are blind indexes under a
  key of the node, so a copy would let the node's keys confirm a guess about an erased
  person. They are made anew from the records that still open (`vault.search`).
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
    Text,
)

metadata = MetaData()

_KEYS = {"backup": "keys"}
_RECORDS = {"backup": "records"}
_DERIVED = {"backup": "derived"}

person_keys = Table(
    "person_keys",
    metadata,
    Column("subject", String(36), primary_key=True),
    # NULL once erased: the row stays as the tombstone.
    Column("wrapped", LargeBinary),
    Column("wrapped_by", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("erased_ms", BigInteger),
    info=_KEYS,
)

subject_names = Table(
    "subject_names",
    metadata,
    Column("name_index", LargeBinary(16), primary_key=True),
    Column("subject", String(36), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_KEYS,
)

subject_links = Table(
    "subject_links",
    metadata,
    Column("subject", String(36), primary_key=True),
    Column("linked_ms", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_KEYS,
)

records = Table(
    "records",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("subject", String(36), nullable=False),
    Column("dataset_type", String(160), nullable=False),
    Column("version", Integer, nullable=False),
    Column("time_s", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    # The rest is set for records received from other organizations only.
    Column("consent_index", LargeBinary(16), index=True),
    Column("retain_until", BigInteger, index=True),
    Column("stopped", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("records_by_time", "subject", "dataset_type", "time_s", "id"),
    info=_RECORDS,
)

record_versions = Table(
    "record_versions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("subject", String(36), nullable=False, index=True),
    Column("dataset_type", String(160), nullable=False),
    Column("time_s", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("consent_index", LargeBinary(16)),
    Column("retain_until", BigInteger),
    Column("wrapped", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_RECORDS,
)

record_sources = Table(
    "record_sources",
    metadata,
    Column("source_index", LargeBinary(16), primary_key=True),
    Column("record", String(36), nullable=False, index=True),
    info=_DERIVED,
)

record_attributes = Table(
    "record_attributes",
    metadata,
    Column("attribute_index", LargeBinary(16), primary_key=True),
    Column("record", String(36), primary_key=True),
    Index("record_attributes_by_record", "record"),
    info=_DERIVED,
)

attachments = Table(
    "attachments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("record", String(36), nullable=False, index=True),
    Column("subject", String(36), nullable=False, index=True),
    Column("field", String(128), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_RECORDS,
)

# Files of this disk that belong to no attachment: being written, or to be removed.
discarded_files = Table(
    "discarded_files",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("since_ms", BigInteger, nullable=False),
    info=_DERIVED,
)

dataset_types = Table(
    "dataset_types",
    metadata,
    Column("name", String(160), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    info=_RECORDS,
)

holder_policies = Table(
    "holder_policies",
    metadata,
    Column("dataset_type", String(160), primary_key=True),
    Column("document", Text, nullable=False),
    # Days that own records are kept after their time; NULL keeps them.
    Column("retention_days", Integer),
    Column("changed_ms", BigInteger, nullable=False),
    info=_RECORDS,
)

provisions = Table(
    "provisions",
    metadata,
    Column("exchange", String(36), primary_key=True),
    Column("role", String(12), primary_key=True),
    Column("subject", String(36), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("group_index", LargeBinary(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("provisions_by_subject", "subject", "at_ms"),
    Index("provisions_by_time", "at_ms"),
    info=_RECORDS,
)

received_consents = Table(
    "received_consents",
    metadata,
    Column("consent_index", LargeBinary(16), primary_key=True),
    Column("subject", String(36), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_RECORDS,
)

consent_states = Table(
    "consent_states",
    metadata,
    Column("consent_index", LargeBinary(16), primary_key=True),
    Column("status", Integer, nullable=False),
    Column("status_version", Integer, nullable=False),
    Column("newest_version", Integer, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    info=_RECORDS,
)

seen_lists = Table(
    "seen_lists",
    metadata,
    Column("place_index", LargeBinary(16), primary_key=True),
    Column("ends_s", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_RECORDS,
)
waiting_reads = Table(
    "waiting_reads",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("subject", String(36), nullable=False, index=True),
    Column("consent_index", LargeBinary(16), nullable=False, index=True),
    # Who asked: a client of this node, never a person.
    Column("client", String(100), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    # NULL while it waits.
    Column("ended_ms", BigInteger),
    # When the callback is due; NULL where there is none, or it has been sent.
    Column("callback_ms", BigInteger, index=True),
    Column("callback_failures", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("waiting_reads_by_client", "client", "created_ms"),
    Index("waiting_reads_ended", "ended_ms"),
    info=_RECORDS,
)
"""Reads that wait for their holders, and their results; deleted after
`limits.result_life_h`, on request, with the person, and emptied with the consent."""

waiting_holders = Table(
    "waiting_holders",
    metadata,
    Column("read", String(36), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("wait", String(36), nullable=False, unique=True),
    Column("city", String(32), nullable=False),
    Column("state", String(8), nullable=False),
    Column("failures", Integer, nullable=False),
    # When the next attempt is due; NULL once it has ended.
    Column("next_ms", BigInteger, index=True),
    Column("reason", String(64), nullable=False, server_default=""),
    Column("sealed", LargeBinary),
    info=_RECORDS,
)
"""One row for each holder that a waiting read asks; goes with its read."""

acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("consent_index", LargeBinary(16), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    info=_RECORDS,
)
