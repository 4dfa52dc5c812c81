# SPDX-License-Identifier: Apache-2.0
"""Batches between two nodes: what honest and what hostile peers bring about."""

from __future__ import annotations

import asyncio

import pytest

from federation.evidence_store import OWN, PEER
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from protocol.errors import MachikuraError
from protocol.evidence import NOTHING, BatchMessage, Leaf, Outcome, Seen
from tests.node.evidence.pair import Pair, Side, answer, exchange, request


def known(side: Side, peer: Side) -> int:
    """Return how many own leaves the peer has not confirmed."""
    return side.desk.journal.party(peer.node).book.count


async def hostile(pair: Pair, message: bytes) -> bytes:
    """Let the far side send what it likes past its own journal."""
    return await pair.near.desk.serve(pair.far.peer, message, pair.links[0][1].wire)


def made_up(number: int = 99, **changes: object) -> Leaf:
    """Return a leaf of an exchange that never was."""
    leaf = Leaf(
        True,
        False,
        Outcome.ANSWERED,
        bytes.fromhex(exchange(number).replace("-", "")),
        bytes([number]) * 32,
        b"a" * 32,
    )
    return leaf._replace(**changes)  # type: ignore[arg-type]  # names of a test


async def test_both_sides_sign_the_same_leaves() -> None:
    """In both directions, each with its own flag for who asked."""
    pair = await Pair().start()
    await pair.ask(1, 2)
    await pair.ask_back(3)
    await pair.settle()
    assert pair.agree()
    assert {leaf.id for leaf in pair.near.leaves(pair.far)} == {
        exchange(n) for n in (1, 2, 3)
    }
    mirrored = {leaf.from_the_other_side() for leaf in pair.near.leaves(pair.far)}
    assert mirrored == set(pair.far.leaves(pair.near))
    assert pair.near.alarms() == pair.far.alarms() == []
    assert known(pair.near, pair.far) == known(pair.far, pair.near) == 0


async def test_quiet_link_signs_nothing() -> None:
    """No traffic, no batch, no signature."""
    pair = await Pair().start()
    await pair.settle()
    assert pair.near.batches(pair.far) == []


async def test_several_links_with_one_peer_make_one_journal() -> None:
    """Whichever link carried it, it is one exchange with that peer."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.link()
    await pair.ask(2)
    await pair.ask_back(3)
    await pair.settle()
    assert pair.agree()
    assert len(pair.near.leaves(pair.far)) == 3
    assert pair.near.alarms() == []


async def test_chain_goes_on_over_links_and_restarts() -> None:
    """Numbers without a gap, each batch naming the one before."""
    pair = await Pair().start()
    for number in range(3):
        await pair.ask(number)
        await pair.settle()
        pair.cut()
        await pair.near.desk.finish()
        await pair.near.start()
        pair.link()
    await pair.ask(7)
    await pair.settle()
    bodies = [batch.body for batch in pair.near.batches(pair.far)]
    assert [body.seq for body in bodies] == [0, 1, 2, 3]
    digests = [batch.digest for batch in pair.near.batches(pair.far)]
    assert [body.prev for body in bodies] == [None, *digests[:-1]]
    assert len(pair.far.batches(pair.near, PEER)) == 4
    assert pair.agree()


async def test_batches_of_an_outage_are_sent_on_the_next_link() -> None:
    """Made while the peer was away, in their order, without anybody's help."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.cut()
    await pair.settle(1)
    assert pair.far.batches(pair.near, PEER) == []
    pair.link()
    await pair.ask(2)
    await pair.settle()
    assert pair.agree()
    assert pair.near.alarms() == pair.far.alarms() == []


async def test_more_than_one_batch_holds_is_split() -> None:
    """A busy link has several; only the last says that it has seen the peer's."""
    pair = await Pair().start()
    await pair.ask_back(1)
    await pair.settle(1)
    await pair.ask(*range(2, 5_002))
    await pair.settle()
    assert [b.body.count for b in pair.near.batches(pair.far)][-2:] == [4096, 904]
    assert pair.near.batches(pair.far)[-2].body.seen == ()
    assert pair.agree()
    assert pair.near.alarms() == pair.far.alarms() == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (LinkLost("pipe-closed"), Outcome.LOST),
        (DeadlinePassed(), Outcome.TIMEOUT),
        (LinkProblem("overloaded", 200), Outcome.REFUSED),
    ],
)
async def test_what_never_arrived_is_settled_as_unknown(
    error: MachikuraError, outcome: Outcome
) -> None:
    """In doubt at the asker; the peer signs that nothing came, and both are quiet."""
    pair = await Pair().start()
    there, wire = pair.links[0][0], pair.links[0][0].wire

    async def fail(payload: bytes) -> bytes:
        raise error

    there.wire = fail
    with pytest.raises(MachikuraError):
        await pair.ask(1)
    there.wire = wire
    await pair.settle()
    (ours,) = pair.near.leaves(pair.far)
    (theirs,) = pair.far.leaves(pair.near)
    assert (ours.outcome, theirs.outcome) == (outcome, Outcome.UNKNOWN)
    assert pair.near.alarms() == pair.far.alarms() == []
    assert known(pair.near, pair.far) == known(pair.far, pair.near) == 0


