# SPDX-License-Identifier: Apache-2.0
"""Plays traces of the model on the production code and compares every step.

One town of two cities serves all traces: each gives a consent of its own. What the
model decides the code must decide: the holder's code for each read, what it knows after
each word, what an honest read ends in when everything has healed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from federation.answered import TIMES
from federation.exchange import About, Answer, Refused
from federation.replies import Asked, Reply
from node.simulate.people import Resident, said
from protocol.answer import OneToken
from protocol.envelope import Kind
from protocol.ids import NodeId
from protocol.membership import DataClass, Role
from protocol.problem import ProblemBody
from protocol.request import Read, StatusQuery, Warrant
from protocol.signature import digest_of
from protocol.status import Status
from tests.model.hand import Hand, Parcel, take, take_again
from tests.model.properties import honest
from tests.model.rules import BOUND, RULES, SKEW, T
from tests.model.state import (
    AGAIN,
    FIRST,
    PAUSED,
    WITHDRAWN,
    Copy,
    Request,
    State,
    Step,
    Word,
)
from tests.model.steps import AGAIN_GIVEN, RELEASED, steps
from tests.simulation.town import (
    BROKER,
    CHECKUP,
    CLINIC,
    HALL,
    MEDICAL,
    TREATMENT,
    Town,
    play,
)

READER = "minato/clinic"
TICK_S = 80
LATE_MS = TICK_S * 1500
"""An exchange is over one and a half ticks after it was sent."""


class Disagreement(AssertionError):
    """The model says one thing, the code another."""


def play_in_town(story: Callable[[Town], Awaitable[None]]) -> None:
    """Play a story in the model's two cities, with its T and its skew."""
    play(
        story,
        build=_build,
        status_max_age_s=T * TICK_S,
        status_epoch_s=TICK_S,
        skew_s=SKEW * TICK_S,
    )


async def _build(town: Town) -> None:
    """Found the model's two cities."""
    world = town.federation
    for city in ("hoshino", "minato"):
        await world.city(city)
    await world.node(HALL, Role.IDENTITY)
    await world.node(CLINIC, qualifications=MEDICAL)
    await world.node(READER, qualifications=MEDICAL)
    await world.agree("hoshino", "minato")


