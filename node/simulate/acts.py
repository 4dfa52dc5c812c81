# SPDX-License-Identifier: Apache-2.0
"""What residents decide: accounts, links, consents, pauses, withdrawals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from node.simulate.cast import Person, content
from node.simulate.draft import Draft, Planned
from node.simulate.events import Event, event
from node.simulate.people import TWO_FACTORS
from node.simulate.scene import ABSENT, Lost, Scene
from node.simulate.truth import Agreed, Kept, needed, purposes
from protocol.errors import MachikuraError
from protocol.problem import Refusal

PATIENCE_S = 40.0
"""Longer than any act takes whose node lives."""


@event
@dataclass(frozen=True, kw_only=True)
class Register(Event):
    """A resident opens an account."""

    resident: str
    home: str
    weight = 0.5

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self:
        """Choose any hall."""
        name, home = f"newcomer{draft.number()}", draft.pick(draft.cast.halls)
        draft.people[name] = Person(name, home)
        draft.links[name] = []
        return cls(at_ms=at_ms, resident=name, home=home)

    async def happen(self, scene: Scene) -> str:
        """Register."""
        if not scene.runs(self.home):
            return ABSENT
        register = scene.people.register(self.resident, self.resident, self.home)
        scene.persons[self.resident] = await scene.within(PATIENCE_S, register)
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Bind(Event):
    """A resident links a holder with a one-time code."""

    resident: str
    holder: str
    weight = 1.5

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a holder that does not know the resident yet."""
        resident = draft.pick(sorted(draft.people))
        linked = draft.links[resident]
        free = [o for o in draft.cast.organizations if o not in linked]
        holder = draft.pick(free)
        linked.append(holder)
        return cls(at_ms=at_ms, resident=resident, holder=holder)

    async def happen(self, scene: Scene) -> str:
        """Draw a code, show it at the holder."""
        resident = scene.persons.get(self.resident)
        if resident is None or not all(map(scene.runs, (resident.home, self.holder))):
            return ABSENT
        place = (self.resident, self.holder)
        was = scene.truth.links.get(place)
        scene.truth.links[place] = bool(was)
        linking = scene.people.link(resident, self.holder, self.resident)
        outcome = await scene.within(PATIENCE_S, linking)
        if isinstance(outcome, Refusal):
            return outcome.code
        scene.truth.links[place] = True
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Store(Event):
    """A holder stores a record of a resident."""

    resident: str
    holder: str
    serial: int
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a holder that the resident links."""
        resident = draft.pick(sorted(draft.people))
        if not draft.links[resident]:
            return None
        holder = draft.pick(draft.links[resident])
        return cls(at_ms=at_ms, resident=resident, holder=holder, serial=draft.number())

    async def happen(self, scene: Scene) -> str:
        """Store it; from the acknowledgement on it must not get lost."""
        if not scene.runs(self.holder):
            return ABSENT
        name = scene.cast.type_of(self.holder)
        record = content(name, self.serial)
        kept = Kept(self.holder, self.resident, name, record)
        scene.truth.records[f"unsure {self.serial}"] = kept
        storing = scene.people.store(self.holder, self.resident, record, name)
        try:
            number = await scene.within(PATIENCE_S, storing)
        except Lost:
            raise
        except MachikuraError:
            del scene.truth.records[f"unsure {self.serial}"]
            raise
        del scene.truth.records[f"unsure {self.serial}"]
        kept.sure = True
        scene.truth.records[number] = kept
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Give(Event):
    """A resident consents."""

    consent: str
    resident: str
    holders: tuple[str, ...]
    recipients: tuple[str, ...]
    name: str
    purposes: tuple[str, ...]
    fields: tuple[str, ...] | None
    operations: tuple[str, ...]
    hidden: bool
    life_s: int
    weight = 5.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose holders of one type, recipients anywhere, and a purpose or two."""
        resident = draft.pick(sorted(draft.people))
        linked = draft.links[resident]
        if not linked:
            return None
        name = draft.cast.type_of(draft.pick(linked))
        holders = draft.some([h for h in linked if draft.cast.type_of(h) == name], 2)
        # Mostly somebody who may use it; sometimes anybody.
        among = (
            draft.cast.organizations if draft.often(0.2) else draft.cast.keepers(name)
        )
        others = [o for o in among if o not in holders]
        if not others:
            return None
        chosen = draft.some(purposes(name), 2)
        all_needed = sorted({f for p in chosen for f in needed(name, p)})
        planned = Planned(
            key=f"c{draft.number()}",
            at_ms=at_ms,
            resident=resident,
            holders=holders,
            recipients=draft.some(others, 3),
            name=name,
            purposes=chosen,
            push=draft.often(0.4),
            hidden=draft.often(0.2),
        )
        draft.consents.append(planned)
        both, read = ("store", "share"), ("share",)
        return cls(
            at_ms=at_ms,
            consent=planned.key,
            resident=resident,
            holders=holders,
            recipients=planned.recipients,
            name=name,
            purposes=chosen,
            fields=draft.some(all_needed, 4) if draft.often(0.3) else None,
            operations=both if planned.push else read,
            hidden=planned.hidden,
            life_s=draft.pick((60, 86_400, 86_400, 86_400)),
        )

    async def happen(self, scene: Scene) -> str:
        """Give it, as the portal would."""
        resident = scene.persons.get(self.resident)
        if resident is None or not scene.runs(resident.home):
            return ABSENT
        home_s = scene.parts(resident.home).now()
        agreed = self._agreed(resident.home, (home_s + self.life_s) * 1000)
        agreed.possible.set(scene.now_ms(), holds=True)
        scene.truth.attempts.append(agreed)
        wish = {
            "recipients": list(self.recipients),
            "holders": list(self.holders),
            "scope": [self._scope()],
            "purposes": list(self.purposes),
            "operations": list(self.operations),
            "ends": home_s + self.life_s,
            "hidden_holder": self.hidden,
        }
        giving = scene.people.grant(resident, wish, TWO_FACTORS)
        entry = await scene.within(PATIENCE_S, giving)
        agreed.certain.set(scene.now_ms(), holds=True)
        scene.truth.attempts.remove(agreed)
        scene.truth.consents[entry.consent.jti] = agreed
        scene.consents[self.consent] = entry.consent.jti
        return "done"

    def _scope(self) -> dict[str, object]:
        chosen = {} if self.fields is None else {"fields": list(self.fields)}
        return {"dataset_type": self.name, **chosen}

    def _agreed(self, home: str, ends_ms: int) -> Agreed:
        return Agreed(
            person=self.resident,
            home=home,
            holders=frozenset(self.holders),
            recipients=frozenset(self.recipients),
            fields={self.name: None if self.fields is None else frozenset(self.fields)},
            purposes=frozenset(self.purposes),
            read="share" in self.operations,
            push="store" in self.operations,
            hidden=self.hidden,
            ends_ms=ends_ms,
        )


