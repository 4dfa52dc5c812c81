# SPDX-License-Identifier: Apache-2.0
"""A link: many requests over one pipe, each ended by its deadline, all bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from federation import frames
from federation.flow import WINDOW_BYTES
from federation.frames import CHUNK_BYTES, Frame, decode, encode, encode_size
from federation.handshake import DialerHandshake
from federation.hub import LinkHub
from federation.limits import LinkLimits
from federation.link import Link, NoticeHandler, RequestHandler
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.ports import Payload, Pipe
from federation.simulation import Network, run
from federation.versions import Abilities
from federation.virtual import START_MS
from tests.federation.parties import (
    TrustingIdentity,
    echo,
    hub,
    in_s,
    linked,
    pass_s,
)

NEAR, FAR = "hoshino/clinic", "hoshino/broker"


async def pair(
    network: Network,
    on_request: RequestHandler = echo,
    *,
    on_notice: NoticeHandler | None = None,
    near_limits: LinkLimits | None = None,
    far_limits: LinkLimits | None = None,
    tap: Callable[[bytes], None] | None = None,
) -> tuple[Link, Link]:
    """Links a clinic to a broker that serves with the handlers given."""
    far = hub(
        network,
        FAR,
        on_request=on_request,
        on_notice=on_notice,
        link_limits=far_limits,
        tap=tap,
    )
    return await linked(network, hub(network, NEAR, link_limits=near_limits), far)


class Stuck:
    """A handler that never answers, and notes what becomes of it."""

    def __init__(self) -> None:
        """Starts unasked."""
        self.started = 0
        self.cancelled = 0

    async def __call__(self, _link: Link, _payload: bytes) -> Payload:
        """Waits for ever."""
        self.started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise AssertionError("unreachable")


class RawPeer:
    """A peer that has shaken hands and then sends whatever a test likes."""

    def __init__(self, pipe: Pipe) -> None:
        """Takes over the pipe."""
        self._pipe = pipe
        self._unread: list[Frame] = []

    async def send(self, *written: bytes) -> None:
        """Sends frames in one packet."""
        await self._pipe.send(b"".join(written))

    async def read(self) -> Frame:
        """Returns the next frame."""
        while not self._unread:
            self._unread = decode(await self._pipe.receive())
        return self._unread.pop(0)

    async def read_close(self) -> str:
        """Returns the reason of the CLOSE that must come, whatever comes before."""
        while True:
            frame = await self.read()
            if frame.kind == frames.CLOSE:
                return frames.read_close(frame.payload)[1]


async def raw_peer(network: Network, listener: LinkHub) -> tuple[RawPeer, Link]:
    """Links a raw peer; returns it and the listener's end."""
    url = network.listen(listener.node, listener.serve)
    pipe = await network.connector(NEAR)(url)
    handshake = DialerHandshake(
        identity=TrustingIdentity(NEAR),
        certificate_hash=pipe.certificate_hash,
        nonce=bytes(32),
        abilities=Abilities(suites=("hybrid",)),
    )
    await pipe.send(handshake.hello())
    await pipe.send(handshake.answered(await pipe.receive()))
    handshake.done(await pipe.receive())
    far = listener.link_to(NEAR)
    assert far is not None
    return RawPeer(pipe), far


def request(stream: int, payload: bytes = b"") -> bytes:
    """Returns a REQUEST frame."""
    return encode(frames.REQUEST, 0, stream, payload)


def data(stream: int, size: int) -> bytes:
    """Returns a DATA frame of zeros."""
    return encode(frames.DATA, 0, stream, bytes(size))


# Requests and answers.


def test_request_is_answered_in_both_directions() -> None:
    """Either side of a link may ask."""

    async def world(network: Network) -> tuple[bytes, bytes]:
        near, far = await pair(network)
        return (
            await near.request(b"from the dialer", deadline_ms=in_s(network, 5)),
            await far.request(b"from the listener", deadline_ms=in_s(network, 5)),
        )

    assert run(world) == (b"from the dialer", b"from the listener")


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        WINDOW_BYTES,
        WINDOW_BYTES + 1,
        3_000_000,
    ],
)
def test_message_of_any_size_arrives_whole(size: int) -> None:
    """One frame or many, the bytes are the same."""
    message = bytes(number % 251 for number in range(size))

    async def world(network: Network) -> bytes:
        near, _ = await pair(network)
        return await near.request(message, deadline_ms=in_s(network, 60))

    assert run(world) == message


