# SPDX-License-Identifier: Apache-2.0
"""Our journal and a peer's, exchange by exchange (requirement 47).

The peer's batches are fetched anew and held to what it signed: each must verify, have
the leaves that its root names, and be the very statement that it sent us at the time.
One that it does not give any more is taken from what we kept, and said so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from federation.evidence import Finding, Key, fits
from federation.evidence_store import OWN, PEER, Batch
from federation.outcome import LinkProblem
from federation.ports import LinkError
from identity.key_changes import KeysOf
from node.evidence.parties import Journal
from node.problems import Refused
from protocol.canonical import unb64url
from protocol.errors import Malformed, ProtocolViolation, UnknownKey, WrongAudience
from protocol.evidence import (
    LINK_BATCH,
    NOTHING,
    JournalPage,
    JournalQuery,
    KeptBatch,
    Leaf,
    LinkBatch,
    Seen,
    read_leaves,
)
from protocol.ids import NodeId
from protocol.problem import Refusal
from protocol.signature import Received, Signed

_MAX_PAGES = 1_000
_MAX_PAGE_BYTES = 16 << 20
_AROUND_MS = 300_000
_LAST_MS = 1 << 50


class Compared(StrEnum):
    """What two journals say of one exchange."""

    MATCH = "match"
    """Both sides signed the same."""
    IN_DOUBT = "in-doubt"
    """The asker got no answer; the other side says what became of it."""
    WAITING = "waiting"
    """Too young: the other side's batch may still come."""
    ALTERED = "altered"
    """Both signed it, with different answers."""
    ONLY_OURS = "only-ours"
    """We signed it, the peer has not."""
    ONLY_THEIRS = "only-theirs"
    """The peer signed it, we have not."""


DIFFERENCES = frozenset({Compared.ALTERED, Compared.ONLY_OURS, Compared.ONLY_THEIRS})


@dataclass(frozen=True)
class Line:
    """One exchange.

    Attributes:
        exchange: its id.
        asked: whether we asked.
        at_ms: end of the batch that holds it, ours where there is one.
        verdict: what both journals say.
        ours, theirs: outcome here and there; None without a leaf.
        adopted: whether one side took it over from the other after a crash.
    """

    exchange: str
    asked: bool
    at_ms: int
    verdict: Compared
    ours: str | None
    theirs: str | None
    adopted: bool


@dataclass
class Reconciliation:
    """The outcome.

    Attributes:
        lines: every exchange of the time, in its order.
        batches: batches of the peer that were verified.
        kept: of these, how many it did not give and we had.
        faults: what is wrong with the batches themselves.
    """

    lines: list[Line] = field(default_factory=list)
    batches: int = 0
    kept: int = 0
    faults: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _Noted:
    leaf: Leaf
    at_ms: int


