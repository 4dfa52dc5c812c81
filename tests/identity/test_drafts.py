# SPDX-License-Identifier: Apache-2.0
"""Drafts that make no sense, and consents that the law or the types do not allow."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from identity.compose import Names, compose
from identity.drafts import ConsentDraft
from identity.errors import EvidenceTooLow, LegalLimit
from protocol.canonical import b64url
from protocol.consent import Consent, Evidence, Operation, StatusReference
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass
from tests.identity.home import (
    BOTH_FACTORS,
    CLINIC,
    HALL,
    NURSERY,
    PHARMACY,
    draft,
)
from tests.protocol.cities import NOW

RECORD = RecordId.of(CLINIC, uuid.UUID(int=1))


def composed(evidence: Evidence = BOTH_FACTORS, **changes: Any) -> Consent:
    """Compose a consent from a changed draft."""
    changed = draft(**changes)
    names = {
        party: Names("h" * 43, b64url(bytes([n] * 16)))
        for n, party in enumerate(changed.parties)
    }
    return compose(
        home=HALL,
        identifier="consent-1",
        draft=changed,
        evidence=evidence,
        names=names,
        status=StatusReference(list=0, index=0),
        longest_s=1000 * 86_400,
        now=NOW,
    )


def scope(**changes: Any) -> dict[str, Any]:
    """Return a change of the draft's only scope."""
    return {"scope": (draft().scope[0].model_copy(update=changes),)}


def test_consent_says_what_the_draft_said() -> None:
    """Nothing is lost or added on the way."""
    consent = composed(retention_days=7)
    assert consent.recipients == (NURSERY,)
    assert consent.holders == (CLINIC,)
    assert consent.ends == draft().ends
    assert consent.retention_days == 7
    assert consent.scope_of("health.checkup") is not None
    assert consent.state == "active"


def test_hidden_consent_does_not_name_its_holders() -> None:
    """Requirement 7: not by id, not in the text, only by a commitment."""
    consent = composed(hidden_holder=True, holders=(CLINIC, PHARMACY))
    assert consent.holders == ("any",)
    assert b"clinic" not in consent.encode()
    assert b"pharmacy" not in consent.encode()
    assert len(consent.subjects) == 3


def test_commitments_stand_in_an_order_that_says_nothing() -> None:
    """Sorted by their own value, not by party."""
    subjects = composed(holders=(CLINIC, PHARMACY)).subjects
    assert list(subjects) == sorted(subjects)


def test_document_ends_with_the_consent_or_with_its_longest_life() -> None:
    """A signed document never lives for ever."""
    open_data = scope(data_class=DataClass.PERSONAL)
    assert composed().exp == draft().ends
    assert composed(**open_data, ends=None).exp == NOW + 1000 * 86_400


@pytest.mark.parametrize(
    "changes",
    [
        {"recipients": (NURSERY, NURSERY)},
        {"holders": (CLINIC, CLINIC)},
        {"purposes": (PurposeName("treatment"), PurposeName("treatment"))},
        {"operations": (Operation.SHARE, Operation.SHARE)},
        {"scope": draft().scope * 2},
        {"recipients": (CLINIC,)},
        {"ends": NOW},
        {"ends": NOW + 50, "starts": NOW + 50},
        scope(fields=()),
        scope(records=()),
        {**scope(records=(RECORD,)), "hidden_holder": True},
        {**scope(records=(RECORD,)), "holders": (PHARMACY,)},
        scope(records=(RecordId(f"urn:machikura:hoshino::{uuid.UUID(int=1)}"),)),
    ],
)
def test_draft_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Each of them would mean nothing, or something else than was shown."""
    with pytest.raises(Misuse):
        composed(**changes)


def test_record_of_a_named_holder_is_fine() -> None:
    """Requirement 23: consent to single records."""
    found = composed(**scope(records=(RECORD,))).scope_of("health.checkup")
    assert found is not None
    assert found.records == (RECORD,)


@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({"opt": "out"}, "special-care-opt-out"),
        ({"ends": None}, "special-care-no-end"),
        (scope(data_class=DataClass.CLOSED), "closed-outside-city"),
    ],
)
def test_what_the_law_does_not_allow_is_refused(
    changes: dict[str, Any], slug: str
) -> None:
    """APPI article 27, requirement 44."""
    with pytest.raises(LegalLimit) as refused:
        composed(**changes)
    assert refused.value.slug == slug


@pytest.mark.parametrize(("level", "needed"), [(1, 2), (2, 3), (1, 3)])
def test_evidence_below_what_the_type_asks_for_is_refused(
    level: int, needed: int
) -> None:
    """A counter is not enough for what needs two factors."""
    officer = "officer-7" if level == 1 else None
    evidence = Evidence(level=level, method="m", officer=officer)
    with pytest.raises(EvidenceTooLow):
        composed(evidence, **scope(evidence_level=needed))


def test_strictest_dataset_type_counts() -> None:
    """One easy type does not lower the level of another."""
    easy = (
        draft()
        .scope[0]
        .model_copy(
            update={"dataset_type": DatasetTypeName("town.event"), "evidence_level": 1}
        )
    )
    evidence = Evidence(level=1, method="counter", officer="officer-7")
    with pytest.raises(EvidenceTooLow):
        composed(evidence, scope=(easy, draft().scope[0]))


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(level=1, method="counter"),
        Evidence(level=2, method="password+totp", officer="officer-7"),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(evidence: Evidence) -> None:
    """An officer stands for level 1, and for nothing else."""
    with pytest.raises(Misuse):
        composed(evidence, **scope(evidence_level=1))


@pytest.mark.parametrize(
    "changes",
    [
        {"recipients": ()},
        {"holders": ()},
        {"scope": ()},
        {"purposes": ()},
        {"operations": ()},
        {"ends": 2**50},
        {"color": "blue"},
        {"recipients": ("Not a node",)},
        {"starts": "today"},
    ],
)
def test_input_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    """Empty lists, unknown members, wrong types, times beyond the calendar."""
    plain = draft().model_dump(mode="json")
    with pytest.raises(ValidationError):
        ConsentDraft.model_validate({**plain, **changes}, strict=False)


def test_parties_are_named_once() -> None:
    """Holders and recipients together, sorted."""
    assert draft(holders=(PHARMACY, CLINIC)).parties == (
        CLINIC,
        PHARMACY,
        NodeId("minato/nursery"),
    )
