# SPDX-License-Identifier: Apache-2.0
"""Two journals compared: what matches, what differs, and who no longer shows what."""

from __future__ import annotations

import pytest

from federation.outcome import LinkLost
from node.evidence.reconcile import Compared, Reconciler, Reconciliation
from node.problems import Refused
from protocol.canonical import b64url
from protocol.evidence import JournalPage, KeptBatch, Leaf, Outcome
from tests.node.evidence.pair import Pair, exchange


async def compare(pair: Pair, since: int = 0, until: int = 1 << 50) -> Reconciliation:
    """Let the near side reconcile with the far one."""
    reconciler = Reconciler(pair.near.desk.journal)
    return await reconciler.reconcile(pair.far.node, since, until)


def verdicts(found: Reconciliation) -> dict[str, str]:
    """Return the verdict of each exchange."""
    return {line.exchange: line.verdict for line in found.lines}


async def test_honest_journals_match() -> None:
    """Every exchange once, in both directions, with who asked."""
    pair = await Pair().start()
    await pair.ask(1, 2)
    await pair.ask_back(3)
    await pair.settle()
    found = await compare(pair)
    assert verdicts(found) == {exchange(n): Compared.MATCH for n in (1, 2, 3)}
    assert [line.asked for line in found.lines].count(True) == 2
    assert (found.kept, found.faults) == (0, [])


async def test_only_the_time_asked_for_is_compared() -> None:
    """By the end of the batch that holds an exchange."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    between = pair.clock.ms
    await pair.ask(2)
    await pair.settle()
    assert list(verdicts(await compare(pair, since=between + 1))) == [exchange(2)]
    assert list(verdicts(await compare(pair, until=between))) == [exchange(1)]


async def test_lost_link_is_in_doubt_and_no_difference() -> None:
    """Both outcomes are shown."""
    pair = await Pair().start()
    there, wire = pair.links[0][0], pair.links[0][0].wire

    async def lost(payload: bytes) -> bytes:
        raise LinkLost("pipe-closed")

    there.wire = lost
    with pytest.raises(LinkLost):
        await pair.ask(1)
    there.wire = wire
    await pair.settle()
    (line,) = (await compare(pair)).lines
    assert line.verdict is Compared.IN_DOUBT
    assert (line.ours, line.theirs) == ("lost", "unknown")


async def test_false_leaves_are_differences() -> None:
    """An exchange that never was here, and one that the peer has not signed."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    made_up = Leaf(True, False, Outcome.ANSWERED, bytes(16), b"r" * 32, b"a" * 32)
    _, message = pair.far.forged(pair.near, [made_up])
    await pair.near.desk.serve(pair.far.peer, message, pair.links[0][1].wire)
    witness = pair.far.desk.journal.party(pair.near.node).book.witness
    await pair.ask(2)
    witness.fresh.clear()
    await pair.settle()
    pair.clock.ms += 60_000
    found = verdicts(await compare(pair))
    assert found[exchange(1)] is Compared.MATCH
    assert found[exchange(2)] is Compared.ONLY_OURS
    assert found[made_up.id] is Compared.ONLY_THEIRS


async def test_young_exchange_is_not_called_a_difference() -> None:
    """The other side's batch may still come."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    assert verdicts(await compare(pair)) == {exchange(1): Compared.WAITING}


async def test_batch_that_the_peer_no_longer_gives_is_taken_from_ours() -> None:
    """Attack: deny a batch that was signed and sent."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()

    async def nothing(payload: bytes) -> bytes:
        return JournalPage(batches=(), more=False).encode()

    pair.links[0][0].wire = nothing
    found = await compare(pair)
    assert (found.batches, found.kept) == (0, 1)
    assert verdicts(found) == {exchange(1): Compared.MATCH}


async def test_other_statement_than_was_sent_is_equivocation() -> None:
    """Attack: show another batch at reconciliation than at the time."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    (kept,) = pair.far.batches(pair.near)
    signed, _ = pair.far.forged(
        pair.near, kept.read(), stream=kept.body.stream, seq=kept.body.seq
    )

    async def other(payload: bytes) -> bytes:
        shown = KeptBatch(statement=signed.token, leaves=b64url(kept.leaves))
        return JournalPage(batches=(shown,), more=False).encode()

    pair.links[0][0].wire = other
    found = await compare(pair)
    assert [fault.kind for fault in found.faults] == ["equivocation"]
    assert pair.near.kinds() == {"equivocation"}


async def test_leaves_that_were_not_signed_do_not_count() -> None:
    """Attack: show other leaves under a signed root."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    (kept,) = pair.far.batches(pair.near)

    async def other(payload: bytes) -> bytes:
        shown = KeptBatch(statement=kept.token, leaves=b64url(kept.leaves[::-1]))
        return JournalPage(batches=(shown,), more=False).encode()

    pair.links[0][0].wire = other
    found = await compare(pair)
    assert [fault.kind for fault in found.faults] == ["bad-batch"]
    assert verdicts(found) == {exchange(1): Compared.MATCH}


async def test_peer_without_a_link_cannot_be_reconciled_with() -> None:
    """Its own word is what is compared."""
    pair = await Pair().start()
    pair.cut()
    with pytest.raises(Refused, match="no link"):
        await compare(pair)


async def test_long_journal_is_fetched_page_by_page() -> None:
    """More batches than one answer holds."""
    pair = await Pair().start()
    for number in range(20):
        await pair.ask(number)
        await pair.settle(1)
    await pair.settle()
    found = await compare(pair)
    assert found.batches == 20
    assert set(verdicts(found).values()) == {Compared.MATCH}
