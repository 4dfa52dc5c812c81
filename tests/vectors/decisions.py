# SPDX-License-Identifier: Apache-2.0
"""Vectors of whole decisions: the first case in full, then what differs from it."""

from collections.abc import Iterable

from protocol.decision import Case as Decided
from tests.protocol.faults import FAULTS, Changes, build
from tests.vectors.cases import Case, fails, passes


def decisions() -> Iterable[Case]:
    """Yield decisions; each refusal has one thing wrong."""
    valid = _members(build())
    needed = ["date", "facility_name", "height", "weight"]
    whole = {"fields": needed, "records": None, "cut": {"purpose": ["note"]}}
    yield passes("valid", valid, whole)
    hidden = {"purpose": ["note"], "holder": ["facility_name"]}
    yield passes(
        "hidden holder",
        _changed(valid, {"case": {"hidden": True}}),
        {"fields": ["date", "height", "weight"], "records": None, "cut": hidden},
    )
    for name, fault in FAULTS.items():
        yield fails(name, _changed(valid, fault.changes), fault.reason)


def _changed(valid: Case, changes: Changes) -> Case:
    case = _members(build(changes))
    return {name: value for name, value in case.items() if value != valid[name]}


def _members(case: Decided) -> Case:
    consent, fresh, policy = case.consent, case.freshness, case.policy
    proof, purposes = fresh.proof, policy.purposes
    return {
        "now": case.now,
        "holder": case.holder,
        "recipient": case.recipient.model_dump(mode="json", exclude_none=True),
        "dataset": case.dataset.model_dump(
            mode="json", by_alias=True, exclude_none=True
        ),
        "purpose": case.purpose,
        "data_class": case.data_class,
        "consent": consent and consent.model_dump(mode="json", exclude_none=True),
        "proof": proof and proof.model_dump(mode="json"),
        "max_age_s": fresh.max_age_s,
        "skew_s": fresh.skew_s,
        "revoked": fresh.revoked,
        "newest_version": fresh.newest_version,
        "subject_bound": case.subject_bound,
        "fields": None if case.fields is None else sorted(case.fields),
        "records": None if case.records is None else sorted(case.records),
        "operation": case.operation,
        "hidden": case.hidden,
        "policy": {
            "shared": policy.shared,
            "purposes": None if purposes is None else sorted(purposes),
            "withheld_fields": sorted(policy.withheld_fields),
            "refused": sorted(policy.refused),
        },
    }
