# SPDX-License-Identifier: Apache-2.0
"""Looks at every state within a bound, breadth first, shortest counterexample first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tests.model.properties import broken, settles
from tests.model.rules import Bound, Rules
from tests.model.state import State, Step
from tests.model.steps import starts, steps

Parents = dict[State, tuple[State, Step] | None]


@dataclass(frozen=True)
class Counterexample:
    """A property that does not hold, and the shortest way to see it."""

    property: str
    start: State
    trace: tuple[Step, ...]

    def __str__(self) -> str:
        """The trace, one step a line."""
        lines = [f"{n:3} {step}" for n, step in enumerate(self.trace, 1)]
        return "\n".join([self.property, *lines])


@dataclass
class Explored:
    """What a search has seen.

    Attributes:
        parents: each state, with the step that first led to it.
        transitions: how many steps were taken, those into known states included.
        following: what may happen in each state.
        found: the first property that was seen violated.
    """

    parents: Parents = field(default_factory=dict)
    transitions: int = 0
    following: dict[State, list[tuple[Step, State]]] = field(default_factory=dict)
    found: Counterexample | None = None

    def trace(self, state: State) -> tuple[Step, ...]:
        """Return the shortest way to a state."""
        way: list[Step] = []
        while (parent := self.parents[state]) is not None:
            state, step = parent
            way.append(step)
        return tuple(reversed(way))

    def start(self, state: State) -> State:
        """Return where the shortest way to a state begins."""
        while (parent := self.parents[state]) is not None:
            state = parent[0]
        return state


def explore(rules: Rules, bound: Bound) -> Explored:
    """Search until every state is seen or a property is violated."""
    seen = Explored()
    settled = settles(rules)
    todo: deque[State] = deque()
    for start in starts(bound):
        seen.parents[start] = None
        todo.append(start)
    while todo:
        state = todo.popleft()
        unsettled = settled(state)
        if unsettled is not None:
            start, trace = seen.start(state), seen.trace(state)
            seen.found = Counterexample(unsettled, start, trace)
            return seen
        seen.following[state] = list(steps(state, rules, bound))
        for step, after in seen.following[state]:
            seen.transitions += 1
            fault = broken(state, step, after, rules)
            if fault is not None:
                start, trace = seen.start(state), (*seen.trace(state), step)
                seen.found = Counterexample(fault, start, trace)
                return seen
            if after not in seen.parents:
                seen.parents[after] = (state, step)
                todo.append(after)
    return seen
