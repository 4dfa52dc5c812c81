# SPDX-License-Identifier: Apache-2.0
"""What the brokers of one city tell each other, and what each learns from neighbors.

All of them are alike in this: each tells its siblings who is linked with it and what
its neighbors have announced, so that each knows every way out of the city and which
sibling leads to whom. What a sibling passes on still carries the neighbor's signature.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from federation.notice import Notice
from federation.peers import Carrier, Peer, Peers
from federation.ports import LinkError
from federation.presence import Presence
from federation.relay import Agreed
from federation.routing import RouteTable
from identity import city_brokers
from identity.trust import TrustStore
from identity.trust_documents import save_pins
from node.database import Database
from protocol.errors import Malformed
from protocol.ids import CityId, NodeId
from protocol.route import ROUTE, Announcement, verify_announcement
from protocol.signature import Received

_logger = logging.getLogger(__name__)

_TOGETHER_S = 0.02

FoundBrokers = Callable[[CityId, tuple[str, ...]], None]
"""Is told where the brokers of a city listen."""


class Siblings:
    """One broker among those of its city."""

    def __init__(
        self,
        *,
        node: NodeId,
        url: str,
        trust: TrustStore,
        routes: RouteTable,
        peers: Peers,
        presence: Presence,
        agreed: Agreed,
        database: Database,
        found: FoundBrokers,
        now_ms: Callable[[], int],
        skew_s: int,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            url: where we listen, as others dial it; empty if nobody can.
            trust: what we know of cities.
            routes: what neighbors announced.
            peers: live links.
            presence: who is linked with our siblings.
            agreed: the agreement in force with a city.
            database: keeps which root key each far city had.
            found: is told where a neighbor's brokers listen.
            now_ms: clock.
            skew_s: how far two clocks may differ.
        """
        self._node = node
        self._url = url
        self._trust = trust
        self._routes = routes
        self._peers = peers
        self._presence = presence
        self._agreed = agreed
        self._database = database
        self._found = found
        self._now_ms = now_ms
        self._skew_s = skew_s
        self._brokers: dict[CityId, tuple[str, ...]] = {}
        self._noted: set[NodeId] = set()
        self._timer: asyncio.TimerHandle | None = None

    def includes(self, peer: Peer) -> bool:
        """Tell whether a peer is another broker of our city."""
        return peer.city == self._node.city and peer.is_broker

    # ----------------------------------------------------------------- telling

    def on_up(self, peer: Peer, link: Carrier) -> None:
        """Tell a new sibling everything; tell all siblings of another new peer."""
        if not self.includes(peer):
            self._note(peer.node)
            return
        present = Notice(
            kind="present", up=self._peers.nodes(), whole=True, url=self._url
        )
        tell(link, present.encode())
        for route in list(self._routes.all()):
            shown = self._peers.broker_of(route.neighbor)
            if shown is not None:
                heard = _heard(shown[0], route.announcement.token)
                tell(link, heard.encode())

    def on_down(self, peer: Peer, link: Carrier) -> bool:
        """Forget what came over a link that has ended; True if routes are gone."""
        self._presence.forget(link)
        if self._peers.find(peer.node) is None:
            self._note(peer.node)
        return peer.is_broker and self._drop_unreachable()

    def _note(self, node: NodeId) -> None:
        """Let our siblings know whether a node is linked with us now.

        Members come and go by thousands when a broker does: they are told together.
        """
        self._noted.add(node)
        if node.city != self._node.city:
            self._tell_noted()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_TOGETHER_S, self._tell_noted)

    def _tell_noted(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        nodes, self._noted = self._noted, set()
        up = tuple(sorted(n for n in nodes if self._peers.find(n)))
        down = tuple(sorted(nodes.difference(up)))
        self._tell_all(Notice(kind="present", up=up, down=down))

    def _tell_all(self, notice: Notice) -> None:
        data = notice.encode()
        for _, link in self.links():
            tell(link, data)

    def links(self) -> list[tuple[Peer, Carrier]]:
        """Return every live link to a sibling."""
        return [pair for pair in self._peers.all() if self.includes(pair[0])]

    # ---------------------------------------------------------------- learning

    def hear(self, peer: Peer, link: Carrier, notice: Notice) -> bool:
        """Take a sibling's word; returns whether routes have changed.

        Raises:
            ProtocolViolation: it does not verify.
        """
        if not self.includes(peer):
            raise Malformed("only brokers of a city tell each other who is linked")
        if notice.kind == "present":
            self._presence.hear(
                peer,
                link,
                up=notice.up or (),
                down=notice.down or (),
                whole=bool(notice.whole),
            )
            left = any(n.city != self._node.city for n in notice.down or ())
            return (left or bool(notice.whole)) and self._drop_unreachable()
        if notice.neighbor is None:
            raise Malformed("a sibling speaks of a neighbor without its name")
        if notice.kind == "lost" and notice.origin is not None:
            # A link of our own knows better, and is perhaps ahead of the sibling's.
            if self._peers.broker_of(notice.neighbor) is not None:
                return False
            return self._routes.withdraw(notice.neighbor, notice.origin)
        if notice.kind == "heard" and notice.token and notice.operating:
            return self._learn(notice.neighbor, notice.operating, notice.token)
        raise Malformed(f"not for a broker of the same city: {notice.kind}")

    def hear_neighbor(self, peer: Peer, notice: Notice) -> bool:
        """Take a neighbor's notice and pass it on; returns whether routes have changed.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        if not peer.is_broker:
            raise Malformed("only neighbors announce routes")
        if notice.kind == "withdraw" and notice.origin is not None:
            if not self._routes.withdraw(peer.city, notice.origin):
                return False
            lost = Notice(kind="lost", neighbor=peer.city, origin=notice.origin)
            self._tell_all(lost)
            return True
        if notice.kind != "route" or notice.token is None:
            raise Malformed("neighbors announce routes only")
        operating = notice.operating or peer.operating
        if not self._learn(peer.city, operating, notice.token):
            return False
        heard = Notice(
            kind="heard", neighbor=peer.city, token=notice.token, operating=operating
        )
        self._tell_all(heard)
        return True

    def _learn(self, neighbor: CityId, operating: str, token: str) -> bool:
        """Take an announcement of a neighbor.

        Args:
            neighbor: the city that signed it.
            operating: certificate of the key that it signed with.
            token: the announcement.
        """
        agreement = self._agreed(neighbor)
        if agreement is None:
            raise Malformed("no agreement in force with this neighbor")
        now = self._now_ms() // 1000
        told = Received.parse(token, ROUTE).peek(Announcement).keys
        if told.city == neighbor and told.successions is not None:
            # It may be the new root that has signed the certificate.
            self._trust.follow_peer(neighbor, told.successions)
        shown = self._trust.certificate(operating, neighbor, now)
        announced = verify_announcement(
            token,
            neighbor,
            shown.body.verifying_key(),
            self._node.city,
            now,
            self._skew_s,
        )
        body = announced.body
        if body.origin != neighbor and not agreement.terms(self._node.city).transit:
            raise Malformed("the agreement does not let us use this neighbor's routes")
        self._trust.hold(body.keys, now)
        # The table bounds what one neighbor may announce; only what it takes is known.
        if not self._routes.learn(neighbor, announced):
            return False
        known = len(self._trust.pins)
        self._trust.introduce(announced, now)
        if known != len(self._trust.pins):
            self._keep_pins()
        if body.origin == neighbor:
            self._note_brokers(neighbor, body.brokers)
        return True

    def load(self) -> None:
        """Take up where the brokers of our neighbors listen."""
        cities: dict[CityId, list[str]] = {}
        for node, url in self._database.read(city_brokers.listed).items():
            cities.setdefault(node.city, []).append(f"{node}@{url}")
        cities.pop(self._node.city, None)
        self._brokers = {city: tuple(entries) for city, entries in cities.items()}

    def neighbors(self) -> dict[CityId, tuple[str, ...]]:
        """Return where the brokers of our neighbors listen."""
        return dict(self._brokers)

    def _note_brokers(self, neighbor: CityId, entries: tuple[str, ...]) -> None:
        self._found(neighbor, entries)
        if set(self._brokers.get(neighbor, ())) == set(entries):
            return
        self._brokers[neighbor] = entries
        note = partial(city_brokers.note_city, city=neighbor, entries=entries)
        self._database.write(note).add_done_callback(_log_failure)

    def unpin(self, city: CityId) -> bool:
        """Forget the root key of a far city, on an operator's word."""
        self._routes.forget(city)
        forgotten = self._trust.unpin(city)
        self._keep_pins()
        return forgotten

    def _keep_pins(self) -> None:
        """Keep which root key each city was introduced with, across restarts."""
        written = self._database.write(partial(save_pins, known=self._trust))
        written.add_done_callback(_log_failure)

    def _drop_unreachable(self) -> bool:
        """Forget the routes of neighbors that no broker of ours is linked with."""
        gone = [
            neighbor
            for neighbor in self._routes.neighbors()
            if self._peers.broker_of(neighbor) is None
            and next(self._presence.toward(neighbor), None) is None
        ]
        dropped = [origin for n in gone for origin in self._routes.drop(n)]
        return bool(dropped)


def _heard(peer: Peer, token: str) -> Notice:
    return Notice(
        kind="heard", neighbor=peer.city, token=token, operating=peer.operating
    )


def tell(link: Carrier, notice: bytes) -> None:
    """Send a notice; where that fails the link ends, and both sides start over."""
    try:
        link.notify(notice)
    except LinkError as error:
        _logger.info("a notice was not sent: %s", error.slug)
        link.end()


def _log_failure(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and written.exception() is not None:
        _logger.error("what a neighbor told was not kept", exc_info=written.exception())
