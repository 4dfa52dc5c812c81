# SPDX-License-Identifier: Apache-2.0
"""A city replaces its operating key and its root in the middle of traffic."""

from __future__ import annotations

from typing import Any

import pytest

from identity.errors import ConflictingRoot, KeyRevoked
from identity.operating_keys import CityChange, OperatingRequest
from identity.root import RootKey, issue_operating, succeed
from node.simulate.federation import Chance
from protocol.errors import MachikuraError
from protocol.ids import CityId
from protocol.membership import OPERATING, OperatingCertificate
from protocol.signature import Received
from protocol.suites import SIGNING_SEED_BYTES, SigningKey, Suite, VerifyingKey
from tests.simulation.test_key_change import Steady
from tests.simulation.town import (
    BROKER,
    CLINIC,
    FAR_BROKER,
    FAR_CLINIC,
    HALL,
    RELEASED,
    TRANSIT,
    Town,
    play,
    said,
)

pytestmark = pytest.mark.slow
DAY_S = 86_400


def _root(town: Town, city: str) -> RootKey:
    return town.federation.nodes[f"{city}/broker"].root


def _certificate(town: Town, city: str) -> OperatingCertificate:
    token = town.parts(f"{city}/broker").standing.credentials().operating
    return Received.parse(token, OPERATING).peek(OperatingCertificate)


def _new_operating(town: Town, city: str, overlap_s: int = 8 * DAY_S) -> bytes:
    """Carry a request to the root's desk and the certificate back."""
    broker = town.parts(f"{city}/broker")
    assert broker.city is not None
    assert broker.city.changes is not None
    token, key = broker.city.changes.request(fresh=True)
    asked = OperatingRequest.verify(token, town.now())
    assert VerifyingKey.from_jwk(asked.key) == key
    certificate = issue_operating(
        _root(town, city).signer,
        CityId(city),
        key,
        now=town.now(),
        days=366,
        entropy=Chance(town.network, "desk"),
        before=_certificate(town, city),
        overlap_s=overlap_s,
    )
    return CityChange(operating=certificate.token).encode()


def _new_root(
    town: Town, city: str, overlap_s: int = 30 * DAY_S, name: str = "second"
) -> bytes:
    """Let a new root follow, at the root's desk."""
    chance = Chance(town.network, f"{city} {name} root")
    signer = SigningKey(Suite.HYBRID, chance(SIGNING_SEED_BYTES))
    old, new = _root(town, city), RootKey(CityId(city), signer)
    present = _certificate(town, city)
    certificate = issue_operating(
        new.signer,
        new.city,
        present.verifying_key(),
        now=town.now(),
        days=366,
        entropy=chance,
        before=present,
    )
    succession = succeed(
        old, new, sequence=1, now=town.now(), overlap_s=overlap_s, entropy=chance
    )
    change = CityChange(operating=certificate.token, succession=succession)
    return change.encode()


async def _install(town: Town, city: str, wire: bytes, settle_s: int = 60) -> None:
    core = town.federation.nodes[f"{city}/broker"].core
    await core.install_city_change(wire, settle_s)


@pytest.mark.parametrize("city", ["hoshino", "minato", "yamanami"])
@pytest.mark.parametrize("make", [_new_operating, _new_root])
def test_no_read_is_lost_while_a_city_changes_its_keys(city: str, make: Any) -> None:
    """Of the holder's city, the requester's, and the one between."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        reads = Steady(town, await town.consent(hanako))
        await town.sleep(5)
        before = _certificate(town, city)
        root = town.parts(f"{city}/broker").trust.root
        await _install(town, city, make(town, city))
        await town.sleep(120)
        after = _certificate(town, city)
        assert after != before
        await reads.stop()
        for node in (BROKER, TRANSIT, FAR_BROKER, CLINIC, FAR_CLINIC):
            known = town.parts(node).trust
            assert known.root_of(CityId(city), town.now()) == (
                town.parts(f"{city}/broker").trust.root
            )
            assert known.city_of(CityId(city), town.now()).operating == (
                after.verifying_key()
            )
        if make is _new_root:
            assert town.parts(f"{city}/broker").trust.root != root

    play(story)


def test_agreements_go_on_after_a_new_root() -> None:
    """Also when everybody has started anew: the line is kept, and shown on links."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await _install(town, "minato", _new_root(town, "minato"))
        await town.sleep(120)
        for node in (TRANSIT, BROKER, FAR_BROKER, CLINIC, FAR_CLINIC, HALL):
            await town.federation.restart(node)
        await town.federation.settled()
        await town.sleep(5)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


