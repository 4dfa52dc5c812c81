# SPDX-License-Identifier: Apache-2.0
"""What we and one peer have signed about the exchanges between us, compared (pure).

Own leaves wait in a `Book` until the peer has signed the same exchange. For each leaf
of the peer's there is one case, looked for in this order:

1. Ours waits and fits it: settled. An asker that got no answer (deadline, lost link)
   is *in doubt*; it fits whatever the other side says became of the exchange.
2. Ours waits and says otherwise: `altered`.
3. It is in flight here: kept until it has ended.
4. It was in doubt and is settled; the request itself has come late: nothing.
5. The peer asked and got no answer, and nothing of it has come here: we sign that it
   is unknown here, which settles it on both sides.
6. We have crashed since: our own note was lost, the peer's is taken over, marked so.
7. Another exchange of the same id is known: `altered`. Otherwise: `invented`.

An own leaf is `withheld` when the peer signs a batch that says "I had seen yours" and
that, with all before it, does not hold it: whoever answers notes the exchange before
the answer leaves, so the peer had it. What is in doubt has until `settle_ms`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from federation.witness import Carried, Witness
from protocol.errors import Malformed
from protocol.evidence import (
    NOTHING,
    Leaf,
    LinkBatch,
    Outcome,
    Seen,
    request_name,
)

MAX_WAITING: Final = 50_000
"""Own leaves of one peer in memory; older ones are looked up on disk."""

_LATE_MS: Final = 600_000
"""How long a request that was declared unknown may still come, late."""

Key: TypeAlias = tuple[bool, bytes]
"""Whether we asked, and the request's digest."""


class Finding(NamedTuple):
    """Something that must not be.

    Attributes:
        kind: stable, kebab-case.
        subject: id of the exchange, or name of the batch.
        detail: what differs, in English.
    """

    kind: str
    subject: str
    detail: str


@dataclass(slots=True, eq=False)
class Mark:
    """An own leaf until the peer has confirmed it; `seq` of its batch, -1 before."""

    leaf: Leaf
    at_ms: int
    seq: int = -1
    waits: bool = True


