# SPDX-License-Identifier: Apache-2.0
"""The simulator: keeps its promises on good code, and finds code that does not.

A smaller set of the stories that `machikura simulate` plays each night.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from node.builder import Builder
from node.simulate.campaign import Scale
from node.simulate.cast import Cast
from node.simulate.events import Event
from node.simulate.nursery import Story, play_here
from node.simulate.planner import FAULTS
from node.simulate.plants import PLANTS
from node.simulate.stage import Outcome
from node.simulate.use import Locate, Read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = Scale(cities=2, nodes=6, seconds=90, groups=FAULTS)


def _play(seed: int, kind: type[Builder] = Builder) -> Outcome:
    cast, story = SMALL.story(seed)
    return play_here(cast, story, kind)


def _simulate(*arguments: str, hash_seed: int = 0) -> tuple[int, dict[str, Any]]:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "node.cli", "simulate", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        check=False,
        timeout=180,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def test_seeds_of_every_shape_break_no_promise_and_play_twice_the_same() -> None:
    """In another process, with other hash seeds: every packet at the same time."""
    scale = ("--cities", "3", "--nodes", "5", "--seconds", "45", "--seeds", "1..4")
    status, first = _simulate(*scale, hash_seed=1)
    assert (status, first["failed"], first["seeds"]) == (0, [], 4)
    scale = (*scale[:-1], "3..4")
    status, second = _simulate(*scale, "--jobs", "1", hash_seed=2)
    assert status == 0
    assert second["fingerprints"] == {s: first["fingerprints"][s] for s in ("3", "4")}


def test_process_of_its_own_or_a_copy_makes_no_difference() -> None:
    """A copy of a founded federation plays what a freshly founded one plays."""
    scale = ("--cities", "2", "--nodes", "6", "--seconds", "90")
    _, copied = _simulate(*scale, "--seed", "2", hash_seed=3)
    assert copied["fingerprints"] == {"2": _play(2).fingerprint}


LIKELY = {
    "deaf": (1, 2, 6),
    "generous": (2, 1),
    "lawless": (3, 4, 5),
    "unqualified": (5,),
    "telltale": (8,),
    "gullible": (4, 3, 1),
    "careless": (2, 4, 1),
    "unwritten": (2,),
    "waiting": (1, 2),
}
"""Seeds that are known to find a planted fault; others are tried when they do not."""


@pytest.mark.parametrize("name", sorted(LIKELY))
def test_planted_fault_is_found_by_a_seed(name: str) -> None:
    """A simulator that lets a wrong decision pass would prove nothing."""
    others = (seed for seed in range(1, 9) if seed not in LIKELY[name])
    for seed in (*LIKELY[name], *others):
        if _play(seed, PLANTS[name]).violations:
            return
    pytest.fail(f"no seed finds {name}")


def test_failing_story_is_shrunk_and_replays() -> None:
    """The shortest list of events, and a command that plays the seed again."""
    scale = ("--cities", "2", "--nodes", "6", "--seconds", "60", "--faults", "none")
    wanted = ("--plant", "generous", "--seeds", "1..2", "--shrink", "60")
    status, found = _simulate(*scale, *wanted)
    assert status == 1
    for failure in found["failed"]:
        kinds = [event["event"] for event in failure["events"]]
        assert failure["minimal"], failure
        assert kinds[0] == "Give"
        assert len(kinds) <= 2, kinds  # Without a read, the last check reads.
        assert failure["rule"] == "intersection"
        assert f"--seed {failure['seed']}" in failure["replay"]
        assert "--plant generous" in failure["replay"]


def test_events_of_a_file_are_played(tmp_path: Path) -> None:
    """As a failing seed prints them; those without ground do nothing."""
    events: Sequence[Event] = (
        Locate(at_ms=1_000, resident="person0"),
        Read(
            at_ms=2_000,
            consent="c1",
            by="hoshino/org2",
            name="health.checkup",
            purpose="treatment",
            fields=None,
            timeout_ms=1_000,
        ),
    )
    file = tmp_path / "events.json"
    file.write_text(json.dumps([event.document() for event in events]))
    scale = ("--cities", "2", "--nodes", "5", "--seed", "1")
    status, played = _simulate(*scale, "--events", str(file))
    assert status == 0
    assert played["events"] == {"Locate: 5 of 5": 1, "Read: absent": 1}


def test_story_without_events_is_quiet() -> None:
    """The control: founding alone breaks nothing, and drains."""
    outcome = play_here(Cast(2, 5), Story(1, ()))
    assert (outcome.violations, outcome.counts) == ([], {})
