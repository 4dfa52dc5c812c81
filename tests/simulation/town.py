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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from federation.exchange import About, Answer, Refused, Target
from federation.simulation import Network, Weather, run
from identity.accounts import Accounts, Details
from identity.consent_store import ConsentEntry
from identity.residents import Residents
from identity.withdrawals import Told
from node.api.drafts import NewConsent, draft_of
from node.demo.canaries import spellings
from node.keys import IDENTITY, INDEX
from node.locator import Locator, Whereabouts
from node.parts import Parts
from node.reader import HolderAnswer, ReadRequest
from node.residents import ResidentDesk
from node.roles.holder import HolderDesk
from node.roles.locations import LocationDesk
from node.roles.provider import ProviderDesk
from protocol.answer import ReadResult
from protocol.consent import Evidence
from protocol.envelope import Kind
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass, Role
from protocol.provision import ProvisionRecord
from protocol.request import Query, Read, Warrant
from protocol.signature import digest_of
from protocol.suites import Suite
from tests.simulation.federation import Federation
from vault.keyring import SubjectId
from vault.ledger import KeptConsent
from vault.provisions import RefusalRecord
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
RELEASED = "released"
DAY_S = 86_400
MAX_AGE_S, SKEW_S = 60, 5
"""T and the clock skew that nodes allow, as in the default settings."""

TWO_FACTORS = Evidence(level=2, method="password+totp")
_MEMORY = Path("/dev/shm")  # Key files are synced to disk: a world has dozens.


@dataclass(frozen=True)
class Resident:
    """Somebody with an account at a home node."""

    home: str
    account: str