def test_message_in_parts_arrives_in_one() -> None:
    """A header and a body need not be copied together by the caller."""

    async def world(network: Network) -> bytes:
        near, _ = await pair(network)
        parts = [b"header", b"", b"body" * CHUNK_BYTES]
        return await near.request(parts, deadline_ms=in_s(network, 60))

    assert run(world) == b"header" + b"body" * CHUNK_BYTES


def test_requests_in_flight_do_not_wait_for_each_other() -> None:
    """A slow answer holds up nobody."""

    async def slow_or_not(_link: Link, payload: bytes) -> Payload:
        if payload == b"slow":
            await pass_s(5)
        return payload

    async def world(network: Network) -> list[bytes]:
        near, _ = await pair(network, slow_or_not)
        answers: list[bytes] = []

        async def ask(payload: bytes) -> None:
            deadline_ms = in_s(network, 60)
            answers.append(await near.request(payload, deadline_ms=deadline_ms))

        await asyncio.gather(ask(b"slow"), *(ask(b"%d" % n) for n in range(100)))
        return answers

    answers = run(world)
    assert (len(answers), answers[-1]) == (101, b"slow")


def test_long_message_leaves_room_for_small_ones() -> None:
    """A request that is put behind ten megabytes is answered long before them."""

    async def world(network: Network) -> list[str]:
        near, _ = await pair(network)
        answered: list[str] = []

        async def ask(name: str, payload: bytes) -> None:
            await near.request(payload, deadline_ms=in_s(network, 600))
            answered.append(name)

        await asyncio.gather(ask("long", bytes(10_000_000)), ask("small", b"x"))
        return answered

    assert run(world) == ["small", "long"]


def test_long_message_behind_a_full_queue_arrives() -> None:
    """No chunk overtakes its announcement, which waits behind packets of frames."""

    async def world(network: Network) -> tuple[int, int]:
        near, _ = await pair(network)
        for _ in range(20):
            near.notify(bytes(50_000))
        deadline_ms = in_s(network, 5)
        answers = await asyncio.gather(
            near.request(bytes(200_000), deadline_ms=deadline_ms),
            near.request(bytes(400_000), deadline_ms=deadline_ms),
        )
        return len(answers[0]), len(answers[1])

    assert run(world) == (200_000, 400_000)


def test_frames_of_one_turn_leave_in_one_packet() -> None:
    """A hundred requests at once cost a packet or two, not a hundred."""

    async def world(network: Network) -> tuple[int, int]:
        near, _ = await pair(network)
        before = near.counters.packets_out
        deadline_ms = in_s(network, 5)
        await asyncio.gather(
            *(near.request(bytes(1_500), deadline_ms=deadline_ms) for _ in range(100))
        )
        return near.counters.packets_out - before, near.counters.frames_out

    packets, sent = run(world)
    assert (packets, sent) == (1, 100)


