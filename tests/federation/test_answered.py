# SPDX-License-Identifier: Apache-2.0
"""The same request again: one execution, one answer, in bounded memory."""

from __future__ import annotations

import asyncio

import pytest

from federation.answered import TIMES, Answered
from federation.exchange import Answer, Asked, Reply
from federation.outcome import DeadlinePassed
from protocol.answer import Done
from protocol.envelope import Kind
from protocol.errors import Replayed
from protocol.problem import ProblemBody
from protocol.request import LinkClaim, Ping, Query, Read
from tests.federation.forged import problem_of, sealed
from tests.federation.world import Node, World

Ends = tuple[Node, Node]


@pytest.fixture
def ends(world: World) -> Ends:
    """Return the asker and the holder, in one city."""
    city = world.city("hoshino")
    return city.admit("hall"), city.admit("clinic")


def asked(ends: Ends, query: Query) -> bytes:
    """Return a request as it travels."""
    asker, holder = ends
    kind = Kind.READ if isinstance(query, Read) else Kind.MANAGE
    return sealed(asker, holder.target(), query, kind=kind).pack()


class Desk:
    """Answers when it is told to, and counts."""

    def __init__(self, holder: Node, *ops: str) -> None:
        """Take the place of the holder's handlers."""
        self.begun = self.committed = 0
        self.go, self.commit_now = asyncio.Event(), asyncio.Event()
        self.commit_now.set()
        self.deny = False
        holder.endpoint.on(dict.fromkeys(ops, self.handle))

    async def handle(self, _asked: Asked) -> Reply:
        """Wait for the word, then answer."""
        self.begun += 1
        await self.go.wait()
        if self.deny:
            return Reply(ProblemBody(code="consent-withdrawn"))
        return Reply(Done(), self.commit)

    async def commit(self, _digest: str) -> None:
        """Wait for the word, then count."""
        await self.commit_now.wait()
        self.committed += 1


async def begin(holder: Node, asker: Node, payload: bytes) -> asyncio.Task[bytes]:
    """Start to serve a request and let it come as far as it can."""
    task = asyncio.get_running_loop().create_task(holder.serve(asker.peer, payload))
    await turns()
    return task


async def turns() -> None:
    """Let everybody run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def give_up(task: asyncio.Task[bytes]) -> None:
    """Take the asker away, as a lost link does."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_second_path_waits_for_the_first_execution(ends: Ends) -> None:
    """Both get the answer, and one of them is heard."""
    asker, holder = ends
    desk, payload = Desk(holder, "read"), asked(ends, Read())
    first = await begin(holder, asker, payload)
    second = await begin(holder, asker, payload)
    desk.go.set()
    assert problem_of(await first) == problem_of(await second) == "sealed"
    assert desk.committed == 1


async def test_read_that_nobody_waits_for_is_as_if_it_had_not_come(ends: Ends) -> None:
    """The first path broke before anything was durable: the second is executed."""
    asker, holder = ends
    desk, payload = Desk(holder, "read"), asked(ends, Read())
    await give_up(await begin(holder, asker, payload))
    desk.go.set()
    assert problem_of(await holder.serve(asker.peer, payload)) == "sealed"
    assert (desk.begun, desk.committed) == (2, 1)


async def test_waiting_path_takes_over_from_one_that_broke(ends: Ends) -> None:
    """It does not wait for an execution that was given up."""
    asker, holder = ends
    desk, payload = Desk(holder, "read"), asked(ends, Read())
    first = await begin(holder, asker, payload)
    second = await begin(holder, asker, payload)
    await give_up(first)
    desk.go.set()
    assert problem_of(await second) == "sealed"
    assert desk.committed == 1


async def test_release_that_is_being_committed_is_not_made_twice(ends: Ends) -> None:
    """The path broke while the record was on its way to the disk."""
    asker, holder = ends
    desk, payload = Desk(holder, "read"), asked(ends, Read())
    desk.go.set()
    desk.commit_now.clear()
    await give_up(await begin(holder, asker, payload))
    again = await begin(holder, asker, payload)
    desk.commit_now.set()
    assert problem_of(await again) == "sealed"
    assert desk.committed == 1


async def test_change_is_carried_to_its_end_though_its_asker_has_gone(
    ends: Ends,
) -> None:
    """A link code is redeemed once: the answer waits for the next path."""
    asker, holder = ends
    desk, payload = Desk(holder, "link-claim"), asked(ends, LinkClaim(code="x"))
    await give_up(await begin(holder, asker, payload))
    desk.go.set()
    assert problem_of(await holder.serve(asker.peer, payload)) == "sealed"
    assert (desk.begun, desk.committed) == (1, 1)


async def test_withdrawal_ends_the_repetition_as_well(ends: Ends) -> None:
    """What may not be read any more is not given again, though it was once."""
    asker, holder = ends
    desk, payload = Desk(holder, "read"), asked(ends, Read())
    desk.go.set()
    given = await holder.serve(asker.peer, payload)
    desk.deny = True
    refused = await holder.serve(asker.peer, payload)
    assert len(refused) != len(given)
    assert desk.committed == 1


async def test_request_is_answered_a_few_times_and_no_more(ends: Ends) -> None:
    """The attack: have a small request answered at length for ever."""
    asker, holder = ends
    payload = asked(ends, Ping())
    codes = [
        problem_of(await holder.serve(asker.peer, payload)) for _ in range(TIMES + 1)
    ]
    assert codes == ["sealed"] * TIMES + ["replayed"]


async def test_answer_that_is_no_longer_kept_is_not_made_again() -> None:
    """Memory is bounded; a refusal is safe."""
    answered = Answered(max_bytes=400, longest_bytes=100)
    for name in "abcde":
        assert answered.begin(name, "r", 1_000, 0)
        answered.keep(name, b"x" * 90, 0)
    with pytest.raises(Replayed):
        await answered.earlier("a", "r", 1_000, 0)
    assert await answered.earlier("e", "r", 1_000, 0) is not None


async def test_long_answer_does_not_push_out_all_others() -> None:
    """It is given once, and not kept."""
    answered = Answered(max_bytes=400, longest_bytes=100)
    for name, size in (("short", 90), ("long", 101)):
        assert answered.begin(name, "r", 1_000, 0)
        answered.keep(name, b"x" * size, 0)
    assert await answered.earlier("short", "r", 1_000, 0) is not None
    with pytest.raises(Replayed):
        await answered.earlier("long", "r", 1_000, 0)


async def test_request_past_its_deadline_is_no_longer_carried_on(ends: Ends) -> None:
    """What nobody waits for ends with its exchange."""
    asker, holder = ends
    Desk(holder, "link-claim")
    envelope = sealed(
        asker, holder.target(), LinkClaim(code="x"), kind=Kind.MANAGE, lasts_ms=1
    )
    with pytest.raises((DeadlinePassed, TimeoutError)):
        await holder.serve(asker.peer, envelope.pack())


async def test_whole_exchange_names_the_answer_once(ends: Ends) -> None:
    """Without a repetition there is nothing to tell apart."""
    asker, holder = ends
    outcome = await asker.read(holder)
    assert isinstance(outcome, Answer)
    assert outcome.repeat is None