async def test_request_that_comes_after_it_was_declared_unknown_is_no_second_one() -> (
    None
):
    """It was stuck on another link; both sides have settled it already."""
    pair = await Pair().start()
    there, wire = pair.links[0][0], pair.links[0][0].wire

    async def stuck(payload: bytes) -> bytes:
        raise DeadlinePassed

    there.wire = stuck
    with pytest.raises(DeadlinePassed):
        await pair.ask(1)
    there.wire = wire
    await pair.settle()
    await wire(request(exchange(1)))
    await pair.settle()
    assert pair.near.alarms() == pair.far.alarms() == []


async def test_exchange_in_flight_is_not_called_invented() -> None:
    """The peer has signed it before our own wait for its answer is over."""
    pair = await Pair().start()
    there, wire = pair.links[0][0], pair.links[0][0].wire
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(payload: bytes) -> bytes:
        got = await wire(payload)
        if payload[:1] != b"{":
            arrived.set()
            await goes_on.wait()
        return got

    there.wire = slow
    asking = asyncio.ensure_future(pair.ask(1))
    await arrived.wait()
    await pair.settle()
    assert len(pair.near.leaves(pair.far, PEER)) == 1
    goes_on.set()
    await asking
    await pair.settle()
    assert pair.agree()
    assert pair.near.alarms() == pair.far.alarms() == []


# ------------------------------------------------------------------------- crashes


async def test_notes_lost_in_a_crash_are_taken_over_from_the_peer() -> None:
    """Marked so; the peer is satisfied, and both journals are whole again."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.ask_back(2)
    pair.cut()
    await pair.near.start()  # killed: `finish` was not called
    pair.clock.ms += 1_000
    pair.link()
    await pair.settle()
    leaves = pair.near.leaves(pair.far)
    assert {leaf.id for leaf in leaves} == {exchange(1), exchange(2)}
    assert all(leaf.adopted for leaf in leaves)
    assert pair.agree()
    assert pair.near.alarms() == pair.far.alarms() == []


async def test_notes_lost_after_the_peer_had_signed_are_taken_over_from_disk() -> None:
    """The peer's batch was compared with notes that then were lost."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.clock.ms += 5_000
    await pair.far.desk.flush()
    assert pair.near.leaves(pair.far) == []
    pair.cut()
    await pair.near.start()
    pair.link()
    await pair.settle()
    assert [leaf.adopted for leaf in pair.near.leaves(pair.far)] == [True]
    assert pair.agree()
    assert pair.far.alarms() == []


async def test_after_an_orderly_stop_nothing_is_taken_over() -> None:
    """Attack: invent exchanges with a peer that has just been restarted."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.cut()
    await pair.near.desk.finish()
    await pair.near.start()
    pair.link()
    await hostile(pair, pair.far.forged(pair.near, [made_up()])[1])
    assert pair.near.kinds() == {"invented"}


async def test_exchange_after_the_crash_is_not_taken_over() -> None:
    """Attack: use a crash of long ago as an excuse."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.cut()
    await pair.near.start()
    pair.link()
    await pair.settle()
    pair.clock.ms += 60_000
    await hostile(pair, pair.far.forged(pair.near, [made_up()])[1])
    assert pair.near.kinds() == {"invented"}


async def test_batch_that_was_not_acknowledged_is_sent_again() -> None:
    """Kept before it was sent: after a crash the same statement goes out."""
    pair = await Pair().start()
    await pair.ask(1)
    there, wire = pair.links[0][0], pair.links[0][0].wire

    async def lost(payload: bytes) -> bytes:
        await wire(payload)
        raise LinkLost("pipe-closed")

    there.wire = lost
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    pair.cut()
    await pair.near.start()
    pair.link()
    await pair.settle()
    assert len(pair.far.batches(pair.near, PEER)) == 1
    assert pair.agree()
    assert pair.far.alarms() == []


