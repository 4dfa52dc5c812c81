# SPDX-License-Identifier: Apache-2.0
"""One record sealed, and opened again. Pure.

A record's content is sealed under a fresh key of its own, which is wrapped by the
person's key. Both ciphertexts are bound to all that stands in clear beside them: record
id, subject, dataset type, version, times, and for received records consent and
retention. So nothing opens in another row, and a received record cannot be passed off
as an own one. The vault's subject id and not the handle is bound, since records are
imported before their person is linked.

Inside the seal stands one line of JSON (the record's time as written, what its source
calls it, where a received record came from), a line feed, and the content as JSON text,
byte for byte as it came in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from protocol.box import KEY_BYTES, NONCE_BYTES, Box
from protocol.ids import DatasetTypeName, ExchangeId, RecordId
from protocol.model import Document, ShortText
from vault.keyring import Entropy, SubjectId


class Origin(Document):
    """Where a received record came from.

    Attributes:
        provider: who sent it (the city when the provider is hidden).
        record: its id there.
        version: its version there.
        consent: under which consent.
        exchange: by which exchange.
    """

    provider: ShortText
    record: RecordId
    version: int
    consent: ShortText
    exchange: ExchangeId


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be stored, checked before (`vault.intake`).

    Attributes:
        subject, dataset_type: whose, of what type.
        content: JSON text of an object.
        time: the record's time as written; None where the type has none.
        time_s: the same in seconds, or when it came in.
        source: what the source calls the record, None for one that is never seen again.
        source_index: blind index of that; unique.
        attributes: blind indexes of searchable fields.
        origin, consent_index, retain_until: of received records.
    """

    subject: SubjectId
    dataset_type: DatasetTypeName
    content: bytes = field(repr=False)
    time: str | None
    time_s: int
    source: str | None = field(default=None, repr=False)
    source_index: bytes | None = None
    attributes: tuple[bytes, ...] = ()
    origin: Origin | None = None
    consent_index: bytes | None = None
    retain_until: int | None = None


@dataclass(frozen=True, slots=True)
class OpenRecord:
    """A record in clear, for as long as it is needed."""

    id: RecordId
    subject: SubjectId
    dataset_type: DatasetTypeName
    version: int
    time: str | None
    content: bytes = field(repr=False)
    source: str | None = field(repr=False)
    origin: Origin | None
    changed_ms: int


def seal_record(
    person: Box,
    entropy: Entropy,
    draft: Draft,
    serial: str,
    version: int,
    changed_ms: int,
) -> tuple[bytes, bytes]:
    """Return the wrapped record key and the sealed record.

    Args:
        person: the person's key.
        entropy: source of random bytes.
        draft: what to seal.
        serial: UUID of the record.
        version: from 1.
        changed_ms: when this version came in.
    """
    head: dict[str, object] = {}
    if draft.time is not None:
        head["time"] = draft.time
    if draft.source is not None:
        head["source"] = draft.source
    if draft.origin is not None:
        head["origin"] = draft.origin.model_dump(mode="json")
    key = entropy(KEY_BYTES)
    place = _place(
        serial,
        draft.subject,
        draft.dataset_type,
        version,
        draft.time_s,
        changed_ms,
        draft.consent_index,
        draft.retain_until,
    )
    wrapped = person.seal(entropy(NONCE_BYTES), key, "record-key", place)
    plaintext = orjson.dumps(head) + b"\n" + draft.content
    return wrapped, Box(key).seal(entropy(NONCE_BYTES), plaintext, "record", place)


Row: TypeAlias = tuple[
    str, str, str, int, int, int, bytes | None, int | None, bytes, bytes
]
"""Serial, subject, dataset type, version, time (s), time of change (ms), blind index of
the consent, end of retention, wrapped key, sealed record: as the table has them."""


def open_record(person: Box, row: Row, prefix: str) -> OpenRecord:
    """Open what `seal_record` made.

    Args:
        person: the person's key.
        row: as stored.
        prefix: of this node's record ids, up to the serial.

    Raises:
        CannotOpen: any of it was altered, or stands in another row.
    """
    wrapped, sealed = row[8:]
    place = _place(*row[:8])
    key = person.open(bytes(wrapped), "record-key", place)
    plaintext = Box(key).open(bytes(sealed), "record", place)
    line, _, content = plaintext.partition(b"\n")
    head = orjson.loads(line)
    origin = head.get("origin")
    serial, subject, dataset_type, version, _, changed_ms, _, _, _, _ = row
    # The seal vouches for these three: their grammar was checked when it was made.
    return OpenRecord(
        str.__new__(RecordId, prefix + serial),
        str.__new__(SubjectId, subject),
        str.__new__(DatasetTypeName, dataset_type),
        version,
        head.get("time"),
        content,
        head.get("source"),
        None if origin is None else Origin.model_validate(origin),
        changed_ms,
    )


def _place(
    serial: str,
    subject: str,
    dataset_type: str,
    version: int,
    time_s: int,
    changed_ms: int,
    consent_index: bytes | None,
    retain_until: int | None,
) -> str:
    """Say where a ciphertext belongs; no part can contain the separator."""
    place = f"{serial}|{subject}|{dataset_type}|{version}|{time_s}|{changed_ms}"
    if consent_index is None and retain_until is None:
        return place
    consent = "" if consent_index is None else bytes(consent_index).hex()
    return f"{place}|{consent}|{retain_until}"
