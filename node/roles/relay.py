# SPDX-License-Identifier: Apache-2.0
"""A further broker of a city: carries exchanges by what the authority has signed.

It has keys of its own and a membership with the role broker, and no operating key. From
the authority it has the trust bundle, a brief (agreements, key that opens location
tokens), the city's announcements to each neighbor, and whose member keys are. All of it
is kept, verified again when it is taken up, and has an end; so a relay stands in for an
authority that is away, for a day at most, and stops by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from federation.exchange import Answer, Endpoint
from federation.notice import MAX_NOTICE_BYTES, Notice
from federation.peers import Carrier, Peer, Peers
from federation.routing import RouteTable
from federation.token_keys import TokenKeys
from identity.key_owners import MemberKeyOwners
from identity.relay_documents import (
    drop_word,
    load_brief,
    load_words,
    save_brief,
    save_word,
)
from identity.trust import TrustStore
from identity.trust_documents import forget_ended
from node.addressbook import Addressbook
from node.database import Database
from node.roles.member import MemberDesk
from node.roles.siblings import Siblings, tell
from protocol.agreement import Agreement
from protocol.answer import KeyOwners
from protocol.brief import Brief, open_token_key, verify_brief
from protocol.envelope import Kind
from protocol.errors import MachikuraError, Malformed, ProtocolViolation
from protocol.ids import CityId, NodeId
from protocol.request import MemberKeysQuery
from protocol.route import ROUTE, Announcement
from protocol.sealed import Opener
from protocol.signature import Received, Signed

_logger = logging.getLogger(__name__)

_DAY_S = 86_400


@dataclass(frozen=True)
class _Word:
    """What our city announces to a neighbor about one city, and until when."""

    token: str
    ends: int


class RelayDesk:
    """One relay."""

    def __init__(
        self,
        *,
        node: NodeId,
        opening: Opener,
        trust: TrustStore,
        routes: RouteTable,
        peers: Peers,
        siblings: Siblings,
        member: MemberDesk,
        tokens: TokenKeys,
        key_owners: MemberKeyOwners,
        exchanges: Endpoint,
        addressbook: Addressbook,
        database: Database,
        take_agreements: Callable[[], Awaitable[None]],
        soon: Callable[[Awaitable[None]], None],
        now_ms: Callable[[], int],
        skew_s: int,
    ) -> None:
        """Take the parts.

        Args:
            node: who we are.
            opening: our own key; opens what a brief seals to us.
            trust: knows our city and its authority.
            routes: what neighbors announced.
            peers: live links.
            siblings: what all brokers of a city have in common.
            member: takes trust bundles, as every member does.
            tokens: gets the keys that open location tokens.
            key_owners: keeps whose member keys are.
            exchanges: our end of exchanges.
            addressbook: knows the authority.
            database: where everything is kept.
            take_agreements: is run when agreements have changed.
            soon: runs work that a notice must not wait for.
            now_ms: clock.
            skew_s: how far two clocks may differ.
        """
        self._node = node
        self._opening = opening
        self._trust = trust
        self._routes = routes
        self._peers = peers
        self._siblings = siblings
        self._member = member
        self._tokens = tokens
        self._key_owners = key_owners
        self._exchanges = exchanges
        self._addressbook = addressbook
        self._database = database
        self._take_agreements = take_agreements
        self._soon = soon
        self._now_ms = now_ms
        self._skew_s = skew_s
        self._brief: Signed[Brief] | None = None
        self._agreements: tuple[Agreement, ...] = ()
        self._words: dict[CityId, dict[CityId, _Word]] = {}
        self._learning = False
        self._more_keys = False

    def load(self) -> None:
        """Take up what was kept; what is over or no longer verifies is left out."""
        self._siblings.load()
        token = self._database.read(load_brief)
        if token is not None:
            try:
                self._take_brief(token)
            except MachikuraError as error:
                _logger.warning("the kept brief is of no use: %s", error.slug)
        now = self._now()
        for neighbor, origin, token, ends in self._database.read(
            lambda c: load_words(c, now)
        ):
            self._words.setdefault(neighbor, {})[origin] = _Word(token, ends)

    def neighbor_brokers(self) -> dict[CityId, tuple[str, ...]]:
        """Return where the brokers of our neighbors listen."""
        return self._siblings.neighbors()

    # ------------------------------------------------------------ the authority

    def authority(self) -> NodeId | None:
        """Return the broker that speaks for our city, as far as we know it."""
        try:
            return self._trust.city_of(self._node.city, self._now()).broker.sub
        except ProtocolViolation:
            return None

    @property
    def briefed_until(self) -> int:
        """When our brief ends, seconds since 1970; 0 without one."""
        return 0 if self._brief is None else self._brief.body.exp

    def agreements(self, now: int) -> tuple[Agreement, ...]:
        """Return the agreements in force, as long as our brief holds."""
        if self.briefed_until <= now:
            return ()
        return tuple(a for a in self._agreements if a.in_force(now))

    def _take_brief(self, token: str) -> bool:
        """Take a brief; returns whether it is newer than the one we had.

        Raises:
            ProtocolViolation, CannotOpen: it is not our authority's, or not for us.
        """
        now, city = self._now(), self._node.city
        operating = self._trust.city_of(city, now).operating
        signed = verify_brief(token, self._node, operating, now, self._skew_s)
        if self._brief is not None and signed.body.iat < self._brief.body.iat:
            return False
        keys = [
            open_token_key(k, self._node, self._opening) for k in signed.body.tokens
        ]
        agreements = [
            Agreement.parse(w.encode("ascii")) for w in signed.body.agreements
        ]
        for agreement in agreements:
            self._check(agreement)
        self._brief, self._agreements = signed, tuple(agreements)
        self._tokens.keys = keys
        return True

    def _check(self, agreement: Agreement) -> None:
        """Hold an agreement to our own root: an operating key alone makes none."""
        body = agreement.body
        if not (agreement.complete and body.concerns(self._node.city)):
            raise Malformed("a brief names agreements of our own city, signed by both")
        own = body.a if body.a.city == self._node.city else body.b
        if not self._trust.is_own_root(own.root_key()):
            raise Malformed("the agreement names another root key for our city")

    # ------------------------------------------------------------------ notices

    def on_up(self, peer: Peer, link: Carrier) -> None:
        """Bring a new link's peer up to date with what we have."""
        bundle = self._trust.bundle
        if peer.city == self._node.city and bundle is not None:
            tell(link, Notice(kind="trust", token=bundle.token).encode())
        elif peer.city != self._node.city:
            for origin, word in self._words.get(peer.city, {}).items():
                if origin == self._node.city or self._routes.best(origin):
                    tell(link, self._route(word.token).encode())
        self._siblings.on_up(peer, link)

    def on_down(self, peer: Peer, link: Carrier) -> None:
        """Forget what came over a link that has ended."""
        self._siblings.on_down(peer, link)

    async def on_notice(self, peer: Peer, link: Carrier, data: bytes) -> None:
        """Take a notice of a neighbor, a sibling or our authority.

        Raises:
            ProtocolViolation: it is none, or does not verify.
        """
        notice = Notice.decode(data, MAX_NOTICE_BYTES)
        if peer.city != self._node.city:
            before = self._reachable()
            self._siblings.hear_neighbor(peer, notice)
            self._tell_about(self._reachable() - before)
        elif notice.kind == "trust":
            if await self._member.on_notice(peer, data):
                self._pass_bundle_on(data)
        elif notice.kind in ("brief", "announce", "retract", "keys"):
            if peer.node != self.authority():
                raise Malformed("only the authority of a city briefs its relays")
            await self._on_authority(notice)
        else:
            self._siblings.hear(peer, link, notice)

    def _reachable(self) -> set[CityId]:
        """Return the cities that we have a word about and a way to."""
        told = {origin for words in self._words.values() for origin in words}
        return {origin for origin in told if self._routes.best(origin)}

    def _tell_about(self, origins: set[CityId]) -> None:
        """Tell neighbors what was held back while there was no way to a city."""
        for neighbor, words in self._words.items():
            for origin in origins & words.keys():
                for _, link in list(self._peers.brokers_of(neighbor)):
                    tell(link, self._route(words[origin].token).encode())

    async def _on_authority(self, notice: Notice) -> None:
        if notice.kind == "keys":
            self._soon(self.learn_keys())
        elif notice.kind == "brief" and notice.token is not None:
            token = notice.token
            if self._take_brief(token):
                ends = self.briefed_until
                await self._database.write(lambda c: save_brief(c, token, ends))
                await self._take_agreements()
        elif notice.neighbor is not None:
            await self._pass_on(notice.neighbor, notice)

    async def _pass_on(self, neighbor: CityId, notice: Notice) -> None:
        """Keep our city's word to a neighbor, and tell it on our own links."""
        words = self._words.setdefault(neighbor, {})
        token, origin = notice.token, notice.origin
        if token is not None:
            body = self._own_word(token, neighbor)
            words[body.origin] = _Word(token, body.exp)
            await self._database.write(
                lambda c: save_word(c, neighbor, body.origin, token, body.exp)
            )
            told = self._route(token)
        elif origin is not None:
            words.pop(origin, None)
            await self._database.write(lambda c: drop_word(c, neighbor, origin))
            told = Notice(kind="withdraw", origin=origin)
        else:
            raise Malformed("neither an announcement nor its end")
        for _, link in list(self._peers.brokers_of(neighbor)):
            tell(link, told.encode())

    def _route(self, token: str) -> Notice:
        """Return our city's word with the certificate of the key that signed it."""
        kid = Received.parse(token, ROUTE).kid
        shown = self._trust.chains.certificate_named(self._node.city, kid)
        return Notice(kind="route", token=token, operating=shown)

    def _own_word(self, token: str, neighbor: CityId) -> Announcement:
        """Return what an announcement says; the neighbor verifies it."""
        body = Received.parse(token, ROUTE).peek(Announcement)
        if body.iss != self._node.city or body.aud != neighbor:
            raise Malformed("not our city's word to this neighbor")
        return body

    def _pass_bundle_on(self, data: bytes) -> None:
        """Give a new trust bundle to everybody of our city who is linked with us.

        Whoever has it already takes no notice of it, so it goes round once. Whom it
        says to be removed loses the link.
        """
        authority = self.authority()
        for peer, link in self._peers.all():
            if self._trust.is_removed(peer.node):
                link.end()
            elif peer.city == self._node.city and peer.node != authority:
                tell(link, data)

    # -------------------------------------------------------------- member keys

    async def learn_keys(self) -> None:
        """Ask the authority for the member keys that we do not know yet."""
        self._more_keys = True
        if self._learning:
            return  # Whoever is at it looks once more.
        self._learning = True
        try:
            while self._more_keys:
                self._more_keys = False
                await self._learn_some()
        finally:
            self._learning = False

    async def _learn_some(self) -> None:
        more = True
        while more:
            after = self._database.read(self._key_owners.newest)
            asked = await self._exchanges.ask(
                self._addressbook.broker(self._node.city),
                Kind.MANAGE,
                MemberKeysQuery(after=after),
            )
            if not isinstance(asked, Answer) or not isinstance(asked.result, KeyOwners):
                return
            owners = asked.result.owners
            if any(one.node.city != self._node.city for one in owners):
                raise Malformed("a city certifies keys of its own members only")
            await self._database.write(partial(self._key_owners.learn, owners=owners))
            more = asked.result.more

    def forget(self, connection: Connection, now: int) -> None:
        """Forget whose member keys were, once they have long ended."""
        self._key_owners.forget(connection, before=now - _DAY_S)
        forget_ended(connection, before=now - _DAY_S)

    def unpin(self, city: CityId) -> bool:
        """Forget the root key of a far city, on an operator's word."""
        return self._siblings.unpin(city)

    def refresh(self) -> None:
        """Do what time brings: forget routes and words that have ended."""
        now = self._now()
        self._routes.expire(now)
        for words in self._words.values():
            for origin in [o for o, word in words.items() if word.ends <= now]:
                del words[origin]

    def _now(self) -> int:
        return self._now_ms() // 1000