class Reconciler:
    """Fetches and compares."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        self._journal = journal

    async def reconcile(
        self, peer: NodeId, since_ms: int, until_ms: int
    ) -> Reconciliation:
        """Compare both journals over a time, by our clock.

        Raises:
            Refused: there is no link with the peer, or it does not answer.
        """
        found = Reconciliation()
        window = max(0, since_ms - _AROUND_MS), min(_LAST_MS, until_ms + _AROUND_MS)
        store, database = self._journal.store, self._journal.database
        own = await database.scan(
            lambda c: store.between(c, peer, OWN, *window, limit=1 << 20)
        )
        kept = await database.scan(
            lambda c: store.between(c, peer, PEER, *window, limit=1 << 20)
        )
        theirs = await self._fetch(peer, window, kept, found)
        await self._journal.alarms.tell(peer, found.faults)
        ours = _by_key(own, OWN)
        others = _by_key(theirs, PEER)
        for key in dict.fromkeys((*ours, *others)):
            for line in self._lines(key, ours.get(key, []), others.get(key, [])):
                if since_ms <= line.at_ms <= until_ms:
                    found.lines.append(line)
        found.lines.sort(key=lambda line: (line.at_ms, line.exchange))
        return found

    async def _fetch(
        self,
        peer: NodeId,
        window: tuple[int, int],
        kept: list[Batch],
        found: Reconciliation,
    ) -> list[Batch]:
        """Return the peer's batches: as it gives them, else as we have them."""
        known = {(b.body.stream, b.body.seq): b for b in kept}
        got: dict[tuple[str, int], Batch] = {}
        async for shown in self._pages(peer, window):
            try:
                batch = self._verified(peer, shown)
            except ProtocolViolation as error:
                found.faults.append(Finding("bad-batch", "journal", error.slug))
                continue
            place = batch.body.stream, batch.body.seq
            before = known.get(place)
            if before is not None and before.digest != batch.digest:
                detail = "the peer now shows another statement than it sent"
                name = f"{place[0]}.{place[1]}"
                found.faults.append(Finding("equivocation", name, detail))
            else:
                got[place] = batch
        missing = {place: b for place, b in known.items() if place not in got}
        found.batches, found.kept = len(got), len(missing)
        return [*got.values(), *missing.values()]

    async def _pages(
        self, peer: NodeId, window: tuple[int, int]
    ) -> AsyncIterator[KeptBatch]:
        after: Seen | None = None
        for _ in range(_MAX_PAGES):
            party = self._journal.parties.get(peer)
            link = None if party is None else party.link()
            if link is None:
                raise Refused(Refusal("peer-unreachable", f"no link with {peer}"))
            query = JournalQuery(since_ms=window[0], until_ms=window[1], after=after)
            deadline_ms = self._journal.now_ms() + self._journal.limits.answer_ms
            try:
                answer = await link.request(query.encode(), deadline_ms=deadline_ms)
                page = JournalPage.decode(answer, _MAX_PAGE_BYTES)
            except LinkProblem as problem:
                if problem.slug != "rate-limited" or problem.retry_after_ms is None:
                    raise Refused(Refusal(problem.slug, str(peer))) from problem
                await self._journal.clock.sleep(problem.retry_after_ms / 1000)
                continue
            except (LinkError, Malformed) as error:
                raise Refused(Refusal("peer-unreachable", error.slug)) from error
            for batch in page.batches:
                yield batch
            if not page.more or not page.batches:
                return
            last = Received.parse(page.batches[-1].statement, LINK_BATCH)
            body = last.peek(LinkBatch)
            after = Seen(stream=body.stream, seq=body.seq)

    def _verified(self, peer: NodeId, shown: KeptBatch) -> Batch:
        received = Received.parse(shown.statement, LINK_BATCH)
        signed = self._signed(peer, received)
        if signed.body.aud != self._journal.node:
            raise WrongAudience("a batch about exchanges with another node")
        leaves = unb64url(shown.leaves)
        read_leaves(signed.body, leaves)
        return Batch(
            peer=peer,
            side=PEER,
            body=signed.body,
            token=signed.token,
            digest=signed.digest,
            kid=received.kid,
            leaves=leaves,
        )

    def _signed(self, peer: NodeId, received: Received) -> Signed[LinkBatch]:
        """Verify a statement with the credentials that its key was proven with."""
        store, database = self._journal.store, self._journal.database
        shown = database.read(lambda c: store.signer(c, received.kid))
        if shown is None:
            raise UnknownKey("no batch signed with this key was ever sent")
        at = received.peek(LinkBatch).iat
        member = self._journal.trust.verify_sender(
            shown.membership, shown.operating, at
        )
        if member.sub != peer:
            raise WrongAudience("a batch of another node")
        return received.verify(LinkBatch, KeysOf(member, at))

    def _lines(
        self, key: Key, ours: list[_Noted], theirs: list[_Noted]
    ) -> Iterable[Line]:
        """Pair the leaves of one request: those that fit first."""
        left = list(theirs)
        for own in ours:
            fitting = [t for t in left if fits(own.leaf, t.leaf)]
            other = fitting[0] if fitting else left[0] if left else None
            if other is not None:
                left.remove(other)
            yield self._line(key, own, own, other)
        for other in left:
            # Late, after both had settled it: no second exchange.
            if not ours or ours[0].leaf.answer != NOTHING:
                yield self._line(key, other, None, other)

    def _line(
        self, key: Key, one: _Noted, own: _Noted | None, other: _Noted | None
    ) -> Line:
        leaves = [n.leaf for n in (own, other) if n is not None]
        young = self._journal.now_ms() - 3_000 * self._journal.limits.batch_s
        if own is not None and other is not None:
            asker = own.leaf if own.leaf.asked else other.leaf
            verdict = Compared.IN_DOUBT if asker.answer == NOTHING else Compared.MATCH
            if not fits(own.leaf, other.leaf):
                verdict = Compared.ALTERED
        elif one.at_ms > young:
            verdict = Compared.WAITING
        else:
            verdict = Compared.ONLY_THEIRS if own is None else Compared.ONLY_OURS
        return Line(
            exchange=one.leaf.id,
            asked=key[0],
            at_ms=one.at_ms,
            verdict=verdict,
            ours=None if own is None else own.leaf.outcome.name.lower(),
            theirs=None if other is None else other.leaf.outcome.name.lower(),
            adopted=any(leaf.adopted for leaf in leaves),
        )


def _by_key(batches: Iterable[Batch], side: str) -> dict[Key, list[_Noted]]:
    found: dict[Key, list[_Noted]] = {}
    for batch in batches:
        for leaf in batch.read():
            key = leaf.asked is (side == OWN), leaf.request
            found.setdefault(key, []).append(_Noted(leaf, batch.body.to_ms))
    return found