class Town:
    """Three cities with their people."""

    def __init__(self, federation: Federation) -> None:
        """Nobody lives here before `build`."""
        self.federation = federation
        self.network = federation.network
        self.clock = federation.clock
        self.people: dict[str, Resident] = {}

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

    # ------------------------------------------------------------------- parts

    def parts(self, node: str) -> Parts:
        """Return a node's parts."""
        return self.federation.parts(node)

    def desk(self, home: str = HALL) -> ResidentDesk:
        """Return where residents act."""
        found = self.parts(home).residents
        assert found is not None
        return found

    def locator(self, home: str = HALL) -> Locator:
        """Return who asks for residents where their data is."""
        found = self.parts(home).locator
        assert found is not None
        return found

    def locations(self, node: str) -> LocationDesk:
        """Return a holder's side of linking."""
        found = self.parts(node).locations
        assert found is not None
        return found

    def holder(self, node: str) -> HolderDesk:
        """Return who answers reads."""
        found = self.parts(node).holder
        assert found is not None
        return found

    def provider(self, node: str) -> ProviderDesk:
        """Return who pushes."""
        found = self.parts(node).provider
        assert found is not None
        return found

    def now(self) -> int:
        """Seconds since 1970."""
        return self.federation.now()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.sleep(seconds)

    # --------------------------------------------------------------- residents

    async def register(
        self, login: str = "hanako", name: str = "山田花子", home: str = HALL
    ) -> Resident:
        """Open an account, without the quarter of a second that a password costs."""
        node = self.federation.nodes[home]
        index = node.keys.secret(INDEX)
        accounts = Accounts(
            key=node.keys.secret(IDENTITY), index=index, entropy=node.chance
        )
        residents = Residents(accounts=accounts, index=index, entropy=node.chance)
        account = await node.database.write(
            lambda c: accounts.create(
                c, Details(login=login, name=name), "no password", now=self.now()
            )
        )
        await node.database.write(lambda c: residents.create(c, account))
        self.people[login] = Resident(home, account)
        return self.people[login]

    async def link(self, resident: Resident, holder: str, local_id: str) -> object:
        """Link a holder by one-time code."""
        desk = self.desk(resident.home)
        code = await desk.link_code(resident.account, NodeId(holder))
        locations = self.locations(holder)
        return await locations.claim(NodeId(resident.home), code, local_id)

    async def store(
        self, node: str, local_id: str, content: dict[str, Any], name: str = CHECKUP
    ) -> RecordId:
        """Store one record of a person."""
        parts = self.parts(node)
        now_ms = parts.world.clock.now_ms()

        def put(connection: Connection) -> RecordId:
            subject = parts.vault.subjects.ensure_local(connection, local_id, now_ms)
            return parts.vault.intake.store(
                connection, name, subject, content, now_ms=now_ms
            ).record

        return await parts.database.write(put)

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
        parts = self.parts(resident.home)
        asked = NewConsent.model_validate(values, strict=False)
        draft = draft_of(asked, parts.vault.types, parts.now())
        return await self.desk(resident.home).consent(resident.account, draft, evidence)

    async def consent(self, resident: Resident, **wish: Any) -> str:
        """Give a consent and wait until every recipient has it."""
        entry = await self.give(resident, **wish)
        for recipient in entry.draft.recipients:
            await self.received(recipient, entry.consent.jti)
        return entry.consent.jti

    async def received(self, node: str, consent: str, version: int = 1) -> KeptConsent:
        """Wait until a node has a consent in this version or a later one."""

        def there() -> bool:
            kept = self.kept(node, consent)
            return kept is not None and kept.consent.version >= version

        await self.federation.until(there)
        kept = self.kept(node, consent)
        assert kept is not None
        return kept

    def kept(self, node: str, consent: str) -> KeptConsent | None:
        """Return a consent as a node has received it."""
        parts = self.parts(node)
        return parts.database.read(lambda c: parts.vault.ledger.package(c, consent))

    async def withdraw(
        self, resident: Resident, consent: str, obligation: Any = "stop"
    ) -> None:
        """End a consent for good."""
        desk = self.desk(resident.home)
        await desk.withdraw(resident.account, consent, obligation)

    def told(self, resident: Resident, consent: str) -> dict[str, Told]:
        """Return who was told of a change, by party."""
        told = self.desk(resident.home).told(resident.account, consent)
        return {str(one.party): one for one in told}

    async def acknowledged(
        self, resident: Resident, consent: str, seconds: float = 60
    ) -> None:
        """Wait until everybody told has signed for it."""
        await self.federation.until(
            lambda: all(t.acknowledged for t in self.told(resident, consent).values()),
            seconds,
        )

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
        request = ReadRequest(
            DatasetTypeName(name), PurposeName(purpose), consent=consent, **wish
        )
        return await self.parts(node).reader.read(request)

    async def ask(
        self, node: str, target: Target | str, kind: Kind, query: Query, **more: Any
    ) -> Answer | Refused:
        """Carry out one exchange by hand."""
        parts = self.parts(node)
        if isinstance(target, str):
            target = await parts.addressbook.target(NodeId(target))
        return await parts.exchanges.ask(target, kind, query, **more)

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

    async def locate(self, resident: Resident, *, records: bool = False) -> Whereabouts:
        """Ask everybody where a resident's data is."""
        locator = self.locator(resident.home)
        return await locator.locate(resident.account, records=records)

    async def push(
        self,
        consent: str,
        sender: str = CLINIC,
        recipient: str = FAR_CLINIC,
        records: Sequence[RecordId] | None = None,
        purpose: str = TREATMENT,
        name: str = CHECKUP,
    ) -> None:
        """Queue a push."""
        await self.provider(sender).push(
            consent=consent,
            recipient=NodeId(recipient),
            purpose=PurposeName(purpose),
            dataset_type=DatasetTypeName(name),
            records=None if records is None else tuple(records),
        )

    # ----------------------------------------------------------------- looking

    def history(
        self, node: str, role: str | None = None
    ) -> list[ProvisionRecord | RefusalRecord]:
        """Return every release, arrival and refusal that a node has written down."""
        parts = self.parts(node)
        rows = parts.database.read(
            lambda c: parts.vault.provisions.between(c, 0, 1 << 50, 100_000)
        )
        return [row.record for row in rows if role in (None, row.record.role)]

    def provisions(self, node: str, role: str = "provision") -> list[ProvisionRecord]:
        """Return a node's releases, or its arrivals."""
        found = self.history(node, role)
        return [record for record in found if isinstance(record, ProvisionRecord)]

    def refusals(self, node: str) -> list[RefusalRecord]:
        """Return whom a node refused."""
        return [r for r in self.history(node) if isinstance(r, RefusalRecord)]

    def records_of(
        self, node: str, subject: str, name: str = CHECKUP, *, held: Held = Held.BOTH
    ) -> list[OpenRecord]:
        """Return the records about a subject that may be used."""
        parts = self.parts(node)
        return parts.database.read(
            lambda c: parts.vault.queries.of_subject(
                c, SubjectId(subject), name, held=held
            )
        )


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


def outcome(asked: Answer | Refused) -> str:
    """Return the code of a refusal, `released` for an answer."""
    return RELEASED if isinstance(asked, Answer) else asked.refusal.code


def said(answer: HolderAnswer) -> str:
    """Return what a holder said: a code, or `released`."""
    if isinstance(answer.outcome, Answer):
        return RELEASED
    if isinstance(answer.outcome, Refused):
        return answer.outcome.refusal.code
    return answer.outcome.code


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
        trust: settings of the table `trust`, for all nodes.
    """

    async def world(network: Network) -> T:
        with tempfile.TemporaryDirectory(dir=_folder()) as folder:
            town = Town(Federation(network, Path(folder), suite, trust))
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
