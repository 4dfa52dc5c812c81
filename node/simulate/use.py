# SPDX-License-Identifier: Apache-2.0
"""What organizations do: read, push, look for a resident, set policies, erase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import orjson

from federation.exchange import Answer
from node.simulate.acts import PATIENCE_S
from node.simulate.draft import Draft
from node.simulate.events import Event, event
from node.simulate.people import said
from node.simulate.scene import ABSENT, Lost, Scene, WasPushed, WasRead
from node.simulate.truth import Policy, every_field, needed, purposes
from protocol.answer import ReadResult
from protocol.decision import HolderPolicy
from protocol.errors import MachikuraError
from protocol.ids import NodeId

TIMEOUTS_MS = (1_000, 4_000, 10_000)


@event
@dataclass(frozen=True, kw_only=True)
class Read(Event):
    """A requester reads under a consent, lawfully or not."""

    consent: str
    by: str
    name: str
    purpose: str
    fields: tuple[str, ...] | None
    timeout_ms: int
    weight = 14.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Mostly ask for what was agreed to; sometimes for more."""
        planned = draft.consent()
        if planned is None:
            return None
        purpose = draft.pick(planned.purposes)
        if draft.often(0.1):
            purpose = draft.pick(purposes(planned.name))
        fields = None
        if draft.often(0.3):
            among = needed(planned.name, purpose)
            fields = draft.some(every_field(planned.name), 4)
            if draft.often(0.7):
                fields = draft.some(among, 4)
        return cls(
            at_ms=at_ms,
            consent=planned.key,
            by=draft.pick(planned.recipients),
            name=planned.name,
            purpose=purpose,
            fields=fields,
            timeout_ms=draft.pick(TIMEOUTS_MS),
        )

    async def happen(self, scene: Scene) -> str:
        """Read, and hold what arrives to the truth."""
        consent = scene.consents.get(self.consent)
        if consent is None or not scene.runs(self.by):
            return ABSENT
        began_ms = scene.now_ms()
        reading = scene.people.read_all(
            self.by,
            consent,
            self.name,
            self.purpose,
            fields=self.fields,
            timeout_ms=self.timeout_ms,
        )
        answers = await scene.within(PATIENCE_S, reading)
        late_ms = scene.now_ms() - began_ms - self.timeout_ms
        if late_ms > 500:
            scene.complain("deadline", f"a read of {self.by} took {late_ms} ms longer")
        for answer in answers:
            if isinstance(answer.outcome, Answer):
                self._arrived(scene, consent, answer.outcome)
        return ",".join(sorted(map(said, answers)))

    def _arrived(self, scene: Scene, consent: str, answer: Answer) -> None:
        scene.reads.append(WasRead(answer.exchange, self.by, consent))
        result = answer.result
        if not isinstance(result, ReadResult):
            scene.complain("intersection", "a read brought something else")
            return
        if self.fields is not None and not set(result.fields) <= set(self.fields):
            scene.complain("intersection", f"{self.by} got what it did not ask for")
        agreed = scene.truth.consents[consent]
        for record in result.records:
            arrived = orjson.loads(record.content)
            if not arrived.keys() <= set(result.fields):
                scene.complain("intersection", f"{self.by} got undeclared fields")
            if not scene.truth.stored_as(agreed, self.name, arrived):
                scene.complain("intersection", f"{self.by} got what nobody stored")


