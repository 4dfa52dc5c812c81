# SPDX-License-Identifier: Apache-2.0
"""The requester's side of a federated read (requirement 3).

Under a consent, every holder that its package names is asked, each by its own exchange,
all at once. What comes back was verified and opened by `federation.exchange`; here it
is held to what was asked, and a reception record (APPI article 30) is on disk before
the caller sees anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection

from federation.exchange import About, Answer, Endpoint, Refused, Target
from identity.cache import Cache
from node.addressbook import Addressbook, NoWay
from node.database import Database
from node.freshening import Freshener
from node.proofs import Proofs
from protocol.answer import ReadResult
from protocol.canonical import parse_json
from protocol.envelope import Kind, Wait
from protocol.errors import MachikuraError, Misuse
from protocol.ids import CityId, DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import Credentials, DataClass
from protocol.problem import Refusal
from protocol.provision import ProvisionRecord
from protocol.request import MAX_BODY_BYTES, HolderTicket, Read, Warrant
from protocol.signature import digest_of
from vault.dataset_types import DatasetTypes
from vault.errors import NotFound
from vault.keyring import NOBODY
from vault.ledger import KeptConsent, Ledger
from vault.provisions import Provisions


@dataclass(frozen=True)
class ReadRequest:
    """What a local application asks for.

    Attributes:
        dataset_type, purpose: what and why.
        consent: id of a consent we received; None asks without (and is refused).
        holder: only this holder; None asks all that the consent names.
        fields, records, since, until, limit: as in `protocol.request.Read`.
        after: go on behind an answer: its `next`.
        attachments: tell what each record has attached.
        hops: brokers that may carry it; None for the setting.
        timeout_ms: None for the setting.
        data_class: overrides the class of the dataset type in the routing header.
    """

    dataset_type: DatasetTypeName
    purpose: PurposeName
    consent: str | None = None
    holder: NodeId | None = None
    fields: tuple[str, ...] | None = None
    records: tuple[RecordId, ...] | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    after: str | None = None
    attachments: bool = False
    hops: int | None = None
    timeout_ms: int | None = None
    data_class: DataClass | None = None


@dataclass(frozen=True)
class HolderAnswer:
    """What one holder said.

    Attributes:
        holder: its name; None when it stays hidden.
        outcome: verified answer or refusal.
    """

    holder: NodeId | None
    outcome: Answer | Refused | Refusal


_SILENT = frozenset({"no-route", "overloaded", "peer-unreachable", "timeout"})
"""Why a city could not say who one of its nodes is; all else is its answer."""


@dataclass(frozen=True)
class Asked:
    """One holder that a request concerns.

    Attributes:
        place: its place in the consent; 0 without one.
        city: of the holder.
        node: its name; None when it stays hidden.
        key: digest of a hidden holder's member key, by which it is known for now.
    """

    place: int
    city: CityId
    node: NodeId | None
    key: str = ""

    def ticket(self, holders: tuple[HolderTicket, ...]) -> HolderTicket:
        """Find the holder in a package, which may be a later one.

        Raises:
            NotFound: it is not there, or nobody can tell: a later package has fresh
                keys for hidden holders, and they stand in no order.
        """
        if self.node is not None:
            found = [t for t in holders if t.node == self.node]
        else:
            hidden = [t for t in holders if t.node is None and t.city == self.city]
            same = [t for t in hidden if _key_of(t) == self.key]
            found = same or (hidden if len(hidden) == 1 else [])
        if not found:
            raise NotFound("the consent names no such holder any more")
        return found[0]


@dataclass(frozen=True)
class Approach:
    """How to ask one holder under a consent, now.

    Attributes:
        target: the holder.
        warrant: with the freshest proof at hand.
        kept: the consent.
    """

    target: Target
    warrant: Warrant
    kept: KeptConsent

    @property
    def consent_digest(self) -> str:
        """The name of the consent's text."""
        return _name_of(self.warrant.consent)


@dataclass(frozen=True)
class Later:
    """For a read whose holder may be away.

    Attributes:
        wait: what the broker of the holder's city is asked.
        keep: keeps an answer, in the transaction that records its reception.
    """

    wait: Wait
    keep: Callable[[Connection, Answer], None]


