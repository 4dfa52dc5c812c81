# SPDX-License-Identifier: Apache-2.0
"""The city's desk at its broker: memberships, member keys, routes, trust bundles.

Members ask it to renew, to certify nameless keys, and who another node is. Neighbors
tell it routes; it tells members and neighbors what follows. Everything it says is
signed with the city's operating key or was signed by somebody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from federation.announcer import MAX_NOTICE_BYTES, Announcer, Notice
from federation.exchange import Asked, Handler, Reply
from federation.peers import Carrier, Peer, Peers
from federation.ports import LinkError
from federation.relay import Agreed
from federation.routing import RouteTable
from identity.bundle import issue_bundle
from identity.city import Authority
from identity.member_keys import MemberKeys
from identity.trust import TrustStore
from identity.trust_documents import save_pins
from node.database import Database
from protocol.answer import OneToken
from protocol.errors import Malformed
from protocol.ids import CityId, NodeId
from protocol.membership import verify_operating
from protocol.problem import ProblemBody
from protocol.request import CertifyKey, MemberQuery, RenewQuery
from protocol.route import (
    MAX_BUNDLE_BYTES,
    MAX_CITIES,
    CityKeys,
    verify_announcement,
)
from protocol.suites import Signer, VerifyingKey

_logger = logging.getLogger(__name__)

_DAY_S = 86_400


class CityDesk:
    """One broker process as the city's authority."""

    def __init__(
        self,
        *,
        node: NodeId,
        operating: Signer,
        operating_certificate: Callable[[], str],
        own_membership: Callable[[], str],
        authority: Authority,
        member_keys: MemberKeys,
        trust: TrustStore,
        routes: RouteTable,
        announcer: Announcer,
        peers: Peers,
        agreed: Agreed,
        database: Database,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        bundle_life_s: int,
        skew_s: int,
    ) -> None:
        """Take the parts."""
        self._node = node
        self._operating = operating
        self._operating_certificate = operating_certificate
        self._own_membership = own_membership
        self._authority = authority
        self._member_keys = member_keys
        self._trust = trust
        self._routes = routes
        self._announcer = announcer
        self._peers = peers
        self._agreed = agreed
        self._database = database
        self._now_ms = now_ms
        self._entropy = entropy
        self._bundle_life_s = bundle_life_s
        self._skew_s = skew_s
        self._bundle: bytes | None = None

    @property
    def city(self) -> CityId:
        """Our city."""
        return self._node.city

    # ------------------------------------------------------------- exchanges

    def handlers(self) -> dict[str, Handler]:
        """Return what the city answers."""
        return {
            "member": self._member,
            "renew": self._renew,
            "certify-key": self._certify,
        }

    async def _member(self, asked: Asked) -> Reply:
        query = asked.expect(MemberQuery)
        find = partial(self._authority.membership_of, node=query.node)
        found = self._database.read(lambda c: find(c, now=asked.now))
        return Reply(OneToken(token=found.token))

    async def _renew(self, asked: Asked) -> Reply:
        query, sender = asked.expect(RenewQuery), asked.sender
        if sender.sub.city != self.city:
            return Reply(ProblemBody(code="not-a-member"))
        renewed = await self._database.write(
            lambda c: self._authority.renew(
                c, sender, now=asked.now, request=query.request
            )
        )
        return Reply(OneToken(token=renewed.token))

    async def _certify(self, asked: Asked) -> Reply:
        query, sender = asked.expect(CertifyKey), asked.sender
        if sender.sub.city != self.city:
            return Reply(ProblemBody(code="not-a-member"))
        now = asked.now
        certified = await self._database.write(
            lambda c: self._member_keys.certify(
                c,
                self._authority.membership_of(c, sender.sub, now=now).body,
                consent=query.consent,
                key=VerifyingKey.from_jwk(query.key),
                sealing=query.sealing,
                until=query.until,
                now=now,
            )
        )
        return Reply(OneToken(token=certified.token))

    # --------------------------------------------------------------- notices

    def keys(self) -> CityKeys:
        """Return our city's keys as others must know them."""
        return CityKeys(
            city=self.city,
            root=self._trust.root.jwk,
            operating=self._operating_certificate(),
            broker=self._own_membership(),
            directory=self._own_membership(),
        )

    def on_up(self, peer: Peer, link: Carrier) -> None:
        """Bring a new link's peer up to date."""
        if peer.city == self.city:
            self._tell(link, self._current_bundle())
            return
        self._announcer.forget(peer.city)
        for notice in self._announcer.for_neighbor(peer.city):
            self._tell(link, notice)

    def on_down(self, peer: Peer) -> None:
        """Forget what a neighbor announced, once its last link is gone."""
        if peer.city == self.city or self._peers.broker_of(peer.city) is not None:
            return
        self._announcer.forget(peer.city)
        if self._routes.drop(peer.city):
            self.changed()

    def on_notice(self, peer: Peer, data: bytes) -> None:
        """Take a neighbor's notice.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if peer.city == self.city or not peer.is_broker:
            raise Malformed("only neighbors announce routes")
        if notice.kind == "withdraw" and notice.origin is not None:
            if self._routes.withdraw(peer.city, notice.origin):
                self.changed()
        elif notice.kind == "route" and notice.token is not None:
            self._learn(peer, notice.token)

    def _learn(self, peer: Peer, token: str) -> None:
        agreement = self._agreed(peer.city)
        if agreement is None:
            raise Malformed("no agreement in force with this neighbor")
        now = self._now_ms() // 1000
        announced = verify_announcement(
            token,
            peer.city,
            self._operating_key_of(peer, now),
            self.city,
            now,
            self._skew_s,
        )
        far = announced.body.origin != peer.city
        if far and not agreement.terms(self.city).transit:
            raise Malformed("the agreement does not let us use this neighbor's routes")
        self._trust.hold(announced.body.keys, now)
        # The table bounds what one neighbor may announce; only what it takes is known.
        if not self._routes.learn(peer.city, announced):
            return
        known = len(self._trust.pins)
        self._trust.introduce(announced, now)
        if known != len(self._trust.pins):
            self._keep_pins()
        self.changed()

    def _keep_pins(self) -> None:
        """Keep which root key each city was introduced with, across restarts."""
        written = self._database.write(partial(save_pins, known=self._trust))
        written.add_done_callback(_log_failure)

    def unpin(self, city: CityId) -> bool:
        """Forget the root key of a far city, on an operator's word."""
        self._routes.forget(city)
        forgotten = self._trust.unpin(city)
        self._keep_pins()
        self.changed()
        return forgotten

    def _operating_key_of(self, peer: Peer, now: int) -> VerifyingKey:
        """Return the key that vouched for the peer in the handshake."""
        root = self._trust.root_of(peer.city, now)
        shown = verify_operating(peer.operating, peer.city, root, now, self._skew_s)
        return shown.body.verifying_key()

    def note_removed(self) -> tuple[NodeId, ...]:
        """Take up which nodes the city removed, before one of them can link again."""
        now = self._now_ms() // 1000
        removed = self._database.read(lambda c: self._authority.removed(c, now=now))
        self._trust.set_removed(removed)
        return removed

    def changed(self) -> None:
        """Tell everybody what follows from a change of routes, members or keys."""
        self._trust.set_own_keys(self.keys())
        self._bundle = None
        bundle = self._current_bundle()
        for peer, link in self._peers.all():
            if peer.city == self.city:
                self._tell(link, bundle)
            elif peer.is_broker:
                for notice in self._announcer.for_neighbor(peer.city):
                    self._tell(link, notice)

    def forget(self, connection: Connection, now: int) -> None:
        """Forget whose member keys were, once they have long ended."""
        self._member_keys.forget(connection, before=now - _DAY_S)

    def refresh(self) -> None:
        """Do what time brings: expire routes, renew announcements and bundles."""
        now = self._now_ms() // 1000
        self._routes.expire(now)
        self.changed()

    def _current_bundle(self) -> bytes:
        if self._bundle is None:
            now, removed = self._now_ms() // 1000, self.note_removed()
            cities, paths = self._nearest()
            signed = issue_bundle(
                self._operating,
                self.city,
                cities=tuple(cities.values()),
                paths=paths,
                removed=removed,
                life_s=self._bundle_life_s,
                now=now,
                entropy=self._entropy,
            )
            self._bundle = Notice(kind="trust", token=signed.token).encode()
        return self._bundle

    def _nearest(
        self,
    ) -> tuple[dict[CityId, CityKeys], dict[CityId, tuple[CityId, ...]]]:
        """Return the cities that fit in a bundle, the nearest first."""
        found = [self._routes.best(o) for o in self._routes.destinations()]
        routes = sorted((r for r in found if r), key=lambda r: (len(r.path), r.path))
        cities, paths = {self.city: self.keys()}, {}
        room = MAX_BUNDLE_BYTES // 2
        for route in routes[: MAX_CITIES - 1]:
            keys = route.announcement.body.keys
            room -= len(keys.operating) + len(keys.broker) + len(keys.directory) + 512
            if room < 0:
                break
            cities[keys.city], paths[keys.city] = keys, route.path
        return cities, paths

    def _tell(self, link: Carrier, notice: bytes) -> None:
        try:
            link.notify(notice)
        except LinkError as error:
            # What was not told must not count as told: both sides start over.
            _logger.info("a notice was not sent: %s", error.slug)
            link.end()


def _log_failure(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and written.exception() is not None:
        _logger.error("root keys of cities were not kept", exc_info=written.exception())