async def test_journal_restored_from_a_backup_begins_a_new_chain() -> None:
    """It would else sign two batches under one number, which looks like fraud."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    backup = pair.near.database._connection.connection.driver_connection
    assert backup is not None
    image = backup.serialize()
    await pair.ask(2)
    await pair.settle()
    pair.cut()
    backup.deserialize(image)
    await pair.near.start()
    pair.link()
    await pair.ask(3)
    await pair.settle()
    assert pair.near.kinds() == {"rolled-back"}
    assert {b.body.stream for b in pair.near.batches(pair.far)} != {
        pair.near.batches(pair.far)[0].body.stream
    }
    assert "equivocation" not in pair.far.kinds()
    assert exchange(3) in {leaf.id for leaf in pair.far.leaves(pair.near, PEER)}


# -------------------------------------------------------------------- hostile peers


async def test_invented_exchange_is_named_at_once() -> None:
    """Attack: sign an exchange that never was. Its own signature is kept as proof."""
    pair = await Pair().start()
    signed, message = pair.far.forged(pair.near, [made_up()])
    await hostile(pair, message)
    (alarm,) = pair.near.alarms()
    assert (alarm.kind, alarm.subject) == ("invented", exchange(99))
    assert pair.near.raised == ["invented"]
    proof = pair.near.database.read(lambda c: pair.near.store.proof(c, alarm.id))
    assert proof == signed.token.encode()


@pytest.mark.parametrize("asked", [False, True])
async def test_altered_answer_is_named_at_once(asked: bool) -> None:
    """Attack: sign another answer than the one that was carried."""
    pair = await Pair().start()
    await (pair.ask_back(1) if asked else pair.ask(1))
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    (ours,) = pair.near.leaves(pair.far)
    other = ours.from_the_other_side()._replace(answer=b"x" * 32)
    assert other.asked is asked
    await hostile(pair, pair.far.forged(pair.near, [other])[1])
    alarms = [(a.kind, a.subject) for a in pair.near.alarms()]
    assert alarms == [("altered", exchange(1))]


async def test_answer_that_was_carried_cannot_be_denied() -> None:
    """Attack: sign that it never arrived, though an answer came back."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    (ours,) = pair.near.leaves(pair.far)
    denied = ours.from_the_other_side()._replace(
        outcome=Outcome.UNKNOWN, answer=NOTHING
    )
    await hostile(pair, pair.far.forged(pair.near, [denied])[1])
    assert [(a.kind, a.subject) for a in pair.near.alarms()] == [
        ("altered", exchange(1))
    ]


