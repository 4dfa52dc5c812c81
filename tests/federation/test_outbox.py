# SPDX-License-Identifier: Apache-2.0
"""The outbox: at least once, in order, through crashes, whatever the others do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from federation.letters import queues
from federation.outbox import (
    Delivered,
    Message,
    Outbox,
    OutboxFull,
    OutboxLimits,
    Undelivered,
)
from federation.tables import outbox, outbox_queues
from federation.virtual import SeededEntropy
from protocol.box import Box
from protocol.errors import CannotOpen, Misuse
from protocol.ids import CityId, NodeId
from tests.federation.store import FileStore, bytes_of, open_file
from tests.federation.wire import SetClock

CLINIC, MARKET = NodeId("hoshino/clinic"), NodeId("hoshino/market")
LATER = Undelivered("peer-unreachable", final=False)
NEVER = Undelivered("forbidden", final=True)
Outcome = Delivered | Undelivered
CANARY = b"CANARY-MESSAGE"
DAY_MS = 86_400_000


class Post:
    """A node's outbox over a file, and a network that does as it is told.

    Attributes:
        replies: outcome per destination; delivered where nothing stands.
        sent: what was handed to the network, in order.
        at_once, most_at_once: deliveries going on, now and at most.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: SetClock | None = None,
        limits: OutboxLimits | None = None,
        key: bytes = b"k" * 32,
    ) -> None:
        """Open the outbox as a process does that has just started."""
        self.engine = engine
        self.clock = clock or SetClock()
        self.store = FileStore(engine)
        self.replies: dict[NodeId, Callable[[bytes], Outcome]] = {}
        self.sent: list[tuple[NodeId, bytes]] = []
        self.messages_sent: list[Message] = []
        self.at_once = self.most_at_once = 0
        self.outbox = Outbox(
            store=self.store,
            box=Box(key),
            clock=self.clock,
            entropy=SeededEntropy("outbox").token_bytes,
            deliver=self._deliver,
            limits=limits,
        )

    async def _deliver(self, message: Message) -> Outcome:
        to = message.destination
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            # The network takes its time; others get their turn.
            for _ in range(3):
                await asyncio.sleep(0)
            self.sent.append((to, message.content))
            self.messages_sent.append(message)
            reply = self.replies.get(to)
            return Delivered() if reply is None else reply(message.content)
        finally:
            self.at_once -= 1

    def put(self, to: NodeId, *messages: bytes) -> None:
        """Queue messages, each in a transaction of its own."""
        for message in messages:
            with self.engine.begin() as connection:
                self.outbox.put(connection, to, "push", message)
        self.outbox.wake()

    def reply(self, to: NodeId, outcome: Outcome) -> None:
        """Make the network answer so from now on."""
        self.replies[to] = lambda _: outcome

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the worker run meanwhile; the process dies at the end."""
        worker = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def settle(self, turns: int = 200) -> None:
        """Let everybody have so many turns."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def run(self, turns: int = 200) -> None:
        """Let a worker run until it has nothing to do, then die."""
        async with self.running():
            await self.settle(turns)

    def messages(self, to: NodeId) -> list[bytes]:
        """Return what was sent to one destination."""
        return [message for name, message in self.sent if name == to]

    def waiting(self) -> dict[NodeId, int]:
        """Return how many messages wait."""
        return self.store.read(self.outbox.waiting)

    def next_ms(self, to: NodeId) -> int | None:
        """Return until when a destination is left alone."""
        query = select(outbox_queues.c.next_ms).where(
            outbox_queues.c.destination == to, outbox_queues.c.failures > 0
        )
        return self.store.read(lambda c: c.execute(query).scalar())


@pytest.fixture
def post(engine: Engine) -> Post:
    """Return a fresh outbox on a fresh file."""
    return Post(engine)


# ---------------------------------------------------------------------------- delivery


async def test_messages_arrive_in_order_for_each_destination(post: Post) -> None:
    """And are gone from the file afterwards."""
    post.put(CLINIC, b"1", b"2", b"3")
    post.put(MARKET, b"a", b"b")
    await post.run()
    assert post.messages(CLINIC) == [b"1", b"2", b"3"]
    assert post.messages(MARKET) == [b"a", b"b"]
    assert post.waiting() == {}


