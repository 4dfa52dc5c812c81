# SPDX-License-Identifier: Apache-2.0
"""Memberships are renewed by themselves, and a removed node is out everywhere."""

from __future__ import annotations

import pytest

from federation.hub import LinkHub
from federation.limits import LinkLimits
from federation.link import Link
from identity.errors import KeyRevoked, MembershipExpired, NotAMember
from identity.trust import TrustStore
from node.addressbook import NoWay
from node.links import NodeLinkIdentity
from protocol.envelope import Kind
from protocol.errors import UnknownKey
from protocol.ids import NodeId
from protocol.membership import Role
from protocol.request import Ping
from tests.simulation.town import (
    BROKER,
    CLINIC,
    DAY_S,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    MARKET,
    MEDICAL,
    RELEASED,
    TRANSIT,
    Town,
    outcome,
    play,
    said,
)

pytestmark = pytest.mark.slow


async def _small(town: Town) -> None:
    """One city with a home node and a clinic: days pass quickly."""
    await town.federation.city("hoshino")
    await town.federation.node(HALL, Role.IDENTITY)
    await town.federation.node(CLINIC, qualifications=MEDICAL)


def test_memberships_are_renewed_before_they_end() -> None:
    """Of every node, the broker's own included, over twice their life."""

    async def story(town: Town) -> None:
        first = {n: town.parts(n).standing.membership().exp for n in _NODES}
        for _ in range(3):
            town.federation.jump(0.9 * DAY_S)
            # A renewal job runs every twentieth of a membership's life.
            await town.sleep(2 * DAY_S / 20 + 60)
            for name in _NODES:
                assert town.parts(name).standing.membership().exp > town.now(), name
        last = {n: town.parts(n).standing.membership().exp for n in _NODES}
        assert all(last[n] > first[n] + DAY_S for n in _NODES)
        asked = await town.ask(CLINIC, HALL, Kind.MANAGE, Ping())
        assert outcome(asked) == RELEASED

    play(story, build=_small, membership_life_days=2)


_NODES = (BROKER, HALL, CLINIC)


def test_node_that_comes_back_just_in_time_renews_at_once() -> None:
    """Off for days: even its trust bundle has ended, and hours are left."""

    async def story(town: Town) -> None:
        await town.federation.crash(CLINIC)
        town.federation.jump(1.95 * DAY_S)
        await town.federation.restart(BROKER)
        await town.federation.restart(CLINIC)
        await town.sleep(30)
        left_s = town.parts(CLINIC).standing.membership().exp - town.now()
        assert left_s > 1.9 * DAY_S

    play(story, build=_small, membership_life_days=2)


def test_removed_node_is_out_at_once_in_its_own_city() -> None:
    """Its links end, and it gets no new one, also after the broker has restarted."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.remove(CLINIC)
        await town.sleep(40)
        assert town.parts(BROKER).peers.find(NodeId(CLINIC)) is None
        assert said(await town.read(FAR_CLINIC, consent)) == "not-a-member"
        await town.federation.restart(BROKER)
        await town.sleep(120)
        assert town.parts(BROKER).peers.find(NodeId(CLINIC)) is None

    play(story)


def test_removed_requester_gets_nothing_any_more() -> None:
    """Not even under a consent that is still in force."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED
        await town.federation.remove(FAR_CLINIC)
        await town.sleep(5)
        assert said(await town.read(FAR_CLINIC, consent)) == "peer-unreachable"
        assert len(town.provisions(CLINIC)) == 1

    play(story)


def test_all_links_of_a_removed_node_end() -> None:
    """Attack: a node that holds several links at the time of its removal."""

    async def story(town: Town) -> None:
        second = await _second_link(town, MARKET)
        await town.federation.remove(MARKET)
        await town.sleep(2)
        assert not second.up
        assert town.parts(BROKER).peers.find(NodeId(MARKET)) is None

    play(story)


async def _second_link(town: Town, name: str) -> Link:
    """Open one more link to the broker, as a node that plays two games would."""
    node = town.federation.nodes[name]
    parts = node.core.parts
    identity = NodeLinkIdentity(
        node=parts.node,
        is_broker=False,
        signer=parts.exchanges.signer,
        credentials=parts.standing.credentials,
        trust=parts.trust,
        agreed=lambda city: None,
        now_ms=parts.world.clock.now_ms,
    )

    async def answer(link: Link, payload: bytes) -> bytes:
        return payload

    hub = LinkHub(
        identity=identity,
        clock=town.network.clock(name),
        entropy=node.chance,
        on_request=answer,
        link_limits=LinkLimits(),
    )
    pipe = await town.network.connector(name)(f"memory://{BROKER}")
    return await hub.dial(pipe, expected=BROKER)


