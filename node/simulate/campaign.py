# SPDX-License-Identifier: Apache-2.0
"""Many seeds, and for each that fails the shortest story that still does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.builder import Builder
from node.simulate.cast import SHAPES, Cast
from node.simulate.events import Event, Group
from node.simulate.nursery import Nursery, Played, Story, with_nursery
from node.simulate.planner import cast_of, plan, villain_of
from node.simulate.scene import Violation
from node.simulate.shrink import shrink


@dataclass(frozen=True)
class Scale:
    """How large a campaign's stories are.

    Attributes:
        cities: how many.
        nodes: per city.
        seconds: of virtual time that events are spread over.
        groups: sets of faults.
    """

    cities: int
    nodes: int
    seconds: int
    groups: tuple[Group, ...]

    def story(self, seed: int) -> tuple[Cast, Story]:
        """Return who takes part under a seed, and what happens."""
        cast = cast_of(seed, self.cities, self.nodes)
        events = plan(seed, cast, self.groups, self.seconds)
        return cast, Story(seed, events, villain_of(seed, cast, self.groups))


@dataclass(frozen=True)
class Failure:
    """A seed that broke a promise.

    Attributes:
        seed: which.
        violation: the first promise that was broken.
        events: the shortest list that still breaks it.
        lines: those events with how they ended.
        planned: how many events the seed had.
        minimal: False if shrinking was given up before its end.
    """

    seed: int
    violation: Violation
    events: tuple[Event, ...]
    lines: tuple[str, ...]
    planned: int
    minimal: bool

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "seed": self.seed,
            "rule": self.violation.rule,
            "detail": self.violation.detail,
            "at_ms": self.violation.at_ms,
            "planned_events": self.planned,
            "minimal": self.minimal,
            "events": [event.document() for event in self.events],
        }


@dataclass
class Summary:
    """What a campaign found, and what it cost."""

    seeds: int = 0
    failures: list[Failure] = field(default_factory=list)
    packets: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[int, str] = field(default_factory=dict)

    def add(self, played: Played) -> None:
        """Count one seed."""
        outcome = played.outcome
        self.seeds += 1
        self.packets += outcome.packets
        self.virtual_s += outcome.seconds
        self.cpu_s += played.cpu_s
        self.memory_mb = max(self.memory_mb, played.memory_mb)
        self.fingerprints[played.story.seed] = outcome.fingerprint
        for word, count in outcome.counts.items():
            self.counts[word] = self.counts.get(word, 0) + count


@dataclass(frozen=True)
class Campaign:
    """Plays seeds.

    Attributes:
        scale: how large the stories are.
        jobs: stories at a time.
        monotonic: the real clock.
        shrink_most: candidates to play at most for one failing seed; 0 leaves the
            story as it was planned.
        kind: builds every node.
        on_played: is told of each seed as it ends.
    """

    scale: Scale
    jobs: int
    monotonic: Callable[[], float]
    shrink_most: int = 200
    kind: type[Builder] = Builder
    on_played: Callable[[Played, Summary], None] = lambda played, summary: None

    def run(self, seeds: Sequence[int]) -> Summary:
        """Play all seeds; each shape of the federation is founded once."""
        summary = Summary()
        for cast, stories in self._by_cast(seeds):
            self._play(cast, stories, summary)
        summary.failures.sort(key=lambda failure: failure.seed)
        return summary

    def run_events(self, seed: int, events: Sequence[Event]) -> Summary:
        """Play one seed with other events than it plans, as they are."""
        summary = Summary()
        cast, story = self.scale.story(seed)
        replaced = Story(seed, tuple(events), story.villain)
        self._play(cast, [replaced], summary)
        return summary

    def _by_cast(self, seeds: Sequence[int]) -> Iterator[tuple[Cast, list[Story]]]:
        for shape in range(len(SHAPES)):
            of_shape = [seed for seed in seeds if seed % len(SHAPES) == shape]
            planned = [self.scale.story(seed) for seed in of_shape]
            if planned:
                yield planned[0][0], [story for _, story in planned]

    def _play(self, cast: Cast, stories: Collection[Story], summary: Summary) -> None:
        async def work(nursery: Nursery) -> None:
            failing = []
            async for played in nursery.play(stories):
                summary.add(played)
                if played.outcome.violations:
                    failing.append(played)
                self.on_played(played, summary)
            for played in failing:
                summary.failures.append(await self._failure(nursery, played))

        with_nursery(
            cast, work, jobs=self.jobs, monotonic=self.monotonic, kind=self.kind
        )

    async def _failure(self, nursery: Nursery, played: Played) -> Failure:
        """Find the shortest story that breaks the same rule."""
        story, violation = played.story, played.outcome.violations[0]

        def candidate(events: tuple[Event, ...]) -> Story:
            return Story(story.seed, events, story.villain)

        async def first(candidates: Sequence[tuple[Event, ...]]) -> int | None:
            stories = [candidate(events) for events in candidates]
            return await nursery.first_failing(stories, violation.rule)

        left, minimal = story.events, False
        if self.shrink_most:
            # What was planned for later cannot have been the cause.
            before = tuple(e for e in left if e.at_ms <= violation.at_ms)
            if len(before) < len(left) and await first([before]) is not None:
                left = before
            shrunk = await shrink(left, first, most=self.shrink_most)
            left, minimal = shrunk.parts, shrunk.minimal
        lines: tuple[str, ...] = ()
        async for again in nursery.play([candidate(left)]):
            lines = tuple(again.outcome.lines)
            violation = next(iter(again.outcome.violations), violation)
        planned = len(story.events)
        return Failure(story.seed, violation, left, lines, planned, minimal)
