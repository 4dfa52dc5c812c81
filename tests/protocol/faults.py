# SPDX-License-Identifier: Apache-2.0
"""Cases for the decision: one that is permitted, and everything that can be wrong.

A *fault* is a change to parts of a case that is otherwise permitted. `FAULTS` lists
them in the order of the checks, which is part of the contract.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.consent import Evidence, Operation, Scope, State
from protocol.decision import Case, Freshness, HolderPolicy
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass, Qualification
from protocol.status import Status, pack
from tests.protocol.cities import MINATO, NOW, SKEW
from tests.protocol.exchanges import (
    CHECKUP,
    FIELDS,
    HOLDER,
    RECIPIENT,
    RECORDS,
    TREATMENT,
    consent,
    dataset,
    status_list,
)

Changes = Mapping[str, Mapping[str, object]]
MAX_AGE = 60
ALL = frozenset(FIELDS)
NEEDED = frozenset(("date", "height", "weight", "facility_name"))
STRANGER = NodeId("yamanami/clinic")


def build(*changes: Changes) -> Case:
    """Return a case that is permitted, with changes to its parts."""
    parts: dict[str, dict[str, Any]] = {}
    for change in changes:
        for part, members in change.items():
            parts.setdefault(part, {}).update(members)
    fresh = {
        "proof": status_list(**parts.get("proof", {})),
        "max_age_s": MAX_AGE,
        "skew_s": SKEW,
        **parts.get("freshness", {}),
    }
    whole: dict[str, Any] = {
        "now": NOW,
        "holder": HOLDER,
        "recipient": MINATO.member("nursery").model_copy(update=parts.get("member")),
        "dataset": dataset(**parts.get("dataset", {})),
        "purpose": TREATMENT,
        "data_class": DataClass.SPECIAL_CARE,
        "consent": consent(**parts.get("consent", {})),
        "freshness": Freshness(**fresh),
        "subject_bound": True,
        "policy": HolderPolicy(**parts.get("policy", {})),
        **parts.get("case", {}),
    }
    return Case(**whole)


def scope(
    fields: Iterable[str] | None = None,
    records: Iterable[RecordId] | None = None,
    data_class: DataClass = DataClass.SPECIAL_CARE,
) -> Scope:
    """Return a scope over health checkups."""
    return Scope(
        dataset_type=CHECKUP,
        data_class=data_class,
        fields=None if fields is None else tuple(fields),
        records=None if records is None else tuple(records),
    )


def told(status: Status) -> str:
    """Return a packed list in which the consent has that state."""
    return pack({17: status})


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a case.

    Attributes:
        reason: what the decision must say.
        changes: parts to change.
    """

    reason: str
    changes: Changes

    def touches(self) -> set[tuple[str, str]]:
        """Return which members of which parts it changes."""
        return {(p, m) for p, members in self.changes.items() for m in members}


OTHER_SCOPE = Scope(
    dataset_type=DatasetTypeName("energy.usage"), data_class=DataClass.CLOSED
)
ENDED = Qualification(scheme="privacy-mark", number="1", until=NOW)
OTHER_MARK = Qualification(scheme="jis-q-15001", number="1", until=NOW + 9)