@dataclass
class Stage:
    """The town, and where the trace that is being played stands.

    Attributes:
        consents: ids of the first consent and of the one given again.
        tokens: by consent and version, what the requester shows.
        lists: the newest list that it has with each status.
        words: the last copy of each word that was sent to the holder.
        kept: the read that the channel may repeat.
        mark: parcels before this one belong to earlier steps.
        releases: how many the holder must have on record.
        repeated, times: the read that came last, and how often since the last restart.
        codes, judged: what the holder counts, and how it judged, since the last read.
    """

    town: Town
    resident: Resident
    hand: Hand
    consents: dict[int, str] = field(default_factory=dict)
    tokens: dict[tuple[int, int], Warrant] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    words: dict[Word, Parcel] = field(default_factory=dict)
    kept: Parcel | None = None
    mark: int = 0
    releases: int = 0
    repeated: Parcel | None = None
    times: int = 0
    codes: list[tuple[str, str]] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    asking: set[asyncio.Task[Answer | Refused]] = field(default_factory=set)

    @classmethod
    async def open(cls, town: Town) -> Stage:
        """Let a resident with checkups live here, and stand before the holder."""
        resident = await town.resident_with_checkups(1)
        await town.federation.drained()
        # Documents of just now are from the future for a clock that is behind.
        await town.sleep(2 * SKEW * TICK_S)
        for node in (HALL, READER):
            end = town.parts(node).exchanges
            end.limits = replace(end.limits, deadline_ms=LATE_MS)
        stage = cls(town, resident, take(town.parts(BROKER), NodeId(CLINIC)))
        stage._listen()
        return stage

    # ------------------------------------------------------------------ traces

    async def play(self, start: State, trace: Sequence[Step]) -> State:
        """Play one trace from its first state.

        Raises:
            Disagreement: at the first step that comes out otherwise.
        """
        self._begin(start)
        state = start
        for number, step in enumerate(trace, 1):
            after = follow(state, step)
            try:
                await self._step(state, step, after)
            except (AssertionError, TimeoutError) as error:
                lines = "\n".join(f"{n:3} {s}" for n, s in enumerate(trace[:number], 1))
                raise Disagreement(f"{error}\nahead {start.ahead}\n{lines}") from error
            state = after
        await self._heal(state)
        return state

    def _begin(self, start: State) -> None:
        self.town.network.clock(HALL).skew_ms = start.ahead * TICK_S * 1000
        self.consents, self.tokens, self.lists, self.words = {}, {}, {}, {}
        self.kept = None
        self.hand.open = False
        self.hand.parcels.clear()
        self.mark = self.releases = 0

    async def _step(self, before: State, step: Step, after: State) -> None:
        acts = {
            "give": self._give,
            "pause": self._pause,
            "resume": self._resume,
            "withdraw": self._withdraw,
            "give again": self._give_again,
            "acknowledged": self._acknowledged,
            "restart": self._restart,
            "tick": self._tick,
        }
        self.mark = len(self.hand.parcels)
        if step.act == "word":
            assert isinstance(step.what, Copy)
            await self._word(step.what, after)
        elif step.act in ("read", "again"):
            assert isinstance(step.what, Request)
            await self._read(step, step.what)
        else:
            await acts[step.act]()
        if _sends(before, step, after):
            assert after.attempt is not None
            await self._sent(after.attempt)
        if after.version and step.act not in ("word", "read", "again", "restart"):
            await self._fetch(after)

    # ---------------------------------------------------------------- resident

    async def _give(self) -> None:
        self.consents[FIRST] = await self._given()
        await self._taken(FIRST, 1)

    async def _given(self) -> str:
        entry = await self.town.give(self.resident, recipients=[READER])
        return entry.consent.jti

    async def _give_again(self) -> None:
        self.consents[AGAIN] = await self._given()
        await self._taken(AGAIN, 1)

    async def _pause(self) -> None:
        await self.town.desk().pause(self.resident.account, self.consents[FIRST])

    async def _resume(self) -> None:
        desk, identifier = self.town.desk(), self.consents[FIRST]
        entry = next(
            e
            for e in desk.consents(self.resident.account)
            if e.consent.jti == identifier
        )
        evidence = entry.consent.evidence
        resumed = await desk.resume(self.resident.account, identifier, evidence)
        await self._taken(FIRST, resumed.consent.version)

    async def _withdraw(self) -> None:
        await self.town.withdraw(self.resident, self.consents[FIRST])

    async def _taken(self, consent: int, version: int) -> None:
        """Wait until the requester has a version, and keep what it would show."""
        identifier = self.consents[consent]
        kept = await self.town.received(READER, identifier, version)
        self.tokens[consent, version] = Warrant(
            consent=kept.package.consent,
            ticket=kept.package.holders[0].ticket,
            home=kept.package.home,
        )

    async def _fetch(self, after: State) -> None:
        """Let the requester fetch the list, and hold it to what the model says."""
        identifier = self.consents[FIRST]
        kept = self.town.kept(READER, identifier)
        assert kept is not None
        place = kept.consent.status
        query = StatusQuery(list=place.list)
        asked = await self.town.ask(READER, HALL, Kind.MANAGE, query)
        assert isinstance(asked, Answer), asked
        assert isinstance(asked.result, OneToken)
        self.lists[after.mood] = asked.result.token

    # ----------------------------------------------------------------- channel

    async def _sent(self, word: Word) -> None:
        """Wait until the home node has sent a word; its outbox may wait for a while."""
        for _ in range(200):
            for parcel in self.hand.parcels[self.mark :]:
                if parcel.kind is not Kind.READ:
                    self.words[word] = parcel
                    return
            await self.town.parts(HALL).outbox.all_due()
            await self.town.sleep(0.05)
        raise AssertionError(f"the home node does not send {word}")

    async def _word(self, copy: Copy, after: State) -> None:
        await self.hand.deliver(self.words[copy.word], self._deadline_ms())
        ledger = self.town.parts(CLINIC).vault.ledger
        kept = self.town.kept(READER, self.consents[FIRST])
        assert kept is not None
        status, newest = ledger.revocation_of(
            kept.consent.model_copy(update={"version": 1})
        )
        known = after.known
        wanted = {PAUSED: Status.PAUSED, WITHDRAWN: Status.WITHDRAWN}.get(known.status)
        assert (status, newest) == (wanted, known.newest), (
            f"the holder knows {(status, newest)}, in the model {known}"
        )

    async def _acknowledged(self) -> None:
        parcel = next(
            p
            for p in reversed(self.hand.parcels)
            if p.kind is not Kind.READ and not p.answer.done()
        )
        assert parcel.first is not None, "the holder has not answered"
        parcel.answer.set_result(parcel.first)
        waiting = self._waiting()
        await self.town.federation.until(lambda: self._waiting() < waiting, 20)

    def _waiting(self) -> int:
        outbox = self.town.parts(HALL).outbox
        return sum(self.town.parts(HALL).database.read(outbox.waiting).values())

    async def _tick(self) -> None:
        await self.town.sleep(TICK_S)
        self.mark = len(self.hand.parcels)
        self.hand.lose()

    # ------------------------------------------------------------------- reads

    async def _read(self, step: Step, request: Request) -> None:
        parcel = self.kept
        if step.act == "read":
            parcel = await self._asked(request)
        assert parcel is not None
        dies = step.outcome.startswith("dies")
        if dies:
            database = self.town.federation.nodes[CLINIC].database
            database.dies_at = database.writes + 1
            database.keeps = step.outcome == "dies when it is written"
        self.codes.clear()
        self.judged.clear()
        answer = await self._delivered(parcel)
        if dies:
            assert answer is None, "the holder outlived its death"
            await self._restart()
        else:
            # The model leaves out that a request is answered so many times at most.
            self.times = self.times + 1 if parcel is self.repeated else 1
            self.repeated = parcel
            wanted = step.outcome
            if self.times > TIMES and wanted != "deadline-passed":
                wanted = "replayed"
            code = self._said()
            assert code == wanted, f"the holder says {code}, not {wanted}"
        if not parcel.answer.done() and answer is not None:
            parcel.answer.set_result(answer)
        if request.consent == FIRST and step.outcome in (
            RELEASED,
            "dies when it is written",
        ):
            self.kept = parcel
        self.releases += step.outcome in (RELEASED, "dies when it is written")

    async def _asked(self, request: Request) -> Parcel:
        """Let the requester ask, and return its request where it was parked."""
        lawful = self.tokens[request.consent, request.version]
        warrant = lawful.model_copy(update={"proof": self.lists[request.list.status]})
        about = About(
            CHECKUP,
            TREATMENT,
            DataClass.SPECIAL_CARE,
            digest_of(warrant.consent.encode()),
        )
        known = len(self.hand.parcels)
        query = Read(warrant=warrant)
        asked = self.town.ask(
            READER, CLINIC, Kind.READ, query, about=about, timeout_ms=LATE_MS
        )
        task = asyncio.get_running_loop().create_task(asked)
        self.asking.add(task)
        task.add_done_callback(self.asking.discard)
        await self.town.federation.until(lambda: len(self.hand.parcels) > known, 10)
        return self.hand.parcels[-1]

    async def _delivered(self, parcel: Parcel) -> bytes | None:
        """Return the holder's answer, None where it died of the question."""
        try:
            return await self.hand.deliver(parcel, self._deadline_ms())
        except Exception as error:
            assert type(error).__name__ in ("LinkLost", "DeadlinePassed"), error
            return None

    # ------------------------------------------------------------ holder, clock

    async def _restart(self) -> None:
        """Kill the holder, start it anew and stand before it again."""
        town = self.town
        await town.federation.restart(CLINIC)
        self.repeated = None
        broker = town.parts(BROKER)
        await town.federation.until(
            lambda: (
                (found := broker.peers.find(NodeId(CLINIC))) is not None
                and found[1] is not self.hand
                and town.federation.knows(CLINIC, ["hoshino", "minato"])
            )
        )
        take_again(broker, NodeId(CLINIC), self.hand)
        self._listen()

    def _listen(self) -> None:
        parts = self.town.parts(CLINIC)
        parts.on_outcome = lambda what, code: self.codes.append((what, code))
        handler = parts.exchanges.handlers["read"]

        async def read(asked: Asked) -> Reply:
            reply = await handler(asked)
            out = reply.outcome
            self.judged.append(out.code if isinstance(out, ProblemBody) else RELEASED)
            return reply

        parts.exchanges.on({"read": read})

    def _said(self) -> str:
        """Return what the holder said last, from what it counts and how it judged."""
        what, code = self.codes[-1] if self.codes else ("", "nothing")
        if what == "again":
            return AGAIN_GIVEN if self.judged[-1] == RELEASED else self.judged[-1]
        return RELEASED if code == "ok" else code

    def _deadline_ms(self) -> int:
        return self.town.clock.now_ms() + 5_000

    # ---------------------------------------------------------------- the end

    async def _heal(self, state: State) -> None:
        """Let everything pass; then nothing waits, and reads end as they must."""
        ours = self.consents.values()
        written = [p for p in self.town.provisions(CLINIC) if p.consent in ours]
        assert len(written) == self.releases, "releases and records differ"
        self.hand.release()
        await self.town.parts(HALL).outbox.all_due()
        await self.town.federation.drained()
        healed = rest(state)
        for consent, identifier in self.consents.items():
            (answer,) = await self.town.read_all(READER, identifier, CHECKUP, TREATMENT)
            wanted = honest(healed, consent, RULES)
            if said(answer) != wanted:
                raise Disagreement(
                    f"healed, an honest read ends in {said(answer)}, not {wanted}"
                )
        if state.mood == WITHDRAWN:
            await self.town.acknowledged(self.resident, self.consents[FIRST])
        assert self.town.federation.dead_letters() == {}
        await self.town.sleep((T + 2 * SKEW) * TICK_S)


def follow(state: State, step: Step) -> State:
    """Return the state after a step, by what the step is."""
    for candidate, after in steps(state, RULES, BOUND):
        if candidate == step:
            return after
    raise ValueError(f"the model cannot do {step} here")


def rest(s: State) -> State:
    """Return the state when all that waits has arrived and was answered."""
    while True:
        found = None
        for step, after in steps(s, RULES, BOUND):
            current = isinstance(step.what, Copy) and step.what == Copy(
                s.attempt or Word(""), 0
            )
            if step.act == "acknowledged" or (current and not s.answered):
                found = after
                break
        if found is None:
            return s
        s = found


def _sends(before: State, step: Step, after: State) -> bool:
    """Tell whether the home node has begun a new attempt in this step."""
    if after.attempt is None or step.act in ("word", "read", "again", "restart"):
        return False
    return before.attempt is None or step.act in ("tick", "acknowledged")
