# SPDX-License-Identifier: Apache-2.0
"""The broker: carries exchanges between members and to neighbor cities.

One relay step, in order: take the envelope apart; hold it to its peer's rate, its
peer, its times, its hop budget and the agreements (`federation.relay`); refuse what is
being carried already; find the next hop; add a hop record; forward; put the hop record
in front of the answer. It may only narrow, and it reads nothing but the routing header.
When a path fails, before or after the request was sent, the next one is taken at once.

A city may have several brokers. A node that is linked with another one is reached by
one more hop inside the city, and never by two: what came from a broker of our own city
is not passed to a third. What a relay cannot tell (a token under a key that it has not,
a member key that it has not heard of) goes to the authority in the same way.

A refusal is a problem signed by this broker. A member's own unsealed problem is signed
anew, so that a hidden holder is not named by a failure. Each broker waits a little less
long than the one before it, so that a silent hop is named by its neighbor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from federation import relay
from federation.limits import Paced
from federation.outcome import DeadlinePassed, LinkLost, LinkProblem
from federation.peers import Carrier, Peer, Peers
from federation.presence import Presence
from federation.relay import Agreed, Turned
from federation.replay import SeenIds
from federation.routing import Route, RouteTable
from federation.shares import Shares
from protocol import hop
from protocol.answer import AnswerEnvelope, AnswerType, prepend_hop
from protocol.envelope import Envelope, RoutingHeader
from protocol.errors import CannotOpen, MachikuraError, Malformed
from protocol.ids import CityId, NodeId
from protocol.location import Opener, TokenBody, open_token
from protocol.membership import Role
from protocol.problem import PROBLEM, ProblemBody, SignedProblem
from protocol.problem_catalog import CATALOG
from protocol.signature import digest_of, sign
from protocol.suites import Signer

PATHS = 3
"""How often one request is carried at most: the first time, and two more paths."""


@dataclass(frozen=True)
class BrokerLimits:
    """Bounds of a broker.

    Attributes:
        max_envelope_bytes: of one request or answer.
        max_hops: brokers that any exchange may pass.
        longest_ms: from issue to deadline.
        skew_ms: how far two clocks may differ.
        way_back_ms: what a broker leaves the one before it to pass on its refusal.
        tokens_cached: opened location tokens that are remembered.
        in_flight: exchanges that are carried at the same time, shared out fairly
            between those they come from, and between those they go to.
        retry_ms: how long whoever got no share is told to wait.
    """

    max_envelope_bytes: int = 8 * 1024 * 1024
    max_hops: int = 8
    longest_ms: int = 120_000
    skew_ms: int = 5_000
    way_back_ms: int = 250
    tokens_cached: int = 10_000
    in_flight: int = 8_192
    retry_ms: int = 500


@dataclass(frozen=True)
class _Unclear(Turned):
    """What we cannot tell, and the authority of our city perhaps can."""


def _not_noted(line: bytes, at_ms: int, sender: NodeId, member: NodeId | None) -> None:
    """Stand in where nobody keeps hop records."""


class Broker:
    """One broker process of a city."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        opening: Opener,
        membership: Callable[[], str],
        peers: Peers,
        routes: RouteTable,
        agreed: Agreed,
        allow: Callable[[str], Paced],
        local: Callable[[Peer, bytes, int], Awaitable[bytes]],
        now_ms: Callable[[], int],
        limits: BrokerLimits,
        observe: Callable[[str], None] = lambda code: None,
        tap: Callable[[bytes], None] = lambda opened: None,
        noted: Callable[[bytes, int, NodeId, NodeId | None], None] = _not_noted,
        member_behind: Callable[[str], NodeId | None] | None = None,
        presence: Presence | None = None,
        authority: Callable[[], NodeId | None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        keep_wait: Callable[[RoutingHeader, NodeId], Awaitable[bool]] | None = None,
    ) -> None:
        """Take the parts.

        Args:
            node: this broker.
            signer: its key, for problems.
            opening: opens location tokens of our city.
            membership: returns our current membership, shown with problems.
            peers: live links.
            routes: what neighbors announced.
            agreed: the agreement in force with a city.
            allow: takes a peer's name; returns what becomes of a request of it.
            local: answers exchanges addressed to this node itself, until a time given
                in epoch milliseconds; then it raises `DeadlinePassed`.
            now_ms: clock.
            limits: bounds.
            observe: told the outcome of each exchange, for metrics.
            noted: given each hop record that we add, its time, the sender, and the
                member that we hand over to, None for another broker.
            tap: given every opened token, to show what a broker could learn.
            member_behind: whose a member key of our city is. With it, a request under
                a member key goes there, whomever its token names: anybody can make
                tokens, and trying one for each node would find the hidden holder.
            presence: who is linked with other brokers of our city.
            authority: the broker of our city that knows what we may not know; None if
                that is us.
            sleep: waits so many seconds; without it nothing is delayed.
            keep_wait: keeps the wait of an exchange whose receiver has no link; returns
                whether the sender will be told when it is back.
        """
        self._node = node
        self._signer = signer
        self._opening = opening
        self._membership = membership
        self._peers = peers
        self._routes = routes
        self._agreed = agreed
        self._allow = allow
        self._local = local
        self._now_ms = now_ms
        self._limits = limits
        self._observe = observe
        self._tap = tap
        self._noted = noted
        self._member_behind = member_behind
        self._presence = presence or Presence()
        self._authority = authority
        self._keep_wait = keep_wait
        self._sleep = sleep
        self._coming = Shares(limits.in_flight)
        self._going = Shares(limits.in_flight)
        self._seen = SeenIds(times=PATHS)
        self._tokens: OrderedDict[str, TokenBody] = OrderedDict()

    @property
    def city(self) -> CityId:
        """Our city."""
        return self._node.city

    async def carry(self, peer: Peer, payload: bytes) -> bytes:
        """Relay one request of a peer and return the answer for it.

        Raises:
            LinkProblem: no header can be read, so there is nothing to sign about.
        """
        try:
            envelope = Envelope.unpack(payload, self._limits.max_envelope_bytes)
            _ = envelope.header
        except MachikuraError as error:
            self._observe(error.slug)
            raise LinkProblem(error.slug) from error
        party = self._party(peer)
        if not self._coming.take(party):
            self._observe("overloaded")
            raise LinkProblem("overloaded", self._limits.retry_ms)
        try:
            turned = await self._pace(peer)
            turned = turned or self._check(envelope, peer)
            turned = turned or await self._forward(envelope, peer)
        except LinkProblem:
            raise
        except MachikuraError as error:
            turned = Turned(error.slug, error.detail)
        finally:
            self._coming.give_back(party)
        if isinstance(turned, Turned):
            self._observe(turned.code)
            return self._refuse(envelope, turned)
        self._observe("forward")
        return turned

    def _party(self, peer: Peer) -> str:
        """Return who shares with whom: our members, and each other city as one."""
        return peer.node if peer.city == self.city else peer.city

    async def _pace(self, peer: Peer) -> bytes | Turned | None:
        """Hold a peer to its rate: first by delay, then by refusal.

        Before anything else, since every refusal after it costs a signature.

        Raises:
            LinkProblem: it was refused too often to be worth one.
        """
        paced = self._allow(peer.node)
        if paced.retry_ms:
            if paced.curt:
                self._observe("rate-limited")
                raise LinkProblem("rate-limited", paced.retry_ms)
            detail = f"wait {paced.retry_ms} ms"
            return Turned("rate-limited", detail, paced.retry_ms)
        if paced.delay_ms and self._sleep is not None:
            self._observe("delayed")
            await self._sleep(paced.delay_ms / 1000)
        return None

    def _check(self, envelope: Envelope, peer: Peer) -> Turned | None:
        now_ms, limits = self._now_ms(), self._limits
        turned = (
            relay.check_peer(envelope, peer, self.city)
            or relay.check_loop(envelope, peer, self._node)
            or relay.check_times(
                envelope.header, now_ms, limits.skew_ms, limits.longest_ms
            )
            or relay.check_budget(envelope, limits.max_hops)
        )
        if turned is not None:
            return turned
        return self._first_here(envelope, peer, now_ms)

    def _first_here(self, envelope: Envelope, peer: Peer, now_ms: int) -> Turned | None:
        """Refuse what we are carrying already; another path may lead here as well."""
        name, request = envelope.header.id, envelope.digest
        until_ms = envelope.header.deadline_ms + self._limits.skew_ms
        party = self._party(peer)
        if self._seen.add(name, until_ms, now_ms, request, sender=party):
            return None
        if self._seen.again(name, request):
            self._observe("again")
            return None
        if name not in self._seen:
            retry_ms = self._limits.retry_ms
            return Turned("overloaded", "too many exchanges at once", retry_ms)
        return Turned("loop", "this broker has seen the exchange")

    async def _forward(self, envelope: Envelope, peer: Peer) -> bytes | Turned:
        header = envelope.header
        if header.to.city == self.city:
            turned = self._agreements(envelope, peer, self.city)
            if turned is not None:
                return turned
            return await self._deliver(envelope, peer)
        first: bytes | Turned | None = None
        for route in self._permitting_first(header):
            if relay.turns_back(envelope, route.path):
                continue
            answer: bytes | Turned | None
            answer = self._agreements(envelope, peer, route.neighbor)
            if answer is None:
                answer = await self._over(envelope, peer, route.neighbor)
                if not relay.leads_nowhere(answer, header.to.city):
                    return answer
            first = first or answer
        return first or Turned("no-route", f"to {header.to.city}")

    def _permitting_first(self, header: RoutingHeader) -> list[Route]:
        """Return the ways, those first on which every city says that this may pass.

        The others are tried as well: each city on the way judges by its agreements,
        and what it said may be older than those.
        """
        ways = self._routes.ways(header.to.city)
        if len(ways) > 1:
            ways.sort(key=lambda way: relay.may_refuse(header, way.permits))
        return ways

    async def _over(
        self, envelope: Envelope, peer: Peer, neighbor: CityId
    ) -> bytes | Turned:
        """Carry over a neighbor, on a link of ours or of another broker of our city."""
        lost = Turned("peer-unreachable", f"broker of {neighbor}", elsewhere=True)
        find = partial(self._peers.broker_of, neighbor)
        beside = self._presence.toward(neighbor)
        return await self._some_link(envelope, peer, find, beside, neighbor) or lost

    async def _some_link(
        self,
        envelope: Envelope,
        peer: Peer,
        find: Callable[[], tuple[Peer, Carrier] | None],
        beside: Iterator[tuple[Peer, Carrier]],
        to: str,
    ) -> bytes | Turned | None:
        """Send over the link found, and over another one when that is lost.

        After a link is lost nobody knows how far the request came. It may go out again
        all the same, over another link or another path: who answers gives the same
        answer again and executes nothing twice (`federation.answered`).
        """
        lost: Turned | None = None
        for _ in range(PATHS):
            found = find()
            if found is None:
                break
            answer = await self._send(envelope, found, to)
            if not isinstance(answer, Turned) or not answer.elsewhere:
                return answer
            self._observe("path-lost")
            lost = answer
            if answer.code != "peer-unreachable" or answer.silent:
                break
        return await self._hand_over(envelope, peer, beside) or lost

    def _agreements(
        self, envelope: Envelope, peer: Peer, to: CityId, further: int = 0
    ) -> Turned | None:
        return relay.check_agreements(
            envelope.header,
            city=self.city,
            came_from=peer.city,
            goes_to=to,
            a=self._agreed,
            carried=hop.count(envelope.hops) + 1 + further,
        )

    async def _deliver(self, envelope: Envelope, peer: Peer) -> bytes | Turned:
        """Hand over to a node of our own city, or to ourselves."""
        node = self._addressed(envelope)
        if isinstance(node, _Unclear):
            return await self._ask_authority(envelope, peer, node)
        if isinstance(node, Turned):
            return node
        if node == self._node:
            line = self._line(envelope, "member", "forward", node)
            carried, until_ms = (
                envelope.with_line(line).pack(),
                self._patience(envelope),
            )
            try:
                answer = await self._local(peer, carried, until_ms)
            except DeadlinePassed:
                return Turned("timeout", "this broker was too slow itself")
            return prepend_hop(self._unnamed(envelope, answer), line)
        find = partial(self._peers.find, node)
        found = find()
        if found is not None and found[0].is_broker:
            # Another broker of our city carries what is for itself, as we do.
            passed = await self._hand_over(envelope, peer, iter((found,)))
            return passed or Turned("peer-unreachable", "another broker of our city")
        beside = self._presence.beside(node)
        passed = await self._some_link(envelope, peer, find, beside, "member")
        return passed or await self._away(envelope, node)

    async def _ask_authority(
        self, envelope: Envelope, peer: Peer, unclear: Turned
    ) -> bytes | Turned:
        """Pass on what only the authority of our city can tell, if that is not us."""
        authority = self._authority()
        if authority is None:
            return unclear
        found = self._peers.find(authority)
        beside = iter(() if found is None else (found,))
        passed = await self._hand_over(envelope, peer, beside)
        if passed is not None:
            return passed
        return Turned("peer-unreachable", "only the city's authority could tell whose")

    async def _hand_over(
        self, envelope: Envelope, peer: Peer, beside: Iterator[tuple[Peer, Carrier]]
    ) -> bytes | Turned | None:
        """Pass to another broker of our city; None if nobody may or can take it."""
        if peer.city == self.city and peer.is_broker and peer.node != self._node:
            return None  # One hop more inside a city, not two.
        answer: bytes | Turned | None = None
        for found in beside:
            if found[0].node == peer.node:
                continue
            # It will stand in the chain too, and cannot see whom it came from.
            turned = self._agreements(envelope, peer, self.city, further=1)
            if turned is not None:
                return replace(turned, elsewhere=True)
            answer = await self._send(envelope, found, self.city)
            if not isinstance(answer, Turned) or not answer.elsewhere:
                break
        return answer

    async def _away(self, envelope: Envelope, node: NodeId) -> bytes | Turned:
        """Refuse what cannot be delivered; its sender may be told when it can be."""
        header, kept = envelope.header, False
        if header.wait is not None and self._keep_wait is not None:
            kept = await self._keep_wait(header, node)
            found = self._peers.find(node)
            if found is not None:
                # It has come back while we wrote, so nobody would be told.
                return await self._send(envelope, found, "member")
        if kept:
            return Turned("node-away", "you are told when it is back")
        return Turned("peer-unreachable", "the node has no link to its city")

    def _addressed(self, envelope: Envelope) -> NodeId | Turned:
        header, to = envelope.header, envelope.header.to
        if to.token is None:
            if to.node is None or to.node.city != self.city:
                return Turned("malformed", "no destination")
            if header.member is not None:
                return Turned("token-invalid", "a hidden holder has no name")
            if header.sender.city != self.city and not self._serves_others(to.node):
                return Turned("token-invalid", "members are addressed by token")
            return to.node
        body = self._open(to.token)
        if isinstance(body, Turned):
            return body
        if body.consent and body.consent != header.consent:
            return Turned("token-invalid", "the token is bound to another consent")
        return body.node if header.member is None else self._hidden(header.member, body)

    def _serves_others(self, node: NodeId) -> bool:
        """Tell whether other cities may name it: a broker or directory."""
        if node in (self._node, self._authority()):
            return True
        found = self._peers.find(node)
        return found is not None and not {Role.BROKER, Role.DIRECTORY}.isdisjoint(
            found[0].membership.roles
        )

    def _hidden(self, member: str, token: TokenBody) -> NodeId | Turned:
        """Return who answers under a member key; the token's guess tells nothing."""
        if not token.consent:
            return Turned("token-invalid", "a hidden read needs its consent's token")
        if self._member_behind is None:
            return token.node
        found = self._member_behind(member)
        return found or _Unclear("token-invalid", "nobody has this member key")

    def _open(self, token: str) -> TokenBody | Turned:
        now, name = self._now_ms() // 1000, digest_of(token.encode("utf-8"))
        known = self._tokens.get(name)
        if known is None:
            try:
                known = open_token(token, self.city, self._opening, now)
            except CannotOpen as error:
                return _Unclear("token-invalid", error.slug)
            except MachikuraError as error:
                return Turned("token-invalid", error.slug)
            self._tap(known.encode())
            self._tokens[name] = known
            if len(self._tokens) > self._limits.tokens_cached:
                self._tokens.popitem(last=False)
        return known if known.exp > now else Turned("token-invalid", "expired")

    async def _send(
        self, envelope: Envelope, found: tuple[Peer, Carrier], to: str
    ) -> bytes | Turned:
        peer, link = found
        line = self._line(envelope, to, "forward", peer.node)
        carried = envelope.with_line(line).pack()
        deadline_ms = self._patience(envelope)
        silent = "the holder" if to == "member" else str(peer.node)
        party = self._party(peer)
        if not self._going.take(party):
            retry_ms = self._limits.retry_ms
            return Turned("overloaded", f"{silent} is busy", retry_ms, elsewhere=True)
        try:
            answer = await link.request(carried, deadline_ms=deadline_ms)
        except DeadlinePassed:
            return Turned("timeout", f"{silent} was silent")
        except LinkLost as lost:
            detail = f"the link to {silent} was lost"
            return Turned(
                "peer-unreachable",
                detail,
                elsewhere=True,
                silent=lost.reason == "silent",
            )
        except LinkProblem as problem:
            detail, retry_after_ms = f"link to {silent}", problem.retry_after_ms
            busy = problem.slug == "overloaded"
            return Turned(_known(problem.slug), detail, retry_after_ms, elsewhere=busy)
        finally:
            self._going.give_back(party)
        if to == "member":
            answer = self._unnamed(envelope, answer)
        else:
            AnswerEnvelope.unpack(answer, self._limits.max_envelope_bytes)
        return prepend_hop(answer, line)

    def _patience(self, envelope: Envelope) -> int:
        """Return until when we wait: the further from the asker, the less long."""
        deadline_ms, limits = envelope.header.deadline_ms, self._limits
        left_ms = max(0, deadline_ms - self._now_ms())
        step = min(limits.way_back_ms, left_ms // 16)
        return deadline_ms - step * (hop.count(envelope.hops) + 1)

    def _unnamed(self, envelope: Envelope, answer: bytes) -> bytes:
        """Replace a member's unsealed problem by one of ours with the same code."""
        parts = AnswerEnvelope.unpack(answer, self._limits.max_envelope_bytes)
        if parts.hops:
            raise Malformed("a member cannot have carried an exchange")
        if parts.type is not AnswerType.PROBLEM:
            return answer
        code = _known(parts.payload[:64].decode("ascii", "replace"))
        return self._problem(envelope, ProblemBody(code=code), b"")

    def _line(
        self, envelope: Envelope, to: str, decision: str, next_node: NodeId | None
    ) -> bytes:
        """Return our hop record for this envelope, which we shall have to prove."""
        record = relay.hop_record(
            envelope,
            by=self._node,
            goes_to=to,
            now_ms=self._now_ms(),
            decision=decision,
        )
        line = hop.line(record)
        member = next_node if to == hop.MEMBER else None
        self._noted(line, record.at_ms, envelope.header.sender, member)
        return line

    def _refuse(self, envelope: Envelope, turned: Turned) -> bytes:
        body = ProblemBody(
            code=turned.code,
            detail=turned.detail[:512],
            retry_after_ms=turned.retry_after_ms,
        )
        # In a loop we stand in the chain already, and nobody may stand there twice.
        stands = f'"by":"{self._node}"'.encode() in envelope.hops
        if stands:
            return self._problem(envelope, body, b"")
        line = self._line(envelope, envelope.header.to.city, turned.code, None)
        return self._problem(envelope, body, line)

    def _problem(self, envelope: Envelope, body: ProblemBody, hops: bytes) -> bytes:
        now = self._now_ms() // 1000
        signed = sign(
            self._signer,
            PROBLEM,
            SignedProblem(
                iss=self._node,
                aud=envelope.header.sender,
                jti=envelope.header.id,
                iat=now,
                exp=now + 3600,
                request=envelope.digest,
                problem=body,
            ),
        )
        payload = f"{signed.token}\n{self._membership()}".encode("ascii")
        return AnswerEnvelope(AnswerType.PROBLEM, hops, payload).pack()


def _known(code: str) -> str:
    """Return a code that another party wrote, if it is one."""
    return code if code in CATALOG else "internal"
