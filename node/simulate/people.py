# SPDX-License-Identifier: Apache-2.0
"""What people and organizations do in a simulated federation.

Each act calls the desk that the HTTP interface calls, one layer below it, and runs the
production code from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from federation.exchange import Answer, Refused, Target
from identity.accounts import Accounts, Details
from identity.consent_store import ConsentEntry
from identity.residents import Residents
from identity.withdrawals import Told
from node.api.drafts import NewConsent, draft_of
from node.keys import IDENTITY, INDEX
from node.locator import Locator, Whereabouts
from node.parts import Parts
from node.reader import HolderAnswer, ReadRequest
from node.residents import ResidentDesk
from node.roles.holder import HolderDesk
from node.roles.locations import LocationDesk
from node.roles.provider import ProviderDesk
from node.simulate.federation import Federation
from protocol.consent import Evidence
from protocol.decision import HolderPolicy
from protocol.envelope import Kind
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.provision import ProvisionRecord
from protocol.request import Query
from vault.keyring import SubjectId
from vault.ledger import KeptConsent
from vault.provisions import RefusalRecord
from vault.queries import Held
from vault.sealed_record import OpenRecord

T = TypeVar("T")

RELEASED = "released"
TWO_FACTORS = Evidence(level=2, method="password+totp")


@dataclass(frozen=True)
class Resident:
    """Somebody with an account at a home node."""

    home: str
    account: str


class People:
    """Residents, operators and applications of a federation's nodes."""

    def __init__(self, federation: Federation) -> None:
        """Nobody has an account yet."""
        self.federation = federation
        self.network = federation.network
        self.clock = federation.clock
        self.people: dict[str, Resident] = {}

    # ------------------------------------------------------------------- parts

    def parts(self, node: str) -> Parts:
        """Return a node's parts."""
        return self.federation.parts(node)

    def desk(self, home: str) -> ResidentDesk:
        """Return where residents act."""
        return _found(self.parts(home).residents)

    def locator(self, home: str) -> Locator:
        """Return who asks for residents where their data is."""
        return _found(self.parts(home).locator)

    def locations(self, node: str) -> LocationDesk:
        """Return a holder's side of linking."""
        return _found(self.parts(node).locations)

    def holder(self, node: str) -> HolderDesk:
        """Return who answers reads."""
        return _found(self.parts(node).holder)

    def provider(self, node: str) -> ProviderDesk:
        """Return who pushes."""
        return _found(self.parts(node).provider)

    def now(self) -> int:
        """Seconds since 1970."""
        return self.federation.now()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.sleep(seconds)

    # --------------------------------------------------------------- residents

    async def register(self, login: str, name: str, home: str) -> Resident:
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
        self, node: str, local_id: str, content: dict[str, Any], name: str
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

    async def set_policy(self, node: str, name: str, policy: HolderPolicy) -> None:
        """Let a holder keep something back."""
        parts = self.parts(node)
        types, now_ms = parts.vault.types, parts.world.clock.now_ms()
        await parts.database.write(
            lambda c: types.set_policy(c, DatasetTypeName(name), policy, now_ms)
        )
        parts.database.read(types.load)

    async def erase(self, node: str, local_id: str) -> bool:
        """Erase a person at a holder; return False where nobody has this local id."""
        parts = self.parts(node)
        vault, now_ms = parts.vault, parts.world.clock.now_ms()
        find = vault.subjects.find_local
        subject = parts.database.read(lambda c: find(c, local_id))
        if subject is None:
            return False
        await parts.database.write(lambda c: vault.erasure.erase(c, subject, now_ms))
        vault.keyring.forget(subject)
        return True

    # ---------------------------------------------------------------- consents

    async def grant(
        self,
        resident: Resident,
        wish: Mapping[str, Any],
        evidence: Evidence = TWO_FACTORS,
    ) -> ConsentEntry:
        """Give a consent, as written in the body of `POST /v1/me/consents`."""
        parts = self.parts(resident.home)
        asked = NewConsent.model_validate(dict(wish), strict=False)
        draft = draft_of(asked, parts.vault.types, parts.now())
        return await self.desk(resident.home).consent(resident.account, draft, evidence)

    async def received(self, node: str, consent: str, version: int = 1) -> KeptConsent:
        """Wait until a node has a consent in this version or a later one."""

        def there() -> bool:
            kept = self.kept(node, consent)
            return kept is not None and kept.consent.version >= version

        await self.federation.until(there)
        return _found(self.kept(node, consent))

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

    async def read_all(
        self,
        node: str,
        consent: str | None,
        name: str,
        purpose: str,
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

    async def locate(self, resident: Resident, *, records: bool = False) -> Whereabouts:
        """Ask everybody where a resident's data is."""
        locator = self.locator(resident.home)
        return await locator.locate(resident.account, records=records)

    async def push(
        self,
        consent: str,
        sender: str,
        recipient: str,
        name: str,
        purpose: str,
        records: Sequence[RecordId] | None = None,
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
        self, node: str, subject: str, name: str, *, held: Held = Held.BOTH
    ) -> list[OpenRecord]:
        """Return the records about a subject that may be used."""
        parts = self.parts(node)
        return parts.database.read(
            lambda c: parts.vault.queries.of_subject(
                c, SubjectId(subject), name, held=held
            )
        )


def _found(part: T | None) -> T:
    if part is None:
        raise Misuse("the node has not the role for this")
    return part


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
