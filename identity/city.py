# SPDX-License-Identifier: Apache-2.0
"""The city's authority over its members: admit, renew, remove.

Rules:
 1. Only a key whose owner proved to hold it (a self-signed join request) is registered,
    and it belongs to that node for ever (`identity.key_register`).
 2. Memberships live for days and are renewed by themselves, so a removed node is
    invalid everywhere within that life; the trust bundle tells it sooner.
 3. A removed node comes back with new keys, after its last membership has ended: else
    lifting its removal would revive the old membership.
 4. A change of keys is signed by the present key and the new one
    (`identity.key_changes`). What the old key signed in its time stays valid for the
    overlap; then, while a membership still names it, the city tells it as revoked.
 5. The keys of a removed node, and keys that their owner reports as stolen, are told as
    revoked from that moment.

Stores over an explicit connection; the caller owns the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from identity.entropy import Entropy, new_id
from identity.errors import Conflict, NotAMember, NotFound
from identity.join import judge_join_request
from identity.key_changes import Allowance, Grant, judge_key_change, wanted_key
from identity.key_register import claim, condemn, condemned, kids_of, retire
from identity.tables import city_members
from protocol.errors import BadSignature, Misuse, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import MEMBERSHIP, EarlierKey, JoinRequest, Membership
from protocol.model import ANYONE
from protocol.signature import Received, Signed, SingleKey, sign
from protocol.suites import Signer, Suite, VerifyingKey

_DAY_S = 86_400

__all__ = ["Allowance", "Authority", "Member"]


@dataclass(frozen=True)
class Member:
    """A node in the city's register.

    Attributes:
        node: which.
        kid: its signing key's name.
        ends: end of its newest membership, seconds since 1970.
        admitted: when it was admitted last.
        removed: when it was removed, None for a member.
    """

    node: NodeId
    kid: str
    ends: int
    admitted: int
    removed: int | None


class Authority:
    """A city's operating key and register of members. Lives at the city's broker."""

    def __init__(
        self,
        *,
        city: CityId,
        operating: Signer,
        entropy: Entropy,
        membership_s: int = 3 * _DAY_S,
        overlap_s: int | None = None,
        skew_s: int = 10,
        suites: frozenset[Suite] = frozenset(Suite),
    ) -> None:
        """Take the keys and settings.

        Args:
            city: the city.
            operating: its operating key.
            entropy: source of random bytes.
            membership_s: life of a membership, in seconds.
            overlap_s: for how long a replaced key's documents stay valid, in seconds;
                None for a day more than a membership lives.
            skew_s: how far two clocks may differ.
            suites: suites of keys that are admitted.
        """
        self._city = city
        self._operating = operating
        self._entropy = entropy
        self._membership_s = membership_s
        self._overlap_s = membership_s + _DAY_S if overlap_s is None else overlap_s
        self._skew_s = skew_s
        self._suites = suites

    def admit(
        self,
        connection: Connection,
        request: str,
        allowance: Allowance,
        *,
        now: int,
    ) -> Signed[Membership]:
        """Admit a node, or a member anew with other keys or another allowance.

        Args:
            connection: transaction of the caller.
            request: the node's join request (JWS).
            allowance: what the city grants it.
            now: seconds since 1970.

        Raises:
            ProtocolViolation: a faulty request, bad key, or one for another city.
            Conflict: a key is another node's or retired, or the node was removed and
                its last membership has not ended.
            Misuse: it asks for a role that it is not allowed.
        """
        claims = self._judged(request, now)
        row = self._row(connection, claims.sub)
        if row is not None and row.removed is not None and row.ends > now:
            raise Conflict("the removed node's last membership has not ended yet")
        grant = self._registered(connection, claims, allowance, now)
        if row is not None:
            # Admitted in person with other keys: the old ones are lost or stolen.
            before = Grant.decode(row.grant)
            same = before.key == grant.key
            if same:
                kept = {"since": before.since, "earlier": before.in_overlap(now)}
                grant = grant.model_copy(update=kept)
            self._condemn(connection, row, now, keep=grant)
        return self._issue(connection, claims.sub, grant, now, now)

    def renew(
        self,
        connection: Connection,
        member: Membership,
        *,
        now: int,
        request: str | None = None,
    ) -> Signed[Membership]:
        """Return the membership that a node should hold now.

        A new one is issued when less than half of the last one's life is left, or when
        `request` brings other roles or titles; else the last one is returned.

        Args:
            connection: transaction of the caller.
            member: the verified membership under which the node asks.
            now: seconds since 1970.
            request: a join request where roles or titles change.

        Raises:
            NotAMember: not admitted, or removed.
            BadSignature: the request brings another key; see `change`.
            ProtocolViolation, Conflict, Misuse: as for `admit`.
        """
        row = self._row(connection, member.sub)
        if row is None or row.removed is not None or row.revoked is not None:
            raise NotAMember(f"{member.sub} is not a member")
        grant = Grant.decode(row.grant)
        if request is not None:
            claims = self._judged(request, now)
            if claims.sub != member.sub:
                raise WrongAudience("a node renews its own membership only")
            if VerifyingKey.from_jwk(claims.key).kid != row.kid:
                raise BadSignature("a change of keys is signed by the present key too")
            before = grant
            grant = self._registered(connection, claims, grant.allowance, now)
            kept = {"since": before.since, "earlier": before.in_overlap(now)}
            grant = grant.model_copy(update=kept)
        elif row.ends - now > self._membership_s // 2 and self._signed_now(row):
            return self._stored(row)
        return self._issue(connection, member.sub, grant, now, row.admitted)

    def change(
        self, connection: Connection, member: Membership, change: str, *, now: int
    ) -> Signed[Membership]:
        """Replace a node's keys; the old ones are accepted for the overlap.

        The same change again, after a lost answer, returns the same membership.

        Args:
            connection: transaction of the caller.
            member: the verified membership under which the node asks.
            change: signed by the present key, around a request by the new one.
            now: seconds since 1970.

        Raises:
            NotAMember: not admitted, or removed.
            UnknownKey, BadSignature: signed by one key only, or by an earlier one.
            ProtocolViolation, Conflict, Misuse: as for `admit`.
        """
        row = self._row(connection, member.sub)
        if row is None or row.removed is not None or row.revoked is not None:
            raise NotAMember(f"{member.sub} is not a member")
        grant = Grant.decode(row.grant)
        if wanted_key(change).kid == row.kid:
            if self._signed_now(row):
                return self._stored(row)
            return self._issue(connection, member.sub, grant, now, row.admitted)
        present = VerifyingKey.from_jwk(grant.key)
        wish = judge_key_change(
            change, member.sub, present, self._city, now, self._skew_s
        )
        claims = self._judged(wish.request, now)
        if claims.sub != member.sub:
            raise WrongAudience("a node changes its own keys only")
        earlier = grant.after_change(now, self._overlap_s)
        condemn(connection, row.kid, dead=now + self._overlap_s, ends=row.ends)
        fresh = self._registered(connection, claims, grant.allowance, now, earlier)
        # Later than the one it replaces, also within a second: the newer one counts.
        before = Received.parse(row.membership, MEMBERSHIP).peek(Membership)
        since = max(now, before.iat + 1)
        return self._issue(connection, member.sub, fresh, now, row.admitted, since)

    def revoke_keys(self, connection: Connection, node: NodeId, *, now: int) -> int:
        """Revoke a member's keys at once: they were stolen or lost.

        The node stays in the register, without a membership, and is admitted anew with
        a join request by other keys.

        Returns:
            Until when others, whom the word has not reached, may still accept them.

        Raises:
            NotFound: no such member.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None:
            raise NotFound(f"{node} is not a member")
        self._condemn(connection, row, now)
        retire(connection, node, now=now)
        grant = Grant.decode(row.grant).model_copy(update={"earlier": ()})
        of_node = city_members.c.node == node
        connection.execute(
            update(city_members)
            .where(of_node)
            .values(grant=grant.encode(), revoked=now)
        )
        return int(row.ends)

    def membership_of(
        self, connection: Connection, node: NodeId, *, now: int
    ) -> Signed[Membership]:
        """Return a member's newest membership, for whoever asks who it is.

        Raises:
            NotAMember: not admitted, removed, silent for longer than its membership,
                or not heard of since the operating key changed (see `reissue`).
        """
        row = self._row(connection, node)
        gone = (
            row is None
            or row.removed is not None
            or row.revoked is not None
            or row.ends <= now
        )
        if row is None or gone or not self._signed_now(row):
            raise NotAMember(f"{node} is not a member")
        return self._stored(row)

    def reissue(self, connection: Connection, *, now: int) -> int:
        """Sign all memberships anew after the operating key changed.

        Returns:
            How many were signed.
        """
        stale = [
            row
            for row in connection.execute(select(city_members)).all()
            if row.removed is None
            and row.revoked is None
            and row.ends > now
            and not self._signed_now(row)
        ]
        for row in stale:
            grant = Grant.decode(row.grant)
            self._issue(connection, NodeId(row.node), grant, now, row.admitted)
        return len(stale)

    def remove(self, connection: Connection, node: NodeId, *, now: int) -> int:
        """Remove a node; it gets no further membership, and its keys are revoked.

        Returns:
            Until when others, whom the word has not reached, may still accept it.

        Raises:
            NotFound: no such member.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None:
            raise NotFound(f"{node} is not a member")
        of_node = city_members.c.node == node
        connection.execute(update(city_members).where(of_node).values(removed=now))
        self._condemn(connection, row, now)
        retire(connection, node, now=now)
        return int(row.ends)

    def members(self, connection: Connection) -> tuple[Member, ...]:
        """Return the whole register, removed nodes included, by node id."""
        rows = connection.execute(select(city_members).order_by(city_members.c.node))
        return tuple(
            Member(NodeId(r.node), r.kid, r.ends, r.admitted, r.removed) for r in rows
        )

    def removed(self, connection: Connection, *, now: int) -> tuple[NodeId, ...]:
        """Return the removed nodes whose last membership would still verify."""
        return tuple(
            member.node
            for member in self.members(connection)
            if member.removed is not None and member.ends > now - self._skew_s
        )

    def revoked(self, connection: Connection, *, now: int) -> tuple[str, ...]:
        """Return the names of keys to be told as revoked, the latest first."""
        return condemned(connection, now=now, skew_s=self._skew_s)

    def _condemn(
        self,
        connection: Connection,
        row: Row[Any],
        now: int,
        *,
        keep: Grant | None = None,
    ) -> None:
        """Revoke a node's present key and those in overlap, but for those kept."""
        grant = Grant.decode(row.grant)
        kept = [] if keep is None else [keep.key, *(k.key for k in keep.earlier)]
        for jwk in (grant.key, *(key.key for key in grant.earlier)):
            if jwk not in kept:
                kid = VerifyingKey.from_jwk(jwk).kid
                condemn(connection, kid, dead=now, ends=row.ends)

    def _judged(self, token: str, now: int) -> JoinRequest:
        operating = self._operating.public
        return judge_join_request(
            token, self._city, operating, self._suites, now, self._skew_s
        )

    def _registered(
        self,
        connection: Connection,
        claims: JoinRequest,
        allowance: Allowance,
        now: int,
        earlier: tuple[EarlierKey, ...] = (),
    ) -> Grant:
        beyond = set(claims.roles) - set(allowance.roles)
        if beyond:
            names = ", ".join(sorted(beyond))
            raise Misuse(f"asks for roles that the city does not allow: {names}")
        kids = kids_of(VerifyingKey.from_jwk(claims.key), claims.sealing)
        claim(connection, claims.sub, kids)
        retire(connection, claims.sub, now=now, keep=kids)
        return Grant(
            title=claims.title,
            key=claims.key,
            sealing=claims.sealing,
            roles=claims.roles,
            allowance=allowance,
            since=now,
            earlier=earlier,
        )

    def _issue(
        self,
        connection: Connection,
        node: NodeId,
        grant: Grant,
        now: int,
        admitted: int,
        issued: int | None = None,
    ) -> Signed[Membership]:
        claims = Membership(
            iss=self._city,
            aud=ANYONE,
            jti=new_id(now, self._entropy),
            iat=now if issued is None else issued,
            exp=now + self._membership_s,
            sub=node,
            title=grant.title,
            key=grant.key,
            sealing=grant.sealing,
            roles=grant.roles,
            qualifications=grant.allowance.qualifications,
            data_classes=grant.allowance.data_classes,
            since=grant.since,
            earlier=grant.in_overlap(now) or None,
        )
        signed = sign(self._operating, MEMBERSHIP, claims)
        connection.execute(delete(city_members).where(city_members.c.node == node))
        connection.execute(
            insert(city_members).values(
                node=node,
                kid=claims.verifying_key().kid,
                grant=grant.encode(),
                membership=signed.token,
                ends=claims.exp,
                admitted=admitted,
            )
        )
        return signed

    def _row(self, connection: Connection, node: NodeId) -> Row[Any] | None:
        query = select(city_members).where(city_members.c.node == node)
        return connection.execute(query).one_or_none()

    def _signed_now(self, row: Row[Any]) -> bool:
        kid = Received.parse(row.membership, MEMBERSHIP).kid
        return kid == self._operating.public.kid

    def _stored(self, row: Row[Any]) -> Signed[Membership]:
        own = SingleKey(self._city, self._operating.public)
        return Received.parse(row.membership, MEMBERSHIP).verify(Membership, own)
