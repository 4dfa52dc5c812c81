# SPDX-License-Identifier: Apache-2.0
"""The requester's side of a transfer: fetches parts, several at a time, in order.

    fetching = await fetcher.open(request)      # the first part is here, or a refusal
    async for piece in fetching.pieces(): ...   # in order, each whole and verified

A piece is asked for when there is room for it: who takes pieces slowly slows down the
holder, and at most `window` of them are in memory. A part that is lost with a link, or
refused for a passing reason, is asked for again, more slowly, as long as there is
progress now and then; a lasting refusal ends the transfer. On a slow way parts become
smaller, down to a chunk, so that each arrives by its deadline. The reception record
(APPI article 30) of the exchange that opened it is on disk before the first byte is
given out, and the last piece is given out only if the whole is what the holder signed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from federation.exchange import About, Answer, Endpoint, Refused
from node.attachments import WrongDigest
from node.database import Database
from node.patience import Patience
from node.problems import Refused as RefusedError
from node.reader import Approach, Reader
from node.transfers import Side, Transfer, Transfers
from node.world import World
from protocol.answer import Segment
from protocol.attachment import AttachmentInfo
from protocol.canonical import b64url
from protocol.envelope import Kind
from protocol.errors import Malformed
from protocol.ids import (
    AttachmentId,
    DatasetTypeName,
    ExchangeId,
    NodeId,
    PurposeName,
    RecordId,
)
from protocol.membership import DataClass
from protocol.problem import Refusal
from protocol.provision import ProvisionRecord
from protocol.request import Fetch
from protocol.stream import CHUNK_BYTES
from vault.dataset_types import DatasetTypes
from vault.provisions import Provisions


@dataclass(frozen=True)
class FetchRequest:
    """What a local application asks for.

    Attributes:
        dataset_type, purpose, consent, holder: as in `node.reader.ReadRequest`.
        record, attachment: as a read has told them.
        offset: byte from which on; what is before is there already.
        hops, timeout_ms, data_class: for each part, as in a read.
    """

    dataset_type: DatasetTypeName
    purpose: PurposeName
    consent: str
    record: RecordId
    attachment: AttachmentId
    holder: NodeId | None = None
    offset: int = 0
    hops: int | None = None
    timeout_ms: int | None = None
    data_class: DataClass | None = None


class Fetcher:
    """Fetches attachments."""

    def __init__(
        self,
        *,
        reader: Reader,
        exchanges: Endpoint,
        types: DatasetTypes,
        provisions: Provisions,
        transfers: Transfers,
        database: Database,
        world: World,
        segment_bytes: int,
        window: int,
        patience_s: float,
    ) -> None:
        """Take the parts.

        Args:
            reader: finds the way to the holder, with a fresh proof.
            exchanges: our end of exchanges.
            types: dataset types.
            provisions: takes the reception record.
            transfers: told of progress.
            database: where everything is kept.
            world: clock; and what digests beside the loop.
            segment_bytes: of one part; whole chunks.
            window: parts on their way or in hand at a time.
            patience_s: how long to try without any progress.
        """
        self.reader = reader
        self.exchanges = exchanges
        self.types = types
        self.provisions = provisions
        self.transfers = transfers
        self.database = database
        self.world = world
        self.segment_bytes = segment_bytes
        self.window = window
        self.patience_s = patience_s

    async def open(self, request: FetchRequest) -> Fetching:
        """Begin a transfer; returns with its first part.

        Raises:
            RefusedError: by the holder or on the way, also after trying again.
            NotFound: no such consent here, or it does not name the holder.
            UnknownDatasetType: as named.
        """
        fetching = Fetching(self, request)
        await fetching.begin()
        return fetching


@dataclass(frozen=True)
class _Part:
    """A part that has come."""

    answer: Answer
    segment: Segment
    approach: Approach


class Fetching:
    """One transfer that runs.

    Attributes:
        info: what is fetched; there after `begin`.
        transfer: how far it is; there after `begin`.
    """

    info: AttachmentInfo
    transfer: Transfer

    def __init__(self, fetcher: Fetcher, request: FetchRequest) -> None:
        """Take what is asked; nothing is sent yet."""
        self._f, self._request = fetcher, request
        self._start = request.offset - request.offset % CHUNK_BYTES
        self._opened: ExchangeId | None = None
        self._about = About(
            request.dataset_type,
            request.purpose,
            request.data_class or fetcher.types.get(request.dataset_type).data_class,
        )
        self._first: _Part | None = None
        self._width = 1
        self._length = self._most = fetcher.segment_bytes

    async def begin(self) -> None:
        """Fetch the first part, and write down that the transfer began.

        Raises:
            RefusedError: see `Fetcher.open`.
        """
        part = await self._persist(self._start)
        self.info = part.segment.attachment
        self._first = part

    async def pieces(self) -> AsyncGenerator[bytes | bytearray]:
        """Yield the content from the offset on, in order; once.

        Raises:
            RefusedError: the transfer ends here; what was yielded stays good.
            WrongDigest: the whole was fetched, and is not what the holder signed.
        """
        whole = hashlib.sha256() if self._request.offset == 0 else None
        skip, came = self._request.offset - self._start, 0
        async with aclosing(self._parts()) as parts:
            async for content in parts:
                came += len(content)
                if whole is not None:
                    # Beside the loop: a millisecond for each part.
                    await self._f.world.aside(partial(whole.update, content))
                    if came == self.info.size:
                        self._check(whole.digest())
                yield content[skip:] if skip else content
                skip = 0

    def _check(self, digest: bytes) -> None:
        """Hold the whole to what the holder signed."""
        if b64url(digest) != self.info.sha256:
            self._f.transfers.ended(self.transfer, WrongDigest.slug)
            raise WrongDigest("what was fetched is not what the holder signed")

    async def _parts(self) -> AsyncGenerator[bytes | bytearray]:
        """Yield whole parts in order; up to `window` of them are on their way."""
        first, self._first = self._first, None
        if first is None:
            raise Malformed("pieces are yielded once")
        yield first.answer.content
        position = first.segment.span.end
        coming: deque[tuple[int, asyncio.Task[_Part | Refusal]]] = deque()
        ahead = position
        try:
            while position < self.info.size:
                while len(coming) < self._width and ahead < self.info.size:
                    coming.append((ahead, asyncio.create_task(self._ask(ahead))))
                    ahead += self._length
                offset, task = coming[0]
                came = await task
                coming.popleft()
                if isinstance(came, Refusal):
                    # What was lost is often lost with the way: slowly from here.
                    await _drop(coming)
                    self._width = 1
                    came = await self._persist(offset, came)
                else:
                    self._width = min(self._width + 1, self._f.window)
                    self._length = min(self._length * 2, self._most)
                position = came.segment.span.end
                if coming and position != coming[0][0]:
                    # The holder sends smaller parts than we have asked for.
                    await _drop(coming)
                if not coming:
                    ahead = position
                yield came.answer.content
        finally:
            await _drop(coming)

    async def _persist(self, offset: int, refusal: Refusal | None = None) -> _Part:
        """Fetch a part, again and again where that may help.

        Args:
            offset: of the part.
            refusal: how an attempt has failed already.

        Raises:
            RefusedError: a lasting refusal, or no progress for too long.
        """
        patience = Patience(self._f.world.clock, self._f.patience_s)
        while True:
            if refusal is not None:
                await self._again(patience, refusal)
            came = await self._ask(offset)
            if isinstance(came, _Part):
                return came
            refusal = came

    async def _again(self, patience: Patience, refusal: Refusal) -> None:
        """Wait before the next attempt, and let it be another one than the last."""
        try:
            await patience.wait(refusal)
        except RefusedError:
            if self._opened is not None:
                self._f.transfers.ended(self.transfer, refusal.code)
            raise
        if refusal.code == "transfer-unknown":
            self._opened = None
        elif refusal.code in ("timeout", "too-large"):
            self._halve()

    def _halve(self) -> None:
        """Ask for smaller parts: whole chunks, one at least."""
        half = self._length // 2
        self._length = max(CHUNK_BYTES, half - half % CHUNK_BYTES)

    async def _ask(self, offset: int) -> _Part | Refusal:
        """Ask for one part, once; write down the one that opens the transfer."""
        f, request = self._f, self._request
        wait_ms = request.timeout_ms or f.exchanges.limits.deadline_ms
        by_ms = f.world.clock.now_ms() + wait_ms
        approach = await f.reader.approach(request.consent, request.holder, by_ms)
        if isinstance(approach, Refusal):
            return approach
        opened, length = self._opened, self._length
        outcome = await f.exchanges.ask(
            approach.target,
            Kind.READ,
            Fetch(
                warrant=approach.warrant,
                record=request.record,
                attachment=request.attachment,
                offset=offset,
                length=length,
                transfer=opened,
            ),
            About(
                self._about.dataset_type,
                self._about.purpose,
                self._about.data_class,
                approach.consent_digest,
            ),
            hops=request.hops,
            timeout_ms=max(1, by_ms - f.world.clock.now_ms()),
        )
        if isinstance(outcome, Refused):
            return outcome.refusal
        if not isinstance(outcome.result, Segment):
            return Refusal("answer-invalid", "no part in the answer", outcome.by)
        fault = self._fault(outcome.result, offset)
        if fault is not None:
            return Refusal("answer-invalid", fault, outcome.by)
        part = _Part(outcome, outcome.result, approach)
        if opened is None:
            await self._write_down(part)
        span = outcome.result.span
        if span.length < length and span.end < span.size:
            self._length = self._most = span.length
        f.transfers.carried(self.transfer, span.end, span.length)
        return part

    def _fault(self, segment: Segment, offset: int) -> str | None:
        """Hold an answer to the question: None where it is the part asked for."""
        known = getattr(self, "info", segment.attachment)
        for wrong, fault in (
            (segment.record != self._request.record, "of another record"),
            (segment.attachment.id != self._request.attachment, "another attachment"),
            (segment.offset != offset, "another place"),
            (segment.length > self._f.segment_bytes, "more than asked for"),
            (segment.attachment != known, "it changed on the way"),
        ):
            if wrong:
                return fault
        return None

    async def _write_down(self, part: _Part) -> None:
        """Keep the reception record, then show the transfer."""
        f, answer, kept = self._f, part.answer, part.approach.kept
        record = ProvisionRecord(
            role="reception",
            exchange=answer.exchange,
            at_ms=f.world.clock.now_ms(),
            counterparty=answer.by,
            consent=kept.consent.jti,
            consent_version=kept.consent.version,
            purpose=self._request.purpose,
            dataset_type=self._request.dataset_type,
            fields=(part.segment.attachment.field,),
            records=(self._request.record,),
            request=answer.request,
            answer=answer.digest,
            route=tuple(str(hop.by) for hop in answer.hops),
            attachment=self._request.attachment,
        )
        await f.database.write(lambda c: f.provisions.write(c, kept.subject, record))
        self._opened = answer.exchange
        self.transfer = f.transfers.open(
            Side.REQUESTER,
            answer.exchange,
            part.segment.attachment,
            counterparty=answer.by,
            consent=kept.consent.jti,
            version=kept.consent.version,
            purpose=self._request.purpose,
        )


async def _drop(coming: deque[tuple[int, asyncio.Task[_Part | Refusal]]]) -> None:
    """Give up the parts that are still on their way; their exchanges are cancelled."""
    tasks = [task for _, task in coming]
    coming.clear()
    for task in tasks:
        task.cancel()
    # Their outcomes, errors too, are nobody's now.
    await asyncio.gather(*tasks, return_exceptions=True)
