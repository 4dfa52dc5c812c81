# SPDX-License-Identifier: Apache-2.0
"""The node without its HTTP interfaces: parts built, wired to links, kept going.

It runs over any `World`, so a whole federation runs in one process on virtual time with
this same code. `node.app` puts the listener, the API and the operator's socket around
it. Roles are configuration (requirement 1): each adds its handlers and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from federation.dialer import BackoffPolicy, Dialer, DialTarget
from federation.hub import HubLimits, LinkHub
from federation.limits import LinkLimits
from federation.link import Link
from federation.peers import Peer
from federation.versions import EVIDENCE, VERSIONS, Abilities
from node.config import Settings
from node.expiry import Expiry
from node.parts import Parts
from node.relinking import Relinker
from protocol.errors import MachikuraError, Malformed, Misuse
from protocol.ids import CityId, NodeId
from protocol.membership import OperatingCertificate

_logger = logging.getLogger(__name__)


class Core:
    """One running node."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts; nothing moves before `start`."""
        self.parts = parts
        settings, world = parts.settings, parts.world
        self.links = LinkHub(
            identity=parts.link_identity,
            clock=world.clock,
            entropy=world.entropy,
            on_request=self._on_request,
            on_notice=self._on_notice,
            abilities=_abilities(settings),
            limits=HubLimits(max_bytes_in=settings.limits.received_bytes),
            link_limits=LinkLimits(
                max_requests_out=settings.limits.link_requests_out,
                max_requests_in=settings.limits.link_requests_in,
                max_message_bytes=settings.limits.max_body_bytes,
                max_bytes_in=settings.limits.link_bytes,
                max_bytes_out=settings.limits.link_bytes,
            ),
            tap=parts.capture,
        )
        self.links.watch(on_up=self._on_up, on_down=self._on_down)
        self.dialer = Dialer(
            self.links,
            connect=world.connect,
            clock=world.clock,
            entropy=world.entropy,
            store=parts.dial_state,
            policy=BackoffPolicy(max_s=30.0),
        )
        self._jobs: list[asyncio.Task[None]] = []
        parts.exchanges.heard = self._heard
        self._configured: set[NodeId] = set()
        self._told: dict[NodeId, str] = {}
        parts.found_brokers = self._found_brokers
        parts.agreements_changed = self._agreements_changed
        parts.soon = self._once
        self._cut: frozenset[str] = frozenset()
        self.expiry = Expiry(parts)
        self.relinker = Relinker(
            hub=self.links,
            dialer=self.dialer,
            connect=world.connect,
            clock=world.clock,
            own_ends=self._own_ends,
            margin_s=settings.trust.membership_life_days * 86_400 // 4,
            drain_s=settings.limits.deadline_max_ms / 1000,
        )

    async def start(self) -> None:
        """Take up what was kept, dial, and begin the periodic work."""
        parts = self.parts
        await parts.load()
        for entry in parts.settings.brokers:
            self._dial(entry)
        if parts.trust.bundle is not None:
            self._found_brokers(parts.node.city, parts.trust.bundle.body.brokers)
        self.dial_neighbors()
        if parts.desk is not None:
            for city, entries in parts.desk.neighbor_brokers().items():
                if city in parts.trust.agreements:
                    self._found_brokers(city, entries)
        trust = parts.settings.trust
        renewal_s = trust.membership_life_days * 86_400 / 20
        self._run(parts.outbox.run())
        if parts.waiting is not None:
            self._run(parts.waiting.run())
        if parts.callbacks is not None:
            self._run(parts.callbacks.run())
        self._run(parts.evidence.run())
        self._run(parts.ways.run())
        self._every(renewal_s, self._renew, first=False)
        self._every(renewal_s, self._relink, first=False)
        self._every(600, self._housekeeping, first=False)
        self._every(86_400, self.expiry.look)
        if parts.desk is not None:
            self._every(60, self._refresh_city)

    async def close(self, *, in_order: bool = True) -> None:
        """Stop everything; what is durable stays.

        Args:
            in_order: whether the database still takes writes.
        """
        for job in self._jobs:
            job.cancel()
        for job in self._jobs:
            with suppress(asyncio.CancelledError):
                await job
        await self.dialer.close()
        await self.links.close()
        self.parts.exchanges.close()
        if in_order:
            await self.parts.evidence.finish()

    def dial_neighbors(self) -> None:
        """Keep links to the brokers of every city we agreed with, where they listen."""
        for agreement in self.parts.agreements_in_force():
            other = agreement.body.other(self.parts.node.city)
            for entry in other.links:
                # A city speaks for its own brokers: in another's name it would put
                # itself in the place of a neighbor that we dial.
                name = entry.rpartition("@")[0].partition("/")[0]
                if name in ("", other.city):
                    self._dial(entry, default=f"{other.city}/broker")

    def _agreements_changed(self) -> None:
        """Do what follows: dial new neighbors, leave those without an agreement."""
        self.dial_neighbors()
        parts = self.parts
        if parts.routes is not None:
            for neighbor in parts.routes.neighbors():
                if neighbor not in parts.trust.agreements:
                    parts.routes.drop(neighbor)
        for link in list(self.links.links):
            city = _peer_of(link).city
            if city != parts.node.city and city not in parts.trust.agreements:
                _logger.warning("link to %s ended: no agreement", link.peer.node)
                link.end()
        for node in [n for n in self._told if n.city != parts.node.city]:
            if node.city not in parts.trust.agreements:
                self._told.pop(node)
                self._configured.discard(node)
                self._once(self.dialer.remove(node))

    async def agreements_installed(self) -> None:
        """Let a change of an agreement take effect at once."""
        await self.parts.take_agreements()
        self.dial_neighbors()
        if self.parts.city is not None:
            self.parts.city.changed()

    def _dial(self, entry: str, default: str = "") -> None:
        """Keep a link to `NODE@URL`; without a node it is our city's `broker`."""
        node, _, url = entry.rpartition("@")
        name = NodeId(node or default or f"{self.parts.node.city}/broker")
        if name != self.parts.node:
            self._configured.add(name)
            self._keep(name, url)

    def _keep(self, node: NodeId, url: str) -> None:
        """Keep a link to a broker; the same again changes nothing."""
        if self._told.get(node) != url:
            self._told[node] = url
            self.dialer.add(DialTarget(node, url))

    def _found_brokers(self, city: CityId, entries: tuple[str, ...]) -> None:
        """Keep links to all brokers of a city, where it says that they listen.

        What our own settings or an agreement say of a broker goes before.
        """
        found: set[NodeId] = set()
        for entry in entries:
            name, _, url = entry.rpartition("@")
            try:
                node = NodeId(name)
            except Malformed:
                continue
            if node.city == city and node != self.parts.node:
                found.add(node)
                if node not in self._configured:
                    self._keep(node, url)
        for node in [n for n in self._told if n.city == city]:
            if node not in found and node not in self._configured:
                del self._told[node]
                self._once(self.dialer.remove(node))

    async def remove_member(self, node: NodeId) -> int:
        """Remove a node of our city: at once here, elsewhere with the next bundle.

        Returns:
            Until when somebody whom no word reaches may still accept it.

        Raises:
            NotFound: no such member.
            Misuse: we are not the city's broker.
        """
        parts = self.parts
        authority, city = parts.authority, parts.city
        if authority is None or city is None:
            raise Misuse("members are removed at the city's broker")
        ends = await parts.database.write(
            lambda c: authority.remove(c, node, now=parts.now())
        )
        await city.note_broker(node, "")
        city.changed()
        for link in self.links.links:
            if link.peer.node == node:
                await link.close()
        return ends

    async def revoke_keys(self, node: NodeId) -> int:
        """Revoke the keys of a member: they were stolen; it joins again with others.

        Returns:
            Until when somebody whom no word reaches may still accept them.

        Raises:
            NotFound: no such member.
            Misuse: we are not the city's broker.
        """
        parts = self.parts
        authority, city = parts.authority, parts.city
        if authority is None or city is None:
            raise Misuse("keys are revoked at the city's broker")
        ends = await parts.database.write(
            lambda c: authority.revoke_keys(c, node, now=parts.now())
        )
        city.changed()
        self._cut_revoked()
        return ends

    async def install_city_change(
        self, wire: bytes, settle_s: int
    ) -> OperatingCertificate:
        """Take a new operating certificate, and with it perhaps a new root.

        Raises:
            Misuse: we are not the authority of our city.
            ProtocolViolation, Conflict: see `node.city_change`.
        """
        city = self.parts.city
        if city is None or city.changes is None:
            raise Misuse("a city's keys are changed at its authority")
        taken = await city.changes.install(wire, settle_s=settle_s)

        async def later() -> None:
            await self.parts.world.clock.sleep(settle_s + 0.001)
            await self._use_waiting()

        if settle_s:
            self._once(later())
        return taken

    async def _use_waiting(self) -> None:
        city = self.parts.city
        if city is not None and city.changes is not None:
            await city.changes.due()

    def _cut_revoked(self) -> None:
        """End the links of everybody whose key has been revoked."""
        revoked = self.parts.trust.revoked
        if revoked is self._cut:
            return
        self._cut = revoked
        for link in list(self.links.links):
            if _peer_of(link).membership.verifying_key().kid in revoked:
                _logger.warning("link to %s ended: its key is revoked", link.peer.node)
                link.end()

    # ------------------------------------------------------------------ links

    async def _on_request(self, link: Link, payload: bytes) -> bytes:
        peer, parts = _peer_of(link), self.parts
        if parts.broker is not None:
            handle = partial(parts.broker.carry, peer)
            return await parts.evidence.serve(peer, payload, handle)
        return await parts.evidence.serve(peer, payload, parts.exchanges.answer)

    async def _on_notice(self, link: Link, notice: bytes) -> None:
        peer, parts = _peer_of(link), self.parts
        try:
            lost = not parts.addressbook.knows(parts.node.city)
            if parts.desk is not None:
                await parts.desk.on_notice(peer, link, notice)
            else:
                await parts.member.on_notice(peer, notice)
        except MachikuraError as error:
            _logger.warning("notice of %s refused: %s", peer.node, error.slug)
            return
        finally:
            self._cut_revoked()
        if lost:
            # The first after a long outage: what the link's coming up could not do.
            self._once(self._after_up(peer))

    def _on_up(self, link: Link) -> None:
        peer, parts = _peer_of(link), self.parts
        _logger.info("link to %s is up", peer.node)
        self.relinker.note(link)
        speaks = EVIDENCE in link.terms.capabilities
        parts.peers.add(peer, parts.evidence.on_up(peer, link, speaks))
        if parts.desk is not None:
            parts.desk.on_up(peer, link)
        self._once(self._after_up(peer))

    def _on_down(self, link: Link, reason: str) -> None:
        peer, parts = _peer_of(link), self.parts
        _logger.info("link to %s is down: %s", peer.node, reason)
        parts.peers.remove(peer, parts.evidence.on_down(peer, link))
        if parts.desk is not None:
            parts.desk.on_down(peer, link)

    async def _after_up(self, peer: Peer) -> None:
        """Send what waited for this peer, and look whether our membership is due."""
        own = peer.city == self.parts.node.city
        if own and peer.is_broker and self.parts.city is None:
            if not self.parts.addressbook.knows(peer.city):
                return  # The trust bundle is on its way; it calls again.
            await self.parts.outbox.all_due()
            await self._renew()
            if self.parts.relay is not None:
                await self.parts.relay.learn_keys()
        else:
            await self.parts.outbox.called_by(peer.node)
            if self.parts.waits is not None and peer.city == self.parts.node.city:
                await self.parts.waits.back(peer.node)

    def _heard(self, sender: NodeId) -> None:
        """Send what waits for a node that was away: it has just called."""
        if self.parts.outbox.heard_of(sender):
            self._once(self.parts.outbox.called_by(sender))

    # ------------------------------------------------------------------- jobs

    async def _renew(self) -> None:
        parts = self.parts
        if not parts.standing.admitted:
            return
        before = parts.standing.own()
        if parts.keys_due():
            await parts.rotate_keys()
        elif parts.city is not None:
            await parts.renew_own()
        elif before.renewal_due(parts.now()):
            await parts.member.renew()

    async def _relink(self) -> None:
        await self.relinker.renew()

    def _own_ends(self) -> int:
        standing = self.parts.standing
        return standing.membership().exp if standing.admitted else 0

    async def _refresh_city(self) -> None:
        if self.parts.desk is not None:
            await self.parts.take_agreements()
            self.parts.desk.refresh()
            await self._use_waiting()
            self._cut_revoked()

    async def _housekeeping(self) -> None:
        self.parts.standing.sweep(self.parts.now())
        await self.parts.purge()

    def _every(
        self, seconds: float, work: Callable[[], Awaitable[None]], *, first: bool = True
    ) -> None:
        async def loop() -> None:
            if not first:
                await self.parts.world.clock.sleep(seconds)
            while True:
                try:
                    await work()
                except MachikuraError as error:
                    _logger.warning("periodic work failed: %s", error.slug)
                await self.parts.world.clock.sleep(seconds)

        self._run(loop())

    def _once(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except MachikuraError as error:
                _logger.warning("work after a new link failed: %s", error.slug)

        self._run(guarded())

    def _run(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run())
        self._jobs.append(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        with suppress(ValueError):
            self._jobs.remove(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.error("a job has ended", exc_info=task.exception())


def _abilities(settings: Settings) -> Abilities:
    """Return what our links can speak, the own suite first."""
    oldest = settings.trust.oldest_link_version
    return Abilities(
        suites=tuple(sorted(settings.accepts, key=lambda s: s is not settings.suite)),
        versions=tuple(version for version in VERSIONS if version >= oldest),
    )


def _peer_of(link: Link) -> Peer:
    peer = link.peer.attributes
    if not isinstance(peer, Peer):
        raise Malformed("a link without a verified peer")
    return peer
