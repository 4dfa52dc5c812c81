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
        found = [
            await self._run("configuration", "Configuration", "設定", self._settings),
            await self._run("keys", "Keys", "鍵", self._keys),
            await self._run("clock", "Clock", "時計", self._clock),
            *(await self._checks.run()).findings,
        ]
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

        async def agreement() -> Trouble | None:
            return self._agreement(peer)

        async def route() -> Trouble | None:
            return self._route(peer)

        steps = (
            ("agreement", "An agreement leads there", "協定", agreement),
            ("route", "There is a route", "経路", route),
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

    async def _settings(self) -> Trouble | None:
        """Compare what the settings want with what the city confirmed."""
        parts = self._core.parts
        if not parts.standing.admitted:
            return None
        confirmed = parts.standing.membership().roles
        missing = [r for r in parts.settings.node.roles if r not in confirmed]
        if not missing:
            return None
        names = ", ".join(missing)
        return Trouble(
            f"The city has not confirmed these roles: {names}.",
            f"都市が認めていない役割があります: {names}。",
            "Send a new join request to the city, or remove the roles from `roles`.",
            "加入申請を出し直すか、設定 roles から外してください。",
        )

    async def _keys(self) -> Trouble | None:
        """Compare our own keys with those in the membership."""
        parts = self._core.parts
        if not parts.standing.admitted:
            return None
        shown = parts.standing.membership()
        same = (
            shown.verifying_key() == parts.exchanges.signer.public
            and shown.sealing.load() == parts.exchanges.opening.public
        )
        if same:
            return None
        return Trouble(
            "The membership is for other keys than this node has.",
            "会員証の鍵がこのノードの鍵と一致しません。",
            "Send the join request of this node to the city again.",
            "このノードの加入申請を都市へ出し直してください。",
        )

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

    def _route(self, peer: NodeId) -> Trouble | None:
        """Look for a way to the peer's city."""
        parts = self._core.parts
        if peer.city == parts.node.city:
            return None
        if parts.routes is not None:
            found = parts.routes.best(peer.city) is not None
        else:
            bundle = parts.trust.bundle
            found = bundle is not None and peer.city in bundle.body.paths
        return None if found else _trouble("no-route", f"to {peer.city}")

    def _agreement(self, peer: NodeId) -> Trouble | None:
        """At a broker: look for an agreement in force with the next city."""
        parts = self._core.parts
        if parts.routes is None or peer.city == parts.node.city:
            return None
        best = parts.routes.best(peer.city)
        first = peer.city if best is None else best.neighbor
        now = parts.now()
        agreement = parts.trust.agreements.get(first)
        if agreement is None or not agreement.in_force(now):
            return _trouble("no-agreement", f"with {first}")
        return None

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
