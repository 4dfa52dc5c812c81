# SPDX-License-Identifier: Apache-2.0
"""The oracle by itself: which releases it calls unlawful, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.simulate.truth import Agreed, Kept, Policy, Released, Rules, Timeline, Truth

HOLDER, RECIPIENT, HOME = "hoshino/org1", "minato/org1", "hoshino/hall"
CHECKUP = "health.checkup"
T_MS, SKEW_MS = 20_000, 5_000
RELEASE = Released(
    holder=HOLDER,
    recipient=RECIPIENT,
    consent="c",
    name=CHECKUP,
    purpose="treatment",
    fields=frozenset({"date", "bmi"}),
    records=("r",),
    at_ms=10_000,
    push=False,
)


def _truth() -> tuple[Truth, Agreed]:
    """Return a truth in which `RELEASE` is lawful."""
    truth = Truth(Rules(T_MS, SKEW_MS), frozenset({RECIPIENT}))
    agreed = Agreed(
        person="p",
        home=HOME,
        holders=frozenset({HOLDER}),
        recipients=frozenset({RECIPIENT}),
        fields={CHECKUP: None},
        purposes=frozenset({"treatment"}),
        read=True,
        push=False,
        hidden=False,
        ends_ms=1_000_000,
    )
    agreed.possible.set(1_000, holds=True)
    truth.consents["c"] = agreed
    truth.links["p", HOLDER] = True
    truth.records["r"] = Kept(HOLDER, "p", CHECKUP, {"date": "2025-01-01"}, sure=True)
    return truth, agreed


def test_lawful_release_is_passed() -> None:
    """The control."""
    assert _truth()[0].judge(RELEASE) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"consent": "x", "holder": "a/org9"}, "nobody consented"),
        ({"recipient": "minato/org2"}, "the recipient is not named"),
        ({"purpose": "research"}, "the purpose was not agreed to"),
        ({"push": True}, "the operation was not agreed to"),
        ({"fields": frozenset({"note"})}, "fields beyond the intersection: note"),
        ({"records": ("other",)}, "a record that nobody stored"),
        ({"at_ms": 500}, "released before the resident consented"),
        ({"at_ms": 1_002_000}, "released after the consent had ended"),
    ],
)
def test_release_beyond_the_consent_is_found(
    change: dict[str, object], fault: str
) -> None:
    """Each clause by itself."""
    faults = _truth()[0].judge(replace(RELEASE, **change))  # type: ignore[arg-type]
    assert fault in faults


def test_release_is_bounded_after_a_withdrawal() -> None:
    """T and skew after the acknowledgement, not a millisecond more."""
    truth, agreed = _truth()
    agreed.possible.set(50_000, holds=False)
    latest = replace(RELEASE, at_ms=50_000 + T_MS + SKEW_MS)
    assert truth.judge(latest) == []
    (fault,) = truth.judge(replace(latest, at_ms=latest.at_ms + 1))
    assert "after the resident stopped it" in fault


def test_clock_that_is_wrong_beyond_the_tolerance_lengthens_the_bound() -> None:
    """By as much: the holder cannot know better."""
    truth, _ = _truth()
    truth.skewed(HOLDER, -60_000)
    assert truth.bound_ms(HOME, HOLDER) == T_MS + 60_000
    truth.skewed(HOME, -60_000)
    assert truth.bound_ms(HOME, "other/org1") == T_MS + SKEW_MS


def test_policy_and_hidden_holder_take_fields_away() -> None:
    """What the holder keeps back, and what would name it."""
    truth, agreed = _truth()
    truth.policies[HOLDER, CHECKUP] = (Policy(frozenset({"bmi"})),)
    assert truth.judge(RELEASE) == ["fields beyond the intersection: bmi"]
    truth.policies.clear()
    agreed.hidden = True
    named = replace(RELEASE, fields=frozenset({"facility_name"}))
    assert truth.judge(named) == ["fields beyond the intersection: facility_name"]


def test_policy_whose_setting_was_cut_off_may_be_either() -> None:
    """Old and new: what both keep back is forbidden."""
    truth, _ = _truth()
    truth.policies[HOLDER, CHECKUP] = (Policy(), Policy(frozenset({"bmi"})))
    assert truth.judge(RELEASE) == []


def test_erased_record_must_not_leave() -> None:
    """From the acknowledgement on."""
    truth, _ = _truth()
    truth.records["r"].erased_ms = 9_000
    assert truth.judge(RELEASE) == ["a record that was erased"]


def test_timeline_tells_the_last_moment_at_which_it_held() -> None:
    """With gaps."""
    line = Timeline()
    assert line.last_ms(5) is None
    for at_ms, holds in ((10, True), (20, False), (30, True), (40, False)):
        line.set(at_ms, holds=holds)
    assert [line.last_ms(t) for t in (5, 15, 25, 35, 99)] == [None, 15, 20, 35, 40]
    assert line.at(35)
    assert not line.steady(25)
    line.take_back()
    assert line.steady(35)
