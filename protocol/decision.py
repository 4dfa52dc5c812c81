# SPDX-License-Identifier: Apache-2.0
"""The decision: request + consent + now -> `Permit` or `Deny`. Pure, offline.

    released = query ∩ consent ∩ purpose ∩ policy ∩ qualification (DESIGN section 7)

Every clause may only narrow. An empty clause, an unknown purpose, a missing consent, a
stale proof: deny. A refusal is a value with a stable reason; `Permit.cut` says which
clause took which field away (`explain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.consent import ANY, Consent, Operation, Scope, State, legal_limits
from protocol.dataset import DatasetType
from protocol.ids import NodeId, PurposeName, RecordId
from protocol.membership import DataClass, Membership
from protocol.status import Status, StatusList


@dataclass(frozen=True)
class Deny:
    """A refusal.

    Attributes:
        reason: stable slug, see `protocol.problem.CATALOG`.
        detail: which clause met what; no personal data.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Permit:
    """A permission.

    Attributes:
        fields: what may leave.
        records: only these; None means all of the type.
        cut: clause to the fields it took away, sorted.
        consent: id of the consent that permits it.
    """

    fields: frozenset[str]
    records: frozenset[RecordId] | None
    cut: Mapping[str, tuple[str, ...]]
    consent: str


@dataclass(frozen=True)
class HolderPolicy:
    """What the holder itself allows for one dataset type, over and above consent.

    Attributes:
        shared: False keeps the type from leaving at all.
        purposes: only these; None means any that the type declares.
        withheld_fields: fields that never leave.
        refused: recipients that get nothing.
    """

    shared: bool = True
    purposes: frozenset[PurposeName] | None = None
    withheld_fields: frozenset[str] = frozenset()
    refused: frozenset[NodeId] = frozenset()


@dataclass(frozen=True)
class Freshness:
    """A verified status list, and how old it may be.

    Attributes:
        proof: the list; None when there is none.
        max_age_s: T.
        skew_s: how far two clocks may differ.
        revoked: the holder was told directly that the consent ended.
        newest_version: highest version of the consent that the holder has seen.
    """

    proof: StatusList | None
    max_age_s: int
    skew_s: int
    revoked: Status | None = None
    newest_version: int = 0


@dataclass(frozen=True)
class Case:
    """Everything that a decision looks at, all of it verified before.

    Attributes:
        now: seconds since 1970.
        holder: who decides.
        recipient: verified membership of who asks.
        dataset: the type asked for.
        operation: share for a read, store for a push.
        purpose, data_class: from the routing header.
        fields, records: from the query; None asks for all.
        consent: verified consent, None when none came.
        subject_bound: the holder's ticket opened one of the consent's commitments.
        freshness: what became of the consent.
        policy: the holder's own.
        hidden: the requester must not learn the holder.
    """

    now: int
    holder: NodeId
    recipient: Membership
    dataset: DatasetType
    purpose: PurposeName | None
    data_class: DataClass | None
    consent: Consent | None
    freshness: Freshness
    subject_bound: bool
    fields: frozenset[str] | None = None
    records: frozenset[RecordId] | None = None
    operation: Operation = Operation.SHARE
    policy: HolderPolicy = field(default_factory=HolderPolicy)
    hidden: bool = False


def decide(case: Case) -> Permit | Deny:
    """Judge one case.

    The order of checks is part of the contract, so that every holder gives the same
    reason: request, recipient, consent, freshness, then the intersection of fields.
    """
    denied = _request(case) or _recipient(case)
    if denied is not None:
        return denied
    consent, purpose = case.consent, case.purpose
    if consent is None or purpose is None:
        return Deny("consent-missing")
    scope = consent.scope_of(case.dataset.name)
    denied = _consent(case, consent, scope) or _freshness(case, consent)
    if denied is not None:
        return denied
    return _intersection(case, consent, purpose, scope)


def _request(case: Case) -> Deny | None:
    dataset = case.dataset
    if case.data_class != dataset.data_class:
        return Deny("data-class-mismatch", f"{dataset.name} is {dataset.data_class}")
    if case.data_class is DataClass.CLOSED:
        return Deny("closed-outside-city", dataset.name)
    if case.purpose is None or case.purpose not in dataset.purposes:
        return Deny("purpose-unknown", f"{dataset.name} declares no such purpose")
    if case.fields is not None:
        if not case.fields <= dataset.fields:
            return Deny("field-unknown", "the dataset type has no such field")
        needed = frozenset(dataset.purposes[case.purpose].fields)
        beyond = case.fields - needed
        if beyond:
            return Deny("field-outside-purpose", ", ".join(sorted(beyond)))
    return None