def test_error_of_a_handler_is_internal_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The asker learns that it failed, the operator why."""

    async def broken(_link: Link, _payload: bytes) -> Payload:
        raise KeyError("bug")

    async def world(network: Network) -> str:
        near, _ = await pair(network, broken)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 5))
        return caught.value.slug

    assert run(world) == "internal"
    assert "KeyError" in caplog.text


def test_problem_raised_by_a_handler_reaches_the_asker() -> None:
    """A handler may say that it is busy."""

    async def busy(_link: Link, _payload: bytes) -> Payload:
        raise LinkProblem("overloaded", 750)

    async def world(network: Network) -> tuple[str, int | None]:
        near, _ = await pair(network, busy)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 5))
        return caught.value.slug, caught.value.retry_after_ms

    assert run(world) == ("overloaded", 750)


def test_link_error_of_a_relayed_request_is_passed_on_by_its_slug() -> None:
    """A broker whose next link fails has no bug to log."""

    async def relay(_link: Link, _payload: bytes) -> Payload:
        raise LinkLost("silent")

    async def world(network: Network) -> str:
        near, _ = await pair(network, relay)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 5))
        return caught.value.slug

    assert run(world) == "link-lost"


def test_handler_that_is_cancelled_from_inside_still_ends_the_request() -> None:
    """The asker does not wait for a handler that is gone."""

    async def world(network: Network) -> str:
        async def given_up(_link: Link, _payload: bytes) -> Payload:
            raise asyncio.CancelledError

        near, _ = await pair(network, given_up)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 5))
        return caught.value.slug

    assert run(world) == "internal"


# Deadlines and cancelling.


def test_request_ends_at_its_deadline_and_its_handler_too() -> None:
    """Nobody works for an asker that has gone."""
    handler = Stuck()

    async def world(network: Network) -> tuple[int, int, int]:
        near, _ = await pair(network, handler)
        began = network.clock("").now_ms()
        with pytest.raises(DeadlinePassed):
            await near.request(b"", deadline_ms=in_s(network, 2.5))
        took_ms = network.clock("").now_ms() - began
        await pass_s(1)
        return took_ms, handler.started, handler.cancelled

    assert run(world) == (2_500, 1, 1)


def test_deadline_in_the_past_sends_nothing() -> None:
    """A request that is late already costs the peer nothing."""

    async def world(network: Network) -> int:
        near, _ = await pair(network)
        with pytest.raises(DeadlinePassed):
            await near.request(b"", deadline_ms=in_s(network, 0))
        return near.counters.frames_out

    assert run(world) == 0


def test_each_of_many_deadlines_is_kept() -> None:
    """One timer serves them all, in whatever order they were set."""

    async def world(network: Network) -> list[int]:
        near, _ = await pair(network, Stuck())
        began = network.clock("").now_ms()
        took: list[int] = []

        async def ask(seconds: float) -> None:
            with pytest.raises(DeadlinePassed):
                await near.request(b"", deadline_ms=in_s(network, seconds))
            took.append(network.clock("").now_ms() - began)

        await asyncio.gather(*(ask(seconds) for seconds in (3, 1, 2, 1.5, 0.5)))
        return took

    assert run(world) == [500, 1_000, 1_500, 2_000, 3_000]


def test_asker_that_is_cancelled_cancels_the_handler() -> None:
    """Giving up travels down the chain."""
    handler = Stuck()

    async def world(network: Network) -> tuple[int, int]:
        near, _ = await pair(network, handler)
        asking = asyncio.ensure_future(
            near.request(b"", deadline_ms=in_s(network, 600))
        )
        await pass_s(1)
        asking.cancel()
        await pass_s(1)
        return handler.started, handler.cancelled

    assert run(world) == (1, 1)


def test_peer_that_owes_an_answer_and_went_silent_is_found_before_the_deadline() -> (
    None
):
    """A dead cable: nothing breaks, and whoever waits could have gone another way."""

    async def world(network: Network) -> tuple[str, float]:
        near, _ = await pair(network, Stuck())
        began_ms = network.clock(NEAR).now_ms()
        asking = asyncio.ensure_future(near.request(b"", deadline_ms=in_s(network, 10)))
        await pass_s(1)
        network.stall(NEAR, FAR)
        with pytest.raises(LinkLost) as lost:
            await asking
        return lost.value.reason, (network.clock(NEAR).now_ms() - began_ms) / 1000

    reason, took_s = run(world)
    assert reason == "silent"
    assert took_s <= 8


def test_silence_on_one_link_puts_the_other_links_to_that_peer_to_the_test() -> None:
    """A process that was stopped holds all of them, and answers on none."""

    async def world(network: Network) -> tuple[int, float]:
        broker = hub(network, FAR, on_request=Stuck())
        url = network.listen(FAR, broker.serve)
        clinic = hub(network, NEAR)
        first, second = [
            await clinic.dial(await network.connector(NEAR)(url)) for _ in range(2)
        ]
        asking = asyncio.ensure_future(
            first.request(b"", deadline_ms=in_s(network, 60))
        )
        await pass_s(1)
        network.stall(NEAR, FAR)
        with pytest.raises(LinkLost):
            await asking
        lost_ms = network.clock(NEAR).now_ms()
        await second.wait_closed()
        return len(clinic.links), (network.clock(NEAR).now_ms() - lost_ms) / 1000

    links, took_s = run(world)
    assert links == 0
    assert took_s <= 3


def test_peer_that_takes_long_and_answers_pings_keeps_its_link() -> None:
    """Slow is not silent: the answer is worth waiting for."""

    async def world(network: Network) -> bool:
        near, _ = await pair(network, Stuck())
        with pytest.raises(DeadlinePassed):
            await near.request(b"", deadline_ms=in_s(network, 60))
        return near.up

    assert run(world)


def test_request_that_is_cancelled_at_once_leaves_nothing_behind() -> None:
    """A handler cancelled before its first step still gives its bytes back."""

    async def world(network: Network) -> tuple[int, bytes]:
        broker = hub(network, FAR, link_limits=LinkLimits(max_bytes_in=100))
        peer, far = await raw_peer(network, broker)
        for stream in range(1, 41, 2):
            cancel = encode(frames.CANCEL, 0, stream, b"")
            await peer.send(request(stream, bytes(90)), cancel)
            await pass_s(0.2)
        await peer.send(request(101, bytes(90)))
        while (frame := await peer.read()).stream != 101:
            pass
        return far.counters.requests_in, frame.payload

    assert run(world) == (21, bytes(90))


def test_cancelling_in_the_middle_of_a_long_message_frees_both_sides() -> None:
    """What was sent in part is forgotten, and its bytes are not counted any more."""

    async def world(network: Network) -> bytes:
        limits = LinkLimits(max_bytes_in=3_000_000, max_bytes_out=3_000_000)
        near, _ = await pair(network, near_limits=limits, far_limits=limits)
        for _ in range(5):
            asking = asyncio.ensure_future(
                near.request(bytes(2_000_000), deadline_ms=in_s(network, 600))
            )
            await pass_s(0.02)
            asking.cancel()
            await pass_s(1)
        answer = await near.request(bytes(2_000_000), deadline_ms=in_s(network, 600))
        return answer[:1]

    assert run(world) == b"\0"


def test_late_answer_is_ignored() -> None:
    """An answer that crosses the CANCEL of its request harms nobody."""

    async def late(_link: Link, payload: bytes) -> Payload:
        await pass_s(1)
        return payload * 200_000

    async def world(network: Network) -> bytes:
        near, _ = await pair(network, late)
        for milliseconds in range(40):
            deadline_ms = in_s(network, 1 + milliseconds / 1000)
            with suppress(DeadlinePassed):
                await near.request(b"x", deadline_ms=deadline_ms)
        await pass_s(5)
        return await near.request(b"", deadline_ms=in_s(network, 5))

    assert run(world) == b""


# Bounds.


def test_overload_is_answered_at_once_with_a_time_to_retry() -> None:
    """The next request above the bound does not queue."""

    async def world(network: Network) -> tuple[str, int | None, int]:
        handler = Stuck()
        limits = LinkLimits(max_requests_in=3, retry_after_ms=500)
        near, far = await pair(network, handler, far_limits=limits)
        for _ in range(3):
            network_request = near.request(b"", deadline_ms=in_s(network, 60))
            asyncio.ensure_future(network_request).add_done_callback(
                lambda done: done.exception()
            )
        await pass_s(1)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 60))
        return caught.value.slug, caught.value.retry_after_ms, far.counters.refused_in

    assert run(world) == ("overloaded", 500, 1)


def test_own_requests_above_the_bound_are_not_sent() -> None:
    """A caller that asks too much hears it from its own side."""

    async def world(network: Network) -> tuple[str, int]:
        limits = LinkLimits(max_requests_out=1)
        near, _ = await pair(network, Stuck(), near_limits=limits)
        first = asyncio.ensure_future(near.request(b"", deadline_ms=in_s(network, 60)))
        await pass_s(1)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 60))
        first.cancel()
        return caught.value.slug, near.counters.requests_out

    assert run(world) == ("overloaded", 1)


def test_message_above_the_limit_is_refused_by_its_sender() -> None:
    """What no peer would take is not sent."""

    async def world(network: Network) -> str:
        near, _ = await pair(network, near_limits=LinkLimits(max_message_bytes=99))
        with pytest.raises(LinkProblem) as caught:
            await near.request(bytes(100), deadline_ms=in_s(network, 5))
        return caught.value.slug

    assert run(world) == "too-large"


@pytest.mark.parametrize(
    ("limits", "slug"),
    [
        (LinkLimits(max_message_bytes=100_000), "too-large"),
        (LinkLimits(max_bytes_in=100_000), "overloaded"),
    ],
)
def test_message_above_the_peers_limit_is_refused_when_announced(
    limits: LinkLimits, slug: str
) -> None:
    """A long request costs its first frame, not its bytes."""

    async def world(network: Network) -> tuple[str, bool]:
        near, far = await pair(network, far_limits=limits)
        with pytest.raises(LinkProblem) as caught:
            await near.request(bytes(5_000_000), deadline_ms=in_s(network, 60))
        await pass_s(1)
        return caught.value.slug, far.counters.bytes_in < 2 * WINDOW_BYTES

    assert run(world) == (slug, True)


@pytest.mark.parametrize(
    ("limits", "slug"),
    [
        (LinkLimits(max_message_bytes=100_000), "too-large"),
        (LinkLimits(max_bytes_in=100_000), "overloaded"),
    ],
)
def test_answer_above_our_limit_is_refused_when_announced(
    limits: LinkLimits, slug: str
) -> None:
    """The attack: a small request that is answered with gigabytes."""

    async def generous(_link: Link, _payload: bytes) -> Payload:
        return bytes(5_000_000)

    async def world(network: Network) -> tuple[str, bool]:
        near, _ = await pair(network, generous, near_limits=limits)
        with pytest.raises(LinkProblem) as caught:
            await near.request(b"", deadline_ms=in_s(network, 60))
        await pass_s(1)
        return caught.value.slug, near.counters.bytes_in < 2 * WINDOW_BYTES

    assert run(world) == (slug, True)


def test_answers_above_the_sending_bound_become_problems() -> None:
    """A side whose queue is full says so in a few bytes."""

    async def generous(_link: Link, _payload: bytes) -> Payload:
        return bytes(600_000)

    async def world(network: Network) -> list[str]:
        limits = LinkLimits(max_bytes_out=1_000_000)
        near, _ = await pair(network, generous, far_limits=limits)
        deadline_ms = in_s(network, 60)
        answers = await asyncio.gather(
            *(near.request(b"", deadline_ms=deadline_ms) for _ in range(2)),
            return_exceptions=True,
        )
        return [
            answer.slug if isinstance(answer, LinkProblem) else "answered"
            for answer in answers
        ]

    assert run(world) == ["answered", "overloaded"]


def test_half_received_messages_do_not_wait_for_each_other() -> None:
    """Room is set aside before the first chunk, so the second message is refused."""

    async def world(network: Network) -> list[str]:
        limits = LinkLimits(max_bytes_in=1_500_000)
        near, _ = await pair(network, far_limits=limits)
        deadline_ms = in_s(network, 60)
        answers = await asyncio.gather(
            *(near.request(bytes(1_000_000), deadline_ms=deadline_ms) for _ in "ab"),
            return_exceptions=True,
        )
        return [
            answer.slug if isinstance(answer, LinkProblem) else "answered"
            for answer in answers
        ]

    assert run(world) == ["answered", "overloaded"]


def test_sender_stops_when_its_credit_is_used() -> None:
    """A peer that grants nothing holds up that message alone."""

    async def world(network: Network) -> tuple[int, bytes]:
        async def long_or_short(_link: Link, payload: bytes) -> Payload:
            return bytes(10 * WINDOW_BYTES) if payload == b"long" else payload

        broker = hub(network, FAR, on_request=long_or_short)
        peer, _ = await raw_peer(network, broker)
        await peer.send(request(1, b"long"))
        received = 0
        while received < WINDOW_BYTES:
            frame = await peer.read()
            if frame.kind == frames.DATA:
                received += len(frame.payload)
        await peer.send(request(3, b"short"))
        following = await peer.read()
        return received, following.payload

    assert run(world) == (WINDOW_BYTES, b"short")


def test_peer_that_makes_us_answer_and_does_not_read_loses_the_link() -> None:
    """The attack: a stream of pings whose pongs are never read."""

    async def world(network: Network) -> str:
        broker = hub(
            network,
            FAR,
            link_limits=LinkLimits(max_bytes_out=10_000, heartbeat_s=10_000),
        )
        peer, far = await raw_peer(network, broker)
        pings = encode(frames.PING, 0, 0, bytes(8)) * 10_000
        while far.up:
            await peer.send(pings)
            await pass_s(0.1)
        return await far.wait_closed()

    assert run(world) == "overloaded"


# Notices.


def test_notices_are_handled_one_by_one_in_the_order_sent() -> None:
    """A trust bundle that replaces another comes after it."""
    handled: list[bytes] = []

    async def slowly(_link: Link, notice: bytes) -> None:
        await pass_s(1 if len(handled) % 2 else 2)
        handled.append(notice)

    async def world(network: Network) -> None:
        near, _ = await pair(network, on_notice=slowly)
        for number in range(10):
            near.notify(b"%d" % number)
        await pass_s(60)

    run(world)
    assert handled == [b"%d" % number for number in range(10)]


def test_long_notice_arrives_whole() -> None:
    """A bundle of many cities is longer than a frame."""
    handled: list[int] = []

    async def note(_link: Link, notice: bytes) -> None:
        handled.append(len(notice))

    async def world(network: Network) -> None:
        near, _ = await pair(network, on_notice=note)
        near.notify(bytes(1_000_000))
        await pass_s(60)

    run(world)
    assert handled == [1_000_000]


def test_notice_that_cannot_be_handled_does_not_end_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next notice may well be usable."""
    handled: list[bytes] = []

    async def picky(_link: Link, notice: bytes) -> None:
        if notice == b"bad":
            raise ValueError("bug")
        handled.append(notice)

    async def world(network: Network) -> bool:
        near, _ = await pair(network, on_notice=picky)
        near.notify(b"bad")
        near.notify(b"good")
        await pass_s(1)
        return near.up

    assert run(world)
    assert handled == [b"good"]
    assert "ValueError" in caplog.text


