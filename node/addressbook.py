# SPDX-License-Identifier: Apache-2.0
"""From a node's name to a target: its keys, and the opaque way to it.

The membership of a node comes from what it showed us last, else from its city's broker,
whose keys are in our trust bundle. The way is a location token that we seal to that
broker, used again for some minutes; nobody between the two cities can tell which node
it means. In hidden reads token and keys come from the home node instead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

from federation.exchange import Answer, Endpoint, Target, target_of
from identity.trust import City, TrustStore
from protocol.answer import OneToken
from protocol.canonical import b64url
from protocol.envelope import Address, Kind
from protocol.errors import (
    MachikuraError,
    Malformed,
    ProtocolViolation,
    UnknownKey,
)
from protocol.ids import CityId, NodeId
from protocol.location import TokenBody
from protocol.membership import (
    MEMBERSHIP,
    Credentials,
    Membership,
    verify_membership,
)
from protocol.request import HolderTicket, MemberQuery
from protocol.sealed import SealingKey
from protocol.signature import Owner, Received, Signed
from protocol.suites import thumbprint


class NoWay(MachikuraError):
    """A node that cannot be addressed: `slug` says why."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug


class Addressbook:
    """Finds targets."""

    def __init__(
        self,
        *,
        exchanges: Endpoint,
        trust: TrustStore,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        skew_s: int,
        token_life_s: int = 600,
        size: int = 10_000,
    ) -> None:
        """Take the parts; at most `size` nodes are remembered."""
        self._exchanges = exchanges
        self._trust = trust
        self._now_ms = now_ms
        self._entropy = entropy
        self._skew_s = skew_s
        self._token_life_s = token_life_s
        self._size = size
        self._members: OrderedDict[NodeId, Membership] = OrderedDict()
        self._signed: OrderedDict[NodeId, tuple[Signed[Membership], Credentials]] = (
            OrderedDict()
        )
        self._revoked: frozenset[str] = trust.revoked
        self._targets: OrderedDict[NodeId, tuple[int, Target]] = OrderedDict()
        self._hidden: OrderedDict[str, Target] = OrderedDict()

    def note(self, member: Membership) -> None:
        """Remember a verified membership that a node showed us."""
        known = self._members.get(member.sub)
        if known is None or known.iat < member.iat:
            self._members[member.sub] = member
            self._targets.pop(member.sub, None)
            if len(self._members) > self._size:
                self._members.popitem(last=False)

    def forget(self, node: NodeId) -> None:
        """Ask a node's city anew who it is: what we remember does not fit."""
        for memory in (self._members, self._signed, self._targets):
            memory.pop(node, None)

    def newest(self, node: NodeId) -> Membership | None:
        """Return a node's newest membership that we have seen; asks nobody."""
        self._drop_revoked()
        return self._members.get(node)

    def _drop_revoked(self) -> None:
        """Forget everybody whose key has been revoked since we looked last."""
        if self._trust.revoked is self._revoked:
            return
        self._revoked = self._trust.revoked
        found = [*self._members.values(), *(s.body for s, _ in self._signed.values())]
        for member in found:
            if thumbprint(member.key) in self._revoked:
                self.forget(member.sub)

    def known(self, node: NodeId) -> Membership | None:
        """Return the membership that a node showed last, without asking anybody."""
        return self._members.get(node)

    def city(self, city: CityId) -> City:
        """Return a city that we can reach.

        Raises:
            NoWay: nobody has introduced it.
        """
        try:
            return self._trust.city_of(city, self._now())
        except UnknownKey as error:
            raise NoWay("no-route", f"{city} is not known here") from error

    def knows(self, city: CityId) -> bool:
        """Tell whether a city can be addressed now."""
        try:
            self._trust.city_of(city, self._now())
        except ProtocolViolation:
            return False
        return True

    def broker(self, city: CityId) -> Target:
        """Return the broker of a city, addressed by name."""
        return target_of(self.city(city).broker, None)

    def directory(self, city: CityId) -> Target:
        """Return the directory of a city."""
        known = self.city(city)
        if known.directory.sub == known.broker.sub:
            return target_of(known.directory, None)
        return target_of(known.directory, self._token(known, known.directory.sub))

    async def member(self, node: NodeId) -> Membership:
        """Return a node's membership, asking its city if need be.

        Raises:
            NoWay: the city is unknown, or does not know the node, or was silent.
        """
        self._drop_revoked()
        now = self._now()
        known = self._members.get(node)
        if known is not None and known.exp > now + self._skew_s:
            return known
        city = self.city(node.city)
        if city.broker.sub == node:
            return city.broker
        return (await self.signed_member(node)).body

    async def signed_member(self, node: NodeId) -> Signed[Membership]:
        """Return a node's membership as its city signed it; raises as `member`."""
        self._drop_revoked()
        now = self._now()
        kept = self._signed.get(node)
        if kept is not None and kept[0].body.exp > now + self._skew_s:
            return kept[0]
        asked = await self._exchanges.ask(
            self.broker(node.city), Kind.MANAGE, MemberQuery(node=node)
        )
        if not isinstance(asked, Answer):
            raise NoWay(asked.refusal.code, f"{node.city} about {node}")
        if not isinstance(asked.result, OneToken):
            raise NoWay("answer-invalid", f"{node.city} about {node}")
        token, now = asked.result.token, self._now()
        operating = self._trust.operating_named(node.city, token, MEMBERSHIP, now)
        signed = verify_membership(token, node.city, operating, now, self._skew_s)
        if signed.body.sub != node:
            raise NoWay("answer-invalid", f"{node.city} about {node}")
        shown = self._trust.city_keys(node.city, self._now()).operating
        credentials = Credentials(membership=signed.token, operating=shown)
        self._signed[node] = signed, credentials
        if len(self._signed) > self._size:
            self._signed.popitem(last=False)
        self.note(signed.body)
        return signed

    def shown(self, node: NodeId, membership: str) -> None:
        """Remember a node's membership that somebody else has shown us.

        So a node is reached whose city nobody can ask just now.

        Raises:
            NoWay: its city is unknown.
            ProtocolViolation: it has ended, or does not verify under its city's key.
        """
        operating = self.city(node.city).operating
        signed = verify_membership(
            membership, node.city, operating, self._now(), self._skew_s
        )
        if signed.body.sub != node:
            raise Malformed("the membership is another node's")
        self.note(signed.body)

    def lasting(self, shown: Credentials | None) -> Credentials | None:
        """Return credentials at hand that hold now: those shown, or newer ones.

        A node that has changed its keys since it showed them is known by the new ones.
        """
        if shown is None:
            return None
        self._drop_revoked()
        now = self._now() + self._skew_s
        node, issued, ends, kid = _glance(shown.membership)
        kept = self._signed.get(node)
        if kept is not None and kept[0].body.iat > issued and kept[0].body.exp > now:
            return kept[1]
        return shown if ends > now and kid not in self._revoked else None

    async def credentials(self, node: NodeId, shown: Credentials | None) -> Credentials:
        """Return credentials of a node that hold now: those it showed, or newer ones.

        A consent or a grant outlives by far the membership that its home node showed
        with it.

        Raises:
            NoWay: as `member`.
        """
        lasting = self.lasting(shown)
        if lasting is not None:
            return lasting
        await self.signed_member(node)
        return self._signed[node][1]

    def known_target(self, node: NodeId) -> Target | None:
        """Return how to reach a node, if that is known without asking anybody."""
        self._drop_revoked()
        kept = self._targets.get(node)
        return None if kept is None or kept[0] <= self._now() else kept[1]

    async def target(self, node: NodeId) -> Target:
        """Return how to reach a node.

        Raises:
            NoWay: as `member`.
        """
        known = self.known_target(node)
        if known is not None:
            return known
        now = self._now()
        member = await self.member(node)
        city = self.city(node.city)
        if city.broker.sub == node:
            return self.broker(node.city)
        target = target_of(member, self._token(city, node))
        until = min(now + self._token_life_s // 2, member.exp - self._skew_s)
        self._targets[node] = (until, target)
        if len(self._targets) > self._size:
            self._targets.popitem(last=False)
        return target

    def hidden_target(self, ticket: HolderTicket, consent: str) -> Target:
        """Return how to reach a holder whose name we must not learn.

        Args:
            ticket: from the home node.
            consent: id of the consent; the member key is for it alone.

        Raises:
            NoWay: the city is unknown.
            ProtocolViolation: the member key does not verify.
        """
        if ticket.member_key is None or ticket.token is None:
            raise Malformed("a hidden holder needs a token and a member key")
        kept = self._hidden.get(ticket.token)
        if kept is not None:
            return kept
        city = self.city(CityId(ticket.city))
        member = self._trust.verify_member_key(
            ticket.member_key, city.city, consent, self._now()
        ).body
        key = member.verifying_key()
        target = Target(
            Address(city=city.city, token=ticket.token),
            member.sealing.load(),
            Owner(city.city, key),
            key.kid,
        )
        self._hidden[ticket.token] = target
        if len(self._hidden) > self._size:
            self._hidden.popitem(last=False)
        return target

    def token(
        self, node: NodeId, *, consent: str = "", life_s: int | None = None
    ) -> str:
        """Return a fresh location token for a node.

        Args:
            node: whom it means.
            consent: digest of the consent that it is bound to.
            life_s: how long it can be used; None for the usual time.
        """
        return self._token(self.city(node.city), node, consent, life_s)

    def _token(
        self,
        city: City,
        node: NodeId,
        consent: str = "",
        life_s: int | None = None,
    ) -> str:
        body = TokenBody(
            node=node,
            exp=self._now() + (life_s or self._token_life_s),
            consent=consent,
            nonce=b64url(self._entropy(12)),
        )
        return body.seal(city.city, self.token_key(city))

    def token_key(self, city: City) -> SealingKey:
        """Return what location tokens for a city are sealed to."""
        told = self._trust.token_key(city.city, self._now())
        return (told or city.broker.sealing).load()

    def _now(self) -> int:
        return self._now_ms() // 1000


@lru_cache(maxsize=4096)
def _glance(membership: str) -> tuple[NodeId, int, int, str]:
    # Unverified: who gets it verifies. Of few home nodes, and asked at every read.
    seen = Received.parse(membership, MEMBERSHIP).peek(Membership)
    return seen.sub, seen.iat, seen.exp, thumbprint(seen.key)