@event
@dataclass(frozen=True, kw_only=True)
class Push(Event):
    """A holder sends records to a recipient that may keep them."""

    consent: str
    holder: str
    recipient: str
    name: str
    purpose: str
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent to store, mostly."""
        storing = [one for one in draft.consents if one.push and not one.hidden]
        if not storing:
            return None
        planned = draft.pick(storing[-6:])
        return cls(
            at_ms=at_ms,
            consent=planned.key,
            holder=draft.pick(planned.holders),
            recipient=draft.pick(planned.recipients),
            name=planned.name,
            purpose=draft.pick(planned.purposes),
        )

    async def happen(self, scene: Scene) -> str:
        """Queue it; from the acknowledgement on it must arrive or be given up."""
        found = scene.agreed(self.consent)
        if found is None or not scene.runs(self.holder):
            return ABSENT
        consent, agreed = found
        queued = scene.people.push(
            consent, self.holder, self.recipient, self.name, self.purpose
        )
        await scene.within(PATIENCE_S, queued)
        records = scene.truth.expected(agreed, self.holder, self.name)
        scene.pushes.append(
            WasPushed(
                consent,
                self.holder,
                self.recipient,
                self.name,
                self.purpose,
                records or frozenset(),
                scene.now_ms(),
            )
        )
        return "queued"


@event
@dataclass(frozen=True, kw_only=True)
class Locate(Event):
    """A resident asks everybody where the data is."""

    resident: str
    weight = 0.7

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose a resident."""
        return cls(at_ms=at_ms, resident=draft.pick(sorted(draft.people)))

    async def happen(self, scene: Scene) -> str:
        """Ask; everybody concerned must be listed."""
        resident = scene.persons.get(self.resident)
        if resident is None or not scene.runs(resident.home):
            return ABSENT
        sure = {
            holder
            for (person, holder), linked in scene.truth.links.items()
            if person == self.resident and linked
        }
        found = await scene.within(PATIENCE_S, scene.people.locate(resident))
        named = {str(party.party) for party in found.asked}
        for holder in sorted(sure - named):
            scene.complain("omission", f"{holder} is missing where {self.resident} is")
        answered = sum(party.status == "answer" for party in found.asked)
        return f"{answered} of {len(found.asked)}"


@event
@dataclass(frozen=True, kw_only=True)
class Restrict(Event):
    """A holder keeps fields or recipients out, whatever residents agree to."""

    holder: str
    name: str
    withheld: tuple[str, ...]
    refused: tuple[str, ...]
    weight = 1.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a holder of a consent that is there."""
        planned = draft.consent()
        if planned is None:
            return None
        refuse = draft.often(0.4)
        return cls(
            at_ms=at_ms,
            holder=draft.pick(planned.holders),
            name=planned.name,
            withheld=()
            if refuse
            else draft.some(needed(planned.name, planned.purposes[0]), 3),
            refused=draft.some(planned.recipients, 1) if refuse else (),
        )

    async def happen(self, scene: Scene) -> str:
        """Set the policy as `PUT /v1/datasets/{name}/policy` does."""
        if not scene.runs(self.holder):
            return ABSENT
        place = (self.holder, self.name)
        before = scene.truth.policy(*place)
        asked = Policy(frozenset(self.withheld), frozenset(self.refused))
        scene.truth.policies[place] = (*before, asked)
        setting = scene.people.set_policy(
            self.holder,
            self.name,
            HolderPolicy(
                withheld_fields=asked.withheld,
                refused=frozenset(map(NodeId, asked.refused)),
            ),
        )
        try:
            await scene.within(PATIENCE_S, setting)
        except Lost:
            raise
        except MachikuraError:
            scene.truth.policies[place] = before
            raise
        scene.truth.policies[place] = (asked,)
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Erase(Event):
    """A holder erases a person, whose records and links are then gone."""

    resident: str
    holder: str
    weight = 0.4

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a holder that knows the resident."""
        resident = draft.pick(sorted(draft.people))
        if not draft.links[resident]:
            return None
        holder = draft.pick(draft.links[resident])
        return cls(at_ms=at_ms, resident=resident, holder=holder)

    async def happen(self, scene: Scene) -> str:
        """Destroy the person's key."""
        if not scene.runs(self.holder):
            return ABSENT
        theirs = [
            kept
            for kept in scene.truth.records.values()
            if (kept.holder, kept.person) == (self.holder, self.resident)
        ]
        for kept in theirs:
            kept.erasing = True
        place = (self.resident, self.holder)
        scene.truth.erased.add(place)
        if place in scene.truth.links:
            scene.truth.links[place] = False
        erasing = scene.people.erase(self.holder, self.resident)
        if not await scene.within(PATIENCE_S, erasing):
            return "unknown there"
        for kept in theirs:
            kept.erased_ms = scene.now_ms()
        return "done"