def test_flood_of_notices_ends_the_link() -> None:
    """The attack: more notices than a slow handler can take."""

    async def slow(_link: Link, _notice: bytes) -> None:
        await pass_s(1_000)

    async def world(network: Network) -> str:
        limits = LinkLimits(max_notices=5)
        near, far = await pair(network, on_notice=slow, far_limits=limits)
        for _ in range(7):
            near.notify(b"")
        return await far.wait_closed()

    assert run(world) == "overloaded"


@pytest.mark.parametrize("size", [10_001, 100_000])
def test_notice_above_the_bound_ends_the_link(size: int) -> None:
    """There is no answer by which to refuse it."""

    async def world(network: Network) -> str:
        limits = LinkLimits(max_message_bytes=10_000)
        near, far = await pair(network, far_limits=limits)
        near.notify(bytes(size))
        return await far.wait_closed()

    assert run(world) == "overloaded"


def test_notices_that_were_handled_take_no_room() -> None:
    """A link that lives for months takes any number of them."""

    async def world(network: Network) -> bool:
        near, far = await pair(network, far_limits=LinkLimits(max_bytes_in=10_000))
        for _ in range(100):
            near.notify(bytes(9_000))
            await pass_s(1)
        return far.up

    assert run(world)


def test_notices_without_a_handler_are_dropped() -> None:
    """A party that does not care still keeps its link."""

    async def world(network: Network) -> bytes:
        near, _ = await pair(network)
        for _ in range(1_000):
            near.notify(b"who cares")
        return await near.request(b"still here", deadline_ms=in_s(network, 5))

    assert run(world, limit_s=100) == b"still here"


