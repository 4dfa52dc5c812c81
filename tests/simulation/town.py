# SPDX-License-Identifier: Apache-2.0
"""The cast of the simulated stories, and what they do.

    def test_something() -> None:
        async def story(town: Town) -> None:
            hanako = await town.resident_with_checkups()
            consent = await town.consent(hanako)
            assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

        play(story)

Three cities in a row: hoshino - minato - yamanami. Hanako lives in Hoshino, her
checkups are at its clinic, and a clinic in Yamanami would like to read them. All of it
runs the code that the HTTP interface calls, one layer below it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from federation.exchange import About, Answer, Refused
from federation.simulation import Network, Weather, run
from identity.consent_store import ConsentEntry
from node.demo.canaries import spellings
from node.locator import Locator
from node.reader import HolderAnswer
from node.residents import ResidentDesk
from node.simulate.federation import Federation
from node.simulate.people import RELEASED as RELEASED
from node.simulate.people import TWO_FACTORS as TWO_FACTORS
from node.simulate.people import People
from node.simulate.people import Resident as Resident
from node.simulate.people import outcome as outcome
from node.simulate.people import said as said
from protocol.answer import ReadResult
from protocol.consent import Evidence
from protocol.envelope import Kind
from protocol.ids import DatasetTypeName, PurposeName, RecordId
from protocol.membership import DataClass, Role
from protocol.request import Read, Warrant
from protocol.signature import digest_of
from protocol.suites import Suite
from vault.queries import Held
from vault.sealed_record import OpenRecord

T = TypeVar("T")

HALL, OTHER_HALL = "hoshino/hall", "minato/hall"
CLINIC, MARKET = "hoshino/clinic", "hoshino/market"
FAR_CLINIC, FAR_BOSAI = "yamanami/clinic", "yamanami/bosai"
BROKER, TRANSIT, FAR_BROKER = "hoshino/broker", "minato/broker", "yamanami/broker"
CITIES = ("hoshino", "minato", "yamanami")
CHECKUP = DatasetTypeName("health.checkup")
PURCHASE = DatasetTypeName("shopping.purchase")
TREATMENT = PurposeName("treatment")
MEDICAL = ("medical-institution",)
DAY_S = 86_400
MAX_AGE_S, SKEW_S = 60, 5
"""T and the clock skew that nodes allow, as in the default settings."""

_MEMORY = Path("/dev/shm")  # Key files are synced to disk: a world has dozens.


class Town(People):
    """Three cities with their people; what is left out is the usual."""

    async def build(self) -> None:
        """Found the cities and admit every node; nothing runs yet."""
        world = self.federation
        for city in CITIES:
            await world.city(city)
        await world.node(HALL, Role.IDENTITY)
        await world.node(OTHER_HALL, Role.IDENTITY)
        await world.node(CLINIC, Role.VAULT, qualifications=MEDICAL)
        await world.node(MARKET, Role.VAULT)
        await world.node(FAR_CLINIC, Role.VAULT, qualifications=MEDICAL)
        await world.node(FAR_BOSAI, Role.VAULT)
        await world.agree("hoshino", "minato")
        await world.agree("yamanami", "minato")

    def desk(self, home: str = HALL) -> ResidentDesk:
        """Return where residents act."""
        return super().desk(home)

    def locator(self, home: str = HALL) -> Locator:
        """Return who asks for residents where their data is."""
        return super().locator(home)

    # --------------------------------------------------------------- residents

    async def register(
        self, login: str = "hanako", name: str = "山田花子", home: str = HALL
    ) -> Resident:
        """Open an account."""
        return await super().register(login, name, home)

    async def store(
        self, node: str, local_id: str, content: dict[str, Any], name: str = CHECKUP
    ) -> RecordId:
        """Store one record of a person."""
        return await super().store(node, local_id, content, name)

    async def resident_with_checkups(
        self,
        count: int = 2,
        *,
        login: str = "hanako",
        local_id: str = "H-1",
        holder: str = CLINIC,
    ) -> Resident:
        """Register somebody with checkups at a linked clinic."""
        resident = await self.register(login)
        for number in range(count):
            await self.store(holder, local_id, checkup(number))
        await self.link(resident, holder, local_id)
        return resident

    # ---------------------------------------------------------------- consents

    async def give(
        self, resident: Resident, *, evidence: Evidence = TWO_FACTORS, **wish: Any
    ) -> ConsentEntry:
        """Give a consent; by default to the far clinic, for checkups, for 30 days."""
        values: dict[str, Any] = {
            "recipients": [FAR_CLINIC],
            "holders": [CLINIC],
            "scope": [{"dataset_type": CHECKUP}],
            "purposes": [TREATMENT],
            "ends": self.now() + 30 * DAY_S,
            **wish,
        }
        return await self.grant(resident, values, evidence)

    async def consent(self, resident: Resident, **wish: Any) -> str:
        """Give a consent and wait until every recipient has it."""
        entry = await self.give(resident, **wish)
        for recipient in entry.draft.recipients:
            await self.received(recipient, entry.consent.jti)
        return entry.consent.jti

    # --------------------------------------------------------------- exchanges

    async def read(
        self,
        node: str,
        consent: str | None = None,
        name: str = CHECKUP,
        purpose: str = TREATMENT,
        **wish: Any,
    ) -> HolderAnswer:
        """Read from the one holder concerned."""
        (answer,) = await self.read_all(node, consent, name, purpose, **wish)
        return answer

    async def read_all(
        self,
        node: str,
        consent: str | None,
        name: str = CHECKUP,
        purpose: str = TREATMENT,
        **wish: Any,
    ) -> list[HolderAnswer]:
        """Read from every holder concerned."""
        return await super().read_all(node, consent, name, purpose, **wish)

    async def read_by_hand(
        self, node: str, warrant: Warrant, holder: str = CLINIC, **about: Any
    ) -> str:
        """Read under a warrant of one's own making; return what was said."""
        stated: dict[str, Any] = {
            "dataset_type": CHECKUP,
            "purpose": TREATMENT,
            "data_class": DataClass.SPECIAL_CARE,
            "consent": digest_of(warrant.consent.encode()),
            **about,
        }
        asked = await self.ask(
            node, holder, Kind.READ, Read(warrant=warrant), about=About(**stated)
        )
        return outcome(asked)

    async def warrant(self, node: str, consent: str, ticket: int = 0) -> Warrant:
        """Return what makes a read lawful, as this node would send it."""
        kept = self.kept(node, consent)
        assert kept is not None
        proof = await self.parts(node).proofs.fresh(kept.consent)
        return Warrant(
            consent=kept.package.consent,
            ticket=kept.package.holders[ticket].ticket,
            proof=proof,
            home=kept.package.home,
        )

    async def push(
        self,
        consent: str,
        sender: str = CLINIC,
        recipient: str = FAR_CLINIC,
        name: str = CHECKUP,
        purpose: str = TREATMENT,
        records: Sequence[RecordId] | None = None,
    ) -> None:
        """Queue a push."""
        await super().push(consent, sender, recipient, name, purpose, records)

    def records_of(
        self, node: str, subject: str, name: str = CHECKUP, *, held: Held = Held.BOTH
    ) -> list[OpenRecord]:
        """Return the records about a subject that may be used."""
        return super().records_of(node, subject, name, held=held)


