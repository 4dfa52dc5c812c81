# SPDX-License-Identifier: Apache-2.0
"""The city's authority over its members: admit, renew, remove.

Rules:
 1. Only a key whose owner proved to hold it (a self-signed join request) is registered,
    and it belongs to that node for ever (`identity.key_register`).
 2. Memberships live for days and are renewed by themselves, so a removed node is
    invalid everywhere within that life; the trust bundle tells it sooner.
 3. A removed node comes back with new keys, after its last membership has ended: else
    lifting its removal would revive the old membership.
 4. Keys are exchanged only by whoever holds the present one: a thief of a key that was
    replaced gains nothing from a membership that has not ended yet.

Stores over an explicit connection; the caller owns the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from identity.entropy import Entropy, new_id
from identity.errors import Conflict, NotAMember, NotFound
from identity.join import judge_join_request
from identity.key_register import claim, kids_of, retire
from identity.tables import city_members
from protocol.errors import Misuse, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import (
    MEMBERSHIP,
    DataClass,
    JoinRequest,
    Membership,
    Qualification,
    Role,
)
from protocol.model import ANYONE, Document, ShortText
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, Signed, SingleKey, sign
from protocol.suites import Signer, Suite, VerifyingKey

_DAY_S = 86_400


class Allowance(Document):
    """What the city grants a node.

    Attributes:
        roles: what it may do; a join request may ask for these at most.
        qualifications: attested, each with its end.
        data_classes: what it may handle.
    """

    roles: tuple[Role, ...]
    qualifications: tuple[Qualification, ...] = ()
    data_classes: tuple[DataClass, ...] = ()


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


class _Grant(Document):
    """What every membership of a node says, until admitted or renewed anew."""

    title: dict[str, ShortText]
    key: dict[str, str]
    sealing: PublicSealingKey
    roles: tuple[Role, ...]
    allowance: Allowance


class Authority:
    """A city's operating key and register of members. Lives at the city's broker."""

    def __init__(
        self,
        *,
        city: CityId,
        operating: Signer,
        entropy: Entropy,
        membership_s: int = 3 * _DAY_S,
        skew_s: int = 10,
        suites: frozenset[Suite] = frozenset(Suite),
    ) -> None:
        """Take the keys and settings.

        Args:
            city: the city.
            operating: its operating key.
            entropy: source of random bytes.
            membership_s: life of a membership, in seconds.
            skew_s: how far two clocks may differ.
            suites: suites of keys that are admitted.
        """
        self._city = city
        self._operating = operating
        self._entropy = entropy
        self._membership_s = membership_s
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
        `request` brings other keys, roles or titles; else the last one is returned.

        Args:
            connection: transaction of the caller.
            member: the verified membership under which the node asks.
            now: seconds since 1970.
            request: a join request where keys or roles change.

        Raises:
            NotAMember: not admitted, or removed.
            ProtocolViolation, Conflict, Misuse: as for `admit`.
        """
        row = self._row(connection, member.sub)
        if row is None or row.removed is not None:
            raise NotAMember(f"{member.sub} is not a member")
        grant = _Grant.decode(row.grant)
        if request is not None:
            claims = self._judged(request, now)
            key = VerifyingKey.from_jwk(claims.key)
            if claims.sub != member.sub:
                raise WrongAudience("a node renews its own membership only")
            # The same request again, after a lost answer, is harmless.
            if row.kid not in (member.verifying_key().kid, key.kid):
                raise Conflict("only the holder of the present key may replace it")
            grant = self._registered(connection, claims, grant.allowance, now)
        elif row.ends - now > self._membership_s // 2 and self._signed_now(row):
            return self._stored(row)
        return self._issue(connection, member.sub, grant, now, row.admitted)

    def membership_of(
        self, connection: Connection, node: NodeId, *, now: int
    ) -> Signed[Membership]:
        """Return a member's newest membership, for whoever asks who it is.

        Raises:
            NotAMember: not admitted, removed, silent for longer than its membership,
                or not heard of since the operating key changed (see `reissue`).
        """
        row = self._row(connection, node)
        gone = row is None or row.removed is not None or row.ends <= now
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
            if row.removed is None and row.ends > now and not self._signed_now(row)
        ]
        for row in stale:
            grant = _Grant.decode(row.grant)
            self._issue(connection, NodeId(row.node), grant, now, row.admitted)
        return len(stale)

    def remove(self, connection: Connection, node: NodeId, *, now: int) -> None:
        """Remove a node; it gets no further membership, and its keys are retired.

        Raises:
            NotFound: no such member.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None:
            raise NotFound(f"{node} is not a member")
        of_node = city_members.c.node == node
        connection.execute(update(city_members).where(of_node).values(removed=now))
        retire(connection, node, now=now)

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
    ) -> _Grant:
        beyond = set(claims.roles) - set(allowance.roles)
        if beyond:
            names = ", ".join(sorted(beyond))
            raise Misuse(f"asks for roles that the city does not allow: {names}")
        kids = kids_of(VerifyingKey.from_jwk(claims.key), claims.sealing)
        claim(connection, claims.sub, kids)
        retire(connection, claims.sub, now=now, keep=kids)
        return _Grant(
            title=claims.title,
            key=claims.key,
            sealing=claims.sealing,
            roles=claims.roles,
            allowance=allowance,
        )

    def _issue(
        self,
        connection: Connection,
        node: NodeId,
        grant: _Grant,
        now: int,
        admitted: int,
    ) -> Signed[Membership]:
        claims = Membership(
            iss=self._city,
            aud=ANYONE,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=now + self._membership_s,
            sub=node,
            title=grant.title,
            key=grant.key,
            sealing=grant.sealing,
            roles=grant.roles,
            qualifications=grant.allowance.qualifications,
            data_classes=grant.allowance.data_classes,
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