# Peers that break the protocol.

MISDEEDS = {
    "arbitrary bytes": [b"\x00" * 20],
    "request on a stream of ours": [request(2)],
    "notice on a stream of ours": [encode(frames.NOTICE, 0, 2, b"")],
    "request on a stream in use": [request(1) + request(1)],
    "request on a stream that is being answered": [request(1), request(1)],
    "request on a stream half received": [
        encode_size(frames.REQUEST, 1, 100_000),
        request(1),
    ],
    "more data than announced": [
        encode_size(frames.REQUEST, 1, 100_000),
        data(1, CHUNK_BYTES),
        data(1, CHUNK_BYTES),
    ],
    "more credit than was used": [
        request(1, b"long"),
        frames.encode_window(1, WINDOW_BYTES + 1),
    ],
}


@pytest.mark.parametrize("misdeed", MISDEEDS.values(), ids=MISDEEDS.keys())
def test_peer_that_breaks_the_protocol_loses_the_link(misdeed: list[bytes]) -> None:
    """The link is closed with a reason, and everything on it ends."""

    async def world(network: Network) -> tuple[str, str]:
        async def long(_link: Link, _payload: bytes) -> Payload:
            await pass_s(0.001)
            return bytes(10 * WINDOW_BYTES)

        peer, far = await raw_peer(network, hub(network, FAR, on_request=long))
        for frame in misdeed:
            await peer.send(frame)
            await pass_s(0.1)
        return await peer.read_close(), await far.wait_closed()

    assert run(world) == ("malformed", "malformed")