@event
@dataclass(frozen=True, kw_only=True)
class Withdraw(Event):
    """A resident ends a consent for good."""

    consent: str
    obligation: Literal["stop", "delete"]
    weight = 3.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent."""
        planned = draft.consent()
        if planned is None:
            return None
        draft.ending.append(planned.key)
        obligation: Literal["stop", "delete"] = "delete" if draft.often(0.5) else "stop"
        return cls(at_ms=at_ms, consent=planned.key, obligation=obligation)

    async def happen(self, scene: Scene) -> str:
        """Withdraw it; from the acknowledgement on T counts."""
        found = scene.agreed(self.consent)
        if found is None or not scene.runs(found[1].home):
            return ABSENT
        consent, agreed = found
        resident = scene.persons[agreed.person]
        agreed.certain.set(scene.now_ms(), holds=False)
        withdrawing = scene.people.withdraw(resident, consent, self.obligation)
        try:
            await scene.within(PATIENCE_S, withdrawing)
        except Lost:
            agreed.disturbed = True
            raise
        agreed.possible.set(scene.now_ms(), holds=False)
        agreed.ended = True
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Pause(Event):
    """A resident stops a consent for a while."""

    consent: str
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent."""
        planned = draft.consent()
        if planned is None:
            return None
        draft.ending.append(planned.key)
        return cls(at_ms=at_ms, consent=planned.key)

    async def happen(self, scene: Scene) -> str:
        """Pause it."""
        found = scene.agreed(self.consent)
        if found is None or not scene.runs(found[1].home):
            return ABSENT
        consent, agreed = found
        desk = scene.people.desk(agreed.home)
        agreed.certain.set(scene.now_ms(), holds=False)
        pausing = desk.pause(scene.persons[agreed.person].account, consent)
        try:
            await scene.within(PATIENCE_S, pausing)
        except Lost:
            agreed.disturbed = True
            raise
        except MachikuraError:
            agreed.certain.take_back()
            raise
        agreed.possible.set(scene.now_ms(), holds=False)
        return "done"


@event
@dataclass(frozen=True, kw_only=True)
class Resume(Event):
    """A resident lets a paused consent go on."""

    consent: str
    weight = 2.0

    @classmethod
    def plan(cls, draft: Draft, at_ms: int) -> Self | None:
        """Choose a consent that an event before has stopped."""
        if not draft.ending:
            return None
        return cls(at_ms=at_ms, consent=draft.pick(draft.ending))

    async def happen(self, scene: Scene) -> str:
        """Resume it; the consent has a new version."""
        found = scene.agreed(self.consent)
        if found is None or not scene.runs(found[1].home):
            return ABSENT
        consent, agreed = found
        agreed.possible.set(scene.now_ms(), holds=True)
        desk = scene.people.desk(agreed.home)
        account = scene.persons[agreed.person].account
        try:
            await scene.within(PATIENCE_S, desk.resume(account, consent, TWO_FACTORS))
        except Lost:
            agreed.disturbed = True
            raise
        except MachikuraError:
            agreed.possible.take_back()  # It was not paused, or has ended for good.
            raise
        agreed.certain.set(scene.now_ms(), holds=True)
        return "done"
