# SPDX-License-Identifier: Apache-2.0
"""The dialer: one link to each peer, patience that grows and is remembered."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.dialer import (
    Backoff,
    BackoffPolicy,
    Dialer,
    DialTarget,
    after_failure,
)
from federation.hub import LinkHub
from federation.ports import Connect, Pipe
from federation.simulation import Network, run
from federation.virtual import START_MS
from tests.federation.parties import (
    MemoryStore,
    TrustingIdentity,
    hub,
    linked,
    pass_s,
)

BROKER, CLINIC = "hoshino/broker", "hoshino/clinic"
TARGET = DialTarget(BROKER, f"memory://{BROKER}")


def dialer(
    network: Network,
    clinic: LinkHub,
    *,
    store: MemoryStore | None = None,
    connect: Connect | None = None,
    policy: BackoffPolicy | None = None,
) -> Dialer:
    """Returns the dialer of the clinic."""
    return Dialer(
        clinic,
        connect=connect or network.connector(CLINIC),
        clock=network.clock(CLINIC),
        entropy=network.entropy(CLINIC),
        store=store or MemoryStore(),
        policy=policy,
    )


class Counted:
    """Counts attempts to connect, and when they were made."""

    def __init__(self, network: Network) -> None:
        """Connects as the clinic."""
        self._network = network
        self._connect = network.connector(CLINIC)
        self.at_s: list[float] = []

    async def __call__(self, url: str) -> Pipe:
        """See `Connect`."""
        now_ms = self._network.clock("").now_ms()
        self.at_s.append((now_ms - START_MS) / 1000)
        return await self._connect(url)


def test_link_is_opened_and_opened_again_when_it_is_lost() -> None:
    """A broker that restarts gets its nodes back."""

    async def world(network: Network) -> list[bool]:
        broker, clinic = hub(network, BROKER), hub(network, CLINIC)
        network.listen(BROKER, broker.serve)
        dialer(network, clinic).add(TARGET)
        up = []
        await pass_s(60)
        up.append(clinic.link_to(BROKER) is not None)
        network.cut(BROKER)
        up.append(clinic.link_to(BROKER) is not None)
        await pass_s(0.1)
        up.append(clinic.link_to(BROKER) is not None)
        await pass_s(2)
        up.append(clinic.link_to(BROKER) is not None)
        return up

    assert run(world) == [True, True, False, True]


def test_link_that_is_stalled_is_replaced() -> None:
    """Heartbeats notice the dead cable, the dialer opens another link."""

    async def world(network: Network) -> bool:
        broker, clinic = hub(network, BROKER), hub(network, CLINIC)
        network.listen(BROKER, broker.serve)
        dialer(network, clinic).add(TARGET)
        await pass_s(60)
        first = clinic.link_to(BROKER)
        network.stall(BROKER, CLINIC)
        network.at(300, network.heal)
        await pass_s(420)
        second = clinic.link_to(BROKER)
        return second is not None and second is not first and second.up

    assert run(world)


def test_unreachable_peer_is_dialed_less_and_less_often() -> None:
    """Ten hours of absence cost about a call a minute."""

    async def world(network: Network) -> list[float]:
        counted = Counted(network)
        dialer(network, hub(network, CLINIC), connect=counted).add(TARGET)
        await pass_s(36_000)
        return counted.at_s

    at_s = run(world)
    gaps = [later - sooner for sooner, later in pairwise(at_s)]
    assert gaps[0] < 1
    assert all(30 <= gap <= 61 for gap in gaps[8:])
    assert len({round(gap, 3) for gap in gaps[8:]}) > 100


def test_backoff_survives_a_restart() -> None:
    """A node that crashes at start does not call its broker in a loop."""

    async def world(network: Network) -> int:
        counted = Counted(network)
        store = MemoryStore()
        for _ in range(100):
            one = dialer(network, hub(network, CLINIC), connect=counted, store=store)
            one.add(TARGET)
            await pass_s(5)
            await one.close()
        return len(counted.at_s)

    assert run(world) < 25


def test_backoff_from_a_clock_that_was_ahead_is_bounded() -> None:
    """A saved time years ahead does not silence a node for years."""

    async def world(network: Network) -> float:
        counted = Counted(network)
        store = MemoryStore()
        store.saved[BROKER] = Backoff(3, START_MS * 2)
        one = dialer(network, hub(network, CLINIC), connect=counted, store=store)
        one.add(TARGET)
        await pass_s(100)
        return counted.at_s[0]

    assert run(world) == 60


def test_peer_that_calls_ends_the_backoff() -> None:
    """Who calls us is there; while its link is up nobody needs to dial."""

    async def world(network: Network) -> tuple[int, Backoff, int]:
        counted = Counted(network)
        store = MemoryStore()
        clinic, broker = hub(network, CLINIC), hub(network, BROKER)
        dialer(network, clinic, connect=counted, store=store).add(TARGET)
        await pass_s(3_000)
        before = len(counted.at_s)
        near, _ = await linked(network, broker, clinic)
        await pass_s(3_000)
        saved = store.saved[BROKER]
        network.listen(BROKER, broker.serve)
        await near.close()
        await pass_s(10)
        return len(counted.at_s) - before, saved, len(clinic.links)

    dialed_again, saved, links = run(world)
    assert (dialed_again, saved, links) == (1, Backoff(), 1)


def test_link_that_does_not_last_counts_as_a_failure() -> None:
    """The attack: accept and drop, so that the caller spins."""

    async def world(network: Network) -> int:
        counted = Counted(network)
        broker = hub(network, BROKER)
        broker.watch(
            on_up=lambda link: network.at(0.1, link.end),
            on_down=lambda _link, _reason: None,
        )
        network.listen(BROKER, broker.serve)
        dialer(network, hub(network, CLINIC), connect=counted).add(TARGET)
        await pass_s(3_600)
        return len(counted.at_s)

    assert run(world) < 120


def test_peer_that_refuses_us_is_tried_again_and_the_reason_shown() -> None:
    """Admission may come tomorrow; meanwhile the operator sees why."""

    async def world(network: Network) -> tuple[bool, str | None]:
        strict = TrustingIdentity(BROKER, trusted={})
        broker = hub(network, BROKER, identity=strict)
        network.listen(BROKER, broker.serve)
        one = dialer(network, hub(network, CLINIC))
        one.add(TARGET)
        await pass_s(60)
        [status] = one.status()
        return status.up, status.last_error

    assert run(world) == (False, "the peer refused: unknown-key")


def test_unforeseen_error_does_not_stop_the_dialer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug below is logged, and dialing goes on."""

    async def world(network: Network) -> str | None:
        async def broken(_url: str) -> Pipe:
            raise KeyError("bug")

        one = dialer(network, hub(network, CLINIC), connect=broken)
        one.add(TARGET)
        await pass_s(60)
        [status] = one.status()
        assert status.backoff.failures > 3
        return status.last_error

    assert run(world) == "KeyError"
    assert "KeyError" in caplog.text