@pytest.mark.parametrize("flags", [0, frames.PROBLEM])
def test_second_answer_loses_the_link(flags: int) -> None:
    """The attack: announce one answer and send another."""

    async def world(network: Network) -> str:
        peer, far = await raw_peer(network, hub(network, FAR))
        asking = asyncio.ensure_future(far.request(b"", deadline_ms=in_s(network, 60)))
        stream = (await peer.read()).stream
        await peer.send(encode_size(frames.ANSWER, stream, 100_000))
        await peer.send(encode(frames.ANSWER, flags, stream, b"other"))
        with pytest.raises(LinkLost) as caught:
            await asking
        return caught.value.reason

    assert run(world) == "malformed"


@pytest.mark.parametrize(
    "frame",
    [
        encode(frames.ANSWER, 0, 2, b"nobody asked"),
        encode(frames.ANSWER, frames.PROBLEM, 2, b"nobody asked"),
        encode_size(frames.ANSWER, 2, 100_000),
        data(1, 10),
        data(2, 10),
        frames.encode_window(1, 10),
        encode(frames.CANCEL, 0, 1, b""),
        encode(frames.PONG, 0, 0, bytes(8)),
    ],
)
def test_frame_that_came_too_late_is_ignored(frame: bytes) -> None:
    """What crosses a CANCEL or an answer on the way is nobody's fault."""

    async def world(network: Network) -> bytes:
        peer, _ = await raw_peer(network, hub(network, FAR))
        await peer.send(frame)
        await peer.send(request(5, b"still here"))
        return (await peer.read()).payload

    assert run(world) == b"still here"


