# SPDX-License-Identifier: Apache-2.0
"""The decision: every check has a case that only it refuses, and nothing widens."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.consent import Evidence, Operation
from protocol.decision import Case, Deny, Permit, decide, narrow
from protocol.ids import RecordId
from protocol.membership import DataClass
from protocol.status import Status, pack
from tests.protocol.cities import NOW, SKEW
from tests.protocol.exchanges import FIELDS, HOLDER, RECORDS, TREATMENT
from tests.protocol.faults import (
    ALL,
    ENDED,
    FAULTS,
    MAX_AGE,
    NEEDED,
    STRANGER,
    Changes,
    Fault,
    build,
    scope,
)
from tests.protocol.test_problem_catalog import reasons_of_decisions, texts_in


def reason(*changes: Changes) -> str | None:
    """Return why a case is refused, None if it is permitted."""
    decision = decide(build(*changes))
    return decision.reason if isinstance(decision, Deny) else None


def permitted(*changes: Changes) -> Permit:
    """Return the permission, which there must be."""
    decision = decide(build(*changes))
    assert isinstance(decision, Permit), decision
    return decision


def test_case_without_fault_is_permitted() -> None:
    """What the purpose needs, and the reason why the rest is cut."""
    assert permitted() == Permit(NEEDED, None, {"purpose": ("note",)}, "consent 1")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_single_fault_is_refused_with_its_reason(fault: Fault) -> None:
    """Each fails when its check is taken away: nothing else is wrong."""
    assert reason(fault.changes) == fault.reason


def test_every_reason_has_a_fault() -> None:
    """A new reason comes with a case; one limit cannot be reached from here."""
    shown = {fault.reason for fault in FAULTS.values()}
    reachable = texts_in("legal_limits", "consent") - {"consent-no-recipient"}
    assert shown == reasons_of_decisions() | reachable


def test_order_of_checks_is_stable() -> None:
    """Of two faults the earlier is named, so that every holder says the same."""
    wrong = []
    for (one, first), (two, second) in itertools.combinations(FAULTS.items(), 2):
        if first.touches() & second.touches() or first.reason == second.reason:
            continue
        if reason(first.changes, second.changes) != first.reason:
            wrong.append((one, two))
    assert wrong == []


@pytest.mark.parametrize(
    "changes",
    [
        {"consent": {"holders": ("any",)}},
        {"consent": {"holders": (STRANGER, HOLDER)}},
        {"consent": {"starts": NOW + SKEW}},
        {"consent": {"ends": NOW + 1, "exp": NOW + 1}},
        {"consent": {"hidden_holder": True}, "case": {"hidden": True}},
        {"member": {"exp": NOW + 1}},
        {"policy": {"purposes": frozenset((TREATMENT,))}},
        {"policy": {"refused": frozenset((STRANGER,))}},
        {"proof": {"iat": NOW + SKEW}},
        {"proof": {"iat": NOW - MAX_AGE}},
        {"proof": {"exp": NOW + 1}},
        {"proof": {"lst": pack({16: Status.WITHDRAWN, 18: Status.PAUSED})}},
        {"freshness": {"newest_version": 1}},
        {
            "case": {"operation": Operation.STORE},
            "consent": {"operations": (Operation.SHARE, Operation.STORE)},
        },
        {"consent": {"evidence": Evidence(level=3, method="passkey")}},
        {"dataset": {"qualifications": ["jis-q-15001", "privacy-mark"]}},
        {
            "dataset": {"purposes": {"treatment": {"title": {}, "fields": FIELDS}}},
            "case": {"fields": ALL},
        },
    ],
)
def test_case_at_the_edge_is_permitted(changes: Changes) -> None:
    """The last second, the second of two holders, the neighbor's withdrawal."""
    assert permitted(changes).fields