FAULTS = {
    "wrong class in the header": Fault(
        "data-class-mismatch", {"case": {"data_class": DataClass.PERSONAL}}
    ),
    "no class in the header": Fault(
        "data-class-mismatch", {"case": {"data_class": None}}
    ),
    "closed data": Fault(
        "closed-outside-city",
        {"case": {"data_class": DataClass.CLOSED}, "dataset": {"data_class": "closed"}},
    ),
    "unknown purpose": Fault(
        "purpose-unknown", {"case": {"purpose": PurposeName("marketing")}}
    ),
    "no purpose": Fault("purpose-unknown", {"case": {"purpose": None}}),
    "unknown field": Fault(
        "field-unknown", {"case": {"fields": frozenset(("date", "salary"))}}
    ),
    "field that the purpose does not need": Fault(
        "field-outside-purpose", {"case": {"fields": frozenset(("date", "note"))}}
    ),
    "expired membership": Fault("membership-expired", {"member": {"exp": NOW}}),
    "membership for other classes": Fault(
        "membership-class", {"member": {"data_classes": (DataClass.PERSONAL,)}}
    ),
    "no qualification": Fault(
        "qualification-missing", {"member": {"qualifications": ()}}
    ),
    "ended qualification": Fault(
        "qualification-missing", {"member": {"qualifications": (ENDED,)}}
    ),
    "other qualification": Fault(
        "qualification-missing", {"member": {"qualifications": (OTHER_MARK,)}}
    ),
    "holder does not share": Fault("policy-denied", {"policy": {"shared": False}}),
    "holder refuses the recipient": Fault(
        "policy-denied", {"policy": {"refused": frozenset((RECIPIENT,))}}
    ),
    "holder refuses the purpose": Fault(
        "policy-denied",
        {"policy": {"purposes": frozenset((PurposeName("statistics"),))}},
    ),
    "no consent": Fault("consent-missing", {"case": {"consent": None}}),
    "swapped recipient": Fault(
        "consent-not-for-recipient", {"consent": {"recipients": (STRANGER,)}}
    ),
    "swapped holder": Fault(
        "consent-not-for-holder", {"consent": {"holders": (STRANGER,)}}
    ),
    "swapped person": Fault(
        "consent-not-for-subject", {"case": {"subject_bound": False}}
    ),
    "wrong operation": Fault(
        "consent-operation", {"consent": {"operations": (Operation.STORE,)}}
    ),
    "other legal basis": Fault(
        "consent-legal-basis", {"consent": {"legal_basis": "contract"}}
    ),
    "consent of tomorrow": Fault(
        "consent-not-started", {"consent": {"starts": NOW + SKEW + 1}}
    ),
    "consent past its end": Fault("consent-expired", {"consent": {"ends": NOW}}),
    "consent document past its end": Fault(
        "consent-expired", {"consent": {"exp": NOW}}
    ),
    "paused version": Fault("consent-paused", {"consent": {"state": State.PAUSED}}),
    "withdrawn version": Fault(
        "consent-withdrawn", {"consent": {"state": State.WITHDRAWN}}
    ),
    "refused version": Fault(
        "consent-withdrawn", {"consent": {"state": State.REFUSED}}
    ),
    "open read under a hidden consent": Fault(
        "holder-must-stay-hidden",
        {"consent": {"hidden_holder": True}, "case": {"hidden": False}},
    ),
    "wrong purpose": Fault(
        "purpose-not-consented",
        {"consent": {"purposes": (PurposeName("statistics"),)}},
    ),
    "type outside the scope": Fault(
        "consent-type", {"consent": {"scope": (OTHER_SCOPE,)}}
    ),
    "class shown to the resident was another": Fault(
        "data-class-mismatch",
        {"consent": {"scope": (scope(data_class=DataClass.PERSONAL),)}},
    ),
    "closed data in the same consent": Fault(
        "closed-outside-city", {"consent": {"scope": (OTHER_SCOPE, scope())}}
    ),
    "opt-out for special care": Fault(
        "special-care-opt-out", {"consent": {"opt": "out"}}
    ),
    "no end for special care": Fault(
        "special-care-no-end", {"consent": {"ends": None}}
    ),
    "weak evidence": Fault(
        "evidence-too-low",
        {"consent": {"evidence": Evidence(level=1, method="counter")}},
    ),
    "record outside the scope": Fault(
        "consent-record",
        {
            "case": {"records": frozenset(RECORDS[2:])},
            "consent": {"scope": (scope(records=RECORDS[:2]),)},
        },
    ),
    "told of a pause": Fault(
        "consent-paused", {"freshness": {"revoked": Status.PAUSED}}
    ),
    "told of a withdrawal": Fault(
        "consent-withdrawn", {"freshness": {"revoked": Status.WITHDRAWN}}
    ),
    "rolled back version": Fault(
        "consent-superseded", {"freshness": {"newest_version": 2}}
    ),
    "no proof": Fault("proof-missing", {"freshness": {"proof": None}}),
    "proof of another home node": Fault(
        "proof-of-other-list", {"proof": {"iss": "a/b"}}
    ),
    "proof of another list": Fault("proof-of-other-list", {"proof": {"list": 4}}),
    "proof from the future": Fault(
        "proof-from-future", {"proof": {"iat": NOW + SKEW + 1}}
    ),
    "stale proof": Fault("proof-stale", {"proof": {"iat": NOW - MAX_AGE - 1}}),
    "expired proof": Fault("proof-stale", {"proof": {"exp": NOW}}),
    "withdrawn in the list": Fault(
        "consent-withdrawn", {"proof": {"lst": told(Status.WITHDRAWN)}}
    ),
    "paused in the list": Fault(
        "consent-paused", {"proof": {"lst": told(Status.PAUSED)}}
    ),
    "superseded in the list": Fault(
        "consent-superseded", {"proof": {"lst": told(Status.SUPERSEDED)}}
    ),
    "query for no field": Fault("nothing-left", {"case": {"fields": frozenset()}}),
    "query for no record": Fault("nothing-left", {"case": {"records": frozenset()}}),
    "consent to no field": Fault(
        "nothing-left", {"consent": {"scope": (scope(fields=()),)}}
    ),
    "consent to no record": Fault(
        "nothing-left", {"consent": {"scope": (scope(records=()),)}}
    ),
    "consent to unknown fields": Fault(
        "nothing-left", {"consent": {"scope": (scope(fields=("salary",)),)}}
    ),
    "everything withheld": Fault(
        "nothing-left", {"policy": {"withheld_fields": NEEDED}}
    ),
    "all that is left would name the holder": Fault(
        "nothing-left",
        {
            "case": {"hidden": True},
            "consent": {"scope": (scope(fields=("facility_name",)),)},
        },
    ),
}