def test_problem_that_is_garbled_counts_as_internal() -> None:
    """A peer's problem is data from outside."""
    for payload in (b"", b"[]", b"{}", b'{"code":7}', b'{"code":"%b"}' % (b"x" * 99)):
        assert LinkProblem.decode(payload).slug == "internal"
    odd = LinkProblem.decode(b'{"code":"busy","retry_after_ms":-1}')
    assert (odd.slug, odd.retry_after_ms) == ("busy", None)


# The end of a link.


def test_loss_of_the_link_ends_every_request_that_waits() -> None:
    """Each caller gets an error of its own, at once."""

    async def world(network: Network) -> list[str]:
        near, _ = await pair(network, Stuck())
        network.at(1, lambda: network.cut(NEAR))
        deadline_ms = in_s(network, 600)
        lost = await asyncio.gather(
            *(near.request(b"", deadline_ms=deadline_ms) for _ in range(3)),
            return_exceptions=True,
        )
        assert network.clock("").now_ms() < deadline_ms - 500_000
        return [error.reason for error in lost if isinstance(error, LinkLost)]

    assert run(world) == ["pipe-closed"] * 3


def test_loss_of_the_link_cancels_the_handlers_of_the_peer() -> None:
    """Nobody works for an asker that cannot hear."""
    handler = Stuck()

    async def world(network: Network) -> tuple[int, int]:
        near, far = await pair(network, handler)
        asking = asyncio.ensure_future(near.request(b"", deadline_ms=in_s(network, 60)))
        await pass_s(1)
        network.cut(NEAR)
        await far.wait_closed()
        with pytest.raises(LinkLost):
            await asking
        return handler.started, handler.cancelled

    assert run(world) == (1, 1)


def test_closing_tells_the_peer() -> None:
    """The other side learns that this was on purpose."""

    async def world(network: Network) -> tuple[str, str]:
        near, far = await pair(network)
        await near.close()
        return await near.wait_closed(), await far.wait_closed()

    assert run(world) == ("closed", "peer-closed")


def test_closed_link_takes_no_requests() -> None:
    """The caller is told to look for another link."""

    async def world(network: Network) -> None:
        near, _ = await pair(network)
        await near.close()
        with pytest.raises(LinkLost):
            await near.request(b"", deadline_ms=in_s(network, 5))
        with pytest.raises(LinkLost):
            near.notify(b"")

    run(world)