async def test_message_put_meanwhile_is_sent(post: Post) -> None:
    """Waking is enough; nobody polls."""
    async with post.running():
        await post.settle()
        post.put(CLINIC, b"1")
        await post.settle()
        assert post.messages(CLINIC) == [b"1"]


async def test_message_of_a_transaction_that_failed_is_never_sent(post: Post) -> None:
    """It is sent if and only if what caused it is kept."""
    with pytest.raises(CannotOpen), post.engine.begin() as connection:
        post.outbox.put(connection, CLINIC, "push", b"1")
        raise CannotOpen
    await post.run()
    assert post.sent == []


async def test_message_behind_a_failing_one_waits_for_it(post: Post) -> None:
    """Order: nothing overtakes, not even when the worker is woken often."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1", b"2")
    async with post.running():
        for _ in range(5):
            post.outbox.wake()
            await post.settle(20)
    assert post.messages(CLINIC) == [b"1"]
    assert post.waiting() == {CLINIC: 2}


async def test_oldest_message_goes_first_among_destinations(engine: Engine) -> None:
    """With one worker, the order of the names must not decide."""
    post = Post(engine, limits=OutboxLimits(workers=1))
    post.put(MARKET, b"a")
    post.put(CLINIC, b"1")
    post.put(MARKET, b"b")
    await post.run()
    assert post.sent == [(MARKET, b"a"), (MARKET, b"b"), (CLINIC, b"1")]


async def test_queue_has_an_end(engine: Engine) -> None:
    """More are refused to the caller; other destinations have queues of their own."""
    post = Post(engine, limits=OutboxLimits(max_waiting=2))
    post.put(CLINIC, b"1", b"2")
    with pytest.raises(OutboxFull):
        post.put(CLINIC, b"3")
    post.put(MARKET, b"a")
    await post.run()
    post.put(CLINIC, b"3")
    assert post.messages(CLINIC) == [b"1", b"2"]


# ---------------------------------------------------------------------------- back-off


async def test_back_off_grows_and_is_bounded(post: Post) -> None:
    """From half a second, doubling, to five minutes; each between half and all."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    waits: list[int] = []
    for _ in range(14):
        await post.run(40)
        until = post.next_ms(CLINIC)
        assert until is not None
        waits.append(until - post.clock.now_ms())
        post.clock.move_to(until)
    fulls = [min(500 << n, 300_000) for n in range(14)]
    assert len(post.sent) == 14
    assert all(full // 2 <= w <= full for w, full in zip(waits, fulls, strict=True))


async def test_back_off_is_kept_through_a_restart(post: Post, engine: Engine) -> None:
    """A process that crashes in a loop does not hammer a dead peer."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    await post.run()
    again = Post(engine, clock=post.clock)
    await again.run()
    assert again.sent == []
    until = post.next_ms(CLINIC)
    assert until is not None
    again.clock.move_to(until)
    await again.run()
    assert again.messages(CLINIC) == [b"1"]
    assert again.next_ms(CLINIC) is None


async def test_peer_that_calls_ends_its_back_off(post: Post) -> None:
    """Caught up after an outage without anybody's help, and at once."""
    post.reply(CLINIC, LATER)
    post.reply(MARKET, LATER)
    post.put(CLINIC, b"1", b"2")
    post.put(MARKET, b"a")
    async with post.running():
        await post.settle()
        post.reply(CLINIC, Delivered())
        await post.outbox.called_by(CLINIC)
        await post.settle()
        assert post.messages(CLINIC) == [b"1", b"1", b"2"]
        assert post.messages(MARKET) == [b"a"]


async def test_call_of_an_unknown_peer_changes_nothing(post: Post) -> None:
    """Most callers have no back-off: no write, no wake."""
    post.store.broken = True
    await post.outbox.called_by(CLINIC)


async def test_own_way_out_ends_every_back_off(post: Post) -> None:
    """Our broker is back: everybody is due."""
    for to in (CLINIC, MARKET):
        post.reply(to, LATER)
        post.put(to, b"1")
    async with post.running():
        await post.settle()
        post.replies.clear()
        await post.outbox.all_due()
        await post.settle()
    assert post.waiting() == {}


async def test_clock_that_was_ahead_does_not_delay_for_years(
    post: Post, engine: Engine
) -> None:
    """The clock is set right while we are down; the stored back-off lies far ahead."""
    wrong = Post(engine, clock=SetClock(post.clock.now_ms() + 10**11))
    wrong.reply(CLINIC, LATER)
    wrong.put(CLINIC, b"1")
    await wrong.run()
    await post.run()
    assert post.messages(CLINIC) == [b"1"]


# ------------------------------------------------------------------------ dead letters


async def test_dead_letter_does_not_block_the_ones_behind(post: Post) -> None:
    """Refused for good: set aside with the reason, the queue goes on."""
    post.replies[CLINIC] = lambda message: NEVER if message == b"1" else Delivered()
    post.put(CLINIC, b"1", b"2")
    await post.run()
    assert post.messages(CLINIC) == [b"1", b"2"]
    (letter,) = post.store.read(post.outbox.dead_letters)
    assert (letter.destination, letter.kind, letter.reason) == (
        CLINIC,
        "push",
        "forbidden",
    )


async def test_refusal_for_good_ends_the_back_off(post: Post) -> None:
    """The peer has answered, so it is there."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    await post.run()
    assert post.next_ms(CLINIC) is not None
    post.reply(CLINIC, NEVER)
    post.clock.move(10_000)
    await post.run()
    assert post.next_ms(CLINIC) is None


async def test_message_that_waits_for_a_third_party_lets_others_pass(
    post: Post,
) -> None:
    """The destination is there: neither messages behind it nor new ones wait."""
    held_up = Undelivered("peer-unreachable", final=False, elsewhere=True)
    post.replies[CLINIC] = lambda m: held_up if m == b"held" else Delivered()
    post.put(CLINIC, b"held", b"a", b"b")
    async with post.running():
        await post.settle()
        assert post.messages(CLINIC) == [b"held", b"a", b"b"]
        post.put(CLINIC, b"c")
        await post.settle()
        assert post.messages(CLINIC)[3:] == [b"held", b"c"]
        # Alone it does not make the worker spin; it is tried again in a while.
        await post.settle()
    assert post.waiting() == {CLINIC: 1}
    assert len(post.sent) == 5
    post.reply(CLINIC, Delivered())
    post.clock.move(60_000)
    await post.run()
    assert post.waiting() == {}


async def test_dead_letter_can_be_retried_or_dropped(post: Post) -> None:
    """By an operator, and only while it is one."""
    post.reply(CLINIC, NEVER)
    post.put(CLINIC, b"1", b"2")
    await post.run()
    first, second = post.store.read(post.outbox.dead_letters)
    assert await post.store.write(lambda c: post.outbox.retry(c, first.id))
    assert not await post.store.write(lambda c: post.outbox.retry(c, first.id))
    assert not await post.store.write(lambda c: post.outbox.drop(c, first.id))
    assert await post.store.write(lambda c: post.outbox.drop(c, second.id))
    post.reply(CLINIC, Delivered())
    await post.run()
    assert post.messages(CLINIC) == [b"1", b"2", b"1"]
    assert post.store.read(post.outbox.dead_letters) == []


async def test_dead_letters_of_one_destination_are_retried_or_dropped_together(
    post: Post,
) -> None:
    """And no others; what waits for it is tried at once."""
    for to in (CLINIC, MARKET):
        post.reply(to, NEVER)
        post.put(to, b"1", b"2")
    await post.run()
    retry = partial(post.outbox.retry, destination=CLINIC)
    assert await post.store.write(retry) == 2
    drop = partial(post.outbox.drop, destination=MARKET)
    assert await post.store.write(drop) == 2
    post.reply(CLINIC, Delivered())
    await post.run()
    assert post.store.read(post.outbox.dead_letters) == []
    assert post.messages(CLINIC) == [b"1", b"2", b"1", b"2"]
    assert post.messages(MARKET) == [b"1", b"2"]


async def test_what_waits_for_a_node_that_is_gone_can_be_dropped(post: Post) -> None:
    """By its name; other destinations keep theirs."""
    for to in (CLINIC, MARKET):
        post.reply(to, LATER)
        post.put(to, b"1", b"2")
    await post.run()
    drop = partial(post.outbox.drop, destination=CLINIC, waiting=True)
    assert await post.store.write(drop) == 2
    assert post.waiting() == {MARKET: 2}
    assert [q.destination for q in post.store.read(queues)] == [MARKET]


async def test_dead_letters_are_shown_page_by_page(post: Post) -> None:
    """By destination, and above a number."""
    for to in (CLINIC, MARKET):
        post.reply(to, NEVER)
        post.put(to, b"1", b"2")
    await post.run()
    show = partial(post.outbox.dead_letters, destination=CLINIC)
    first, second = post.store.read(show)
    assert post.store.read(partial(show, after=first.id)) == [second]
    assert post.store.read(partial(show, limit=1)) == [first]


# -------------------------------------------------------------------------- expiry


async def test_message_whose_time_is_over_is_set_aside_untried(post: Post) -> None:
    """With the reason; the ones behind it get their turn."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    await post.run()
    post.clock.move(30 * DAY_MS - 1_000)
    post.put(CLINIC, b"2")
    post.clock.move(2_000)
    post.reply(CLINIC, Delivered())
    await post.run()
    assert post.messages(CLINIC) == [b"1", b"2"]
    (letter,) = post.store.read(post.outbox.dead_letters)
    assert (letter.reason, letter.attempts) == ("message-expired", 1)


async def test_message_for_a_dead_peer_is_given_up_without_an_attempt(
    post: Post,
) -> None:
    """By housekeeping; its queue goes, and in the end the letter too."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    await post.run()
    post.clock.move(31 * DAY_MS)
    assert await post.store.write(post.outbox.purge) == 1
    assert post.waiting() == {}
    assert post.store.read(queues) == []
    assert len(post.store.read(post.outbox.dead_letters)) == 1
    post.clock.move(91 * DAY_MS)
    assert await post.store.write(post.outbox.purge) == 1
    assert post.store.read(post.outbox.dead_letters) == []


async def test_withdrawal_is_never_given_up(post: Post) -> None:
    """Nor refused because too much waits."""
    small = Post(post.engine, clock=post.clock, limits=OutboxLimits(max_waiting=1))
    small.put(CLINIC, b"1")
    with small.engine.begin() as connection:
        small.outbox.put(connection, CLINIC, "revoke", b"2", always=True)
    small.clock.move(1_000 * DAY_MS)
    await small.store.write(small.outbox.purge)
    await small.run()
    assert small.messages(CLINIC) == [b"2"]


async def test_retry_gives_an_expired_message_a_new_life(post: Post) -> None:
    """Else it would be set aside again at once."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    post.clock.move(31 * DAY_MS)
    await post.store.write(post.outbox.purge)
    post.reply(CLINIC, Delivered())
    assert await post.store.write(partial(post.outbox.retry, destination=CLINIC)) == 1
    await post.run()
    assert post.messages(CLINIC) == [b"1"]


# ------------------------------------------------------------------ names and turns


async def test_message_keeps_its_id_in_every_attempt(
    post: Post, engine: Engine
) -> None:
    """And says whether an earlier one may have got through, also after a crash."""
    post.reply(CLINIC, LATER)
    async with post.running():
        await post.settle()
        post.put(CLINIC, b"1")
        await post.settle()
    post.clock.move(1_000)
    await post.run()
    again = Post(engine, clock=post.clock)
    again.put(MARKET, b"a")
    again.clock.move(10_000)
    async with again.running():
        await again.settle()
        again.put(MARKET, b"b")
        await again.settle()
    first, *later = post.messages_sent
    (last,) = [m for m in again.messages_sent if m.destination == CLINIC]
    assert not first.tried
    assert later
    for message in (*later, last):
        assert message.tried
        assert message.id == first.id
    before, after = [m for m in again.messages_sent if m.destination == MARKET]
    # Put before the start of this process: nobody knows.
    assert (before.tried, after.tried) == (True, False)
    assert before.id != after.id


async def test_long_queue_does_not_hold_up_a_short_one(engine: Engine) -> None:
    """Destinations take turns."""
    post = Post(engine, limits=OutboxLimits(workers=1, turn=2))
    post.put(CLINIC, *(str(number).encode() for number in range(6)))
    post.clock.move(1)
    post.put(MARKET, b"a")
    post.clock.move(1)
    await post.run(400)
    assert [to for to, _ in post.sent[:3]] == [CLINIC, CLINIC, MARKET]
    assert post.messages(CLINIC) == [str(number).encode() for number in range(6)]


async def test_queue_that_lost_its_row_is_found_again(post: Post) -> None:
    """A file that was altered or restored: nothing waits for ever."""
    post.put(CLINIC, b"1")
    with post.engine.begin() as connection:
        connection.execute(outbox_queues.delete())
    await post.run()
    assert post.messages(CLINIC) == [b"1"]


async def test_hearing_of_a_peer_that_has_no_failures_costs_no_look_up(
    post: Post,
) -> None:
    """Each verified request asks; only dead peers are worth a query."""
    post.reply(CLINIC, LATER)
    post.put(CLINIC, b"1")
    assert not post.outbox.heard_of(CLINIC)
    await post.run()
    assert post.outbox.heard_of(CLINIC)
    assert not post.outbox.heard_of(MARKET)
    again = Post(post.engine, clock=post.clock)
    await again.run()
    assert again.outbox.heard_of(CLINIC)


async def test_word_that_a_destination_is_back_ends_its_back_off_alone(
    post: Post,
) -> None:
    """By the id of a message that waits for it, from a broker of its own city."""
    for to in (CLINIC, MARKET):
        post.reply(to, LATER)
        post.put(to, b"1")
    async with post.running():
        await post.settle()
        (message,) = [m for m in post.messages_sent if m.destination == CLINIC]
        post.replies.clear()

        def tell(name: str, city: str) -> NodeId | None:
            with post.engine.begin() as connection:
                return post.outbox.told(connection, name, CityId(city))

        assert tell(message.wait.id, "minato") is None
        assert tell("0197aaaa-0000-7000-8000-000000000000", "hoshino") is None
        await post.settle()
        assert post.waiting() == {CLINIC: 1, MARKET: 1}
        told = tell(message.wait.id, "hoshino")
        assert told == CLINIC
        post.outbox.is_there(told)
        await post.settle()
    assert post.waiting() == {MARKET: 1}


async def test_message_that_does_not_open_becomes_a_dead_letter(
    post: Post, engine: Engine
) -> None:
    """Altered file, or another key: the worker neither spins nor stops."""
    Post(engine, key=b"other" * 6 + b"xx").put(CLINIC, b"1")
    post.put(CLINIC, b"2")
    await post.run()
    assert post.messages(CLINIC) == [b"2"]
    (letter,) = post.store.read(post.outbox.dead_letters)
    assert letter.reason == "cannot-open"


@pytest.mark.parametrize(
    ("error", "dead"),
    [(Misuse("too large to send"), 1), (CannotOpen(), 0), (KeyError("a bug"), 0)],
    ids=["can never work", "may work later", "bug"],
)
async def test_fault_in_delivering_does_not_make_the_worker_spin(
    post: Post, caplog: pytest.LogCaptureFixture, error: Exception, dead: int
) -> None:
    """Poison message: tried once, then set aside or left for later."""

    def fails(message: bytes) -> Outcome:
        raise error

    caplog.set_level(logging.CRITICAL)
    post.replies[CLINIC] = fails
    post.put(CLINIC, b"1")
    post.put(MARKET, b"a")
    await post.run()
    assert post.messages(CLINIC) == [b"1"]
    assert post.messages(MARKET) == [b"a"]
    assert len(post.store.read(post.outbox.dead_letters)) == dead


async def test_disk_that_is_full_does_not_make_the_worker_spin(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    """What was delivered and cannot be noted is tried again, at a walking pace."""
    caplog.set_level(logging.CRITICAL)
    started = post.clock.now_ms()
    post.put(CLINIC, b"1")
    async with post.running():
        await asyncio.sleep(0)
        post.store.broken = True
        await post.settle()
    attempts = len(post.messages(CLINIC))
    assert attempts >= 1
    assert post.clock.now_ms() - started >= (attempts - 1) * 500
    post.store.broken = False
    await post.run()
    assert post.waiting() == {}


# ----------------------------------------------------------------------------- crashes


async def test_messages_survive_a_restart(post: Post, engine: Engine) -> None:
    """Another process opens the file and goes on."""
    post.put(CLINIC, b"1", b"2")
    again = Post(engine)
    await again.run()
    assert again.messages(CLINIC) == [b"1", b"2"]


async def test_crash_between_delivery_and_note_repeats_the_message(
    post: Post, engine: Engine
) -> None:
    """At least once: the receiver may see it twice, and never not at all."""
    post.put(CLINIC, b"1", b"2")
    async with post.running():
        await asyncio.sleep(0)
        post.store.frozen = True
        await post.settle()
    assert post.messages(CLINIC) == [b"1"]
    again = Post(engine)
    await again.run()
    assert again.messages(CLINIC) == [b"1", b"2"]


async def test_payload_is_sealed_in_the_file(post: Post, database_file: Path) -> None:
    """Stolen disk: waiting, dead and delivered messages alike."""
    post.reply(MARKET, NEVER)
    post.put(CLINIC, CANARY)
    post.put(MARKET, CANARY)
    post.reply(CLINIC, LATER)
    await post.run()
    assert post.messages(CLINIC) == post.messages(MARKET) == [CANARY]
    stored = bytes_of(database_file)
    assert CLINIC.encode() in stored
    assert CANARY not in stored


async def test_message_moved_to_another_destination_does_not_open(
    post: Post,
) -> None:
    """Tampered file: what was sealed for one is never sent to another."""
    post.put(CLINIC, CANARY)
    with post.engine.begin() as connection:
        connection.execute(outbox.update().values(destination=MARKET))
    await post.run()
    assert post.sent == []
    (letter,) = post.store.read(post.outbox.dead_letters)
    assert letter.reason == "cannot-open"


async def test_dead_destinations_cost_a_bounded_number_of_tasks(post: Post) -> None:
    """200 dead peers, three messages each: one worker each, sixteen at a time.

    A live peer among them is served meanwhile, and nobody is forgotten.
    """
    dead = [NodeId(f"minato/dead-{number}") for number in range(200)]
    with post.engine.begin() as connection:
        for to in dead:
            for message in (b"1", b"2", b"3"):
                post.outbox.put(connection, to, "push", message)
    for to in dead:
        post.reply(to, LATER)
    async with post.running():
        await post.settle(20)
        post.put(CLINIC, b"a", b"b")
        await post.settle(2_000)
        assert len(asyncio.all_tasks()) <= 16 + 2
    assert post.most_at_once == 16
    assert post.messages(CLINIC) == [b"a", b"b"]
    assert [post.messages(to) for to in dead] == [[b"1"]] * 200
    assert post.waiting() == dict.fromkeys(sorted(dead), 3)
    post.replies.clear()
    post.clock.move(1_000)
    await post.run(4_000)
    assert post.waiting() == {}


async def test_worker_that_is_stopped_leaves_no_task(post: Post) -> None:
    """Shutting down in the middle of a delivery."""
    post.put(CLINIC, b"1")
    async with post.running():
        for _ in range(3):
            await asyncio.sleep(0)
        assert post.at_once == 1
    assert post.at_once == 0
    assert len(asyncio.all_tasks()) == 1


Run = list[tuple[str, int]]


@given(
    runs=st.lists(
        st.tuples(st.sampled_from(["works", "later", "crash"]), st.integers(1, 40)),
        max_size=6,
    )
)
@settings(max_examples=25)
async def test_no_message_is_lost_or_overtaken_in_any_run_of_faults(
    tmp_path_factory: pytest.TempPathFactory, runs: Run
) -> None:
    """Any sequence of failures, crashes and restarts: all arrive, first times in order.

    Every run is a new process on the same file, stopped after some number of turns.
    """
    engine = open_file(tmp_path_factory.mktemp("outbox") / "node.db")
    clock, arrived = SetClock(), list[bytes]()
    first = Post(engine, clock=clock)
    expected = [str(number).encode() for number in range(5)]
    first.put(CLINIC, *expected)
    for how, turns in [*runs, ("works", 300)]:
        post = Post(engine, clock=clock)
        post.reply(CLINIC, LATER if how == "later" else Delivered())
        async with post.running():
            await post.settle(turns)
            post.store.frozen = how == "crash"
            await post.settle(turns)
        if how != "later":
            arrived += post.messages(CLINIC)
        clock.move(300_000)
    engine.dispose()
    assert list(dict.fromkeys(arrived)) == expected
