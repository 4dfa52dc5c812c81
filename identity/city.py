# SPDX-License-Identifier: Apache-2.0
"""The city's authority over its members: admit, renew, remove, certify nameless keys.

Rules:
 1. Only a key whose owner proved to hold it (a self-signed join request) is registered.
 2. A key belongs to one node for ever: it is never registered to another one, and the
    key of a removed node never again.
 3. Memberships live for days and are renewed by themselves, so a removed node is
    invalid everywhere within that life; the trust bundle tells it sooner.
 4. A removed node comes back with a new key, after its last membership has ended: else
    lifting its removal would revive the old membership.
 5. Which node stands behind a nameless member key is kept sealed.

Stores over an explicit connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from identity.entropy import Entropy, new_id
from identity.errors import Conflict, NotAMember, NotFound
from identity.tables import city_keys, city_member_keys, city_members
from protocol.box import NONCE_BYTES, Box
from protocol.errors import BadKey, Misuse, UnsupportedSuite, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    DataClass,
    JoinRequest,
    MemberKey,
    Membership,
    Qualification,
    Role,
)
from protocol.model import ANYONE, Document, ShortText
from protocol.route import TRUST_BUNDLE, Bundle, CityKeys
from protocol.sealed import PublicSealingKey
from protocol.signature import Signed, digest_of, sign
from protocol.suites import Signer, Suite, VerifyingKey

_DAY_S = 86_400


@dataclass(frozen=True)
class Allowance:
    """What the city grants a node.

    Attributes:
        roles: what it may do; a join request may ask for these at most.
        qualifications: attested, each with its end.
        data_classes: what it may handle.
    """

    roles: frozenset[Role]
    qualifications: tuple[Qualification, ...] = ()
    data_classes: tuple[DataClass, ...] = ()


@dataclass(frozen=True)
class Member:
    """A node in the city's register.

    Attributes:
        node: which.
        kid: its signing key's name.
        ends: end of its newest membership, seconds since 1970.
        admitted: when it was admitted.
        removed: when it was removed, None for a member.
    """

    node: NodeId
    kid: str
    ends: int
    admitted: int
    removed: int | None


class _Grant(Document):
    """What every membership of a node says, until it is admitted or renewed anew."""

    title: dict[str, ShortText]
    key: dict[str, str]
    sealing: PublicSealingKey
    roles: tuple[Role, ...]
    qualifications: tuple[Qualification, ...]
    data_classes: tuple[DataClass, ...]
    allowed: tuple[Role, ...]


class Authority:
    """A city's operating key and register. Lives at the city's broker."""

    def __init__(
        self,
        *,
        city: CityId,
        operating: Signer,
        secret: bytes,
        entropy: Entropy,
        membership_s: int = 3 * _DAY_S,
        member_key_s: int = _DAY_S,
        skew_s: int = 10,
        suites: frozenset[Suite] = frozenset(Suite),
    ) -> None:
        """Take the keys and settings.

        Args:
            city: the city.
            operating: its operating key.
            secret: 32 bytes that seal who stands behind a member key.
            entropy: source of random bytes.
            membership_s: life of a membership, in seconds.
            member_key_s: longest life of a nameless key, in seconds.
            skew_s: how far two clocks may differ.
            suites: suites of keys that are admitted.
        """
        self._city = city
        self._operating = operating
        self._box = Box(secret)
        self._entropy = entropy
        self._membership_s = membership_s
        self._member_key_s = member_key_s
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
        """Admit a node, or a member anew with another key or allowance.

        Args:
            connection: transaction of the caller.
            request: the node's join request (JWS).
            allowance: what the city grants it.
            now: seconds since 1970.

        Raises:
            ProtocolViolation: a faulty request, bad key, or one for another city.
            Conflict: the key is or was another node's, or a removed node's.
            Misuse: it asks for a role that it is not allowed.
        """
        claims = self._checked_request(request, now)
        row = self._row(connection, claims.sub)
        if row is not None and row.removed is not None:
            if row.ends > now:
                raise Conflict("the removed node's last membership has not ended yet")
            if row.kid == claims.verifying_key().kid:
                raise Conflict("a removed node comes back with a new key")
        self._register(connection, claims)
        grant = _grant(claims, allowance)
        values = {"admitted": now, "removed": None}
        return self._issue(connection, claims.sub, grant, now, values)

    def renew(
        self,
        connection: Connection,
        node: NodeId,
        *,
        now: int,
        request: str | None = None,
    ) -> Signed[Membership]:
        """Return the membership a node should hold now.

        A new one is issued when less than half of the last one's life is left, or when
        `request` brings other keys, roles or titles; else the last one is returned.

        Args:
            connection: transaction of the caller.
            node: who asks, proven by its present membership.
            now: seconds since 1970.
            request: a join request where keys or roles change.

        Raises:
            NotAMember: not admitted, or removed.
            ProtocolViolation, Conflict, Misuse: as for `admit`.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None:
            raise NotAMember(f"{node} is not a member")
        grant = _Grant.decode(row.grant)
        if request is not None:
            claims = self._checked_request(request, now)
            if claims.sub != node:
                raise WrongAudience("a node renews its own membership only")
            self._register(connection, claims)
            grant = _grant(claims, _allowance(grant))
        elif row.ends - now > self._membership_s // 2:
            return _stored(row.membership)
        return self._issue(connection, node, grant, now, {})

    def membership_of(
        self, connection: Connection, node: NodeId, *, now: int
    ) -> Signed[Membership]:
        """Return a member's newest membership, for whoever asks who it is.

        Raises:
            NotAMember: not admitted, removed, or silent for longer than its membership.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None or row.ends <= now:
            raise NotAMember(f"{node} is not a member")
        return _stored(row.membership)

    def remove(self, connection: Connection, node: NodeId, *, now: int) -> None:
        """Remove a node; it gets no further membership.

        Raises:
            NotFound: no such member.
        """
        row = self._row(connection, node)
        if row is None or row.removed is not None:
            raise NotFound(f"{node} is not a member")
        of_node = city_members.c.node == node
        connection.execute(update(city_members).where(of_node).values(removed=now))

    def members(self, connection: Connection) -> tuple[Member, ...]:
        """Return the whole register, removed nodes included, by node id."""
        rows = connection.execute(select(city_members).order_by(city_members.c.node))
        return tuple(
            Member(NodeId(r.node), r.kid, r.ends, r.admitted, r.removed) for r in rows
        )

    def removed(self, connection: Connection, *, now: int) -> tuple[NodeId, ...]:
        """Return the removed nodes whose last membership would still verify."""
        return tuple(
            m.node
            for m in self.members(connection)
            if m.removed is not None and m.ends + self._skew_s > now
        )

    def certify_member_key(
        self,
        connection: Connection,
        node: NodeId,
        *,
        consent: str,
        key: VerifyingKey,
        sealing: PublicSealingKey,
        until: int,
        now: int,
    ) -> Signed[MemberKey]:
        """Certify keys as "a member of this city", without saying which.

        Args:
            connection: transaction of the caller.
            node: who asks, proven by its membership.
            consent: id of the one consent that the keys are for.
            key: fresh verifying key.
            sealing: fresh sealing key.
            until: wished end, seconds since 1970; shortened to the city's limit.
            now: seconds since 1970.

        Raises:
            NotAMember: not a member now.
            Conflict: the key is known already: it would link two consents, or name
                the node.
            BadKey, UnsupportedSuite: a key that must not be used.
        """
        self.membership_of(connection, node, now=now)
        self._check_suites(key, sealing)
        if until <= now:
            raise Misuse("the member key would end before it starts")
        sealing_kid = digest_of(sealing.load().raw)
        for kid in (key.kid, sealing_kid):
            if self._owner(connection, kid) or self._member_key(connection, kid):
                raise Conflict("a member key must be fresh")
        ends = min(until, now + self._member_key_s)
        for kid in (key.kid, sealing_kid):
            sealed = self._box.seal(
                self._entropy(NONCE_BYTES), node.encode("ascii"), "member-key", kid
            )
            connection.execute(
                insert(city_member_keys).values(kid=kid, sealed=sealed, ends=ends)
            )
        claims = MemberKey(
            iss=self._city,
            aud=consent,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=ends,
            key=key.jwk,
            sealing=sealing,
        )
        return sign(self._operating, MEMBER_KEY, claims)

    def node_behind(self, connection: Connection, kid: str) -> NodeId | None:
        """Return who stands behind a member key, for the city's own investigations."""
        sealed = self._member_key(connection, kid)
        if sealed is None:
            return None
        return NodeId(self._box.open(sealed, "member-key", kid).decode("ascii"))

    def forget_member_keys(self, connection: Connection, *, before: int) -> int:
        """Delete what is known of member keys that ended before `before`."""
        ended = city_member_keys.c.ends < before
        return connection.execute(delete(city_member_keys).where(ended)).rowcount

    def bundle(
        self,
        connection: Connection,
        cities: tuple[CityKeys, ...],
        paths: Mapping[CityId, tuple[CityId, ...]],
        *,
        life_s: int,
        now: int,
    ) -> Signed[Bundle]:
        """Tell the members which keys this city and all others it reaches have.

        Args:
            connection: transaction of the caller.
            cities: verified keys, this city's own among them.
            paths: city to path, without the city itself.
            life_s: how long members may rely on it, in seconds.
            now: seconds since 1970.
        """
        claims = Bundle(
            iss=self._city,
            aud=self._city,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=now + life_s,
            cities=cities,
            paths=dict(paths),
            removed=self.removed(connection, now=now),
        )
        return sign(self._operating, TRUST_BUNDLE, claims)

    def _checked_request(self, token: str, now: int) -> JoinRequest:
        claims = JoinRequest.verify(token).body
        claims.check_times(now, self._skew_s)
        if claims.aud != self._city or claims.sub.city != self._city:
            raise WrongAudience("the join request is for another city")
        self._check_suites(VerifyingKey.from_jwk(claims.key), claims.sealing)
        return claims

    def _check_suites(self, key: VerifyingKey, sealing: PublicSealingKey) -> None:
        sealing.load()
        if key.suite not in self._suites or sealing.suite not in self._suites:
            raise UnsupportedSuite("this city does not admit keys of that suite")
        if key == self._operating.public:
            raise BadKey("the city's operating key is no member's key")

    def _register(self, connection: Connection, claims: JoinRequest) -> None:
        kids = (
            VerifyingKey.from_jwk(claims.key).kid,
            digest_of(claims.sealing.load().raw),
        )
        for kid in kids:
            owner = self._owner(connection, kid)
            if owner not in (None, claims.sub) or self._member_key(connection, kid):
                raise Conflict("the key is registered to another node")
            if owner is None:
                connection.execute(insert(city_keys).values(kid=kid, node=claims.sub))

    def _owner(self, connection: Connection, kid: str) -> str | None:
        query = select(city_keys.c.node).where(city_keys.c.kid == kid)
        owner: str | None = connection.execute(query).scalar_one_or_none()
        return owner

    def _member_key(self, connection: Connection, kid: str) -> bytes | None:
        query = select(city_member_keys.c.sealed).where(city_member_keys.c.kid == kid)
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
        return sealed