def test_heartbeat_finds_a_link_that_is_half_open() -> None:
    """A dead cable breaks nothing by itself, yet both sides notice within two beats."""

    async def world(network: Network) -> tuple[str, str, float]:
        limits = LinkLimits(heartbeat_s=15)
        near, far = await pair(network, near_limits=limits, far_limits=limits)
        await pass_s(100)
        assert near.up
        network.stall(NEAR, FAR)
        began = network.clock("").now_ms()
        reasons = await near.wait_closed(), await far.wait_closed()
        return *reasons, (network.clock("").now_ms() - began) / 1000

    near_reason, far_reason, took_s = run(world)
    assert (near_reason, far_reason) == ("silent", "silent")
    assert 15 <= took_s <= 33


def test_idle_link_stays_up_and_knows_its_round_trip() -> None:
    """Heartbeats alone keep a link for hours."""

    async def world(network: Network) -> tuple[bool, float | None]:
        near, _ = await pair(network)
        await pass_s(10_000)
        return near.up, near.counters.rtt_ms

    up, rtt_ms = run(world)
    assert up
    assert rtt_ms is not None
    assert 2 <= rtt_ms <= 20


def test_link_ends_with_the_credentials_of_its_peer() -> None:
    """A node that its city no longer renews is not heard after the end of its term."""

    async def world(network: Network) -> tuple[str, float]:
        strict = TrustingIdentity(FAR, expires_ms=START_MS + 60_000)
        far = hub(network, FAR, identity=strict)
        await linked(network, hub(network, NEAR), far)
        [link] = far.links
        reason = await link.wait_closed()
        return reason, (network.clock("").now_ms() - START_MS) / 1000

    reason, ended_s = run(world)
    assert reason == "expired"
    assert 60 <= ended_s <= 77


def test_endpoint_closes_all_its_links() -> None:
    """A node that stops leaves nobody waiting."""

    async def world(network: Network) -> tuple[int, str]:
        broker = hub(network, FAR)
        near, _ = await linked(network, hub(network, NEAR), broker)
        await linked(network, hub(network, "hoshino/market"), broker)
        await broker.close()
        return len(broker.links), await near.wait_closed()

    assert run(world) == (0, "peer-closed")


def test_hub_that_is_closed_opens_no_more_links() -> None:
    """A handshake that ends while a node stops does not keep it alive."""

    async def world(network: Network) -> tuple[str, int]:
        clinic = hub(network, NEAR)
        broker = hub(network, FAR)
        await broker.close()
        url = network.listen(FAR, broker.serve)
        link = await clinic.dial(await network.connector(NEAR)(url))
        return await link.wait_closed(), len(broker.links)

    assert run(world) == ("peer-closed", 0)


def test_observers_learn_of_links_that_come_and_go() -> None:
    """Routing and the dialer hear of each change once."""

    async def world(network: Network) -> list[str]:
        heard: list[str] = []
        broker = hub(network, FAR)
        broker.watch(
            on_up=lambda link: heard.append(f"up {link.peer.node} {link.dialed}"),
            on_down=lambda link, reason: heard.append(
                f"down {link.peer.node} {reason}"
            ),
        )
        near, far = await linked(network, hub(network, NEAR), broker)
        await near.close()
        await far.wait_closed()
        return heard

    assert run(world) == [f"up {NEAR} False", f"down {NEAR} peer-closed"]


def test_tap_sees_every_byte_that_a_party_receives() -> None:
    """What a party cannot find in its tap it has not learned."""

    async def world(network: Network) -> bytes:
        received = bytearray()
        near, _ = await pair(network, tap=received.extend)
        await near.request(b"canary", deadline_ms=in_s(network, 5))
        return bytes(received)

    seen = run(world)
    assert b"canary" in seen
    assert b"hello" in seen


def test_stream_numbers_start_again_without_meeting_one_in_use() -> None:
    """After two thousand million requests the first ones are long over."""

    async def world(network: Network) -> list[bytes]:
        handler = Stuck()

        async def first_is_stuck(link: Link, payload: bytes) -> Payload:
            return await handler(link, payload) if payload == b"first" else payload

        near, _ = await pair(network, first_is_stuck)
        first = asyncio.ensure_future(
            near.request(b"first", deadline_ms=in_s(network, 600))
        )
        await pass_s(1)
        near._next_stream = 2**32 - 1
        answers = [
            await near.request(b"%d" % number, deadline_ms=in_s(network, 5))
            for number in range(3)
        ]
        assert not first.done()
        first.cancel()
        return answers

    assert run(world) == [b"0", b"1", b"2"]
