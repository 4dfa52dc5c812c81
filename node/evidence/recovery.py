# SPDX-License-Identifier: Apache-2.0
"""After a start: chains go on, and what a crash has lost is taken over from the peers.

Notes are in memory until their batch is made, at most `evidence.batch_s`. Whoever is
killed before that finds the same exchanges in the batches of its peers, which it signs
in turn, marked as taken over: it cannot say more about them than its peer did. After an
orderly stop nothing is missing, and nothing is taken over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from sqlalchemy import Connection

from federation.evidence import Book, Mark, fits
from federation.evidence_store import OWN, PEER, Batch
from node.evidence.parties import Journal
from protocol.evidence import Leaf
from protocol.ids import NodeId

_logger = logging.getLogger(__name__)


class Recovery:
    """Reads the journal once."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        self._journal = journal

    async def load(self) -> None:
        """Take up the chains where they were left; note whether that was in order."""
        stream, clean = self._journal.database.read(
            lambda c: (
                self._journal.store.value(c, "stream"),
                self._journal.store.value(c, "clean"),
            )
        )
        now_ms = self._journal.now_ms()
        self._journal.crash_ms = now_ms if stream is not None and clean != "yes" else 0
        self._journal.stream = stream or self._journal.new_stream()
        await self._journal.database.write(self._journal.begin)
        for peer in self._journal.database.read(self._journal.store.peers):
            await self._load_party(peer)

    async def _load_party(self, peer: NodeId) -> None:
        book, store = self._journal.party(peer).book, self._journal.store

        def look(
            connection: Connection,
        ) -> tuple[list[Batch], list[Batch], list[Leaf]]:
            own = store.unsettled(connection, peer)
            last = store.head(connection, peer, OWN, self._journal.stream)
            since = own[0].body.from_ms if own else self._journal.now_ms()
            if self._journal.crash_ms and last is not None:
                kept = store.get(connection, peer, OWN, self._journal.stream, last.seq)
                since = min(since, kept.body.from_ms if kept else since)
            elif self._journal.crash_ms:
                since = 0
            since -= self._journal.limits.skew_ms
            theirs = store.between(connection, peer, PEER, since, 1 << 50)
            said = {leaf.request for batch in theirs for leaf in batch.read()}
            around = store.find(connection, peer, said)
            missing = [
                leaf.from_the_other_side()
                for batch in theirs
                for leaf in batch.read()
                if (not leaf.asked, leaf.request) not in around
            ]
            return own, theirs, missing

        own, theirs, missing = self._journal.database.read(look)
        said = {
            (not leaf.asked, leaf.request): leaf
            for batch in theirs
            for leaf in batch.read()
        }
        for batch in theirs:
            book.seen[batch.body.stream] = batch.body.seq
        closed = []
        for batch in own:
            left = [
                leaf
                for leaf in batch.read()
                if (found := said.get((leaf.asked, leaf.request))) is None
                or not fits(leaf, found)
            ]
            if batch.body.stream == self._journal.stream:
                book.load(left, batch.body.seq, batch.body.from_ms)
            if not left:
                closed.append(batch.body.seq)
        if closed:
            await self._journal.database.write(lambda c: store.close(c, peer, closed))
        if self._journal.crash_ms and missing:
            self._adopt(peer, book, missing)

    def _adopt(self, peer: NodeId, book: Book, missing: Iterable[Leaf]) -> None:
        """Take over what the peer had signed and our crash has lost."""
        now_ms = self._journal.now_ms()
        alarms = self._journal.database.read(
            partial(self._journal.store.alarms, everything=True)
        )
        refused = {a.subject for a in alarms if a.peer == peer}
        marks = [
            Mark(leaf._replace(adopted=True), now_ms, waits=False)
            for leaf in missing
            if leaf.id not in refused
        ]
        book.unbatched.extend(marks)
        if marks:
            _logger.warning("%d exchanges taken over from %s", len(marks), peer)
            self._journal.wake(False)
