# SPDX-License-Identifier: Apache-2.0
"""Founds a federation and plays one story in it, from a known state to the last check.

    async def world(network: Network) -> Outcome:
        stage = Stage(network, cast, folder)
        await stage.found()
        return await stage.play(seed, events)

Founding is the same for every seed, so that it is done once and the founded process is
copied (`node.simulate.nursery`); from `play` on everything depends on the seed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from federation.simulation import Network
from node.builder import Builder
from node.evidence import alarms
from node.simulate import ending
from node.simulate.cast import CHECKUP, Cast, content
from node.simulate.events import Event
from node.simulate.federation import Federation
from node.simulate.ledgers import Ledgers
from node.simulate.people import People, Resident
from node.simulate.scene import CALM, Scene, Violation
from node.simulate.truth import Kept, Rules, Truth
from node.simulate.wire import Complain, Wire
from protocol.errors import MachikuraError
from protocol.membership import Role

MAX_AGE_S, EPOCH_S = 20, 5
"""T and the epoch of status lists: shorter than the default, so that a story of
minutes sees both sides of the bound many times."""

SKEW_S = 5
BATCH_S, SILENT_S = 60, 240
"""Evidence is signed less often: it is a third of what an idle federation costs."""

_MOST_TASKS = 3_000
"""More tasks than this means that something collects work instead of refusing it."""


@dataclass
class Outcome:
    """How a story ended.

    Attributes:
        violations: promises that were not kept; empty is good.
        fingerprint: digest over all that happened on the network.
        packets: how many of them.
        seconds: virtual seconds.
        lines: each event with how it ended, in the order of their ends.
        counts: how often events ended in which way.
    """

    violations: list[Violation]
    fingerprint: str
    packets: int
    seconds: float
    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "violations": [
                {"rule": v.rule, "detail": v.detail, "at_ms": v.at_ms}
                for v in self.violations
            ],
            "fingerprint": self.fingerprint,
            "packets": self.packets,
            "seconds": round(self.seconds, 3),
            "counts": dict(sorted(self.counts.items())),
        }


class _Errors(logging.Handler):
    """Takes what a node logs as an error: a fault that nobody foresaw, or an alarm."""

    def __init__(self, complain: Complain, alarming: Callable[[], bool]) -> None:
        super().__init__(logging.ERROR)
        self._complain = complain
        self._alarming = alarming

    def emit(self, record: logging.LogRecord) -> None:
        """Complain about it."""
        what = record.getMessage()
        if record.name == alarms.__name__:
            # A silent peer is what a partition looks like; the others accuse somebody.
            if "silent" not in what and not self._alarming():
                self._complain("alarm", what)
            return
        if record.exc_info and record.exc_info[1] is not None:
            what += f": {record.exc_info[1]!r}"
        self._complain("internal", what)


@contextmanager
def _errors_told(complain: Complain, alarming: Callable[[], bool]) -> Iterator[None]:
    """Let errors in the log be violations.

    Args:
        complain: is told.
        alarming: tells whether somebody has given cause for alarms of evidence.
    """
    root, handler = logging.getLogger(), _Errors(complain, alarming)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class Stage:
    """A founded federation, ready for one story."""

    def __init__(
        self, network: Network, cast: Cast, folder: Path, kind: type[Builder] = Builder
    ) -> None:
        """Start without nodes.

        Args:
            network: time, pipes and chance.
            cast: who takes part.
            folder: for key files; best in memory.
            kind: builds every node; one that errs shows that it is found.
        """
        self.cast = cast
        self._network = network
        self._looks = 0
        self._scene: Scene | None = None
        self._wire = Wire(self._complain)
        self._federation = Federation(
            network,
            folder,
            trust={
                "status_max_age_s": MAX_AGE_S,
                "status_epoch_s": EPOCH_S,
                "skew_s": SKEW_S,
            },
            evidence={"batch_s": BATCH_S, "silent_s": SILENT_S},
            compose=self._wire.compose(kind),
        )
        self._people = People(self._federation)
        self._persons: dict[str, Resident] = {}
        self._records: dict[str, Kept] = {}

    def _complain(self, rule: str, detail: str) -> None:
        if self._scene is not None:
            self._scene.complain(rule, detail)

    # ---------------------------------------------------------------- founding

    async def found(self) -> None:
        """Found cities, admit nodes, open accounts, link holders, store records."""
        world, cast = self._federation, self.cast
        for city in cast.city_names:
            await world.city(city)
        for hall in cast.halls:
            await world.node(hall, Role.IDENTITY)
        for name in cast.organizations:
            qualified = ("medical-institution",) if cast.qualified(name) else ()
            await world.node(name, Role.VAULT, qualifications=qualified)
        for one, other in cast.neighbors:
            await world.agree(one, other)
        await world.start()
        await world.settled(300)
        for person in cast.residents:
            self._persons[person.name] = await self._people.register(
                person.name, person.name, person.home
            )
            for holder in cast.first_holders(person):
                await self._move_in(person.name, holder)
        await world.drained()

    async def _move_in(self, resident: str, holder: str) -> None:
        name = self.cast.type_of(holder)
        for _ in range(2 if name == CHECKUP else 1):
            record = content(name, len(self._records))
            stored = self._people.store(holder, resident, record, name)
            kept = Kept(holder, resident, name, record, sure=True)
            self._records[await stored] = kept
        await self._people.link(self._persons[resident], holder, resident)

    async def close(self) -> None:
        """Stop every node."""
        await self._federation.close()

    # ------------------------------------------------------------------ playing

    async def play(
        self, seed: int, events: Sequence[Event], villain: str = ""
    ) -> Outcome:
        """Play a story; ends early at the first promise that is not kept.

        Args:
            seed: decides every delay and every random byte from now on.
            events: what happens, in the order of time.
            villain: the node in hostile hands.
        """
        self._network.reseed(seed)
        self._wire.forget()
        scene = self._open(villain)
        ledgers = Ledgers(self._federation, scene.truth, self._wire, self._complain)
        scene.look = ledgers.scan
        tasks_before = len(asyncio.all_tasks())
        outcome = Outcome([], "", 0, 0.0)
        began_s = asyncio.get_running_loop().time()
        with _errors_told(self._complain, lambda: bool(villain) or self._wire.meddled):
            await self._act(scene, events, outcome)
            if not scene.violations:
                await ending.recover(scene)
                scene.look()
            if not scene.violations:
                await ending.look_back(scene, ledgers)
                ending.bounded(scene, tasks_before)
        outcome.violations = scene.violations
        outcome.fingerprint = self._network.fingerprint()
        outcome.packets = self._network.events
        outcome.seconds = asyncio.get_running_loop().time() - began_s
        return outcome

    def _open(self, villain: str) -> Scene:
        rules = Rules(max_age_ms=MAX_AGE_S * 1000, skew_ms=SKEW_S * 1000)
        qualified = filter(self.cast.qualified, self.cast.organizations)
        truth = Truth(rules, frozenset(qualified))
        truth.records.update(self._records)
        for person in self.cast.residents:
            for holder in self.cast.first_holders(person):
                truth.links[person.name, holder] = True
        scene = Scene(
            self._federation,
            self._people,
            self.cast,
            truth,
            self._wire,
            persons=dict(self._persons),
            villain=villain,
        )
        if villain:
            truth.distrusted.add(villain)
            self._wire.distrusted.add(villain)
        scene.began_ms = scene.now_ms()
        self._scene = scene
        return scene

    async def _act(
        self, scene: Scene, events: Sequence[Event], outcome: Outcome
    ) -> None:
        """Let every event happen at its time, then heal what they have broken."""
        tasks = []
        for event in events:
            await self._until(scene, event.at_ms)
            if scene.violations:
                break
            happening = self._happen(scene, event, outcome)
            tasks.append(asyncio.ensure_future(happening))
            await asyncio.sleep(0)  # noqa: TID251  a turn of the loop, no time
            self._look(scene)
        scene.over = True
        await asyncio.gather(*tasks)
        await self._heal(scene)

    async def _until(self, scene: Scene, at_ms: int) -> None:
        """Wait for an event's time; look at everything every few seconds."""
        while scene.story_ms() < at_ms and not scene.violations:
            left_s = (at_ms - scene.story_ms()) / 1000
            await self._federation.clock.sleep(min(left_s, 5.0))
            self._look(scene)

    def _look(self, scene: Scene) -> None:
        scene.look()
        self._looks += 1
        if self._looks % 10:
            return
        count = len(asyncio.all_tasks())
        if count > _MOST_TASKS:
            scene.complain("memory", f"{count} tasks at once")

    async def _happen(self, scene: Scene, event: Event, outcome: Outcome) -> None:
        try:
            ended = await event.happen(scene)
        except MachikuraError as error:
            ended = error.slug
        key = f"{type(event).__name__}: {ended}"
        outcome.counts[key] = outcome.counts.get(key, 0) + 1
        at_s = scene.story_ms() / 1000
        outcome.lines.append(f"{at_s:8.3f}  {event.line().strip()} → {ended}")
        self._look(scene)

    async def _heal(self, scene: Scene) -> None:
        """End whatever is still wrong; from here on nobody helps."""
        self._network.weather = CALM
        self._network.partition()
        self._network.heal()
        for name, node in self._federation.nodes.items():
            node.database.free_disk()
            node.database.dies_at = None
            if self._network.clock(name).skew_ms:
                scene.skew(name, 0)
            if not scene.runs(name):
                await scene.revive(name)
