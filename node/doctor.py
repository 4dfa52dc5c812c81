# SPDX-License-Identifier: Apache-2.0
"""`machikura doctor`: walks from this node to a peer and names what is broken.

Configuration, clock, keys, membership, link, then for a peer: is its city known, is
there a route, what does the agreement allow, does the city know the node, and does a
canary exchange reach it. Every failure comes with cause and remedy.
"""

from __future__ import annotations

from federation.exchange import Answer
from node.core import Core
from node.health import Check, Checks, Finding, Probe, Severity, Trouble
from protocol.envelope import Kind
from protocol.errors import MachikuraError
from protocol.ids import NodeId
from protocol.problem import describe
from protocol.request import Ping

_LARGEST_CLOCK_GAP_MS = 2_000


class Doctor:
    """Examines a running node."""

    def __init__(self, core: Core, checks: Checks) -> None:
        """Take the node and its own checks."""
        self._core = core
        self._checks = checks

    async def examine(self, peer: NodeId | None) -> list[Finding]:
        """Examine this node, and the way to `peer` if one is given."""
        found = list((await self._checks.run()).findings)
        found.append(await self._run("clock", "Clock", "時計", self._clock))
        if peer is not None:
            found += await self._examine_peer(peer)
        return found

    async def _examine_peer(self, peer: NodeId) -> list[Finding]:
        async def city() -> Trouble | None:
            return self._city(peer)

        async def member() -> Trouble | None:
            return await self._member(peer)

        async def canary() -> Trouble | None:
            return await self._canary(peer)

        steps = (
            ("peer-city", "The peer's city is known", "相手都市の認識", city),
            ("peer-member", "The peer is a member", "相手の会員資格", member),
            ("canary", "A canary exchange", "疎通試験", canary),
        )
        found: list[Finding] = []
        for name, english, japanese, probe in steps:
            found.append(await self._run(name, english, japanese, probe))
            if not found[-1].ok:
                break
        return found

    async def _run(
        self, name: str, english: str, japanese: str, probe: Probe
    ) -> Finding:
        check = Check(name, Severity.ERROR, probe, english, japanese)
        return Finding(check, await probe())

    async def _clock(self) -> Trouble | None:
        """Compare our clock with our broker's, as the last bundle was dated."""
        bundle = self._core.parts.trust.bundle
        if bundle is None:
            return None
        ahead_ms = bundle.body.iat * 1000 - self._core.parts.world.clock.now_ms()
        if ahead_ms <= _LARGEST_CLOCK_GAP_MS:
            return None
        return Trouble(
            f"This clock is at least {ahead_ms} ms behind the city broker's.",
            f"この時計は都市ブローカーより {ahead_ms} ms 以上遅れています。",
            "Turn on time synchronization (NTP).",
            "時刻同期(NTP)を有効にしてください。",
        )

    def _city(self, peer: NodeId) -> Trouble | None:
        try:
            self._core.parts.addressbook.city(peer.city)
        except MachikuraError as error:
            return _trouble(error.slug, error.detail)
        return None

    async def _member(self, peer: NodeId) -> Trouble | None:
        try:
            await self._core.parts.addressbook.member(peer)
        except MachikuraError as error:
            return _trouble(error.slug, error.detail)
        return None

    async def _canary(self, peer: NodeId) -> Trouble | None:
        parts = self._core.parts
        try:
            target = await parts.addressbook.target(peer)
            asked = await parts.exchanges.ask(target, Kind.MANAGE, Ping())
        except MachikuraError as error:
            return _trouble(error.slug, error.detail)
        if isinstance(asked, Answer):
            return None
        by = f" (refused by {asked.refusal.by})" if asked.refusal.by else ""
        return _trouble(asked.refusal.code, asked.refusal.detail + by)


def _trouble(code: str, detail: str) -> Trouble:
    entry = describe(code)
    return Trouble(
        f"{entry.title_en}: {detail} [{code}]",
        f"{entry.title_ja}: {detail} [{code}]",
        entry.remedy_en,
        entry.remedy_ja,
    )
