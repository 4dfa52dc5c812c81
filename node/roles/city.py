# SPDX-License-Identifier: Apache-2.0
"""The city's desk at its authority: memberships, member keys, routes, trust bundles.

Members ask it to renew, to certify nameless keys, and who another node is. Neighbors
tell it routes; it tells members, neighbors and the city's relays what follows.
Everything it says is signed with the city's operating key or was signed by another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from federation.announcer import Announcer
from federation.exchange import Asked, Handler, Reply
from federation.notice import MAX_NOTICE_BYTES, Notice
from federation.peers import Carrier, Peer, Peers
from federation.routing import RouteTable
from identity import city_brokers
from identity.bundle import issue_bundle
from identity.city import Authority
from identity.entropy import new_id
from identity.key_owners import MemberKeyOwners
from identity.member_keys import MemberKeys
from identity.trust import TrustStore
from node.city_change import CityChanges
from node.database import Database
from node.roles.briefs import Briefs
from node.roles.siblings import Siblings, tell
from protocol.answer import KeyOwners, OneToken
from protocol.ids import CityId, NodeId
from protocol.membership import OPERATING, REVOCATIONS, Revocations, Role
from protocol.model import ANYONE
from protocol.problem import ProblemBody
from protocol.request import CertifyKey, MemberKeysQuery, MemberQuery, RenewQuery
from protocol.route import MAX_BROKERS, MAX_BUNDLE_BYTES, MAX_CITIES, CityKeys
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, Signed, sign
from protocol.suites import Signer, VerifyingKey

_DAY_S = 86_400
_KEYS_AT_ONCE = 1000


class CityDesk:
    """The authority among the brokers of a city."""

    def __init__(
        self,
        *,
        node: NodeId,
        url: str,
        operating: Signer,
        operating_certificate: Callable[[], str],
        own_membership: Callable[[], str],
        authority: Authority,
        member_keys: MemberKeys,
        key_owners: MemberKeyOwners,
        trust: TrustStore,
        routes: RouteTable,
        announcer: Announcer,
        peers: Peers,
        siblings: Siblings,
        briefs: Briefs,
        tokens: PublicSealingKey,
        database: Database,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        bundle_life_s: int,
    ) -> None:
        """Take the parts."""
        self._node = node
        self._url = url
        self._operating = operating
        self._operating_certificate = operating_certificate
        self._own_membership = own_membership
        self._authority = authority
        self._member_keys = member_keys
        self._key_owners = key_owners
        self._trust = trust
        self._routes = routes
        self._announcer = announcer
        self._peers = peers
        self._siblings = siblings
        self._briefs = briefs
        self._tokens = tokens
        self._database = database
        self._now_ms = now_ms
        self._entropy = entropy
        self._bundle_life_s = bundle_life_s
        self._bundle: bytes | None = None
        self._sequence = 0
        self._listed: dict[NodeId, str] = {}
        self.changes: CityChanges | None = None
        self._revoked: Signed[Revocations] | None = None

    @property
    def city(self) -> CityId:
        """Our city."""
        return self._node.city

    def load(self) -> None:
        """Take up where brokers listen, our city's and our neighbors'."""
        self._siblings.load()
        listed = self._database.read(city_brokers.listed)
        self._listed = {n: url for n, url in listed.items() if n.city == self.city}
        if self.changes is not None:
            self.changes.load()

    def neighbor_brokers(self) -> dict[CityId, tuple[str, ...]]:
        """Return where the brokers of our neighbors listen."""
        return self._siblings.neighbors()

    # ------------------------------------------------------------- exchanges

    def handlers(self) -> dict[str, Handler]:
        """Return what the city answers."""
        return {
            "member": self._member,
            "renew": self._renew,
            "certify-key": self._certify,
            "member-keys": self._owners,
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
        change = query.change
        if change is not None:
            renewed = await self._database.write(
                lambda c: self._authority.change(c, sender, change, now=asked.now)
            )
        else:
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
        for _, link in self._siblings.links():
            tell(link, Notice(kind="keys").encode())
        return Reply(OneToken(token=certified.token))

    async def _owners(self, asked: Asked) -> Reply:
        """Tell a relay of our city who stands behind the member keys."""
        query, sender = asked.expect(MemberKeysQuery), asked.sender
        if sender.sub.city != self.city or Role.BROKER not in sender.roles:
            return Reply(ProblemBody(code="forbidden", detail="not a broker of ours"))
        owners = self._database.read(
            lambda c: self._key_owners.after(c, query.after, limit=_KEYS_AT_ONCE)
        )
        return Reply(KeyOwners(owners=owners, more=len(owners) == _KEYS_AT_ONCE))

    # --------------------------------------------------------------- notices

    def keys(self) -> CityKeys:
        """Return our city's keys as others must know them."""
        operating = self._operating_certificate()
        waiting = None if self.changes is None else self.changes.waiting
        return CityKeys(
            city=self.city,
            root=self._root_of(operating).jwk,
            operating=operating,
            broker=self._own_membership(),
            directory=self._own_membership(),
            revoked=self._revocations(),
            next=None if waiting is None else waiting.token,
            successions=self._trust.chains.successions(self.city),
        )

    def _root_of(self, operating: str) -> VerifyingKey:
        """Return the root that signed our certificate; it may soon be replaced."""
        kid = Received.parse(operating, OPERATING).kid
        return self._trust.chains.root_named(self.city, self._trust.root, kid)

    def _revocations(self) -> str | None:
        """Return our word on revoked keys, signed anew where it has changed."""
        now = self._now_ms() // 1000
        kids = self._database.read(lambda c: self._authority.revoked(c, now=now))
        told = self._revoked
        if told is None or told.body.keys != kids or told.body.exp - now < _DAY_S // 2:
            if not kids and told is None:
                return None
            claims = Revocations(
                iss=self.city,
                aud=ANYONE,
                jti=new_id(now, self._entropy),
                iat=now if told is None else max(now, told.body.iat + 1),
                exp=now + _DAY_S,
                keys=kids,
            )
            self._revoked = sign(self._operating, REVOCATIONS, claims)
        return None if self._revoked is None else self._revoked.token

    def brokers(self) -> tuple[str, ...]:
        """Return where the brokers of our city listen, ourselves first."""
        own = {self._node: self._url} if self._url else {}
        listed = {**own, **{n: u for n, u in self._listed.items() if n not in own}}
        return tuple(f"{n}@{u}" for n, u in listed.items())[:MAX_BROKERS]

    def on_up(self, peer: Peer, link: Carrier) -> None:
        """Bring a new link's peer up to date."""
        if peer.city == self.city:
            tell(link, self._current_bundle())
            self._refresh_membership(peer, link)
        if self._siblings.includes(peer):
            self._brief(peer, link)
            for neighbor in self._trust.agreements:
                self._announcer.for_neighbor(neighbor)
                for data in self._announcer.current(neighbor):
                    tell(link, _passed_on(neighbor, data))
        elif peer.city != self.city:
            self._announce(peer.city)
            for data in self._announcer.current(peer.city):
                tell(link, data)
        self._siblings.on_up(peer, link)

    def _refresh_membership(self, peer: Peer, link: Carrier) -> None:
        """Hand a member that shows an older operating certificate its newest one."""
        if self.changes is None or peer.operating == self._operating_certificate():
            return
        notice = self.changes.membership_notice(peer.node, self._now_ms() // 1000)
        if notice is not None:
            tell(link, notice)

    def on_down(self, peer: Peer, link: Carrier) -> None:
        """Forget what came over a link that has ended."""
        if self._siblings.on_down(peer, link):
            self.changed()

    async def on_notice(self, peer: Peer, link: Carrier, data: bytes) -> None:
        """Take a notice of a neighbor or of a relay of our city.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if peer.city != self.city:
            changed = self._siblings.hear_neighbor(peer, notice)
        elif notice.kind == "trust":
            return  # A relay shows the newest bundle that it has; we have it.
        else:
            changed = self._siblings.hear(peer, link, notice)
            if notice.url is not None:
                changed = await self.note_broker(peer.node, notice.url) or changed
        if changed:
            self.changed()

    async def note_broker(self, node: NodeId, url: str) -> bool:
        """Keep where a broker of ours listens; True if that was not known."""
        if self._listed.get(node, "") == url:
            return False
        self._listed.pop(node, None)
        if url:
            self._listed[node] = url
        await self._database.write(lambda c: city_brokers.note(c, node, url))
        return True

    def unpin(self, city: CityId) -> bool:
        """Forget the root key of a far city, on an operator's word."""
        forgotten = self._siblings.unpin(city)
        self.changed()
        return forgotten

    def note_removed(self) -> tuple[NodeId, ...]:
        """Take up which nodes the city removed, before one of them can link again."""
        now = self._now_ms() // 1000
        removed = self._database.read(lambda c: self._authority.removed(c, now=now))
        self._trust.set_removed(removed)
        return removed

    def changed(self) -> None:
        """Tell everybody what follows from a change of routes, members or keys."""
        keys = self.keys()
        self._trust.set_own_keys(keys, self._tokens)
        self._trust.take_revocations(keys, self._now_ms() // 1000)
        self._bundle = None
        bundle = self._current_bundle()
        for peer, link in self._peers.all():
            if peer.city == self.city:
                tell(link, bundle)
        for peer, link in self._siblings.links():
            self._brief(peer, link)
        for neighbor in {*self._trust.agreements, *self._linked_cities()}:
            self._announce(neighbor)

    def _linked_cities(self) -> set[CityId]:
        return {peer.city for peer, _ in self._peers.all()} - {self.city}

    def _announce(self, neighbor: CityId) -> None:
        """Tell a neighbor what is new, over every link of ours and of our relays."""
        for data in self._announcer.for_neighbor(neighbor):
            for _, link in list(self._peers.brokers_of(neighbor)):
                tell(link, data)
            for _, link in self._siblings.links():
                tell(link, _passed_on(neighbor, data))

    def _brief(self, peer: Peer, link: Carrier) -> None:
        token = self._briefs.newer_than_told(peer, link)
        if token is not None:
            tell(link, Notice(kind="brief", token=token).encode())

    def forget(self, connection: Connection, now: int) -> None:
        """Forget whose member keys were, once they have long ended."""
        self._key_owners.forget(connection, before=now - _DAY_S)

    def refresh(self) -> None:
        """Do what time brings: expire routes, renew announcements and bundles."""
        now = self._now_ms() // 1000
        self._routes.expire(now)
        self.changed()

    def _current_bundle(self) -> bytes:
        if self._bundle is None:
            now_ms, removed = self._now_ms(), self.note_removed()
            self._sequence = max(self._sequence + 1, now_ms)
            cities, paths = self._nearest()
            signed = issue_bundle(
                self._operating,
                self.city,
                cities=tuple(cities.values()),
                paths=paths,
                removed=removed,
                life_s=self._bundle_life_s,
                now=now_ms // 1000,
                entropy=self._entropy,
                brokers=self.brokers(),
                tokens=self._token_keys(cities, now_ms // 1000),
                sequence=self._sequence,
            )
            self._bundle = Notice(kind="trust", token=signed.token).encode()
        return self._bundle

    def _token_keys(
        self, cities: dict[CityId, CityKeys], now: int
    ) -> dict[CityId, PublicSealingKey]:
        found = {city: self._trust.token_key(city, now) for city in cities}
        told = {city: key for city, key in found.items() if key is not None}
        return {**told, self.city: self._tokens}

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
            room -= len(keys.operating) + len(keys.broker) + len(keys.directory) + 2560
            if room < 0:
                break
            cities[keys.city], paths[keys.city] = keys, route.path
        return cities, paths


def _passed_on(neighbor: CityId, data: bytes) -> bytes:
    """Return what a relay is to tell a neighbor in our place."""
    notice = Notice.decode(data, MAX_NOTICE_BYTES)
    return Notice(
        kind="retract" if notice.token is None else "announce",
        neighbor=neighbor,
        token=notice.token,
        origin=notice.origin,
    ).encode()
