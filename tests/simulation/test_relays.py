# SPDX-License-Identifier: Apache-2.0
"""What a relay believes, from whom; and what operators see of the city's brokers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from federation.notice import Notice
from federation.peers import Carrier, Peer
from identity.key_owners import MemberKeyOwners
from node.city_brokers import city_brokers
from node.keys import IDENTITY, OPERATING, SEALING, TOKENS
from node.node_checks import node_checks
from protocol.agreement import Agreement
from protocol.brief import BRIEF, Brief, seal_token_key
from protocol.envelope import Kind
from protocol.errors import ProtocolViolation
from protocol.ids import CityId, NodeId
from protocol.request import MemberKeysQuery
from protocol.signature import sign
from protocol.suites import Signer
from tests.simulation.test_brokers import (
    SECOND,
    build,
    joined,
    keep_apart,
)
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_CLINIC,
    MARKET,
    RELEASED,
    Town,
    outcome,
    play,
    said,
)


def brief_by(town: Town, signer: Signer, **changes: object) -> str:
    """Return a brief for Hoshino's relay, as somebody would write it."""
    claims: dict[str, object] = {
        "iss": "hoshino",
        "aud": SECOND,
        "jti": "forged",
        "iat": town.now(),
        "exp": town.now() + 3600,
        "authority": BROKER,
        **changes,
    }
    return sign(signer, BRIEF, Brief.model_validate(claims)).token


def sibling(town: Town, relay: str, other: str) -> tuple[Peer, Carrier]:
    """Return a relay's link with another node."""
    found = town.parts(relay).peers.find(NodeId(other))
    assert found is not None
    return found


def in_town(story: Callable[[Town], Awaitable[None]]) -> None:
    """Play a story in a town where all brokers have found each other."""

    async def begins(town: Town) -> None:
        await joined(town)
        await story(town)

    play(begins, build=build)


def test_relay_takes_a_brief_of_its_authority_alone() -> None:
    """Not from a member, not from a neighbor, whoever has signed it."""

    async def story(town: Town) -> None:
        relay = town.parts(SECOND).relay
        assert relay is not None
        keys = town.federation.nodes
        honest = brief_by(town, keys[BROKER].keys.signing(OPERATING))
        foreign = brief_by(town, keys["minato/broker"].keys.signing(OPERATING))
        for teller, token in (
            (MARKET, honest),
            ("minato/broker", honest),
            (BROKER, foreign),
        ):
            peer, link = sibling(town, SECOND, teller)
            notice = Notice(kind="brief", token=token).encode()
            with pytest.raises(ProtocolViolation):
                await relay.on_notice(peer, link, notice)
        assert CityId("minato") in town.parts(SECOND).trust.agreements

    in_town(story)


def test_brief_with_an_agreement_that_one_city_signed_is_refused() -> None:
    """A thief of the operating key cannot agree in the city's name."""

    async def story(town: Town) -> None:
        parts, nodes = town.parts(SECOND), town.federation.nodes
        assert parts.relay is not None
        agreement = parts.trust.agreements[CityId("minato")]
        body = agreement.body.model_copy(update={"id": "invented"})
        root = nodes["minato/broker"].root.signer
        half = Agreement.propose(body, CityId("minato"), root)
        token = brief_by(
            town,
            nodes[BROKER].keys.signing(OPERATING),
            agreements=(half.wire.decode("ascii"),),
        )
        peer, link = sibling(town, SECOND, BROKER)
        with pytest.raises(ProtocolViolation):
            await parts.relay.on_notice(
                peer, link, Notice(kind="brief", token=token).encode()
            )
        assert parts.trust.agreements[CityId("minato")] == agreement

    in_town(story)


def test_older_brief_does_not_take_the_place_of_a_newer_one() -> None:
    """Rollback: an agreement that has ended would come back."""

    async def story(town: Town) -> None:
        parts = town.parts(SECOND)
        assert parts.relay is not None
        signer = town.federation.nodes[BROKER].keys.signing(OPERATING)
        old = brief_by(town, signer, iat=town.now() - 3600)
        peer, link = sibling(town, SECOND, BROKER)
        notice = Notice(kind="brief", token=old).encode()
        await parts.relay.on_notice(peer, link, notice)
        assert CityId("minato") in parts.trust.agreements

    in_town(story)


