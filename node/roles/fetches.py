# SPDX-License-Identifier: Apache-2.0
"""The holder's side of a transfer: answers fetches, each decided on by itself.

Memory is bounded whatever is asked: so many parts are in hand at once for all
requesters together, the others wait their turn, in order, until their deadline.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sqlalchemy import Connection

from federation.exchange import Asked, Handler, Reply
from federation.replies import Chunked
from node.attachments import AttachmentDesk
from node.database import Database
from node.roles.holder import HolderDesk
from node.transfers import Side, Transfer, Transfers
from node.warrants import Verified
from protocol.answer import Segment
from protocol.decision import Deny
from protocol.errors import Malformed
from protocol.problem import ProblemBody
from protocol.request import Fetch
from protocol.stream import CHUNK_BYTES, Span
from vault import release
from vault.keyring import SubjectId
from vault.parts import Vault
from vault.segments import PreparedPart


class FetchDesk:
    """Answers fetches of attachments."""

    def __init__(
        self,
        *,
        holder: HolderDesk,
        vault: Vault,
        attachments: AttachmentDesk,
        transfers: Transfers,
        database: Database,
        segment_bytes: int,
        parts: int,
    ) -> None:
        """Take the parts.

        Args:
            holder: verifies what comes with a request, as for a read.
            vault: the vault's parts.
            attachments: reads content.
            transfers: told of progress.
            database: where everything is kept.
            segment_bytes: most bytes of content in one answer.
            parts: most answers with content in hand at a time.
        """
        self._holder = holder
        self._vault = vault
        self._attachments = attachments
        self._transfers = transfers
        self._database = database
        self._segment_bytes = segment_bytes
        self._turns = asyncio.Semaphore(parts)

    def handlers(self) -> dict[str, Handler]:
        """Return what is answered."""
        return {"fetch": self._fetch}

    async def _fetch(self, asked: Asked) -> Reply:
        """Let a part out, or refuse; either is on disk before the answer leaves."""
        query = asked.expect(Fetch)
        facts = release.Asked(
            exchange=asked.header.id,
            request=asked.request,
            route=tuple(str(hop.by) for hop in asked.hops),
            at_ms=asked.now_ms,
        )
        verified = self._holder.verified(query.warrant, asked)
        parts = verified if isinstance(verified, Verified) else None
        subject, prepared = self._database.read(
            partial(self._prepare, asked=asked, parts=parts, query=query, facts=facts)
        )
        if isinstance(verified, Deny):
            prepared = verified
        if isinstance(prepared, Deny):
            deny, case = prepared, self._holder.case(asked, parts, subject is not None)
            await self._holder.write(
                lambda c: self._vault.release.refuse(c, case, subject, deny, facts),
                parts,
            )
            self._stopped(query, deny.reason)
            return Reply(ProblemBody(code=deny.reason, detail=deny.detail[:512]))
        part, span = prepared, self._span(query, prepared)
        if not self._is_open(part):
            return Reply(ProblemBody(code="transfer-unknown"))
        async with self._turns:
            content = await self._attachments.part(part.attachment, span)

        async def commit(answer: str) -> None:
            if query.transfer is None:
                await self._holder.write(
                    lambda c: self._vault.segments.commit(c, part, answer), parts
                )
            elif not self._holder.is_noted(parts):
                await self._holder.write(lambda c: None, parts)
            self._transfers.carried(self._transfer(part), span.end, span.length)

        segment = Segment(
            record=query.record,
            attachment=part.told,
            offset=span.offset,
            length=span.length,
        )
        return Reply(segment, commit, Chunked(content, span))

    def _prepare(
        self,
        connection: Connection,
        *,
        asked: Asked,
        parts: Verified | None,
        query: Fetch,
        facts: release.Asked,
    ) -> tuple[SubjectId | None, PreparedPart | Deny]:
        subject = self._holder.subject(connection, parts)
        case = self._holder.case(asked, parts, subject is not None)
        return subject, self._vault.segments.prepare(
            connection, case, subject, query, facts
        )

    def _span(self, query: Fetch, part: PreparedPart) -> Span:
        """Return what leaves: as much as was asked for, in whole chunks."""
        size, offset = part.attachment.info.size, query.offset
        if offset % CHUNK_BYTES or (offset >= size and (offset or size)):
            raise Malformed("a part starts with a chunk of the content")
        length = min(query.length, self._segment_bytes, size - offset)
        if offset + length < size:
            length -= length % CHUNK_BYTES
        return Span(offset, length, size).check()

    def _is_open(self, part: PreparedPart) -> bool:
        """Tell whether the transfer that a part names is this one; True if it opens."""
        name = part.query.transfer
        if name is None:
            return True
        known = self._transfers.find(Side.HOLDER, name)
        if known is None:
            return self._database.read(lambda c: self._vault.segments.is_open(c, part))
        return (
            known.counterparty,
            known.consent,
            known.version,
            known.purpose,
            known.attachment,
        ) == (
            part.case.recipient.sub,
            part.consent.jti,
            part.consent.version,
            part.case.purpose,
            part.attachment.info.id,
        )

    def _transfer(self, part: PreparedPart) -> Transfer:
        return self._transfers.open(
            Side.HOLDER,
            part.query.transfer or part.asked.exchange,
            part.told,
            counterparty=part.case.recipient.sub,
            consent=part.consent.jti,
            version=part.consent.version,
            purpose=str(part.case.purpose),
            attachment=part.attachment.info.id,
        )

    def _stopped(self, query: Fetch, reason: str) -> None:
        """Show a running transfer as refused."""
        known = self._transfers.find(Side.HOLDER, query.transfer or "")
        if known is not None:
            self._transfers.ended(known, reason)