def test_personal_data_may_be_opt_out_without_end() -> None:
    """The limits of special care are not those of all data."""
    changes: Changes = {
        "dataset": {"data_class": "personal"},
        "case": {"data_class": DataClass.PERSONAL},
        "consent": {
            "opt": "out",
            "ends": None,
            "scope": (scope(data_class=DataClass.PERSONAL),),
        },
    }
    assert permitted(changes).fields == NEEDED


def test_stale_proof_is_refused_whatever_it_says() -> None:
    """A partition stops releases after T; that is the bound of a withdrawal."""
    aged = {"iat": NOW - MAX_AGE - 1, "exp": NOW + 10_000}
    assert reason({"proof": aged}) == "proof-stale"


@pytest.mark.parametrize(
    ("asked", "agreed", "left"),
    [
        (None, None, None),
        (RECORDS[:2], None, RECORDS[:2]),
        (None, RECORDS[:2], RECORDS[:2]),
        (RECORDS[1:], RECORDS[:2], RECORDS[1:2]),
    ],
)
def test_records_are_those_asked_for_and_agreed_to(
    asked: tuple[RecordId, ...] | None,
    agreed: tuple[RecordId, ...] | None,
    left: tuple[RecordId, ...] | None,
) -> None:
    """Requirement 23: single records."""
    changes: Changes = {
        "case": {"records": None if asked is None else frozenset(asked)},
        "consent": {"scope": (scope(records=agreed),)},
    }
    assert permitted(changes).records == (None if left is None else frozenset(left))


def test_each_cut_is_laid_to_the_first_clause_that_makes_it() -> None:
    """What `explain` shows."""
    permit = permitted(
        {
            "case": {"fields": NEEDED - {"weight"}, "hidden": True},
            "consent": {"scope": (scope(fields=("date", "facility_name", "note")),)},
            "policy": {"withheld_fields": frozenset(("date",))},
            "dataset": {"holder_fields": ["note"]},
        }
    )
    assert permit.fields == {"facility_name"}
    assert permit.cut == {
        "purpose": ("note",),
        "query": ("weight",),
        "consent": ("height",),
        "policy": ("date",),
    }


def test_hidden_read_keeps_the_holder_hidden() -> None:
    """Requirement 7: fields that would name the holder are cut."""
    permit = permitted({"case": {"hidden": True}})
    assert permit.fields == NEEDED - {"facility_name"}
    assert permit.cut["holder"] == ("facility_name",)


SETS = st.frozensets(st.sampled_from("abcdef"))


@given(SETS, st.dictionaries(st.sampled_from("vwxyz"), SETS))
def test_no_combination_of_clauses_leaves_more_than_each(
    everything: frozenset[str], clauses: dict[str, frozenset[str]]
) -> None:
    """The narrowing rule: the intersection, each loss laid to one clause."""
    left, cut = narrow(everything, clauses)
    assert left == everything.intersection(*clauses.values())
    lost = [name for names in cut.values() for name in names]
    assert sorted([*left, *lost]) == sorted(everything)
    for name, fields in cut.items():
        assert not clauses[name].intersection(fields)


@given(SETS, st.dictionaries(st.sampled_from("vwxyz"), SETS), SETS)
def test_further_clause_never_adds(
    everything: frozenset[str],
    clauses: dict[str, frozenset[str]],
    further: frozenset[str],
) -> None:
    """Every clause may only narrow."""
    before, _ = narrow(everything, clauses)
    after, _ = narrow(everything, {**clauses, "further": further})
    assert after <= before


SUBSETS = st.frozensets(st.sampled_from(FIELDS))
SOME_RECORDS = st.none() | st.frozensets(st.sampled_from(RECORDS))


