# SPDX-License-Identifier: Apache-2.0
"""From a seed to a story: which events happen when. Pure; runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from federation.virtual import SeededEntropy
from node.simulate import acts, faults, hostile, hostile_member, use
from node.simulate.acts import Give
from node.simulate.cast import SHAPES, Cast
from node.simulate.draft import Draft
from node.simulate.events import KINDS, Event, Group

MODULES: Final = (acts, use, faults, hostile, hostile_member)
"""Where events are defined; importing them is what makes them known."""

FAULTS: Final = tuple(group for group in Group if group is not Group.ACTS)
_FIRST_CONSENTS = 8
_ACTS_PER_S = 0.45
_FAULTS_PER_S = 0.10


def cast_of(seed: int, cities: int, nodes: int) -> Cast:
    """Return who takes part under a seed: the shape alternates."""
    return Cast(cities, nodes, SHAPES[seed % len(SHAPES)])


def plan(
    seed: int, cast: Cast, groups: Collection[Group], seconds: int
) -> tuple[Event, ...]:
    """Return the story of a seed, in the order of time.

    Args:
        seed: decides everything.
        cast: who takes part.
        groups: sets of faults; acts always happen.
        seconds: length of the story.
    """
    draft = Draft(cast, seconds, SeededEntropy(f"story {seed}"))
    draft.villain = villain_of(seed, cast, groups)
    found: list[Event] = []
    for number in range(_FIRST_CONSENTS):
        given = Give.plan(draft, number * 200)
        if given is not None:
            found.append(given)
    chosen = {Group.ACTS, *groups}
    kinds = [kind for kind in KINDS.values() if kind.group in chosen]
    act_kinds = [kind for kind in kinds if kind.group is Group.ACTS]
    fault_kinds = [kind for kind in kinds if kind.group is not Group.ACTS]
    slots = [
        *_times(draft, int(seconds * _ACTS_PER_S), act_kinds),
        *_times(draft, int(seconds * _FAULTS_PER_S), fault_kinds),
    ]
    for at_ms, among in sorted(slots, key=lambda slot: slot[0]):
        planned = _kind(draft, among).plan(draft, at_ms)
        if planned is not None:
            found.append(planned)
    return tuple(found)


def villain_of(seed: int, cast: Cast, groups: Collection[Group]) -> str:
    """Return the node in hostile hands under a seed; empty without hostile faults."""
    if Group.HOSTILE not in groups:
        return ""
    chance = Draft(cast, 0, SeededEntropy(f"villain {seed}"))
    return chance.pick(chance.pick((cast.brokers, cast.halls, cast.organizations)))


def _times(
    draft: Draft, count: int, kinds: Sequence[type[Event]]
) -> list[tuple[int, Sequence[type[Event]]]]:
    """Return when something of these kinds happens, after the first consents."""
    if not kinds:
        return []
    end_ms = draft.seconds * 1000
    return [(int(draft.between(2_000, end_ms)), kinds) for _ in range(count)]


def _kind(draft: Draft, kinds: Sequence[type[Event]]) -> type[Event]:
    """Choose by weight."""
    left = draft.between(0, sum(kind.weight for kind in kinds))
    for kind in kinds:
        left -= kind.weight
        if left < 0:
            return kind
    return kinds[-1]
