# SPDX-License-Identifier: Apache-2.0
"""The model holds within its bound, and no rule of it is there for nothing.

Each broken rule has its counterexample: the shortest run that violates a property.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.model.rules import BOUND, RULES, SKEW, T
from tests.model.search import explore
from tests.model.state import ACTIVE, PAUSED, WITHDRAWN

DECISION = Path(__file__).resolve().parents[2] / "docs" / "decisions"

LATE = "a release after the withdrawal + T + skew"
TOLD = "a release against what the holder was told"
TWICE = "an exchange is released twice"
UNRECORDED = "a release has no record"
ROLLED_BACK = "a release by an older list than the holder was shown"
UNREACHED = "a withdrawal does not reach the holder for good"
STUCK = "a read under an active consent never succeeds"

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no age is looked at": ({"max_age": 99}, LATE),
    "T counts a tick longer": ({"max_age": T + 1}, LATE),
    "a list is cached for ever": ({"judges_each_time": False}, LATE),
    "the home node sets no bit": ({"sets_the_bit": False}, LATE),
    "no skew is allowed": ({"skew": 0}, STUCK),
    "a pause holds for later versions": ({"pause_has_version": False}, STUCK),
    "replay window lost at restart": ({"records_are_unique": False}, TWICE),
    "no replay window at all": (
        {"records_are_unique": False, "remembers_ids": False},
        TWICE,
    ),
    "the same answer without a look": ({"judges_again": False}, TOLD),
    "the answer leaves before the record": ({"records_first": False}, UNRECORDED),
    "lists without order": ({"newest_list": False}, ROLLED_BACK),
    "order of lists lost at restart": ({"newest_is_durable": False}, ROLLED_BACK),
    "replaced versions are good": ({"refuses_replaced": False}, TOLD),
    "words are not obeyed": (
        {"refuses_replaced": False, "obeys_words": False},
        TOLD,
    ),
    "words lost at restart": ({"words_are_durable": False}, UNREACHED),
    "a late consent revives": ({"end_is_final": False}, UNREACHED),
    "words are sent once": ({"delivers_until_acknowledged": False}, UNREACHED),
}
"""How a rule is broken, and the property that shows it."""


@pytest.mark.slow
def test_every_property_holds_in_every_state() -> None:
    """All starts; the number of states is the one that the decision record names."""
    seen = explore(RULES, BOUND)
    assert seen.found is None, str(seen.found)
    moods = {(s.mood, s.known.status) for s in seen.parents}
    assert {(ACTIVE, ACTIVE), (PAUSED, PAUSED), (WITHDRAWN, WITHDRAWN)} <= moods
    assert {s.ahead for s in seen.parents} == {-SKEW, 0, SKEW}
    told = (DECISION / "0021-a-model-of-consent.md").read_text(encoding="utf-8")
    assert f"{len(seen.parents):,} states, {seen.transitions:,} steps" in told


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_rule_has_a_counterexample(fault: str) -> None:
    """So the search would have found it."""
    change, property_ = BROKEN[fault]
    found = explore(replace(RULES, **change), BOUND).found
    assert found is not None
    assert found.property == property_
    assert 1 <= len(found.trace) <= 8


def test_promise_is_tight() -> None:
    """Clocks that differ do lengthen the life of a proof: T alone is not kept."""
    found = explore(replace(RULES, promise=T + SKEW - 1), BOUND).found
    assert found is not None
    assert found.property == LATE