@st.composite
def narrowings(draw: st.DrawFn) -> Changes:
    """Return random clauses of fields and records."""
    asked = draw(st.none() | SUBSETS)
    in_scope = draw(st.none() | SUBSETS)
    records = draw(SOME_RECORDS)
    needed = draw(st.frozensets(st.sampled_from(FIELDS), min_size=1))
    return {
        "case": {
            "fields": asked if draw(st.booleans()) or asked is None else asked & needed,
            "records": draw(SOME_RECORDS),
            "hidden": draw(st.booleans()),
        },
        "consent": {
            "scope": (scope(fields=in_scope, records=records),),
            "hidden_holder": False,
        },
        "policy": {"withheld_fields": draw(SUBSETS)},
        "dataset": {
            "holder_fields": sorted(draw(SUBSETS)),
            "purposes": {"treatment": {"title": {}, "fields": sorted(needed)}},
        },
    }


def clauses_of(case: Case) -> dict[str, frozenset[str]]:
    """Return what each clause alone allows, written anew from the rule."""
    assert case.consent is not None
    in_scope = case.consent.scope[0].fields
    return {
        "purpose": frozenset(case.dataset.purposes[TREATMENT].fields),
        "query": ALL if case.fields is None else case.fields,
        "consent": ALL if in_scope is None else frozenset(in_scope),
        "policy": ALL - case.policy.withheld_fields,
        "holder": ALL - frozenset(case.dataset.holder_fields if case.hidden else ()),
    }


@given(narrowings())
def test_release_is_within_every_clause(changes: Changes) -> None:
    """Whole decisions: fields and records are exactly what all clauses share."""
    case = build(changes)
    assert case.consent is not None
    clauses = clauses_of(case)
    shared = ALL.intersection(*clauses.values())
    limits = [
        frozenset(records)
        for records in (case.records, case.consent.scope[0].records)
        if records is not None
    ]
    decision = decide(case)
    if isinstance(decision, Deny):
        beyond = case.fields is not None and not case.fields <= clauses["purpose"]
        emptied = bool(limits) and not limits[0].intersection(*limits)
        assert not shared or beyond or emptied
        return
    assert decision.fields == shared
    for allowed in clauses.values():
        assert decision.fields <= allowed
    if limits:
        assert decision.records
        assert all(decision.records <= limit for limit in limits)
    else:
        assert decision.records is None
    for name, lost in decision.cut.items():
        assert not clauses[name].intersection(lost)


ABSOLUTE = [
    fault
    for fault in FAULTS.values()
    if fault.reason not in ("nothing-left", "field-outside-purpose")
]


@given(narrowings(), st.sampled_from(ABSOLUTE))
def test_no_narrowing_makes_up_for_a_fault(changes: Changes, fault: Fault) -> None:
    """A fault is a refusal whatever else the case says."""
    assert reason(changes, fault.changes) is not None


TIMES = st.integers(NOW - 90, NOW + 90)


@given(
    now=st.integers(NOW - 30, NOW + 30),
    issued=TIMES,
    proof_exp=TIMES,
    starts=TIMES,
    ends=TIMES,
    exp=TIMES,
    member_exp=TIMES,
    max_age=st.integers(0, 90),
)
def test_release_happens_only_while_everything_is_in_time(**at: int) -> None:
    """All dates at once: consent, document, membership, and a proof younger than T."""
    now = at["now"]
    decision = decide(
        build(
            {
                "case": {"now": now},
                "member": {
                    "exp": at["member_exp"],
                    "qualifications": (ENDED.model_copy(update={"until": NOW + 99}),),
                },
                "consent": {
                    "starts": at["starts"],
                    "ends": at["ends"],
                    "exp": at["exp"],
                },
                "proof": {"iat": at["issued"], "exp": at["proof_exp"]},
                "freshness": {"max_age_s": at["max_age"]},
            }
        )
    )
    in_time = (
        now < min(at["member_exp"], at["ends"], at["exp"], at["proof_exp"])
        and at["starts"] <= now + SKEW
        and now - at["max_age"] <= at["issued"] <= now + SKEW
    )
    assert isinstance(decision, Permit) == in_time
