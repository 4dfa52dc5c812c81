# SPDX-License-Identifier: Apache-2.0
"""Doctor and readiness name what is broken: each check is made to fail, and mended.

One world is broken in one way after the other. (Disk space and failing commits are
tested where they are made: `tests.node.test_health`.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from node.config import CaptureTable, ExpiryTable
from node.doctor import Doctor
from node.health import Checks, Finding
from node.node_checks import node_checks
from protocol.ids import NodeId
from protocol.membership import Role
from tests.simulation.town import (
    BROKER,
    CLINIC,
    DAY_S,
    FAR_BROKER,
    FAR_CLINIC,
    TRANSIT,
    Town,
    play,
)

ELSEWHERE = {"disk-space", "database-writable", "brokers", "evidence"}


async def _examine(town: Town, node: str, peer: str | None = None) -> list[Finding]:
    simulated = town.federation.nodes[node]
    checks = Checks()
    for check in node_checks(simulated.core, simulated.database):
        checks.add(check)
    doctor = Doctor(simulated.core, checks)
    return await doctor.examine(None if peer is None else NodeId(peer))


async def _failing(town: Town, node: str, peer: str | None = None) -> dict[str, str]:
    """Return the checks that fail, with their causes."""
    found = {}
    for finding in await _examine(town, node, peer):
        if finding.trouble is not None:
            trouble = finding.trouble
            for words in (trouble.remedy_en, trouble.remedy_ja, trouble.cause_ja):
                assert words, finding.check.id
            found[finding.check.id] = trouble.cause_en
    return found


def _break(
    node: str, break_it: Callable[[Town], Awaitable[None]], peer: str | None = None
) -> dict[str, str]:
    """Return what fails after something was broken; nothing did before."""

    async def story(town: Town) -> dict[str, str]:
        folder = town.parts(node).settings.data_dir
        folder.chmod(0o700)
        assert await _failing(town, node, peer) == {}
        await break_it(town)
        return await _failing(town, node, peer)

    return play(story)


async def _open_folder(town: Town) -> None:
    town.parts(CLINIC).settings.data_dir.chmod(0o755)


async def _lose_broker(town: Town) -> None:
    await town.federation.crash(BROKER)
    await town.sleep(5)


async def _lose_neighbor(town: Town) -> None:
    await town.federation.crash(TRANSIT)
    await town.sleep(5)


async def _sleep_long(town: Town) -> None:
    await town.federation.crash(BROKER)
    town.federation.jump(8 * DAY_S)


async def _sleep_a_day(town: Town) -> None:
    await town.federation.crash(BROKER)
    town.federation.jump(1.1 * DAY_S)


async def _dead_letter(town: Town) -> None:
    hanako = await town.resident_with_checkups()
    consent = await town.consent(hanako)
    await town.received(CLINIC, consent)
    await town.push(consent)
    await town.federation.drained()


async def _capture(town: Town) -> None:
    parts = town.parts(CLINIC)
    table = CaptureTable(path=parts.settings.data_dir / "capture")
    parts.settings = parts.settings.model_copy(update={"capture": table})


async def _warn_early(town: Town) -> None:
    parts = town.parts(CLINIC)
    table = ExpiryTable(warn_days=4_000)
    parts.settings = parts.settings.model_copy(update={"expiry": table})


async def _more_roles(town: Town) -> None:
    parts = town.parts(CLINIC)
    roles = parts.settings.node.model_copy(
        update={"roles": (Role.VAULT, Role.IDENTITY)}
    )
    parts.settings = parts.settings.model_copy(update={"node": roles})


async def _other_keys(town: Town) -> None:
    parts = town.parts(CLINIC)
    parts.exchanges.signer = town.parts(FAR_CLINIC).exchanges.signer


async def _slow_clock(town: Town) -> None:
    town.network.clock(CLINIC).skew_ms = -120_000


async def _lose_peer(town: Town) -> None:
    await town.federation.crash(FAR_CLINIC)


async def _remove_peer(town: Town) -> None:
    await town.federation.remove(FAR_CLINIC)
    # A node remembers whom it has met; a fresh one asks.
    await town.federation.restart(CLINIC)
    await town.federation.until(lambda: town.federation.knows(CLINIC, ["yamanami"]))
    town.parts(CLINIC).settings.data_dir.chmod(0o700)


BROKEN: dict[str, tuple[str, Callable[[Town], Awaitable[None]], str]] = {
    "data-folder-private": (CLINIC, _open_folder, "mode 0755"),
    "broker-link": (CLINIC, _lose_broker, "no link to a broker"),
    "neighbors": (BROKER, _lose_neighbor, "minato"),
    "membership": (CLINIC, _sleep_long, "ended"),
    "trust-bundle": (CLINIC, _sleep_a_day, "missing or has ended"),
    "outbox": (CLINIC, _dead_letter, "refused for good"),
    "capture": (CLINIC, _capture, "recorded"),
    "expiry": (CLINIC, _warn_early, "qualification medical-institution"),
    "configuration": (CLINIC, _more_roles, "identity"),
    "keys": (CLINIC, _other_keys, "other keys"),
    "clock": (CLINIC, _slow_clock, "behind"),
}


@pytest.mark.parametrize("check", BROKEN)
def test_check_fails_when_its_thing_is_broken(check: str) -> None:
    """With a cause that a person understands, and what to do, in both languages."""
    node, break_it, words = BROKEN[check]
    failing = _break(node, break_it)
    assert words in failing[check]


WAYS: dict[str, tuple[str, Callable[[Town], Awaitable[None]], str, str]] = {
    "route": (CLINIC, _lose_neighbor, FAR_CLINIC, "no-route"),
    "agreement": (BROKER, _lose_neighbor, FAR_CLINIC, "no-agreement"),
    "canary": (CLINIC, _lose_peer, FAR_CLINIC, "peer-unreachable"),
    "peer-member": (CLINIC, _remove_peer, FAR_CLINIC, "not-a-member"),
}


@pytest.mark.parametrize("check", WAYS)
def test_walk_to_a_peer_stops_where_it_is_broken(check: str) -> None:
    """The first step that fails names the code; nothing behind it is tried."""
    node, break_it, peer, code = WAYS[check]
    failing = _break(node, break_it, peer)
    assert f"[{code}]" in failing[check]
    steps = [name for name in failing if name in {*WAYS, "peer-city"}]
    assert steps == [check]


def test_city_whose_keys_have_ended_is_named() -> None:
    """There is a route still, and its announcement is over."""

    async def story(town: Town) -> None:
        assert await _failing_steps(town) == []
        town.federation.jump(1.1 * DAY_S)
        failing = await _failing(town, BROKER, FAR_CLINIC)
        assert "[no-route]" in failing["peer-city"]

    async def _failing_steps(town: Town) -> list[str]:
        town.parts(BROKER).settings.data_dir.chmod(0o700)
        return list(await _failing(town, BROKER, FAR_CLINIC))

    play(story)


def test_every_check_has_a_test_that_makes_it_fail() -> None:
    """A check that cannot fail says nothing."""

    async def story(town: Town) -> set[str]:
        found: set[str] = set()
        for node in (CLINIC, BROKER):
            for finding in await _examine(town, node, FAR_CLINIC):
                found.add(finding.check.id)
        return found

    assert play(story) == {*BROKEN, *WAYS, *ELSEWHERE, "peer-city"}


def test_node_that_is_not_admitted_says_so() -> None:
    """And what the operator has to do."""

    async def build(town: Town) -> None:
        await town.build()
        await town.federation.node("hoshino/stranger", admitted=False)

    async def story(town: Town) -> None:
        town.parts("hoshino/stranger").settings.data_dir.chmod(0o700)
        failing = await _failing(town, "hoshino/stranger")
        assert "not admitted" in failing["membership"]
        assert failing.keys() == {"membership", "broker-link", "trust-bundle"}

    play(story, build=build, wait_for_all=False)


def test_link_check_names_why_dialing_failed() -> None:
    """Not only that there is no link."""

    async def story(town: Town) -> None:
        await town.federation.crash(BROKER)
        await town.sleep(20)
        failing = await _failing(town, CLINIC)
        assert "refuses to connect" in failing["broker-link"]
        await town.federation.crash(FAR_BROKER)
        await town.sleep(20)
        assert "yamanami" in (await _failing(town, TRANSIT))["neighbors"]

    play(story)