@pytest.mark.parametrize("make", [_new_operating, _new_root])
def test_member_that_was_away_comes_back_after_the_overlap(make: Any) -> None:
    """It shows what nobody accepts any more; its city knows it by its own key."""

    async def story(town: Town) -> None:
        hanako = await town.resident_with_checkups()
        consent = await town.consent(hanako)
        await town.federation.stop(FAR_CLINIC)
        await _install(town, "yamanami", make(town, "yamanami", 60), settle_s=1)
        await town.sleep(120)
        await town.federation.restart(FAR_CLINIC)
        await town.federation.settled()
        await town.sleep(5)
        assert said(await town.read(FAR_CLINIC, consent)) == RELEASED

    play(story)


def test_stolen_operating_key_is_worth_nothing_as_soon_as_the_word_arrives() -> None:
    """Attack: it admits a node of its own, before and after."""

    async def story(town: Town) -> None:
        shown = town.parts(FAR_CLINIC).standing.credentials()
        await _install(town, "yamanami", _new_operating(town, "yamanami", 0), 0)
        await town.sleep(3)
        for node in (BROKER, TRANSIT, FAR_BROKER, CLINIC, HALL):
            with pytest.raises(KeyRevoked):
                town.parts(node).trust.verify_sender(
                    shown.membership, shown.operating, town.now()
                )
        # Everybody of that city has a new membership already.
        fresh = town.parts(FAR_CLINIC).standing.credentials()
        town.parts(CLINIC).trust.verify_sender(
            fresh.membership, fresh.operating, town.now()
        )
        names = town.federation.nodes[FAR_BROKER].keys.names()
        assert "operating" not in names
        assert "operating-2" in names

    play(story)


def test_old_operating_certificate_does_not_come_back() -> None:
    """Attack: rollback to the certificate before, also after a restart."""

    async def story(town: Town) -> None:
        old = town.parts(FAR_BROKER).standing.credentials().operating
        await _install(town, "yamanami", _new_operating(town, "yamanami", 0), 0)
        await town.sleep(3)
        for node in (FAR_BROKER, TRANSIT, FAR_CLINIC):
            await town.federation.restart(node)
        await town.federation.settled()
        for node in (FAR_BROKER, TRANSIT, FAR_CLINIC):
            with pytest.raises(KeyRevoked):
                town.parts(node).trust.certificate(old, CityId("yamanami"), town.now())
        back = CityChange(operating=old).encode()
        with pytest.raises(MachikuraError):
            await _install(town, "yamanami", back, 0)

    play(story)


def test_stolen_old_root_moves_nobody_who_has_followed_the_line() -> None:
    """Attack: its thief signs a second line, and an operating key of its own."""

    async def story(town: Town) -> None:
        forged = _new_root(town, "minato", name="thief")
        await _install(town, "minato", _new_root(town, "minato", 60), 0)
        await town.sleep(120)
        change = CityChange.decode(forged)
        assert change.succession is not None
        for node in (BROKER, TRANSIT, FAR_BROKER):
            trust = town.parts(node).trust
            with pytest.raises(ConflictingRoot):
                trust.follow_peer(CityId("minato"), (change.succession,))
            with pytest.raises(MachikuraError):
                trust.certificate(change.operating, CityId("minato"), town.now())
        own = issue_operating(
            _root(town, "minato").signer,
            CityId("minato"),
            SigningKey(Suite.HYBRID, bytes(SIGNING_SEED_BYTES)).public,
            now=town.now(),
            days=366,
            entropy=Chance(town.network, "thief"),
            before=_certificate(town, "minato"),
        )
        for node in (BROKER, CLINIC, TRANSIT):
            with pytest.raises(MachikuraError):
                town.parts(node).trust.certificate(
                    own.token, CityId("minato"), town.now()
                )

    play(story)


def test_certificate_for_a_strange_key_is_not_installed() -> None:
    """A file for another city, or from before a key was lost."""

    async def story(town: Town) -> None:
        wire = _new_operating(town, "minato")
        with pytest.raises(MachikuraError):
            await _install(town, "hoshino", wire)
        assert town.federation.knows(CLINIC, ["hoshino", "minato"])

    play(story)