def _key_of(ticket: HolderTicket) -> str:
    """Return the name of a hidden holder's key; empty where the holder has a name."""
    key = ticket.member_key
    return "" if key is None else digest_of(key.encode("ascii", "replace"))


class Reader:
    """Carries out federated reads."""

    def __init__(
        self,
        *,
        exchanges: Endpoint,
        addressbook: Addressbook,
        proofs: Proofs,
        fresh: Freshener,
        types: DatasetTypes,
        ledger: Ledger,
        provisions: Provisions,
        database: Database,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts."""
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._proofs = proofs
        self._types = types
        self._ledger = ledger
        self._provisions = provisions
        self._database = database
        self._now_ms = now_ms
        self._warrants: Cache[Warrant] = Cache(_WARRANTS)
        self._fresh = fresh

    def concerned(self, request: ReadRequest) -> list[Asked]:
        """Return the holders that a request would ask.

        Raises:
            NotFound: no such consent here, or it does not name the holder.
        """
        if request.consent is None:
            if request.holder is None:
                raise NotFound("name a consent or a holder")
            return [Asked(0, request.holder.city, request.holder)]
        asked = [
            Asked(place, CityId(ticket.city), ticket.node, _key_of(ticket))
            for place, ticket in enumerate(self._kept(request.consent).package.holders)
            if request.holder in (None, ticket.node)
        ]
        if not asked:
            raise NotFound("the consent names no such holder")
        return asked

    async def read_later(
        self, request: ReadRequest, asked: Asked, later: Later | None
    ) -> HolderAnswer:
        """Ask one holder, which may be away with `later`, with everything made afresh.

        Raises:
            MachikuraError: as `read`; or the answer could not be kept.
        """
        if request.consent is None:
            return await self._read_without(request, later)
        wait_ms = request.timeout_ms or self._exchanges.limits.deadline_ms
        by_ms = self._now_ms() + wait_ms
        kept = await self._fresh.ready(self._kept(request.consent), self._left_s(by_ms))
        ticket = asked.ticket(kept.package.holders)
        home, proof = await asyncio.gather(
            self._home(kept, by_ms), self._proof(kept, by_ms)
        )
        return await self._read_one(request, kept, ticket, proof, home, by_ms, later)

    def _kept(self, consent: str) -> KeptConsent:
        kept = self._database.read(lambda c: self._ledger.package(c, consent))
        if kept is None:
            raise NotFound("no such consent was received here")
        return kept

    async def read(self, request: ReadRequest) -> list[HolderAnswer]:
        """Ask every holder concerned.

        Raises:
            NotFound: no such consent here, or it does not name the holder.
            UnknownDatasetType: as named.
            NoWay: without consent, when the holder cannot be addressed.
        """
        if request.consent is None:
            return [await self._read_without(request)]
        wait_ms = request.timeout_ms or self._exchanges.limits.deadline_ms
        by_ms = self._now_ms() + wait_ms
        kept, tickets = await self._meant(request.consent, request.holder, by_ms)
        home, proof = await self._papers(kept, by_ms)
        reads = [self._read_one(request, kept, t, proof, home, by_ms) for t in tickets]
        return [await reads[0]] if len(reads) == 1 else await asyncio.gather(*reads)

    async def approach(
        self, consent: str, holder: NodeId | None, by_ms: int
    ) -> Approach | Refusal:
        """Return how to ask the one holder that a consent names, or that is meant.

        Args:
            consent: id of a consent received here.
            holder: which, where the consent names several.
            by_ms: deadline of what follows, epoch milliseconds.

        Raises:
            NotFound: no such consent here, or it does not name the holder.
            Misuse: it names several.
        """
        kept, tickets = await self._meant(consent, holder, by_ms)
        if len(tickets) > 1:
            raise Misuse("the consent names several holders: say which")
        home, proof = await self._papers(kept, by_ms)
        return await self._approach(kept, tickets[0], proof, home, by_ms)

    async def _meant(
        self, consent: str, holder: NodeId | None, by_ms: int
    ) -> tuple[KeptConsent, list[HolderTicket]]:
        """Return a consent, and how to reach the holders that are meant."""
        kept = await self._fresh.ready(self._kept(consent), self._left_s(by_ms))
        tickets = [
            ticket for ticket in kept.package.holders if holder in (None, ticket.node)
        ]
        if not tickets:
            raise NotFound("the consent names no such holder")
        return kept, tickets

    async def _papers(
        self, kept: KeptConsent, by_ms: int
    ) -> tuple[Credentials | None, str | None]:
        """Return the home node's credentials and the newest proof."""
        # Mostly both are at hand, and one holder is asked: no task, no timer then.
        home = self._addressbook.lasting(kept.package.home)
        proof = self._proofs.ready(kept.consent)
        if home is None or proof is None:
            home, proof = await asyncio.gather(
                self._home(kept, by_ms), self._proof(kept, by_ms)
            )
            # The proof may be the first that we see under new keys of the home node.
            home = self._addressbook.lasting(home) or home
        return home, proof

    async def _home(self, kept: KeptConsent, by_ms: int) -> Credentials | None:
        """Return the home node's credentials; old ones the holder will refuse."""
        shown = kept.package.home
        try:
            async with asyncio.timeout(self._left_s(by_ms)):
                return await self._addressbook.credentials(
                    NodeId(kept.consent.iss), shown
                )
        except (MachikuraError, TimeoutError):
            return shown

    async def _proof(self, kept: KeptConsent, by_ms: int) -> str | None:
        """Return the newest proof; a silent home node must not use up the deadline."""
        patience_s = self._left_s(by_ms) / 2
        return await self._proofs.fresh(kept.consent, patience_s=patience_s)

    def _left_s(self, by_ms: int) -> float:
        return max(0, by_ms - self._now_ms()) / 1000

    async def _read_without(
        self, request: ReadRequest, later: Later | None = None
    ) -> HolderAnswer:
        if request.holder is None:
            raise NotFound("name a consent or a holder")
        target = await self._addressbook.target(request.holder)
        outcome = await self._ask(
            request, target, None, None, request.timeout_ms, later
        )
        return HolderAnswer(request.holder, outcome)

    async def _read_one(
        self,
        request: ReadRequest,
        kept: KeptConsent,
        ticket: HolderTicket,
        proof: str | None,
        home: Credentials | None,
        by_ms: int,
        later: Later | None = None,
    ) -> HolderAnswer:
        way = await self._approach(kept, ticket, proof, home, by_ms)
        if isinstance(way, Refusal):
            return HolderAnswer(ticket.node, way)
        left_ms = max(1, by_ms - self._now_ms())
        outcome = await self._ask(
            request, way.target, way.warrant, kept, left_ms, later
        )
        return HolderAnswer(ticket.node, outcome)

    async def _approach(
        self,
        kept: KeptConsent,
        ticket: HolderTicket,
        proof: str | None,
        home: Credentials | None,
        by_ms: int,
    ) -> Approach | Refusal:
        """Return the target and the warrant, or why there is no way."""
        try:
            target = await self._target(kept, ticket, by_ms)
        except TimeoutError:
            return Refusal("timeout", "no way to the holder by the deadline")
        except MachikuraError as error:
            return Refusal(error.slug, error.detail)
        warrant = self._warrant(kept.package.consent, ticket.ticket, proof, home)
        return Approach(target, warrant, kept)

    def _warrant(
        self, consent: str, ticket: str, proof: str | None, home: Credentials | None
    ) -> Warrant:
        """Return the warrant, with its bytes, if it was shown before."""
        place = (consent, ticket, proof or "", "" if home is None else home.membership)
        known = self._warrants.get(*place)
        if known is not None and known.home == home:
            return known
        made = Warrant(consent=consent, ticket=ticket, proof=proof, home=home)
        return self._warrants.put(made, *place)

    async def _target(
        self, kept: KeptConsent, ticket: HolderTicket, by_ms: int
    ) -> Target:
        if ticket.node is None:
            return self._addressbook.hidden_target(ticket, kept.consent.jti)
        known = self._addressbook.known_target(ticket.node)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self._left_s(by_ms) / 2):
                return await self._addressbook.target(ticket.node)
        except (NoWay, TimeoutError) as error:
            # Its city cannot be asked just now: the package shows who it is as well.
            silent = isinstance(error, TimeoutError) or error.slug in _SILENT
            if ticket.membership is None or not silent:
                raise
        self._addressbook.shown(ticket.node, ticket.membership)
        async with asyncio.timeout(self._left_s(by_ms)):
            return await self._addressbook.target(ticket.node)

    async def _ask(
        self,
        request: ReadRequest,
        target: Target,
        warrant: Warrant | None,
        kept: KeptConsent | None,
        timeout_ms: int | None,
        later: Later | None,
    ) -> Answer | Refused | Refusal:
        dataset = self._types.get(request.dataset_type)
        digest = None if warrant is None else _name_of(warrant.consent)
        outcome = await self._exchanges.ask(
            target,
            Kind.READ,
            Read(
                warrant=warrant,
                fields=request.fields,
                records=request.records,
                since=request.since,
                until=request.until,
                limit=request.limit,
                after=request.after,
                attachments=request.attachments or None,
            ),
            About(
                request.dataset_type,
                request.purpose,
                request.data_class or dataset.data_class,
                digest,
            ),
            hops=request.hops,
            timeout_ms=timeout_ms,
            wait=None if later is None else later.wait,
        )
        if not isinstance(outcome, Answer):
            return outcome
        if not isinstance(outcome.result, ReadResult):
            return Refusal("answer-invalid", "no records in the answer", outcome.by)
        try:
            _hold(outcome.result, request)
        except MachikuraError as error:
            return Refusal("answer-invalid", error.detail, outcome.by)
        await self._record(request, outcome, outcome.result, kept, later)
        return outcome

    async def _record(
        self,
        request: ReadRequest,
        answer: Answer,
        result: ReadResult,
        kept: KeptConsent | None,
        later: Later | None,
    ) -> None:
        record = ProvisionRecord(
            role="reception",
            exchange=answer.exchange,
            at_ms=self._now_ms(),
            counterparty=answer.by,
            consent="" if kept is None else kept.consent.jti,
            consent_version=0 if kept is None else kept.consent.version,
            purpose=request.purpose,
            dataset_type=request.dataset_type,
            fields=result.fields,
            records=tuple(r.id for r in result.records),
            request=answer.request,
            answer=answer.digest,
            repeat=answer.repeat,
            route=tuple(str(h.by) for h in answer.hops),
        )
        subject = NOBODY if kept is None else kept.subject
        if later is None:
            await self._database.write(
                lambda c: self._provisions.write(c, subject, record)
            )
            return
        keep = later.keep

        def write(connection: Connection) -> None:
            self._provisions.write(connection, subject, record)
            keep(connection, answer)

        await self._database.write(write)


_WARRANTS = 256
"""How many warrants are kept as written: 10 kB each, and each serves for seconds."""


@lru_cache(maxsize=1024)
def _name_of(consent: str) -> str:
    return digest_of(consent.encode("ascii"))


class _Beyond(MachikuraError):
    """An answer that holds what was not asked for."""

    slug = "answer-invalid"


def _hold(result: ReadResult, request: ReadRequest) -> None:
    """Hold an answer to the request: a holder must not push more than was asked."""
    released = set(result.fields)
    if request.fields is not None and not released <= set(request.fields):
        raise _Beyond("fields that were not asked for")
    for record in result.records:
        if record.dataset_type != request.dataset_type:
            raise _Beyond("records of another type")
        # Strictly: the application gets the text as it is.
        content = parse_json(record.content.encode(), max_bytes=MAX_BODY_BYTES)
        if not isinstance(content, dict) or not content.keys() <= released:
            raise _Beyond("fields beyond those it declares")
        if {a.field for a in record.attachments or ()} - released:
            raise _Beyond("attachments of fields that were not released")