def _recipient(case: Case) -> Deny | None:
    membership, dataset = case.recipient, case.dataset
    if membership.exp <= case.now:
        return Deny("membership-expired", membership.sub)
    if dataset.data_class not in membership.data_classes:
        return Deny("membership-class", f"{membership.sub}: {dataset.data_class}")
    if not membership.qualified(dataset.qualifications, case.now):
        return Deny("qualification-missing", " / ".join(dataset.qualifications))
    policy = case.policy
    if not policy.shared or membership.sub in policy.refused:
        return Deny("policy-denied", "the holder does not share this with you")
    if policy.purposes is not None and case.purpose not in policy.purposes:
        return Deny("policy-denied", "the holder does not share for this purpose")
    return None


def _consent(case: Case, consent: Consent, scope: Scope | None) -> Deny | None:
    for wrong, reason in (
        (case.recipient.sub not in consent.recipients, "consent-not-for-recipient"),
        (
            ANY not in consent.holders and case.holder not in consent.holders,
            "consent-not-for-holder",
        ),
        (not case.subject_bound, "consent-not-for-subject"),
        (case.operation not in consent.operations, "consent-operation"),
        (
            consent.legal_basis not in case.dataset.legal_basis,
            "consent-legal-basis",
        ),
        (consent.starts > case.now + case.freshness.skew_s, "consent-not-started"),
        (consent.ends is not None and consent.ends <= case.now, "consent-expired"),
        (consent.exp <= case.now, "consent-expired"),
        (consent.state is State.PAUSED, "consent-paused"),
        (consent.state in (State.WITHDRAWN, State.REFUSED), "consent-withdrawn"),
        (consent.hidden_holder and not case.hidden, "holder-must-stay-hidden"),
        (case.purpose not in consent.purposes, "purpose-not-consented"),
    ):
        if wrong:
            return Deny(reason)
    if scope is None:
        return Deny("consent-type", case.dataset.name)
    if scope.data_class != case.dataset.data_class:
        return Deny("data-class-mismatch", "the consent was given for another class")
    broken = legal_limits(consent)
    if broken is not None:
        return Deny(broken)
    # Level 3 is a passkey's assertion, which consents do not carry yet: a home node's
    # word for it counts as its own, level 2.
    if min(consent.evidence.level, 2) < case.dataset.evidence_level:
        needed = case.dataset.evidence_level
        return Deny("evidence-too-low", f"needs level {needed}")
    named = scope.records
    if (
        named is not None
        and case.records is not None
        and not case.records & frozenset(named)
    ):
        return Deny("consent-record")
    return None


def _freshness(case: Case, consent: Consent) -> Deny | None:
    fresh = case.freshness
    if fresh.revoked is Status.PAUSED:
        return Deny("consent-paused")
    if fresh.revoked is not None:
        return Deny("consent-withdrawn")
    if fresh.newest_version > consent.version:
        return Deny("consent-superseded", f"version {fresh.newest_version} exists")
    proof = fresh.proof
    if proof is None:
        return Deny("proof-missing")
    if proof.iss != consent.iss or proof.list != consent.status.list:
        return Deny("proof-of-other-list")
    if proof.iat > case.now + fresh.skew_s:
        return Deny("proof-from-future", f"{proof.iat - case.now} s ahead")
    age = case.now - proof.iat
    if age > fresh.max_age_s or proof.exp <= case.now:
        return Deny("proof-stale", f"{age} s old, at most {fresh.max_age_s} s")
    status = proof.status(consent.status.index)
    if status is Status.WITHDRAWN:
        return Deny("consent-withdrawn")
    if status is Status.PAUSED:
        return Deny("consent-paused")
    if status is Status.SUPERSEDED:
        return Deny("consent-superseded")
    return None


def narrow(
    everything: frozenset[str], clauses: Mapping[str, frozenset[str]]
) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """Intersect clauses and say which one cut what.

    A field is laid to the first clause that lacks it. No combination of clauses ever
    leaves more than each clause alone.
    """
    left = everything
    cut: dict[str, tuple[str, ...]] = {}
    for name, allowed in clauses.items():
        if not left <= allowed:
            cut[name] = tuple(sorted(left - allowed))
            left &= allowed
    return left, cut


def _intersection(
    case: Case, consent: Consent, purpose: PurposeName, scope: Scope | None
) -> Permit | Deny:
    dataset = case.dataset
    everything = dataset.fields
    clauses = {
        "purpose": frozenset(dataset.purposes[purpose].fields),
        "query": everything if case.fields is None else case.fields,
        "consent": _allowed(scope, everything),
        "policy": everything - case.policy.withheld_fields
        if case.policy.withheld_fields
        else everything,
        "holder": everything - frozenset(dataset.holder_fields)
        if case.hidden
        else everything,
    }
    fields, cut = narrow(everything, clauses)
    if not fields:
        return Deny("nothing-left", "no field is in every clause")
    records = case.records
    if scope is not None and scope.records is not None:
        allowed = frozenset(scope.records)
        records = allowed if records is None else records & allowed
    if records is not None and not records:
        return Deny("nothing-left", "no record is in every clause")
    return Permit(fields, records, cut, consent.jti)


def _allowed(scope: Scope | None, everything: frozenset[str]) -> frozenset[str]:
    if scope is None:
        return frozenset()
    return everything if scope.fields is None else frozenset(scope.fields)
