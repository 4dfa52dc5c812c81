# SPDX-License-Identifier: Apache-2.0
"""The production code does what the model says, step by step, in the simulator.

Every pair of kinds of step that can follow each other is played, then random walks; and
the counterexamples of the broken rules, at which the code must refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pytest

from tests.model.cover import Trace, covering, walks
from tests.model.replay import Stage, play_in_town
from tests.model.rules import BOUND, RULES
from tests.model.search import explore
from tests.model.state import Copy, Request, Step
from tests.model.steps import AGAIN_GIVEN, RELEASED, steps
from tests.model.test_model import BROKEN, LATE, ROLLED_BACK, TOLD, TWICE
from tests.simulation.town import Town

SEED, WALKS, LENGTH = 2026, 6, 16
A_TOWN = 12
"""Traces that one town plays: its history grows, and is looked through."""


def replay(traces: Sequence[Trace]) -> None:
    """Play traces; the first disagreement fails with its steps."""
    for first in range(0, len(traces), A_TOWN):
        some = list(islice(traces, first, first + A_TOWN))

        async def story(town: Town, some: list[Trace] = some) -> None:
            stage = await Stage.open(town)
            for trace in some:
                await stage.play(trace.start, trace.steps)

        play_in_town(story)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_code_follows_the_model_through_every_pair_of_steps() -> None:
    """At least once each, in any place where it is reachable."""
    seen = explore(RULES, BOUND)
    traces = covering(seen)
    pairs = set().union(*(trace.pairs for trace in traces))
    assert len(pairs) > 400
    replay(traces)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_code_follows_the_model_on_random_walks() -> None:
    """From a seed; every kind of step is as likely as any other."""
    replay(walks(SEED, WALKS, LENGTH, RULES, BOUND))


ATTACKS = [
    fault
    for fault, (change, property_) in BROKEN.items()
    if property_ in (LATE, TOLD, TWICE, ROLLED_BACK) and "sets_the_bit" not in change
]
"""Broken rules of the holder with which something would be released."""


@pytest.mark.slow
def test_code_refuses_where_a_broken_rule_would_release() -> None:
    """The shortest attack on each rule, on the product with the rule in force."""
    traces = [_with_the_rule(fault) for fault in ATTACKS]
    assert len(traces) == len(ATTACKS) >= 9
    for fault, trace in zip(ATTACKS, traces, strict=True):
        last = trace.steps[-1].outcome
        assert last != RELEASED, fault
        assert last != AGAIN_GIVEN or BROKEN[fault][1] == TWICE, fault
    replay(traces)


def _with_the_rule(fault: str) -> Trace:
    """Return a counterexample's moves as they come out where no rule is broken."""
    change, _ = BROKEN[fault]
    attack = explore(replace(RULES, **change), BOUND).found
    assert attack is not None
    state, way = attack.start, []
    for wanted in attack.trace:
        step, state = next(
            (step, after)
            for step, after in steps(state, RULES, BOUND)
            if _move(step) == _move(wanted)
        )
        way.append(step)
    return Trace(attack.start, tuple(way))


def _move(step: Step) -> tuple[object, ...]:
    """Return what a step is besides its outcome."""
    what: object = step.what
    if isinstance(what, Request):
        what = what.consent, what.version, what.list.status
    if isinstance(what, Copy):
        what = what.word
    return step.act, what, step.outcome.startswith("dies")