def test_membership_of_a_removed_node_proves_nothing_after_its_life() -> None:
    """The word of its removal travels; where none comes it ends by itself."""

    async def story(town: Town) -> None:
        shown = town.parts(CLINIC).standing.credentials()
        deaf = _deaf(town, FAR_CLINIC)
        await town.federation.remove(CLINIC)
        await town.sleep(2)
        # Whoever no word reaches goes by the membership's own end.
        deaf.verify_sender(shown.membership, shown.operating, town.now())
        with pytest.raises(NotAMember):
            town.parts(HALL).trust.verify_sender(
                shown.membership, shown.operating, town.now()
            )
        # Cities further away hear which keys count no more.
        trust = town.parts(FAR_CLINIC).trust
        with pytest.raises(KeyRevoked):
            trust.verify_sender(shown.membership, shown.operating, town.now())
        for _ in range(3):
            # Everybody else renews, as each does when its broker comes back.
            town.federation.jump(3 * DAY_S)
            for broker in (BROKER, TRANSIT, FAR_BROKER):
                await town.federation.restart(broker)
            await town.sleep(60)
        assert town.federation.knows(FAR_CLINIC, ["hoshino"])
        with pytest.raises(MembershipExpired):
            trust.verify_sender(shown.membership, shown.operating, town.now())
        with pytest.raises((MembershipExpired, UnknownKey)):
            deaf.verify_sender(shown.membership, shown.operating, town.now())

    play(story)


def _deaf(town: Town, node: str) -> TrustStore:
    """Return the trust of somebody who has heard the city's word once, and no more."""
    trust = town.parts(node).trust
    bundle = trust.bundle
    assert bundle is not None
    found = TrustStore(city=trust.city, root=trust.root, skew_s=5)
    found.accept_bundle(bundle.token, town.now())
    found.pins.update(
        {c: trust.root_of(c, town.now()) for c in trust.names(town.now())}
    )
    return found


def test_node_that_was_never_admitted_gets_no_link() -> None:
    """And says so itself, instead of failing somewhere later."""

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node("hoshino/stranger", admitted=False)

    async def story(town: Town) -> None:
        await town.sleep(30)
        stranger = town.parts("hoshino/stranger")
        assert not stranger.standing.admitted
        assert stranger.peers.broker_of(NodeId(BROKER).city) is None
        with pytest.raises(NoWay):
            await town.ask("hoshino/stranger", CLINIC, Kind.MANAGE, Ping())

    play(story, build=build, wait_for_all=False)


def test_node_admitted_while_it_runs_takes_part_at_once() -> None:
    """The operator hands it the membership; no restart is needed."""

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node("hoshino/late", admitted=False)

    async def story(town: Town) -> None:
        await town.sleep(5)
        await town.federation.admit("hoshino/late")
        await town.federation.until(
            lambda: town.federation.knows("hoshino/late", ["minato"])
        )
        asked = await town.ask(FAR_CLINIC, "hoshino/late", Kind.MANAGE, Ping())
        assert outcome(asked) == RELEASED

    play(story, build=build, wait_for_all=False)


def test_link_is_replaced_before_the_membership_that_opened_it_ends() -> None:
    """Make before break: at no moment a node is without a link, or asks in vain."""

    async def story(town: Town) -> None:
        lost: list[str] = []
        for name in (HALL, CLINIC):
            town.federation.nodes[name].core.links.watch(
                on_up=lambda link: None,
                on_down=lambda link, reason: lost.append(reason),
            )
        first = {n: _links(town, n) for n in (HALL, CLINIC)}
        town.federation.jump(1.2 * DAY_S)
        await town.sleep(2 * DAY_S / 20 + 60)
        town.federation.jump(0.4 * DAY_S)
        await town.sleep(2 * DAY_S / 20 + 600)
        town.federation.jump(0.3 * DAY_S)
        await town.sleep(60)
        for name in (HALL, CLINIC):
            assert _links(town, name)
            assert not set(first[name]) & set(_links(town, name)), name
        assert "expired" not in lost
        asked = await town.ask(CLINIC, HALL, Kind.MANAGE, Ping())
        assert outcome(asked) == RELEASED

    play(story, build=_small, membership_life_days=2)


def _links(town: Town, node: str) -> list[Link]:
    """Return a node's links that are up."""
    return list(town.federation.nodes[node].core.links.links)