async def test_another_request_under_the_same_id_is_altered() -> None:
    """Attack: sign another header or other hop records for a known exchange."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    (ours,) = pair.near.leaves(pair.far)
    other = ours.from_the_other_side()._replace(request=b"x" * 32)
    await hostile(pair, pair.far.forged(pair.near, [other])[1])
    assert [(a.kind, a.subject) for a in pair.near.alarms()] == [
        ("altered", exchange(1))
    ]


async def test_exchange_left_out_is_named_when_the_peer_says_it_has_seen_ours() -> None:
    """Attack: answer an exchange and sign batches that do not hold it."""
    pair = await Pair().start()
    await pair.ask(1, 2)
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    ours = pair.near.leaves(pair.far)
    stream = pair.near.batches(pair.far)[0].body.stream
    half = [ours[0].from_the_other_side()]
    await hostile(pair, pair.far.forged(pair.near, half)[1])
    assert pair.near.alarms() == []  # It may not have known our batch.
    signed, _ = pair.far.forged(pair.near, half)
    late = made_up(5, outcome=Outcome.LOST, answer=NOTHING)
    _, message = pair.far.forged(
        pair.near,
        [late],
        seq=1,
        prev=signed.digest,
        seen=(Seen(stream=stream, seq=0),),
    )
    await hostile(pair, message)
    assert [(a.kind, a.subject) for a in pair.near.alarms()] == [
        ("withheld", exchange(2))
    ]


async def test_doubt_that_the_peer_never_settles_is_named_in_the_end() -> None:
    """Attack: say nothing about an exchange whose answer did not come."""
    pair = await Pair().start()
    there, wire = pair.links[0][0], pair.links[0][0].wire

    async def lost(payload: bytes) -> bytes:
        raise LinkLost("pipe-closed")

    there.wire = lost
    with pytest.raises(LinkLost):
        await pair.ask(1)
    await pair.settle(1)
    there.wire = wire
    stream = pair.near.batches(pair.far)[0].body.stream
    pair.clock.ms += 200_000
    _, message = pair.far.forged(
        pair.near,
        [made_up(5, outcome=Outcome.LOST, answer=NOTHING)],
        seen=(Seen(stream=stream, seq=0),),
    )
    await hostile(pair, message)
    assert [(a.kind, a.subject) for a in pair.near.alarms()] == [
        ("unsettled", exchange(1))
    ]


async def test_two_statements_for_one_batch_are_kept_as_proof() -> None:
    """Attack: show one history to us now and another one later."""
    pair = await Pair().start()
    doubtful = {"outcome": Outcome.LOST, "answer": NOTHING}
    one, first = pair.far.forged(pair.near, [made_up(1, **doubtful)])
    two, second = pair.far.forged(pair.near, [made_up(2, **doubtful)])
    await hostile(pair, first)
    await hostile(pair, second)
    (alarm,) = pair.near.alarms()
    assert alarm.kind == "equivocation"
    proof = pair.near.database.read(lambda c: pair.near.store.proof(c, alarm.id))
    assert proof == f"{one.token}\n{two.token}".encode()
    # The first stays; the second is not taken in its place.
    assert [b.token for b in pair.near.batches(pair.far, PEER)] == [one.token]


async def test_batch_that_follows_another_than_was_sent_is_equivocation() -> None:
    """Attack: go on from a history that we were never shown."""
    pair = await Pair().start()
    doubtful = {"outcome": Outcome.LOST, "answer": NOTHING}
    _, first = pair.far.forged(pair.near, [made_up(1, **doubtful)])
    other, _ = pair.far.forged(pair.near, [made_up(2, **doubtful)])
    _, third = pair.far.forged(
        pair.near, [made_up(3, **doubtful)], seq=1, prev=other.digest
    )
    await hostile(pair, first)
    await hostile(pair, third)
    assert pair.near.kinds() == {"equivocation"}


async def test_batches_left_out_of_a_chain_are_named() -> None:
    """Attack: call batches deleted that were never sent."""
    pair = await Pair().start()
    doubtful = {"outcome": Outcome.LOST, "answer": NOTHING}
    await hostile(pair, pair.far.forged(pair.near, [made_up(1, **doubtful)])[1])
    _, message = pair.far.forged(
        pair.near, [made_up(2, **doubtful)], seq=5, prev="A" * 43
    )
    skipped = BatchMessage.decode(message).model_copy(update={"oldest": 5})
    await hostile(pair, skipped.encode())
    assert pair.near.kinds() == {"gap"}


async def test_leaves_that_were_not_signed_are_refused_and_named() -> None:
    """Attack: sign a root that nobody can check."""
    pair = await Pair().start()
    _, message = pair.far.forged(pair.near, [made_up()], root="A" * 43)
    with pytest.raises(LinkProblem, match="malformed"):
        await hostile(pair, message)
    assert pair.near.kinds() == {"bad-batch"}
    assert pair.near.batches(pair.far, PEER) == []


async def test_batch_in_another_name_is_refused() -> None:
    """Attack: sign for a neighbor, or show a batch about somebody else's link."""
    pair = await Pair().start()
    _, message = pair.far.forged(pair.near, [made_up()])
    foreign = BatchMessage.decode(message).model_copy(
        update={"credentials": pair.near.shown}
    )
    with pytest.raises(LinkProblem, match="wrong-audience"):
        await hostile(pair, foreign.encode())
    _, message = pair.far.forged(pair.far, [made_up()])
    with pytest.raises(LinkProblem, match="wrong-audience"):
        await hostile(pair, message)
    assert pair.near.batches(pair.far, PEER) == []


async def test_altered_statement_is_refused() -> None:
    """Attack: change a batch on its way."""
    pair = await Pair().start()
    _, message = pair.far.forged(pair.near, [made_up()])
    shown = BatchMessage.decode(message)
    altered = shown.model_copy(update={"statement": shown.statement[:-4] + "AAAA"})
    with pytest.raises(LinkProblem, match="bad-signature"):
        await hostile(pair, altered.encode())


async def test_flood_of_batches_is_slowed_down() -> None:
    """Attack: let a neighbor verify signatures all day."""
    pair = await Pair().start()
    _, message = pair.far.forged(pair.near, [made_up()])
    with pytest.raises(LinkProblem, match="rate-limited"):
        for _ in range(100):
            await hostile(pair, message)