@dataclass
class Plan:
    """What follows from a batch of the peer, before any of it is done."""

    settled: list[tuple[Key, Mark]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    early: dict[Key, Leaf] = field(default_factory=dict)
    unknown: list[Leaf] = field(default_factory=list)
    adopted: list[Leaf] = field(default_factory=list)
    doubts: list[Key] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def fits(ours: Leaf, theirs: Leaf) -> bool:
    """Tell whether two sides' leaves of one request agree.

    Args:
        ours: one side's.
        theirs: the other's, as that side noted it.
    """
    asker, other = (ours, theirs) if ours.asked else (theirs, ours)
    if asker.answer == NOTHING:
        return True
    return other.answer == asker.answer


def leaf_of(carried: Carried) -> Leaf | None:
    """Return the leaf of what a witness noted; None if it names no exchange."""
    try:
        exchange, request = request_name(carried.front)
    except Malformed:
        return None
    return Leaf(
        carried.asked, False, carried.outcome, exchange, request, carried.answer
    )


class _Around:
    """What else is known here; gathered once per batch, and only if it is needed."""

    def __init__(self, book: Book, witness: Witness) -> None:
        self._book, self._witness = book, witness
        self._flying: set[Key] | None = None
        self._ids: set[Key] = set()

    def flies(self, key: Key) -> bool:
        """Tell whether a request is in flight."""
        return key in self._gathered()

    def knows(self, asked: bool, exchange: bytes) -> bool:
        """Tell whether the exchange is in flight or waits, under whatever digest."""
        self._gathered()
        return (asked, exchange) in self._ids

    def _gathered(self) -> set[Key]:
        if self._flying is None:
            self._flying = set()
            for asked, table in (
                (True, self._witness.asking),
                (False, self._witness.serving),
            ):
                for front in table.values():
                    with suppress(Malformed):
                        exchange, request = request_name(front)
                        self._flying.add((asked, request))
                        self._ids.add((asked, exchange))
            for (asked, _), marks in self._book.waiting.items():
                self._ids.update((asked, mark.leaf.exchange) for mark in marks)
        return self._flying


class Book:
    """What we and one peer say of each other's batches."""

    def __init__(self, witness: Witness, *, crash_ms: int = 0) -> None:
        """Start empty.

        Args:
            witness: notes what is carried.
            crash_ms: until when our own notes may have been lost; 0 if none were.
        """
        self.witness = witness
        self.crash_ms = crash_ms
        self.waiting: dict[Key, list[Mark]] = {}
        self.unbatched: list[Mark] = []
        self.seen: OrderedDict[str, int] = OrderedDict()
        self.horizon_ms = 0
        self.count = 0
        self._early: dict[Key, Leaf] = {}
        self._doubts: OrderedDict[Key, int] = OrderedDict()
        self._open: dict[int, int] = {}

    # ------------------------------------------------------------------ our own

    def absorb(self, now_ms: int) -> list[Finding]:
        """Take in what the witness has noted; return what contradicts the peer."""
        findings: list[Finding] = []
        witness = self.witness
        if len(self.unbatched) > MAX_WAITING:
            return findings  # The disk is full: the witness will refuse new ones.
        fresh, witness.fresh = witness.fresh, []
        self._forget_doubts(now_ms)
        for carried in fresh:
            leaf = leaf_of(carried)
            if leaf is not None:
                self._take_in(leaf, witness.since_ms, findings)
        return findings

    def _take_in(self, leaf: Leaf, now_ms: int, findings: list[Finding]) -> None:
        mark = Mark(leaf, now_ms)
        self.unbatched.append(mark)
        key = leaf.asked, leaf.request
        if key in self._doubts:
            mark.waits = False  # It has come late; both sides have settled it.
            return
        theirs = self._early.pop(key, None)
        if theirs is None:
            self._wait(key, mark)
            return
        mark.waits = False
        if not fits(leaf, theirs):
            findings.append(_altered(leaf, theirs))

    def _wait(self, key: Key, mark: Mark) -> None:
        if self.count >= MAX_WAITING:
            self.horizon_ms, mark.waits = mark.at_ms, False
            return
        self.waiting.setdefault(key, []).append(mark)
        self.count += 1

    def batched(self, marks: Iterable[Mark], seq: int) -> int:
        """Note that these leaves are in a batch; return how many of them wait."""
        waits = 0
        for mark in marks:
            mark.seq = seq
            waits += mark.waits
        if waits:
            self._open[seq] = waits
        return waits

    def load(self, leaves: Iterable[Leaf], seq: int, at_ms: int) -> None:
        """Take up an own batch of before the start that is not settled."""
        for leaf in leaves:
            mark = Mark(leaf, at_ms, seq)
            self._wait((leaf.asked, leaf.request), mark)
            self._open[seq] = self._open.get(seq, 0) + mark.waits

    def restart(self) -> None:
        """Begin a new chain: what is in batches of the old one counts as unbatched."""
        self._open.clear()
        for marks in self.waiting.values():
            for mark in marks:
                mark.seq = -1

    def seen_now(self) -> tuple[Seen, ...]:
        """Return what of the peer was compared so far."""
        return tuple(Seen(stream=stream, seq=seq) for stream, seq in self.seen.items())

    # --------------------------------------------------------------- the peer's

    def plan(
        self,
        batch: LinkBatch,
        leaves: Iterable[Leaf],
        *,
        stream: str,
        now_ms: int,
        skew_ms: int,
        settle_ms: int,
        kept: Callable[[Collection[bytes]], Mapping[Key, Leaf]],
    ) -> Plan:
        """Compare a batch of the peer with ours; nothing is changed.

        Args:
            batch: the statement, verified.
            leaves: its leaves, held to its root.
            stream: of our own chain.
            now_ms: our clock.
            skew_ms: how far two clocks may differ.
            settle_ms: how long an exchange may stay in doubt.
            kept: finds own leaves on disk by the digests of their requests.
        """
        plan = Plan()
        used: dict[Key, int] = {}
        left = [leaf for leaf in leaves if not self._settle(leaf, plan, used)]
        forgotten = batch.from_ms <= self.horizon_ms + skew_ms and self.horizon_ms > 0
        # What the peer takes over after a crash, both may have signed before it.
        asked_for = {leaf.request for leaf in left if leaf.adopted or forgotten}
        on_disk = kept(asked_for) if asked_for else {}
        around = _Around(self, self.witness)
        crashed = batch.from_ms <= self.crash_ms + skew_ms and self.crash_ms > 0
        for leaf in left:
            known = on_disk.get((not leaf.asked, leaf.request))
            if known is None or not fits(known, leaf):
                self._judge(leaf, plan, around, crashed)
        self._close(plan)
        seen = next((s.seq for s in batch.seen if s.stream == stream), -1)
        self._look_for_gaps(plan, used, seen, now_ms - settle_ms)
        return plan

    def _settle(self, leaf: Leaf, plan: Plan, used: dict[Key, int]) -> bool:
        """Try cases 1 and 2."""
        key = not leaf.asked, leaf.request
        marks = self.waiting.get(key)
        place = used.get(key, 0)
        if marks is None or place >= len(marks):
            return False
        # Copies of one request differ in their answers: any that fits will do.
        for index in range(place, len(marks)):
            if fits(marks[index].leaf, leaf):
                marks[place], marks[index] = marks[index], marks[place]
                break
        else:
            plan.findings.append(_altered(marks[place].leaf, leaf))
        mark = marks[place]
        used[key] = place + 1
        plan.settled.append((key, mark))
        if Outcome.UNKNOWN in (leaf.outcome, mark.leaf.outcome):
            plan.doubts.append(key)
        return True

    def _judge(self, leaf: Leaf, plan: Plan, around: _Around, crashed: bool) -> None:
        """Try cases 3 to 7."""
        key = asked_here, _ = not leaf.asked, leaf.request
        if around.flies(key):
            plan.early[key] = leaf
        elif key in self._doubts:
            return
        elif around.knows(asked_here, leaf.exchange):
            detail = "the peer carried another request under this id"
            plan.findings.append(Finding("altered", leaf.id, detail))
        elif crashed:
            plan.adopted.append(leaf.from_the_other_side()._replace(adopted=True))
        elif leaf.asked and leaf.answer == NOTHING and leaf.outcome != Outcome.UNKNOWN:
            plan.doubts.append(key)
            plan.unknown.append(
                Leaf(
                    False, False, Outcome.UNKNOWN, leaf.exchange, leaf.request, NOTHING
                )
            )
        else:
            who = "we asked it" if asked_here else "it asked us"
            detail = f"the peer signed that {who}; it never was here"
            plan.findings.append(Finding("invented", leaf.id, detail))

    def _close(self, plan: Plan) -> None:
        """Find the own batches that have nothing left to wait for."""
        left = dict(self._open)
        for _, mark in plan.settled:
            if mark.seq >= 0:
                left[mark.seq] -= 1
                if left[mark.seq] == 0:
                    plan.closed.append(mark.seq)

    def _look_for_gaps(
        self, plan: Plan, used: dict[Key, int], seen: int, before_ms: int
    ) -> None:
        """Find own leaves that the peer should have signed by now."""
        for key, marks in self.waiting.items():
            for mark in marks[used.get(key, 0) :]:
                if not 0 <= mark.seq <= seen:
                    continue
                leaf = mark.leaf
                if leaf.asked and leaf.answer != NOTHING:
                    detail = "the peer answered it and leaves it out of its batches"
                    plan.findings.append(Finding("withheld", leaf.id, detail))
                elif mark.at_ms < before_ms:
                    detail = "the peer does not say what became of it"
                    plan.findings.append(Finding("unsettled", leaf.id, detail))
                else:
                    continue
                plan.settled.append((key, mark))

    def carry_out(self, plan: Plan, batch: LinkBatch, now_ms: int) -> None:
        """Do what was planned, once it is on disk."""
        for key, mark in plan.settled:
            self._drop(key, mark)
        self._early.update(plan.early)
        for key in plan.doubts:
            self._doubts[key] = now_ms + _LATE_MS
        for leaf in (*plan.unknown, *plan.adopted):
            self.unbatched.append(Mark(leaf, now_ms, waits=False))
        self.seen[batch.stream] = batch.seq
        self.seen.move_to_end(batch.stream)
        while len(self.seen) > 16:
            self.seen.popitem(last=False)

    def overdue(self, before_ms: int) -> int:
        """Return how many own leaves of before that time the peer has not confirmed."""
        return sum(
            mark.at_ms < before_ms for marks in self.waiting.values() for mark in marks
        )

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest leaf that waits was noted."""
        times = [mark.at_ms for marks in self.waiting.values() for mark in marks]
        return min(times, default=None)

    def _drop(self, key: Key, mark: Mark) -> None:
        marks = self.waiting[key]
        marks.remove(mark)
        if not marks:
            del self.waiting[key]
        mark.waits = False
        self.count -= 1
        if mark.seq >= 0:
            self._open[mark.seq] -= 1
            if self._open[mark.seq] == 0:
                del self._open[mark.seq]

    def _forget_doubts(self, now_ms: int) -> None:
        while self._doubts and next(iter(self._doubts.values())) < now_ms:
            self._doubts.popitem(last=False)


def _altered(ours: Leaf, theirs: Leaf) -> Finding:
    detail = (
        f"the answers differ: {ours.outcome.name.lower()} here, "
        f"{theirs.outcome.name.lower()} at the peer"
    )
    return Finding("altered", ours.id, detail)
