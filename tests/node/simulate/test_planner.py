# SPDX-License-Identifier: Apache-2.0
"""Stories come from seeds alone, and can be written down and read back."""

from __future__ import annotations

import pytest

from node.simulate.cast import Cast
from node.simulate.events import KINDS, Group, read_event
from node.simulate.planner import FAULTS, cast_of, plan, villain_of
from protocol.errors import Misuse

SECONDS = 180


def _plan(seed: int, *groups: Group) -> tuple[str, ...]:
    events = plan(seed, cast_of(seed, 5, 20), groups or FAULTS, SECONDS)
    return tuple(event.line() for event in events)


def test_seed_decides_the_story() -> None:
    """The same seed plans the same, another one plans another."""
    assert _plan(7) == _plan(7)
    assert _plan(7) != _plan(8)


def test_every_kind_of_event_is_planned_by_some_seed() -> None:
    """An event that is never planned tests nothing."""
    planned = {line.split()[1] for seed in range(60) for line in _plan(seed)}
    assert planned == set(KINDS)


def test_events_are_in_the_order_of_time_and_within_the_story() -> None:
    """And the first consents come before everything else."""
    events = plan(3, cast_of(3, 5, 20), FAULTS, SECONDS)
    times = [event.at_ms for event in events]
    assert times == sorted(times)
    assert times[-1] < SECONDS * 1000


@pytest.mark.parametrize("group", FAULTS)
def test_faults_can_be_chosen(group: Group) -> None:
    """`--faults` names sets; acts always happen."""
    cast = cast_of(4, 5, 20)
    kinds = {type(e).group for s in range(8) for e in plan(s, cast, (group,), SECONDS)}
    assert kinds == {Group.ACTS, group}


def test_without_hostile_faults_there_is_no_villain() -> None:
    """Nobody is excused from the rules then."""
    cast = Cast(3, 6)
    assert villain_of(1, cast, (Group.CRASH,)) == ""
    assert villain_of(1, cast, FAULTS) in cast.everybody


def test_story_can_be_written_down_and_read_back() -> None:
    """As `--json` prints it and `--events` takes it."""
    events = plan(5, cast_of(5, 5, 20), FAULTS, SECONDS)
    assert tuple(read_event(event.document()) for event in events) == events


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"event": "Nothing", "at_ms": 1},
        {"event": "Cut", "at_ms": 1, "one": "a/b"},
        {"event": "Cut", "at_ms": 1, "one": "a/b", "other": "a/c", "more": 1},
    ],
)
def test_what_is_no_event_is_refused(document: dict[str, object]) -> None:
    """A file by hand may be wrong."""
    with pytest.raises(Misuse):
        read_event(document)


@pytest.mark.parametrize(
    ("cities", "nodes", "shape"), [(1, 9, "ring"), (2, 4, "ring"), (2, 5, "knot")]
)
def test_cast_that_cannot_tell_a_story_is_refused(
    cities: int, nodes: int, shape: str
) -> None:
    """Two cities of five nodes are the least."""
    with pytest.raises(Misuse):
        Cast(cities, nodes, shape)
