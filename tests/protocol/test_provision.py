# SPDX-License-Identifier: Apache-2.0
"""Provision and reception records: what the law asks for, on both sides alike."""

from typing import Any

import pytest

from protocol.canonical import canonical
from protocol.errors import Malformed
from protocol.provision import ProvisionRecord
from tests.protocol.exchanges import CHECKUP, EXCHANGE, NOW_MS, RECIPIENT, RECORDS

VALID: dict[str, Any] = {
    "role": "provision",
    "exchange": EXCHANGE,
    "at_ms": NOW_MS,
    "counterparty": RECIPIENT,
    "basis": "consent",
    "consent": "consent 1",
    "consent_version": 1,
    "purpose": "treatment",
    "dataset_type": CHECKUP,
    "fields": ["date", "height"],
    "records": [RECORDS[0]],
    "request": "A" * 43,
    "answer": "B" * 43,
    "route": ["minato/broker", "hoshino/broker"],
}


@pytest.mark.parametrize("role", ["provision", "reception"])
def test_record_is_read_back(role: str) -> None:
    """Articles 29 and 30: each side keeps its own."""
    record = ProvisionRecord.decode(canonical({**VALID, "role": role}))
    assert ProvisionRecord.decode(record.encode()) == record


@pytest.mark.parametrize(
    "name", ["exchange", "counterparty", "consent", "fields", "records", "answer"]
)
def test_item_that_the_law_asks_for_cannot_be_missing(name: str) -> None:
    """To whom, what, under which consent, tied to which answer."""
    left = {k: v for k, v in VALID.items() if k != name}
    with pytest.raises(Malformed, match=name):
        ProvisionRecord.decode(canonical(left))


def test_record_of_an_unknown_side_is_refused() -> None:
    """There are two."""
    with pytest.raises(Malformed):
        ProvisionRecord.decode(canonical({**VALID, "role": "sale"}))
