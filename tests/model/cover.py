# SPDX-License-Identifier: Apache-2.0
"""Chooses traces to replay: every two kinds of step in a row, and random walks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from tests.model.rules import Bound, Rules
from tests.model.search import Explored
from tests.model.state import State, Step
from tests.model.steps import starts, steps

Pair = tuple[str, str]
LONGEST = 40
"""Steps of a trace after which it is not made longer."""
NEAR = 2
"""Steps that are taken for the sake of a pair."""


@dataclass(frozen=True)
class Trace:
    """One run of the model, from its first state."""

    start: State
    steps: tuple[Step, ...]

    @property
    def pairs(self) -> set[Pair]:
        """Return the kinds of step that follow each other in it."""
        labels = [step.label for step in self.steps]
        return set(pairwise(labels))


def covering(seen: Explored) -> list[Trace]:
    """Return traces that together hold every pair that is reachable.

    Each trace begins with the shortest way to a pair that is left, the longest such way
    first, and goes on to others as long as one is near.
    """
    ways = _ways(seen)
    left = set(ways)
    chosen: list[Trace] = []
    while left:
        first = ways[max(left, key=lambda p: (len(ways[p].steps), p))]
        way, state = list(first.steps), _end(seen, first.start, first.steps)
        left -= first.pairs
        while len(way) < LONGEST:
            more = _near(seen, state, way[-1], left)
            if not more:
                break
            left -= Trace(state, (way[-1], *more)).pairs
            state = _end(seen, state, more)
            way.extend(more)
        chosen.append(Trace(first.start, tuple(way)))
    return chosen


def _near(
    seen: Explored, state: State, last: Step, left: set[Pair]
) -> tuple[Step, ...]:
    """Return the shortest way on that holds a pair that is left, if it is short."""
    todo: list[tuple[State, tuple[Step, ...]]] = [(state, ())]
    known = {(state, last.label)}
    for here, way in todo:
        before = way[-1] if way else last
        for step, reached in seen.following[here]:
            if (before.label, step.label) in left:
                return (*way, step)
            if len(way) < NEAR and (reached, step.label) not in known:
                known.add((reached, step.label))
                todo.append((reached, (*way, step)))
    return ()


def _end(seen: Explored, state: State, way: tuple[Step, ...]) -> State:
    for step in way:
        state = next(after for one, after in seen.following[state] if one == step)
    return state


def _ways(seen: Explored) -> dict[Pair, Trace]:
    """Return a shortest trace for each pair of kinds."""
    kinds = {
        state: {step.label: step for step, _ in following}
        for state, following in seen.following.items()
    }
    ways: dict[Pair, Trace] = {}
    for state, following in seen.following.items():
        for step, reached in following:
            for label, last in kinds[reached].items():
                if (step.label, label) not in ways:
                    way = (*seen.trace(state), step, last)
                    ways[step.label, label] = Trace(seen.start(state), way)
    return ways


def walks(
    seed: int, count: int, length: int, rules: Rules, bound: Bound
) -> list[Trace]:
    """Return random walks; each kind of step is as likely as any other."""
    chance = random.Random(seed)
    return [_walk(chance, length, rules, bound) for _ in range(count)]


def _walk(chance: random.Random, length: int, rules: Rules, bound: Bound) -> Trace:
    state = start = chance.choice(starts(bound))
    way: list[Step] = []
    for _ in range(length):
        by_kind: dict[str, list[tuple[Step, State]]] = {}
        for step, reached in steps(state, rules, bound):
            by_kind.setdefault(step.label, []).append((step, reached))
        step, state = chance.choice(by_kind[chance.choice(sorted(by_kind))])
        way.append(step)
    return Trace(start, tuple(way))
