# SPDX-License-Identifier: Apache-2.0
"""Our own batches: made of what was noted, kept, sent until the peer has them.

A batch is on disk before it is sent, so that no crash lets us sign two under one
number. On a new link the newest is sent first: the peer's answer tells from where to
send again.
"""

from __future__ import annotations

import logging
from functools import partial

from sqlalchemy import Connection

from federation.evidence import Book, Finding, Mark
from federation.evidence_store import OWN, Batch, Head
from federation.peers import Carrier
from federation.ports import LinkError
from node.evidence.parties import Journal, Party
from protocol.canonical import b64url
from protocol.errors import ProtocolViolation
from protocol.evidence import (
    LIFE_S,
    LINK_BATCH,
    MAX_LEAVES,
    BatchMessage,
    LinkBatch,
    Taken,
    root_of,
)
from protocol.ids import NodeId
from protocol.signature import sign

_logger = logging.getLogger(__name__)

_SENT_IN_A_ROW = 64


class Outgoing:
    """Makes and sends."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        self._journal = journal

    async def make(self, peer: NodeId, party: Party) -> None:
        """Close batches over everything that was noted, durably."""
        book, now_ms = party.book, self._journal.now_ms()
        findings = book.absorb(now_ms)
        await self._journal.alarms.tell(peer, findings)
        while book.unbatched:
            marks = book.unbatched[:MAX_LEAVES]
            last = len(marks) == len(book.unbatched)
            head = self._journal.head(peer)
            batch = self._sign(peer, book, marks, head, last=last)
            await self._journal.database.write(partial(self._keep_own, batch=batch))
            del book.unbatched[: len(marks)]
            book.batched(marks, batch.body.seq)
            party.head = Head(batch.body.stream, batch.body.seq, batch.digest)

    def _sign(
        self,
        peer: NodeId,
        book: Book,
        marks: list[Mark],
        head: Head | None,
        *,
        last: bool,
    ) -> Batch:
        now_ms = self._journal.now_ms()
        leaves = [mark.leaf.encode() for mark in marks]
        seq = 0 if head is None else head.seq + 1
        body = LinkBatch(
            iss=self._journal.node,
            aud=peer,
            jti=f"{self._journal.stream}.{seq}",
            iat=now_ms // 1000,
            exp=now_ms // 1000 + LIFE_S,
            stream=self._journal.stream,
            seq=seq,
            prev=None if head is None else head.digest,
            count=len(leaves),
            root=root_of(leaves),
            from_ms=min(now_ms, *(mark.at_ms for mark in marks)),
            to_ms=now_ms,
            # Only the last of several holds all that was known when they were made.
            seen=book.seen_now() if last else (),
            hops=self._journal.hops(),
        )
        signed = sign(self._journal.signer, LINK_BATCH, body)
        return Batch(
            peer=peer,
            side=OWN,
            body=body,
            token=signed.token,
            digest=signed.digest,
            kid=self._journal.signer.public.kid,
            leaves=b"".join(leaves),
            open=sum(mark.waits for mark in marks),
        )

    def _keep_own(self, connection: Connection, batch: Batch) -> None:
        self._journal.store.add(connection, batch)
        self._journal.store.note_signer(
            connection, batch.kid, self._journal.node, self._journal.credentials()
        )

    async def send(self, peer: NodeId, party: Party) -> None:
        """Send what the peer has not acknowledged, in order, as far as it takes it."""
        if party.sending.locked():
            return
        async with party.sending:
            for _ in range(_SENT_IN_A_ROW):
                batch = self._next(peer, party)
                link = party.link()
                if batch is None or link is None:
                    return
                before = party.acknowledged
                await self._send_one(peer, party, link, batch)
                if party.acknowledged == before:
                    return
            self._journal.wake(False)

    def _next(self, peer: NodeId, party: Party) -> Batch | None:
        """Return the batch to send now; the newest again after a new link."""
        head = self._journal.head(peer)
        if head is None or party.acknowledged == head.seq:
            return None
        known = party.acknowledged
        wanted = head.seq if known is None else known + 1
        get, stream = self._journal.store.get, self._journal.stream
        found = self._journal.database.read(lambda c: get(c, peer, OWN, stream, wanted))
        if found is None:  # deleted long ago: the oldest that there is
            found = self._journal.database.read(
                lambda c: get(
                    c, peer, OWN, stream, self._journal.store.oldest(c, peer, stream)
                )
            )
        return found

    async def _send_one(
        self, peer: NodeId, party: Party, link: Carrier, batch: Batch
    ) -> None:
        oldest = self._journal.database.read(
            lambda c: self._journal.store.oldest(c, peer, batch.body.stream)
        )
        message = BatchMessage(
            statement=batch.token,
            leaves=b64url(batch.leaves),
            credentials=self._journal.credentials(),
            oldest=oldest,
        )
        deadline_ms = self._journal.now_ms() + self._journal.limits.answer_ms
        try:
            answer = await link.request(message.encode(), deadline_ms=deadline_ms)
            taken = Taken.decode(answer)
        except (LinkError, ProtocolViolation) as error:
            # Again after the next batch, or on the next link.
            _logger.info("batch not taken by %s: %s", peer, error.slug)
            return
        await self._acknowledged(peer, party, batch, taken)

    async def _acknowledged(
        self, peer: NodeId, party: Party, batch: Batch, taken: Taken
    ) -> None:
        head = self._journal.head(peer)
        if taken.stream != batch.body.stream or head is None:
            return
        if taken.seq is None:
            party.acknowledged = -1
            return
        seq, get = taken.seq, self._journal.store.get
        ours = self._journal.database.read(
            lambda c: get(c, peer, OWN, taken.stream, seq)
        )
        if taken.seq > head.seq or (ours is not None and ours.digest != taken.digest):
            await self._begin_anew(peer)
            return
        party.acknowledged = taken.seq

    async def _begin_anew(self, peer: NodeId) -> None:
        """Begin new chains: the peer has batches of ours that we no longer have.

        So it is after a restore from a backup. Going on would mean to sign two
        batches under one number.
        """
        self._journal.stream = self._journal.new_stream()
        await self._journal.database.write(self._journal.begin)
        for party in self._journal.parties.values():
            party.book.restart()
            party.head, party.acknowledged = None, None
        detail = "the peer has newer batches of ours than we have: restored a backup?"
        await self._journal.alarms.tell(
            peer, [Finding("rolled-back", "journal", detail)]
        )
