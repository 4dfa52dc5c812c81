# SPDX-License-Identifier: Apache-2.0
"""Two algorithm suites: each works alone, and strictness is never talked down.

`strict` has CRYPTREC-listed algorithms only (requirement 69). A default node takes
documents of both suites; a strict one refuses the other with a clear error.
"""

from __future__ import annotations

import pytest

from node.demo.canaries import unfolded
from protocol.envelope import Kind
from protocol.ids import CityId
from protocol.membership import Role
from protocol.request import Ping
from protocol.suites import Suite
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_CLINIC,
    HALL,
    MEDICAL,
    RELEASED,
    Town,
    outcome,
    play,
    result_of,
    said,
)

BOTH = (Suite.HYBRID, Suite.STRICT)


async def _whole_story(town: Town) -> None:
    hanako = await town.resident_with_checkups(2)
    for hidden in (False, True):
        consent = await town.consent(hanako, hidden_holder=hidden)
        assert len(result_of(await town.read(FAR_CLINIC, consent)).records) == 2
        await town.withdraw(hanako, consent)
        await town.acknowledged(hanako, consent)
        assert said(await town.read(FAR_CLINIC, consent)) == "consent-withdrawn"
    store = await town.consent(hanako, operations=["store"])
    await town.received(CLINIC, store)
    await town.push(store)
    await town.federation.drained()
    assert len(town.provisions(FAR_CLINIC, "reception")) == 3
    found = await town.locate(hanako)
    assert {party.status for party in found.asked} == {"answer"}


@pytest.mark.parametrize("suite", BOTH)
def test_whole_story_works_in_each_suite(suite: Suite) -> None:
    """Link, locate, read openly and hidden, push, withdraw."""
    play(_whole_story, suite=suite)


HYBRID_WORDS = ('{"alg":"Ed25519"', '"kty":"OKP"', '"suite":"hybrid"')
STRICT_WORDS = ('{"alg":"ES256","kid"', '"kty":"EC"', '"suite":"strict"')


@pytest.mark.parametrize(
    ("suite", "used", "unused"),
    [
        (Suite.HYBRID, HYBRID_WORDS, STRICT_WORDS),
        (Suite.STRICT, STRICT_WORDS, HYBRID_WORDS),
    ],
)
def test_federation_uses_the_algorithms_of_its_suite_alone(
    suite: Suite, used: tuple[str, ...], unused: tuple[str, ...]
) -> None:
    """Requirement 69: not in a membership, a consent, or on a link."""

    async def story(town: Town) -> None:
        await _whole_story(town)
        for name, node in town.federation.nodes.items():
            learned = unfolded(bytes(node.learned))
            assert all(word.encode() in learned for word in used), name
            assert not any(word.encode() in learned for word in unused), name

    play(story, suite=suite)


async def _mixed(town: Town, accepts: tuple[Suite, ...]) -> None:
    """Hoshino is a default city; Minato signs and seals strictly."""
    world = town.federation
    await world.city("hoshino")
    await world.city("minato", suite=Suite.STRICT, accepts=accepts)
    await world.node(HALL, Role.IDENTITY)
    await world.node(CLINIC, qualifications=MEDICAL)
    await world.node(
        "minato/clinic", qualifications=MEDICAL, suite=Suite.STRICT, accepts=accepts
    )
    await world.agree("hoshino", "minato")


def test_default_city_takes_strict_documents() -> None:
    """And the strict-signing city, set to accept both, takes the default's."""

    async def build(town: Town) -> None:
        await _mixed(town, BOTH)

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups(2)
        for hidden in (False, True):
            consent = await town.consent(
                hanako, recipients=["minato/clinic"], hidden_holder=hidden
            )
            answer = await town.read("minato/clinic", consent)
            assert len(result_of(answer).records) == 2
            await town.withdraw(hanako, consent)
            await town.acknowledged(hanako, consent)

    play(story, build=build)


def test_strict_city_refuses_a_hybrid_peer_with_a_clear_error() -> None:
    """In the handshake: no link, no route, and both operators can read why."""

    async def build(town: Town) -> None:
        await _mixed(town, ())

    async def story(town: Town) -> None:
        await town.sleep(60)
        strict, default = town.parts("minato/broker"), town.parts(BROKER)
        assert strict.peers.broker_of(CityId("hoshino")) is None
        assert default.peers.broker_of(CityId("minato")) is None
        errors = {
            name: [status.last_error for status in core.dialer.status()]
            for name, core in (
                (BROKER, town.federation.nodes[BROKER].core),
                ("minato/broker", town.federation.nodes["minato/broker"].core),
            )
        }
        for found in errors.values():
            assert any("suite" in str(error) for error in found), errors
        assert not town.federation.knows("minato/clinic", ["hoshino"])
        # Inside, each city goes on.
        asked = await town.ask(HALL, CLINIC, Kind.MANAGE, Ping())
        assert outcome(asked) == RELEASED

    play(story, build=build, wait_for_all=False)


def test_strict_member_refuses_what_a_hybrid_node_sends_it() -> None:
    """Even where its city lets the other one in: the node's own setting counts."""

    async def build(town: Town) -> None:
        world = town.federation
        await world.city("hoshino", suite=Suite.STRICT, accepts=BOTH)
        await world.node(HALL, Role.IDENTITY, suite=Suite.STRICT)
        await world.node(CLINIC, qualifications=MEDICAL)

    async def story(town: Town) -> None:
        asked = await town.ask(CLINIC, HALL, Kind.MANAGE, Ping())
        assert outcome(asked) == "unsupported-suite"

    play(story, build=build)
