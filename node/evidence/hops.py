# SPDX-License-Identifier: Apache-2.0
"""A broker's hop records: signed in batches, proven to the parties of an exchange.

Whoever asks must show the chain of the exchange, which only its parties and the brokers
on the way have, and be one of them: the sender, the member that we handed it over to,
or a broker that stands behind us in that chain. The receiver asks us for the brokers
before us as well: asked by it directly, they would learn who it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from federation.evidence_store import Head
from federation.exchange import Asked, Handler, Reply
from federation.route_store import HopEntry, KeptHops, RouteStore
from node.evidence.parties import Journal
from node.limits import RateLimit
from protocol import hop, merkle
from protocol.answer import HopProofs
from protocol.canonical import b64url
from protocol.evidence import LIFE_S
from protocol.hop import HopRecord
from protocol.ids import NodeId
from protocol.model import ANYONE
from protocol.problem import ProblemBody
from protocol.request import HopProofQuery
from protocol.route_proof import (
    HOP_BATCH,
    HOP_WORD,
    MAX_HOP_LEAVES,
    HopBatch,
    HopProof,
    HopWord,
    leaf_of,
)
from protocol.signature import digest_of, sign

_logger = logging.getLogger(__name__)

_CLOSE_MS = 1_000
_AROUND_MS = 120_000
"""How far from the time in a record our own is looked for, if it is not there."""

AskBroker = Callable[[NodeId, HopProofQuery], Awaitable[HopProof]]


@dataclass(frozen=True)
class _Found:
    batch: KeptHops
    index: int
    entry: HopEntry


class HopDesk:
    """The hop records of one broker."""

    def __init__(self, *, journal: Journal, routes: RouteStore, ask: AskBroker) -> None:
        """Take the parts.

        Args:
            journal: signs, and knows the time.
            routes: keeps hop batches.
            ask: asks another broker for its word about its record.
        """
        self._journal = journal
        self._routes = routes
        self._ask = ask
        self._fresh: list[HopEntry] = []
        self._since_ms = 0
        self._head: Head | None = None
        self._lock = asyncio.Lock()
        self._rate = RateLimit(per_s=10.0, burst=200)

    def note(
        self, line: bytes, at_ms: int, sender: NodeId, member: NodeId | None
    ) -> None:
        """Note a hop record that we add; on the path of every exchange."""
        if not self._fresh:
            self._since_ms = at_ms
            self._journal.wake(False)
        self._fresh.append(HopEntry(line, sender, member))
        if len(self._fresh) >= MAX_HOP_LEAVES:
            self._journal.wake(True)

    def newest(self) -> str | None:
        """Return the digest of our newest hop batch, for link batches."""
        return None if self._head is None else self._head.digest

    def load(self) -> None:
        """Take up our chain where it was left."""
        stream = self._journal.stream
        self._head = self._journal.database.read(
            lambda c: self._routes.hops_head(c, stream)
        )

    async def make(self) -> None:
        """Sign what was noted, durably."""
        async with self._lock:
            while self._fresh:
                entries = self._fresh[:MAX_HOP_LEAVES]
                batch = self._sign(entries)
                await self._journal.database.write(partial(self._keep, batch=batch))
                del self._fresh[: len(entries)]
                self._head = Head(batch.body.stream, batch.body.seq, batch.digest)

    def _sign(self, entries: list[HopEntry]) -> KeptHops:
        journal, head = self._journal, self._head
        if head is not None and head.stream != journal.stream:
            head = None
        now_ms, seq = journal.now_ms(), 0 if head is None else head.seq + 1
        body = HopBatch(
            iss=journal.node,
            aud=ANYONE,
            jti=f"{journal.stream}.{seq}",
            iat=now_ms // 1000,
            exp=now_ms // 1000 + LIFE_S,
            stream=journal.stream,
            seq=seq,
            prev=None if head is None else head.digest,
            count=len(entries),
            root=b64url(merkle.root([leaf_of(e.line) for e in entries])),
            from_ms=min(self._since_ms, now_ms),
            to_ms=now_ms,
        )
        signed = sign(journal.signer, HOP_BATCH, body)
        kid = journal.signer.public.kid
        return KeptHops(body, signed.token, signed.digest, kid, entries)

    def _keep(self, connection: Connection, batch: KeptHops) -> None:
        journal = self._journal
        self._routes.add_hops(connection, batch)
        shown = journal.credentials()
        journal.store.note_signer(connection, batch.kid, journal.node, shown)

    # ------------------------------------------------------------------ proving

    def handlers(self) -> dict[str, Handler]:
        """Return what a broker answers."""
        return {"hop-proof": self._prove}

    async def _prove(self, asked: Asked) -> Reply:
        query, asker = asked.expect(HopProofQuery), asked.sender.sub
        chain = query.chain.encode()
        records = hop.parse(chain, query.request)
        names = [record.by for record in records]
        if self._journal.node not in names:
            return Reply(ProblemBody(code="malformed", detail="not on this way"))
        place = names.index(self._journal.node)
        wait_ms = self._rate.take(asker, self._journal.now_ms())
        if wait_ms:
            return Reply(ProblemBody(code="rate-limited", retry_after_ms=wait_ms))
        await self.make()
        found = await self._find(records[place])
        word = self._word(records[place], query.request, asker, found)
        behind = asker in names[place + 1 :]
        party = found is not None and asker in (found.entry.sender, found.entry.member)
        if found is not None and not (party or behind):
            return Reply(ProblemBody(code="forbidden"))
        proofs = [word]
        if query.all and party:
            proofs[:0] = await self._before(query, names[:place])
        return Reply(HopProofs(proofs=tuple(proofs)))

    async def _before(
        self, query: HopProofQuery, names: list[NodeId]
    ) -> list[HopProof]:
        """Ask the brokers before us, for the receiver."""
        one = query.model_copy(update={"all": False})
        return list(await asyncio.gather(*(self._ask(name, one) for name in names)))

    def _word(
        self, record: HopRecord, request: str, asker: NodeId, found: _Found | None
    ) -> HopProof:
        """Say what we have about a record that bears our name."""
        line = hop.line(record)
        journal, now = self._journal, self._journal.now_ms() // 1000
        word = HopWord(
            iss=journal.node,
            aud=asker,
            jti=digest_of(line + request.encode()),
            iat=now,
            exp=now + LIFE_S,
            request=request,
            record=digest_of(line),
            says="unknown",
        )
        signer = None
        if found is not None:
            leaves = [leaf_of(entry.line) for entry in found.batch.entries]
            path = merkle.inclusion_path(leaves, found.index)
            same = found.entry.line == line
            word = word.model_copy(
                update={
                    "says": "proven" if same else "other",
                    "line": None if same else found.entry.line.decode(),
                    "batch": found.batch.token,
                    "index": found.index,
                    "path": tuple(b64url(sibling) for sibling in path),
                }
            )
            if found.batch.kid != journal.signer.public.kid:
                kid = found.batch.kid
                signer = journal.database.read(lambda c: journal.store.signer(c, kid))
        return HopProof(
            broker=journal.node,
            word=sign(journal.signer, HOP_WORD, word).token,
            credentials=journal.credentials(),
            signer=signer,
        )

    async def _find(self, record: HopRecord) -> _Found | None:
        """Return our line, or else one of ours that follows the same line."""
        scan, at_ms = self._journal.database.scan, record.at_ms
        for around_ms in (_CLOSE_MS, _AROUND_MS):
            window = at_ms - around_ms, at_ms + around_ms
            found = await scan(partial(self._look, record=record, window=window))
            if found is not None:
                return found
        return None

    def _look(
        self, connection: Connection, record: HopRecord, window: tuple[int, int]
    ) -> _Found | None:
        line, follows = hop.line(record), f'"prev":"{record.prev}"'.encode()
        other: _Found | None = None
        for batch in self._routes.hops_between(connection, *window):
            for index, entry in enumerate(batch.entries):
                if entry.line == line:
                    return _Found(batch, index, entry)
                if follows in entry.line:
                    other = _Found(batch, index, entry)
        return other