@pytest.mark.parametrize("speaks", [True, False])
async def test_silent_peer_is_named_after_the_stated_time(speaks: bool) -> None:
    """Whether it is older than this feature or keeps its batches back."""
    pair = await Pair().start()
    pair.cut()
    pair.link(speaks=speaks)
    await pair.ask(1)
    for _ in range(11):
        pair.clock.ms += 5_000
        await pair.near.desk.flush()
    assert pair.near.alarms() == []
    pair.clock.ms += 5_000
    await pair.near.desk.flush()
    (alarm,) = pair.near.alarms()
    assert alarm.kind == "silent"
    assert ("does not speak" in alarm.detail) is not speaks
    await pair.near.desk.flush()
    assert [a.count for a in pair.near.alarms()] == [1]


async def test_peer_that_is_away_is_not_called_silent() -> None:
    """An outage is no fraud."""
    pair = await Pair().start()
    await pair.ask(1)
    pair.cut()
    for _ in range(100):
        pair.clock.ms += 5_000
        await pair.near.desk.flush()
    assert pair.near.alarms() == []
    pair.link()
    await pair.settle()
    assert pair.near.alarms() == []


# ------------------------------------------------------------------ alarms, retention


async def test_acknowledged_alarm_opens_again_when_it_happens_again() -> None:
    """Seen once is not allowed for ever."""
    pair = await Pair().start()
    near = pair.near
    doubtful = {"outcome": Outcome.LOST, "answer": NOTHING}
    await hostile(pair, pair.far.forged(near, [made_up(1, **doubtful)])[1])
    second = pair.far.forged(near, [made_up(2, **doubtful)])[1]
    await hostile(pair, second)
    (alarm,) = near.alarms()
    now_ms = pair.clock.ms
    await near.database.write(lambda c: near.store.acknowledge(c, alarm.id, now_ms))
    assert near.alarms() == []
    await hostile(pair, second)
    assert [(a.kind, a.count) for a in near.alarms()] == [("equivocation", 2)]


async def test_flood_of_false_leaves_is_bounded_and_counted() -> None:
    """A hundred are named, the rest is one alarm."""
    pair = await Pair().start()
    leaves = [
        made_up()._replace(request=n.to_bytes(32), exchange=n.to_bytes(16))
        for n in range(2_000)
    ]
    await hostile(pair, pair.far.forged(pair.near, leaves)[1])
    alarms = pair.near.alarms()
    assert len(alarms) == 101
    assert any(a.subject == "many" and "1900 more" in a.detail for a in alarms)


async def test_old_batches_are_deleted_but_the_newest_of_a_chain() -> None:
    """The next number follows from it; a peer that was away is told of the oldest."""
    pair = await Pair().start()
    for number in range(4):
        await pair.ask(number)
        await pair.settle()
    pair.clock.ms += 7_200_000
    await pair.near.desk.purge()
    await pair.far.desk.purge()
    assert [b.body.seq for b in pair.near.batches(pair.far)] == [3]
    await pair.ask(9)
    await pair.settle()
    assert [b.body.seq for b in pair.near.batches(pair.far)] == [3, 4]
    assert pair.near.alarms() == pair.far.alarms() == []


async def test_leaves_do_not_stand_on_the_disk() -> None:
    """Who exchanged with whom is sealed under the node's key."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    (leaf,) = pair.near.leaves(pair.far)
    raw = pair.near.database._connection.connection.driver_connection
    assert raw is not None
    image = raw.serialize()
    assert leaf.exchange not in image
    assert leaf.request not in image


async def test_full_journal_refuses_new_exchanges() -> None:
    """The disk is full: nothing is carried that could not be signed."""
    pair = await Pair().start()
    witness = pair.near.desk.journal.party(pair.far.node).book.witness
    await pair.ask(1)
    witness.fresh *= 16 * 4096
    with pytest.raises(LinkProblem, match="overloaded"):
        await pair.ask(2)
    with pytest.raises(LinkProblem, match="overloaded"):
        await pair.ask_back(3)


async def test_own_side_is_named_by_its_place() -> None:
    """Rows of the two sides cannot be exchanged on disk."""
    pair = await Pair().start()
    await pair.ask(1)
    await pair.settle()
    own, theirs = pair.near.batches(pair.far, OWN), pair.near.batches(pair.far, PEER)
    assert own[0].body.iss == pair.near.node
    assert theirs[0].body.iss == pair.far.node
    assert answer()[:1] == b"\x01"