def test_connection_that_never_opens_is_given_up() -> None:
    """A lost SYN costs the time set, then the next try follows."""

    async def world(network: Network) -> list[float]:
        counted = Counted(network)
        broker = hub(network, BROKER)
        network.listen(BROKER, broker.serve)
        network.partition({BROKER})
        policy = BackoffPolicy(connect_s=10)
        clinic = hub(network, CLINIC)
        dialer(network, clinic, connect=counted, policy=policy).add(TARGET)
        await pass_s(11)
        return counted.at_s

    assert len(run(world)) == 2


def test_removed_target_is_left_and_not_dialed_again() -> None:
    """An operator who removes a peer is done with it."""

    async def world(network: Network) -> tuple[int, int]:
        counted = Counted(network)
        broker, clinic = hub(network, BROKER), hub(network, CLINIC)
        network.listen(BROKER, broker.serve)
        one = dialer(network, clinic, connect=counted)
        one.add(TARGET)
        await pass_s(60)
        await one.remove(BROKER)
        await pass_s(600)
        return len(counted.at_s), len(clinic.links)

    assert run(world) == (1, 0)


@given(
    failures=st.integers(0, 10**6),
    chance=st.floats(0, 1, exclude_max=True),
    now_ms=st.integers(0, 2**48),
)
def test_delay_is_bounded_and_grows_with_failures(
    failures: int, chance: float, now_ms: int
) -> None:
    """Whatever the state, the next try comes, and not at once."""
    policy = BackoffPolicy(first_s=1, max_s=64)
    after = after_failure(Backoff(failures), policy, now_ms=now_ms, chance=chance)
    delay_ms = after.next_ms - now_ms
    nominal_ms = min(64_000, 1_000 * 2 ** min(failures, 40))
    assert after.failures == failures + 1
    assert nominal_ms / 2 <= delay_ms <= nominal_ms