def checkup(number: int = 0, **more: Any) -> dict[str, Any]:
    """Return the content of a checkup; its `note` serves no medical purpose."""
    return {
        "date": f"2026-{1 + number % 12:02}-01",
        "facility_name": "星野クリニック",
        "systolic_mmhg": 110 + number % 80,
        "hba1c_percent": 5.4,
        "note": "for the clinic only",
        **more,
    }


def result_of(answer: HolderAnswer) -> ReadResult:
    """Return what was released; fails where nothing was."""
    assert isinstance(answer.outcome, Answer), said(answer)
    assert isinstance(answer.outcome.result, ReadResult)
    return answer.outcome.result


def hops_of(answer: HolderAnswer) -> list[str]:
    """Return the brokers that carried a read."""
    assert isinstance(answer.outcome, Answer | Refused)
    return [str(hop.by) for hop in answer.outcome.hops]


def play(
    story: Callable[[Town], Awaitable[T]],
    *,
    seed: int = 0,
    weather: Weather | None = None,
    suite: Suite = Suite.HYBRID,
    build: Callable[[Town], Awaitable[None]] | None = None,
    limit_s: float = 40 * DAY_S,
    wait_for_all: bool = True,
    evidence: Mapping[str, float] | None = None,
    **trust: int,
) -> T:
    """Play a story in a fresh town, on virtual time.

    Args:
        story: what happens once everybody knows everybody.
        seed: decides every delay, fault and random byte.
        weather: how bad the network is.
        suite: of all cities.
        build: founds other cities than the usual three.
        limit_s: virtual seconds after which the world is taken to hang.
        wait_for_all: start the story only when every node knows every city.
        evidence: settings of the table `evidence`, for all nodes.
        trust: settings of the table `trust`, for all nodes.
    """

    async def world(network: Network) -> T:
        with tempfile.TemporaryDirectory(dir=_folder()) as folder:
            town = Town(Federation(network, Path(folder), suite, trust, evidence))
            try:
                await (town.build() if build is None else build(town))
                await town.federation.start()
                if wait_for_all:
                    await town.federation.settled()
                return await story(town)
            finally:
                await town.federation.close()

    return run(world, seed=seed, weather=weather, limit_s=limit_s)


def _folder() -> Path | None:
    return _MEMORY if _MEMORY.is_dir() else None


def stands_in(text: str, data: bytes) -> bool:
    """Tell whether a string stands in `unfolded` bytes, plain or encoded."""
    return any(form in data for form in spellings(text))
