# SPDX-License-Identifier: Apache-2.0
"""Batch evidence with every neighbor: made, exchanged over the link, compared, kept.

What is carried is noted in memory (`federation.witness`). Every few seconds the notes
about each peer become a batch, which is on disk before it is sent (`outgoing`). A
peer's batch is compared with ours (`federation.evidence`) and is on disk, with the
alarms that follow, before it is acknowledged (`incoming`). So after a crash of either
side both chains go on where they were (`recovery`).

Batches go over links on which both sides have the capability `evidence`. A peer without
it gets none and counts as silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from federation.evidence import Finding
from federation.evidence_store import EvidenceStore
from federation.peers import Carrier, Peer
from federation.witness import WitnessedLink
from node.evidence.incoming import DOCUMENT, Incoming
from node.evidence.outgoing import Outgoing
from node.evidence.parties import EvidenceLimits, Journal, Party, Up
from node.evidence.recovery import Recovery
from protocol.errors import MachikuraError
from protocol.ids import NodeId

_logger = logging.getLogger(__name__)


class EvidenceDesk:
    """The evidence of one node."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal; nothing moves before `load` and `run`.

        `besides` are written in the same rhythm, before the batches: hop records and
        routes.
        """
        self.journal = journal
        self._outgoing = Outgoing(journal)
        self._incoming = Incoming(journal)
        self.besides: list[Callable[[], Awaitable[None]]] = []

    @property
    def store(self) -> EvidenceStore:
        """What is kept."""
        return self.journal.store

    @property
    def limits(self) -> EvidenceLimits:
        """Bounds."""
        return self.journal.limits

    # ------------------------------------------------------------------ its life

    async def load(self) -> None:
        """Take up the chains where they were left."""
        await Recovery(self.journal).load()

    async def run(self) -> None:
        """Make and send batches, for ever."""
        journal = self.journal
        while True:
            await journal.due.wait()
            journal.due.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(journal.limits.batch_s):
                    await journal.at_once.wait()
            journal.at_once.clear()
            await self.flush()
            if any(party.waits for party in journal.parties.values()):
                journal.due.set()

    async def flush(self) -> None:
        """Make batches of what was noted, keep them, send them, look at the time."""
        await self._write_besides()
        parties = self.journal.parties.items()
        busy = [(peer, party) for peer, party in parties if not party.idle]
        await asyncio.gather(*(self._flush(peer, party) for peer, party in busy))

    async def _write_besides(self) -> None:
        for write in self.besides:
            try:
                await write()
            except MachikuraError as error:
                _logger.warning("hop records or routes not kept: %s", error.slug)

    async def finish(self) -> None:
        """Keep what is noted, at an orderly end; it is sent on the next link."""
        await self._write_besides()
        try:
            for peer, party in self.journal.parties.items():
                async with party.lock:
                    await self._outgoing.make(peer, party)
            await self.journal.database.write(
                lambda c: self.journal.store.set_value(c, "clean", "yes")
            )
        except MachikuraError as error:
            _logger.warning("the last batches were not kept: %s", error.slug)

    async def purge(self) -> None:
        """Delete what was kept long enough."""
        before_ms = self.journal.now_ms() - self.journal.limits.keep_s * 1000
        await self.journal.database.write(
            lambda c: self.journal.store.purge(c, before_ms)
        )

    # -------------------------------------------------------------------- links

    def on_up(self, peer: Peer, link: Carrier, speaks: bool) -> Carrier:
        """Return what exchanges with this peer go over from now on.

        Args:
            peer: the link's other end.
            link: the link.
            speaks: whether batches can be exchanged over it.
        """
        party = self.journal.party(peer.node)
        if not party.links:
            party.up_ms, party.acknowledged = self.journal.now_ms(), None
        witnessed = WitnessedLink(link, party.book.witness)
        party.links.append(Up(link, witnessed, speaks))
        # What waited for this link, and what the peer must know after an outage.
        self.journal.wake(False)
        return witnessed

    def on_down(self, peer: Peer, link: Carrier) -> Carrier:
        """Return what `on_up` gave for this link; a batch is made at once."""
        party = self.journal.party(peer.node)
        for up in party.links:
            if up.link is link:
                party.links.remove(up)
                if party.book.witness.fresh:
                    self.journal.wake(True)
                return up.witnessed
        return link

    def link_to(self, peer: NodeId) -> Carrier | None:
        """Return a link for batches, past the witness; None if there is none."""
        party = self.journal.parties.get(peer)
        return None if party is None else party.link()

    async def serve(
        self, peer: Peer, payload: bytes, handle: Callable[[bytes], Awaitable[bytes]]
    ) -> bytes:
        """Answer a peer's request: one of ours, or an exchange, which is noted."""
        if payload[:1] == DOCUMENT:
            return await self._incoming.answer(peer, payload)
        return await self.journal.party(peer.node).book.witness.serve(payload, handle)

    async def _flush(self, peer: NodeId, party: Party) -> None:
        try:
            if party.acknowledged is None:
                # Before a new number is signed: does the peer know of later ones?
                await self._outgoing.send(peer, party)
            async with party.lock:
                await self._outgoing.make(peer, party)
                await self._look_at_time(peer, party)
            await self._outgoing.send(peer, party)
        except MachikuraError as error:
            _logger.warning("batch for %s: %s", peer, error.slug)

    async def _look_at_time(self, peer: NodeId, party: Party) -> None:
        """Raise an alarm about a peer that is linked and sends no batches."""
        now_ms, oldest = self.journal.now_ms(), party.book.oldest_ms
        if oldest is None or not party.links or party.told_silent:
            return
        since = max(oldest, party.up_ms, party.taken_ms)
        if now_ms - since < self.journal.limits.silent_s * 1000:
            return
        party.told_silent = True
        speaks = any(up.speaks for up in party.links)
        why = "" if speaks else "; it does not speak batch evidence"
        detail = f"no batch for {(now_ms - since) // 1000} s{why}"
        await self.journal.alarms.tell(peer, [Finding("silent", "batches", detail)])
