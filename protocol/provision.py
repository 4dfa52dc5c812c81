# SPDX-License-Identifier: Apache-2.0
"""Provision and reception records: to whom, what, when, under which consent.

Fields follow the enforcement rules of the Act on the Protection of Personal Information
(APPI) article 29 (records of provision) and article 30 (records of receipt). Both sides
keep one for every release (requirements 45, 47). The person is named by an internal
reference only; details are sealed under the person's key where they are stored.
"""

from __future__ import annotations

from typing import Literal

from protocol.ids import (
    AttachmentId,
    DatasetTypeName,
    ExchangeId,
    PurposeName,
    RecordId,
)
from protocol.model import Digest, Document, Millis, ShortText


class ProvisionRecord(Document):
    """One release, as the holder (`provision`) or the recipient (`reception`) keeps it.

    Attributes:
        role: which side this is.
        exchange: the exchange; both sides have the same.
        at_ms: when it was decided (provision) or arrived (reception).
        counterparty: recipient, or provider (the city when the holder is hidden).
        basis: why it was lawful.
        consent: id and version of the consent.
        purpose: why.
        dataset_type, fields, records: what (articles 29 and 30: items of the data).
        request, answer: digests that tie both sides' records together.
        repeat: digest of what arrived, where `answer` was given a second time, since
            the path of the first had failed.
        route: brokers that carried it, nearest to the requester first.
        attachment: of a transfer: which; this exchange opened it.
    """

    role: Literal["provision", "reception"]
    exchange: ExchangeId
    at_ms: Millis
    counterparty: ShortText
    basis: ShortText = "consent"
    consent: ShortText
    consent_version: int
    purpose: PurposeName | None
    dataset_type: DatasetTypeName
    fields: tuple[str, ...]
    records: tuple[RecordId, ...]
    request: Digest
    answer: Digest
    repeat: Digest | None = None
    route: tuple[ShortText, ...] = ()
    attachment: AttachmentId | None = None
