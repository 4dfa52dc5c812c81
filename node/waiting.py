# SPDX-License-Identifier: Apache-2.0
"""Reads that wait for holders that are away, hours or days, through every restart.

    waiting = desk.begin(request, client="app", until_ms=..., callback=None)
    await desk.first_round(waiting.id)       # what can be answered now

The wish waits here, sealed under the person's key, and nothing of it leaves while it
waits. Each attempt is a read of its own, with a fresh id, proof, ticket and token: so
it is judged as any read, and what a withdrawal has ended stays ended (T). Where the
holder has no link, the broker of its city says so and tells us when it is back
(`federation.waits`); else, and in case that word is lost, we try again by a back-off
that is stored. An answer is kept in the transaction that records its reception.

Decision: docs/decisions/0017-the-wish-waits-at-the-requester.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
from sqlalchemy import Connection

from federation.exchange import Answer, Refused
from federation.ports import Clock
from node.database import Database
from node.deliveries import TRANSIENT
from node.reader import Asked as Concerned
from node.reader import HolderAnswer, Later, Reader, ReadRequest
from node.results import result_of
from protocol.envelope import Wait
from protocol.errors import MachikuraError
from protocol.ids import (
    CityId,
    DatasetTypeName,
    ExchangeId,
    NodeId,
    PurposeName,
    RecordId,
    uuid7,
)
from protocol.membership import DataClass
from protocol.model import Document
from protocol.problem import Refusal
from vault.keyring import NOBODY
from vault.parts import Vault
from vault.waiting import Place, WaitingRead

_logger = logging.getLogger(__name__)

PASSING: Final = (TRANSIENT | {"proof-from-future"}) - {
    "not-a-member",
    "no-agreement",
}
"""Refusals after which a later attempt may succeed."""


class TooManyWait(MachikuraError):
    """As many reads wait as the limits allow."""

    slug = "overloaded"


class Callback(Document):
    """Whom to call when a read has ended.

    Attributes:
        url: an address that the operator allows.
        secret: the application's, for the signature.
    """

    url: str
    secret: str


class Named(Document):
    """A holder by its place in the consent; no node but a key where it stays hidden."""

    place: int
    node: NodeId | None = None
    key: str = ""


class Wish(Document):
    """What waits: `ReadRequest` as it is kept, and whom it asks."""

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
    holders: tuple[Named, ...]
    callback: Callback | None = None

    def request(self) -> ReadRequest:
        """Return what is asked of each holder."""
        return ReadRequest(
            dataset_type=self.dataset_type,
            purpose=self.purpose,
            consent=self.consent,
            holder=self.holder,
            fields=self.fields,
            records=self.records,
            since=self.since,
            until=self.until,
            limit=self.limit,
            after=self.after,
            attachments=self.attachments,
            hops=self.hops,
            timeout_ms=self.timeout_ms,
            data_class=self.data_class,
        )

    def holder_at(self, place: int) -> Named:
        """Return the holder at a place."""
        return next(h for h in self.holders if h.place == place)

    def node_at(self, place: int) -> NodeId | None:
        """Return the name of the holder at a place; None where it stays hidden."""
        return self.holder_at(place).node


@dataclass(frozen=True)
class WaitingLimits:
    """Bounds of what waits.

    Attributes:
        total, per_client: reads that are kept, waiting or ended.
        longest_ms: the latest end that a requester may give, from now.
        usual_ms: the end where it gives none.
        results_ms: how long results are kept after the last one came.
        at_once: attempts at the same time.
        first_ms, back_off_ms: back-off after the first failure, and at most.
    """

    total: int = 10_000
    per_client: int = 1_000
    longest_ms: int = 7 * 86_400_000
    usual_ms: int = 86_400_000
    results_ms: int = 86_400_000
    at_once: int = 8
    first_ms: int = 2_000
    back_off_ms: int = 300_000


class WaitingDesk:
    """Carries out reads whose holders may be away."""

    def __init__(
        self,
        *,
        reader: Reader,
        vault: Vault,
        database: Database,
        clock: Clock,
        entropy: Callable[[int], bytes],
        limits: WaitingLimits | None = None,
    ) -> None:
        """Take the parts; nothing is tried before `run`.

        Args:
            reader: carries out each attempt.
            vault: keeps what waits.
            database: where.
            clock: time.
            entropy: chance, for ids and back-off.
            limits: bounds.
        """
        self._reader = reader
        self._store = vault.waiting
        self._ledger = vault.ledger
        self._database = database
        self._clock = clock
        self._entropy = entropy
        self.limits = limits or WaitingLimits()
        self._changed = asyncio.Event()
        self._active: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._told: set[tuple[str, int]] = set()
        self.on_ended: Callable[[], None] = lambda: None

    # -------------------------------------------------------------- applications

    async def begin(
        self,
        request: ReadRequest,
        *,
        client: str,
        until_ms: int,
        callback: Callback | None = None,
    ) -> str:
        """Keep a read; it is tried at once, and again until it ends.

        Args:
            request: what is asked.
            client: who asks; only it, and the operator, see what comes of it.
            until_ms: when it is given up; brought forward to the longest allowed.
            callback: whom to call then.

        Returns:
            Its id.

        Raises:
            NotFound: no such consent, or it names no such holder.
            TooManyWait: as the limits say.
        """
        now_ms = self._clock.now_ms()
        asked = self._reader.concerned(request)
        kept = None
        if request.consent is not None:
            consent = request.consent
            kept = self._database.read(lambda c: self._ledger.package(c, consent))
        wish = Wish(
            **vars(request),
            holders=tuple(Named(place=a.place, node=a.node, key=a.key) for a in asked),
            callback=callback,
        )
        read = WaitingRead(
            id=self._uuid(now_ms),
            subject=NOBODY if kept is None else kept.subject,
            client=client,
            created_ms=now_ms,
            until_ms=min(until_ms, now_ms + self.limits.longest_ms),
            ended_ms=None,
            callback_failures=0,
            wish=wish.encode(),
        )
        places = [
            Place(a.place, self._uuid(now_ms), a.city, next_ms=now_ms) for a in asked
        ]
        issuer = "" if kept is None else kept.consent.iss

        def keep(connection: Connection) -> None:
            self._room(connection, client)
            self._store.add(
                connection,
                read,
                places,
                issuer=issuer,
                consent=request.consent or "",
            )

        await self._database.write(keep)
        self._changed.set()
        return read.id

    async def first_round(self, read: str) -> None:
        """Return when every holder has been tried once."""
        places = self._database.read(partial(self._store.places, read=read))
        for place in places:
            self._start(read, place.number)
        # Shielded: an application that hangs up does not end what is to wait.
        running = [t for key, t in self._active.items() if key[0] == read]
        await asyncio.shield(asyncio.gather(*running, return_exceptions=True))

    async def cancel(self, read: str, client: str | None) -> bool:
        """Give up a read and delete what came of it; False if there is none."""
        if self._database.read(lambda c: self._store.get(c, read, client)) is None:
            return False
        await self._database.write(partial(self._store.remove, read=read))
        for key, task in list(self._active.items()):
            if key[0] == read:
                task.cancel()
        return True

    def _room(self, connection: Connection, client: str) -> None:
        limits = self.limits
        if self._store.count(connection) >= limits.total:
            raise TooManyWait("too many reads wait at this node")
        if self._store.count(connection, client) >= limits.per_client:
            raise TooManyWait("this application has too many reads waiting")

    def _uuid(self, now_ms: int) -> ExchangeId:
        return ExchangeId(str(uuid7(now_ms, self._entropy(10))))

    # --------------------------------------------------------------- being told

    async def told(self, wait: str, city: CityId) -> None:
        """Try now what waits under this name for a node of that city, if anything."""
        now_ms = self._clock.now_ms()
        key = await self._database.write(
            lambda c: self._store.told(c, wait, city, now_ms)
        )
        if key is not None:
            if key in self._active:
                self._told.add(key)
            self._changed.set()

    # ------------------------------------------------------------------ working

    async def run(self) -> None:
        """Try what is due until cancelled."""
        try:
            while True:
                self._changed.clear()
                pause_s = self._start_due()
                try:
                    async with asyncio.timeout(pause_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._active.values():
                task.cancel()
            await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _start_due(self) -> float | None:
        """Start what is due; return seconds until more is, None for no work."""
        now_ms, most = self._clock.now_ms(), self.limits.at_once
        rows = self._database.read(
            partial(self._store.due, limit=most + len(self._active))
        )
        for read, place, next_ms in rows:
            if (read, place) in self._active:
                continue
            if len(self._active) >= most:
                return None
            if next_ms > now_ms:
                return (next_ms - now_ms) / 1000
            self._start(read, place)
        return None

    def _start(self, read: str, place: int) -> None:
        key = (read, place)
        if key not in self._active:
            task = asyncio.create_task(self._try(read, place))
            self._active[key] = task
            task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._active.pop(key, None)
        self._told.discard(key)
        self._changed.set()

    async def _try(self, identifier: str, number: int) -> None:
        """Make one attempt; a fault of our own must not make the loop spin."""
        try:
            read = self._database.read(lambda c: self._store.get(c, identifier))
            places = self._database.read(lambda c: self._store.places(c, identifier))
            place = next((p for p in places if p.number == number), None)
            if read is not None and place is not None and place.state == "waiting":
                await self._attempt(read, place)
        except Exception:
            _logger.exception("a waiting read could not be tried")
            await self._clock.sleep(self.limits.first_ms / 1000)

    async def _attempt(self, read: WaitingRead, place: Place) -> None:
        wish = Wish.decode(read.wish)
        if read.until_ms <= self._clock.now_ms():
            why = place.reason or "no attempt was possible"
            await self._settle(read, place, wish, Refusal("wait-over", f"last: {why}"))
            return
        named = wish.holder_at(place.number)
        concerned = Concerned(place.number, CityId(place.city), named.node, named.key)

        def keep(connection: Connection, answer: Answer) -> None:
            self._keep(connection, read, place, wish, answer)

        later = Later(Wait(id=ExchangeId(place.wait), until_ms=read.until_ms), keep)
        try:
            answer = await self._reader.read_later(wish.request(), concerned, later)
        except MachikuraError as error:
            answer = HolderAnswer(concerned.node, Refusal(error.slug, error.detail))
        outcome = answer.outcome
        if isinstance(outcome, Answer):
            self.on_ended()
            return
        refusal = outcome.refusal if isinstance(outcome, Refused) else outcome
        if refusal.code in PASSING:
            await self._postpone(read, place, refusal)
        else:
            await self._settle(read, place, wish, outcome)

    def _keep(
        self,
        connection: Connection,
        read: WaitingRead,
        place: Place,
        wish: Wish,
        answer: Answer,
    ) -> None:
        shown = result_of(HolderAnswer(wish.node_at(place.number), answer))
        self._store.settle(
            connection,
            read,
            place.number,
            state="answered",
            reason="",
            outcome=orjson.dumps(shown),
            now_ms=self._clock.now_ms(),
            callback=wish.callback is not None,
        )

    async def _settle(
        self, read: WaitingRead, place: Place, wish: Wish, outcome: Refused | Refusal
    ) -> None:
        """Keep a refusal for good."""
        refusal = outcome.refusal if isinstance(outcome, Refused) else outcome
        shown = result_of(HolderAnswer(wish.node_at(place.number), outcome))
        await self._database.write(
            lambda c: self._store.settle(
                c,
                read,
                place.number,
                state="refused",
                reason=refusal.code,
                outcome=orjson.dumps(shown),
                now_ms=self._clock.now_ms(),
                callback=wish.callback is not None,
            )
        )
        self.on_ended()

    async def _postpone(
        self, read: WaitingRead, place: Place, refusal: Refusal
    ) -> None:
        now_ms, limits = self._clock.now_ms(), self.limits
        full = min(limits.first_ms << min(place.failures, 20), limits.back_off_ms)
        if refusal.code == "node-away":
            full = limits.back_off_ms  # We are told when it is back.
        wait = full // 2 + int.from_bytes(self._entropy(4), "big") % (full // 2 + 1)
        wait = max(wait, min(refusal.retry_after_ms or 0, limits.back_off_ms))
        if (read.id, place.number) in self._told:
            wait = 0  # The word came while we asked: we may have asked too early.
        await self._database.write(
            lambda c: self._store.postpone(
                c,
                read.id,
                place.number,
                failures=place.failures + 1,
                next_ms=min(now_ms + wait, read.until_ms),
                reason=refusal.code,
            )
        )

    async def purge(self) -> None:
        """Delete results that nobody has fetched for long."""
        before_ms = self._clock.now_ms() - self.limits.results_ms
        await self._database.write(
            partial(self._store.purge, ended_before_ms=before_ms)
        )