def test_members_cannot_speak_as_brokers() -> None:
    """Who is linked with whom is told by brokers of the city alone."""

    async def story(town: Town) -> None:
        for broker in (BROKER, SECOND):
            parts = town.parts(broker)
            assert parts.desk is not None
            peer, link = sibling(town, broker, MARKET)
            lie = Notice(kind="present", up=(NodeId(CLINIC),), whole=True)
            with pytest.raises(ProtocolViolation):
                await parts.desk.on_notice(peer, link, lie.encode())
            assert parts.presence is not None
            assert NodeId(MARKET) not in parts.presence.by_sibling()

    in_town(story)


@pytest.mark.slow
def test_only_relays_of_the_city_learn_whose_member_keys_are() -> None:
    """A member, or a broker of another city, is refused."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        await town.consent(hanako, hidden_holder=True)
        query = MemberKeysQuery(after=0)
        for asker in (MARKET, "minato/broker"):
            target = town.parts(asker).addressbook.broker(CityId("hoshino"))
            asked = await town.ask(asker, target, Kind.MANAGE, query)
            assert outcome(asked) == "forbidden"
        target = town.parts(SECOND).addressbook.broker(CityId("hoshino"))
        asked = await town.ask(SECOND, target, Kind.MANAGE, query)
        assert outcome(asked) == RELEASED

    in_town(story)


@pytest.mark.slow
def test_relay_passes_on_what_it_cannot_tell() -> None:
    """Tokens and member keys that it has not heard of go to the authority."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        hidden = await town.consent(hanako, hidden_holder=True)
        relay = town.federation.nodes[SECOND]
        owners = MemberKeyOwners(
            secret=relay.keys.secret(IDENTITY), entropy=relay.chance
        )
        await relay.database.write(lambda c: owners.forget(c, before=1 << 40))
        # The transit city reaches Hoshino over the relay alone.
        for broker in ("minato/broker", "minato/broker-2"):
            keep_apart(town, BROKER, broker)
        await town.sleep(30)
        assert said(await town.read(FAR_CLINIC, hidden)) == RELEASED

    in_town(story)


def test_relay_holds_no_key_of_another_node() -> None:
    """The token key is the city's own: not what the authority is sealed to."""

    async def story(town: Town) -> None:
        nodes = town.federation.nodes
        authority = nodes[BROKER].keys
        assert not nodes[SECOND].keys.has(OPERATING)
        bundle = town.parts(CLINIC).trust.bundle
        assert bundle is not None
        tokens = authority.opening(TOKENS)
        assert bundle.body.tokens["hoshino"] == tokens.public.document
        assert tokens != authority.opening(SEALING)
        sealing = town.parts(SECOND).standing.membership().sealing.load()
        assert len(seal_token_key(tokens, NodeId(SECOND), sealing)) > 0

    in_town(story)


@pytest.mark.slow
def test_operators_see_the_brokers_and_what_is_missing() -> None:
    """Status and doctor, at a member, at the authority and at a relay."""

    async def story(town: Town) -> None:
        for name in (CLINIC, BROKER, SECOND):
            core = town.federation.nodes[name].core
            shown = {b.node: (b.authority, b.linked) for b in city_brokers(core)}
            assert shown == {BROKER: (True, True), SECOND: (False, True)}
            assert await failing(town, name) == set()
        counts = {
            b.node: b.nodes for b in city_brokers(town.federation.nodes[BROKER].core)
        }
        assert min(c for c in counts.values() if c is not None) >= 5
        await town.federation.crash(SECOND)
        await town.sleep(1)
        assert await failing(town, CLINIC) == {"brokers"}
        await town.federation.restart(SECOND)
        await town.federation.crash(BROKER)
        town.federation.jump(2 * 86_400)
        await town.sleep(61)
        assert "brief" in await failing(town, SECOND)

    in_town(story)


async def failing(town: Town, name: str) -> set[str]:
    """Return the checks about brokers that fail at a node."""
    node = town.federation.nodes[name]
    found = set()
    for check in node_checks(node.core, node.database):
        if check.id in ("brokers", "brief") and await check.probe() is not None:
            found.add(check.id)
    return found
