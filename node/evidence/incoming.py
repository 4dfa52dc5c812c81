# SPDX-License-Identifier: Apache-2.0
"""A peer's batches: verified, compared with ours, kept with the alarms that follow.

It is acknowledged when it is on disk. Link documents are told from exchanges by their
first byte: a brace, where an envelope has its version.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from federation.evidence import Finding, Plan
from federation.evidence_store import OWN, PEER, Batch, Head
from federation.outcome import LinkProblem
from federation.peers import Peer
from identity.key_changes import KeysOf
from node.evidence.parties import Journal, Party
from node.limits import RateLimit
from protocol.canonical import b64url, unb64url
from protocol.errors import MachikuraError, ProtocolViolation, WrongAudience
from protocol.evidence import (
    LINK_BATCH,
    BatchMessage,
    JournalPage,
    JournalQuery,
    KeptBatch,
    Leaf,
    LinkBatch,
    Taken,
    read_leaves,
)
from protocol.ids import NodeId
from protocol.membership import Credentials, Membership
from protocol.signature import Received, Signed

_logger = logging.getLogger(__name__)

DOCUMENT = b"{"
"""First byte of a link document; an envelope begins with its version."""
MAX_DOCUMENT_BYTES = 1 << 20
_BATCH = b'{"credentials":'
"""How a `BatchMessage` begins, its members being sorted."""
_PAGE = 8
_SKEW_S = 10


class Incoming:
    """Answers link documents."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal; a peer gets four answers a second on average."""
        self._journal = journal
        self._rate = RateLimit(per_s=4.0, burst=64)

    async def answer(self, peer: Peer, payload: bytes) -> bytes:
        """Answer a link document.

        Raises:
            LinkProblem: it cannot be taken.
        """
        wait_ms = self._rate.take(peer.node, self._journal.now_ms())
        if wait_ms:
            raise LinkProblem("rate-limited", wait_ms)
        try:
            if payload.startswith(_BATCH):
                message = BatchMessage.decode(payload, MAX_DOCUMENT_BYTES)
                return (await self._take(peer, message)).encode()
            return self._page(peer, payload).encode()
        except ProtocolViolation as error:
            _logger.warning("evidence of %s refused: %s", peer.node, error.slug)
            raise LinkProblem(error.slug) from error
        except MachikuraError as error:
            raise LinkProblem(error.slug, self._journal.limits.answer_ms) from error

    def _page(self, peer: Peer, payload: bytes) -> JournalPage:
        query = JournalQuery.decode(payload, MAX_DOCUMENT_BYTES)
        after = query.after
        found = self._journal.database.read(
            lambda c: self._journal.store.between(
                c,
                peer.node,
                OWN,
                query.since_ms,
                query.until_ms,
                after=None if after is None else (after.stream, after.seq),
                limit=_PAGE + 1,
            )
        )
        return JournalPage(
            batches=tuple(
                KeptBatch(statement=batch.token, leaves=b64url(batch.leaves))
                for batch in found[:_PAGE]
            ),
            more=len(found) > _PAGE,
        )

    async def _take(self, peer: Peer, message: BatchMessage) -> Taken:
        """Verify, compare and keep a batch of the peer."""
        member = self._proven(peer.node, message.credentials)
        signed = self.verified(message.statement, member)
        leaves = await self._leaves(peer.node, signed, message.leaves)
        party = self._journal.party(peer.node)
        async with party.lock:
            head, fault = self._chain(peer.node, signed, message.oldest)
            if fault is not None:
                finding, other = fault
                proof = f"{other}\n{signed.token}".encode() if other else None
                await self._journal.alarms.tell(peer.node, [finding], proof)
            if head is not None:
                return Taken(
                    stream=signed.body.stream,
                    seq=head.seq if head.seq >= 0 else None,
                    digest=head.digest or None,
                )
            await self._compare(peer.node, party, signed, leaves, message)
        party.taken_ms, party.told_silent = self._journal.now_ms(), False
        return Taken(
            stream=signed.body.stream, seq=signed.body.seq, digest=signed.digest
        )

    def _proven(self, peer: NodeId, shown: Credentials) -> Membership:
        now = self._journal.now_ms() // 1000
        member = self._journal.trust.verify_sender(
            shown.membership, shown.operating, now
        )
        if member.sub != peer:
            raise WrongAudience("evidence of another node than the link's peer")
        return member

    def verified(self, token: str, member: Membership) -> Signed[LinkBatch]:
        """Verify a statement about exchanges with us.

        Raises:
            ProtocolViolation: not signed by that member, or not about us.
        """
        received = Received.parse(token, LINK_BATCH)
        # A batch may have waited since before its signer changed keys.
        keys = KeysOf(member, self._journal.now_ms() // 1000)
        signed = received.verify(LinkBatch, keys)
        keys.check_time(received.kid, signed.body, _SKEW_S)
        if signed.body.aud != self._journal.node:
            raise WrongAudience("a batch about exchanges with another node")
        return signed

    async def _leaves(
        self, peer: NodeId, signed: Signed[LinkBatch], encoded: str
    ) -> list[Leaf]:
        try:
            return read_leaves(signed.body, unb64url(encoded))
        except ProtocolViolation as error:
            # It signed a root that its own leaves do not have.
            subject = f"{signed.body.stream}.{signed.body.seq}"
            finding = Finding("bad-batch", subject, error.detail)
            await self._journal.alarms.tell(peer, [finding], signed.token.encode())
            raise

    def _chain(
        self, peer: NodeId, signed: Signed[LinkBatch], oldest: int
    ) -> tuple[Head | None, tuple[Finding, str] | None]:
        """Look where a batch stands in its chain.

        Returns:
            What to acknowledge instead of taking it, None to take it; and what is
            wrong, with the statement that contradicts it.
        """
        body, store = signed.body, self._journal.store
        head = self._journal.database.read(
            lambda c: store.head(c, peer, PEER, body.stream)
        )
        subject = f"{body.stream}.{body.seq}"
        if head is None:
            first = body.seq in (0, oldest)
            return (None if first else Head(body.stream, -1, "")), None
        if body.seq == head.seq + 1 and body.prev == head.digest:
            return None, None
        if body.seq > head.seq + 1 and body.seq == oldest:
            detail = f"batches {head.seq + 1} to {body.seq - 1} were never sent"
            return None, (Finding("gap", subject, detail), "")
        number = min(body.seq, head.seq)
        kept = self._journal.database.read(
            lambda c: store.get(c, peer, PEER, body.stream, number)
        )
        same = kept is not None and kept.digest == signed.digest
        if kept is None or same or body.seq > head.seq + 1:
            return head, None
        detail = "two signed statements of one chain contradict each other"
        return head, (Finding("equivocation", subject, detail), kept.token)

    async def _compare(
        self,
        peer: NodeId,
        party: Party,
        signed: Signed[LinkBatch],
        leaves: list[Leaf],
        message: BatchMessage,
    ) -> None:
        book, body, now_ms = party.book, signed.body, self._journal.now_ms()
        limits, skew_ms = self._journal.limits, self._journal.limits.skew_ms
        found = book.absorb(now_ms)
        plan = book.plan(
            body,
            leaves,
            stream=self._journal.stream,
            now_ms=now_ms,
            skew_ms=skew_ms,
            settle_ms=limits.settle_ms,
            kept=lambda requests: self._journal.database.read(
                lambda c: self._journal.store.find(c, peer, requests)
            ),
        )
        plan.findings.extend(found)
        kid = Received.parse(signed.token, LINK_BATCH).kid
        batch = Batch(
            peer=peer,
            side=PEER,
            body=body,
            token=signed.token,
            digest=signed.digest,
            kid=kid,
            leaves=unb64url(message.leaves),
        )

        def keep(connection: Connection) -> list[Finding]:
            self._journal.store.add(connection, batch)
            self._journal.store.note_signer(connection, kid, peer, message.credentials)
            self._journal.store.close(connection, peer, plan.closed)
            return self._journal.alarms.note(
                connection, peer, plan.findings, signed.token.encode()
            )

        self._journal.alarms.announce(peer, await self._journal.database.write(keep))
        book.carry_out(plan, body, now_ms)
        self._after(peer, plan)

    def _after(self, peer: NodeId, plan: Plan) -> None:
        if plan.adopted:
            _logger.warning("%d exchanges taken over from %s", len(plan.adopted), peer)
        if plan.adopted or plan.unknown:
            self._journal.wake(False)
