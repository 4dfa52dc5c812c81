# SPDX-License-Identifier: Apache-2.0
"""Routes of our own exchanges: kept, proven by the brokers, audited by chance.

Each exchange that we asked or answered leaves its chain of hop records, gathered in
memory and written with the batches. A share of them, drawn afterwards, is audited: each
broker on the way is asked for its signed word. One that denies or contradicts a record,
or does not answer in the end, raises an alarm.

The sender asks the brokers one by one. The receiver asks its own alone, which asks
those before it: by asking them itself it would tell them who it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from federation.evidence import Finding
from federation.exchange import Answer, Endpoint
from federation.route_store import KeptRoute, RouteStore
from node.addressbook import Addressbook
from node.evidence.parties import Journal
from protocol import hop
from protocol.answer import HopProofs
from protocol.envelope import Kind, RoutingHeader
from protocol.errors import MachikuraError
from protocol.hop import HopRecord
from protocol.ids import ExchangeId, NodeId
from protocol.membership import Credentials, Membership
from protocol.request import HopProofQuery
from protocol.route_proof import HopProof, Verdict, judge

_logger = logging.getLogger(__name__)

_MAX_FRESH = 65_536
_MAX_AUDITS = 1_000
_TRIES = 5
_AGAIN_S = 60.0

_Note: TypeAlias = tuple[int, bool, RoutingHeader, str, bytes]
"""When, whether we asked, the header, its digest, the chain."""
_WORST = (Verdict.OTHER, Verdict.UNKNOWN, Verdict.SILENT, Verdict.PROVEN)
_KIND = {
    Verdict.OTHER: "route-contradicted",
    Verdict.UNKNOWN: "route-denied",
    Verdict.SILENT: "route-unproven",
}


@dataclass(frozen=True)
class ProvenHop:
    """One hop record, and what is known of it."""

    record: HopRecord
    verdict: Verdict
    proof: HopProof | None


@dataclass(frozen=True)
class ProvenRoute:
    """A route with its verdicts; `worst` is that of the whole."""

    kept: KeptRoute
    hops: tuple[ProvenHop, ...]

    @property
    def worst(self) -> Verdict:
        """Return the verdict that counts."""
        found = {one.verdict for one in self.hops}
        return next((v for v in _WORST if v in found), Verdict.SILENT)


@dataclass
class _Audit:
    exchange: ExchangeId
    asked: bool
    due_ms: int
    tries: int = 0


class RouteDesk:
    """The routes of one node."""

    def __init__(
        self,
        *,
        journal: Journal,
        routes: RouteStore,
        exchanges: Endpoint,
        addressbook: Addressbook,
        entropy: Callable[[int], bytes],
        share: float,
    ) -> None:
        """Take the parts.

        Args:
            journal: the node's evidence.
            routes: keeps routes.
            exchanges: asks brokers.
            addressbook: finds them.
            entropy: draws what is audited; nobody can know it before.
            share: of exchanges that are audited, 0 to 1.
        """
        self._journal = journal
        self._routes = routes
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._entropy = entropy
        self._share = share
        self._fresh: list[_Note] = []
        self._audits: deque[_Audit] = deque()
        self._drawn = asyncio.Event()

    def note(
        self, asked: bool, header: RoutingHeader, request: str, chain: bytes
    ) -> None:
        """Note the route of an exchange; on the path of every exchange."""
        # Housekeeping leaves none: else each audit would be one to audit.
        if header.kind is Kind.MANAGE or len(self._fresh) >= _MAX_FRESH:
            return
        now_ms = self._journal.now_ms()
        self._fresh.append((now_ms, asked, header, request, chain))
        self._journal.wake(False)

    async def make(self) -> None:
        """Write what was noted, and draw what is audited."""
        while self._fresh:
            notes = self._fresh[:4096]
            await self._miss(notes)
            kept = [
                KeptRoute(
                    exchange=header.id,
                    asked=asked,
                    at_ms=at_ms,
                    request=request,
                    chain=chain.decode(),
                )
                for at_ms, asked, header, request, chain in notes
                if chain
            ]
            await self._journal.database.write(
                partial(self._routes.add_routes, kept=kept)
            )
            del self._fresh[: len(notes)]
            self._draw(kept)

    async def _miss(self, notes: list[_Note]) -> None:
        """Name exchanges from other cities that came without any hop record."""
        own = self._journal.node.city
        for _, asked, header, _, chain in notes:
            if chain or asked or header.sender.city == own:
                continue
            detail = "it came from another city and no broker stands in its chain"
            finding = Finding("route-missing", header.id, detail)
            await self._journal.alarms.tell(header.sender, [finding])

    def _draw(self, kept: list[KeptRoute]) -> None:
        if not self._share:
            return
        chance = self._entropy(4 * len(kept))
        due_ms = self._journal.now_ms() + round(2_000 * self._journal.limits.batch_s)
        for place, route in enumerate(kept):
            drawn = int.from_bytes(chance[4 * place : 4 * place + 4], "big") / 2**32
            if drawn < self._share and len(self._audits) < _MAX_AUDITS:
                self._audits.append(_Audit(route.exchange, route.asked, due_ms))
                self._drawn.set()

    async def run(self) -> None:
        """Audit what was drawn, one after the other, for ever."""
        while True:
            await self._drawn.wait()
            if not self._audits:
                self._drawn.clear()
                continue
            audit = self._audits.popleft()
            wait_ms = audit.due_ms - self._journal.now_ms()
            await self._journal.clock.sleep(max(0.0, wait_ms / 1000))
            try:
                await self._audit(audit)
            except MachikuraError as error:
                _logger.warning("audit of %s: %s", audit.exchange, error.slug)

    async def _audit(self, audit: _Audit) -> None:
        audit.tries += 1
        last = audit.tries >= _TRIES
        proven = await self.prove(audit.exchange, audit.asked, final=last)
        if proven is None or proven.worst is not Verdict.SILENT or last:
            return
        audit.due_ms = self._journal.now_ms() + round(1000 * _AGAIN_S * audit.tries)
        self._audits.append(audit)

    async def purge(self) -> None:
        """Delete what was kept long enough."""
        before_ms = self._journal.now_ms() - self._journal.limits.keep_s * 1000
        await self._journal.database.write(lambda c: self._routes.purge(c, before_ms))

    # ------------------------------------------------------------------ proving

    def shown(self, exchange: ExchangeId) -> list[ProvenRoute]:
        """Return what is kept of an exchange, judged again, without asking anybody."""
        found = self._journal.database.read(
            lambda c: self._routes.routes_of(c, exchange)
        )
        return [self._judged(kept) for kept, _ in found]

    async def prove(
        self, exchange: ExchangeId, asked: bool, *, final: bool = True
    ) -> ProvenRoute | None:
        """Ask the brokers of an exchange, keep what they say, raise alarms.

        Args:
            exchange: which.
            asked: in which role we took part.
            final: a broker that does not answer now is an alarm.

        Returns:
            None if nothing is kept of it.
        """
        await self.make()
        found = [one.kept for one in self.shown(exchange) if one.kept.asked is asked]
        if not found:
            return None
        kept = found[0]
        records = hop.parse(kept.chain.encode(), kept.request)
        query = HopProofQuery(request=kept.request, chain=kept.chain)
        if asked:
            asking = (self.ask(record.by, query) for record in records)
            proofs = list(await asyncio.gather(*asking))
        else:
            proofs = await self._ask_own(records, query)
        # What a broker has said once counts, should it be silent now.
        before = {proof.broker: proof for proof in kept.proofs}
        proofs = [before.get(p.broker, p) if p.word is None else p for p in proofs]
        now_ms = self._journal.now_ms()
        kept = kept.model_copy(update={"proofs": tuple(proofs), "checked_ms": now_ms})
        proven = self._judged(kept)
        await self._journal.database.write(
            lambda c: self._routes.update_route(c, kept, str(proven.worst))
        )
        await self._raise(proven, final)
        return proven

    async def ask(self, broker: NodeId, query: HopProofQuery) -> HopProof:
        """Ask one broker for its word about its own record."""
        found = await self._asked(broker, query)
        if isinstance(found, str):
            return HopProof(broker=broker, code=found)
        return next(
            (proof for proof in found if proof.broker == broker),
            HopProof(broker=broker, code="answer-invalid"),
        )

    async def _ask_own(
        self, records: tuple[HopRecord, ...], query: HopProofQuery
    ) -> list[HopProof]:
        """Ask the broker that handed over to us, for all."""
        every = query.model_copy(update={"all": True})
        found = await self._asked(records[-1].by, every)
        code = found if isinstance(found, str) else "answer-invalid"
        got = {} if isinstance(found, str) else {p.broker: p for p in found}
        return [
            got.get(record.by, HopProof(broker=record.by, code=code))
            for record in records
        ]

    async def _asked(
        self, broker: NodeId, query: HopProofQuery
    ) -> tuple[HopProof, ...] | str:
        try:
            target = await self._addressbook.target(broker)
            answer = await self._exchanges.ask(target, Kind.MANAGE, query)
        except MachikuraError as error:
            return error.slug
        if not isinstance(answer, Answer):
            return answer.refusal.code
        if not isinstance(answer.result, HopProofs):
            return "answer-invalid"
        return answer.result.proofs

    def _judged(self, kept: KeptRoute) -> ProvenRoute:
        records = hop.parse(kept.chain.encode(), kept.request)
        by = {proof.broker: proof for proof in kept.proofs}
        return ProvenRoute(
            kept,
            tuple(
                ProvenHop(record, self._judge(kept, record, proof), proof)
                for record in records
                for proof in (by.get(record.by),)
            ),
        )

    def _judge(
        self, kept: KeptRoute, record: HopRecord, proof: HopProof | None
    ) -> Verdict:
        if proof is None:
            return Verdict.SILENT
        skew_ms = self._journal.limits.skew_ms
        return judge(record, kept.request, proof, self._member, skew_ms)

    def _member(self, shown: Credentials, at: int) -> Membership:
        trust = self._journal.trust
        return trust.verify_sender(shown.membership, shown.operating, at)

    async def _raise(self, proven: ProvenRoute, final: bool) -> None:
        for one in proven.hops:
            kind = _KIND.get(one.verdict)
            if kind is None or (one.verdict is Verdict.SILENT and not final):
                continue
            code = one.proof.code if one.proof else ""
            why = f": {code}" if code else ""
            detail = (
                f"the record says {one.record.next} at {one.record.at_ms}{why}; "
                f"the broker, or one after it in the chain, has not told the truth"
            )
            if one.verdict is Verdict.SILENT:
                detail = f"the broker does not prove its hop record{why}"
            document = proven.kept.encode()
            finding = Finding(kind, proven.kept.exchange, detail)
            await self._journal.alarms.tell(one.record.by, [finding], document)
