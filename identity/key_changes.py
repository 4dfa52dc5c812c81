# SPDX-License-Identifier: Apache-2.0
"""A node changes its keys: asked for with both keys, granted with an overlap.

    change = change_keys(node, present, new_key, …)     # at the node
    claims = judge_key_change(token, node, keys, …)     # at its city
    grant = grant.with_keys(claims, …)

Rules:
 1. The present key signs the change, the new one the join request inside. A thief of
    one of them alone gains nothing.
 2. For the overlap what the old key signed *in its time* stays valid, and what was
    sealed to the old key is opened; then the old private keys are destroyed.
 3. A key in overlap speaks for documents of its time only: it changes no keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from identity.entropy import Entropy, new_id
from identity.errors import Conflict
from identity.join import request_to_join
from protocol.errors import Expired, UnknownKey, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import (
    KEY_CHANGE,
    MAX_EARLIER,
    DataClass,
    EarlierKey,
    JoinRequest,
    KeyChange,
    Membership,
    Qualification,
    Role,
)
from protocol.model import Claims, Document, ShortText
from protocol.sealed import PublicSealingKey, SealingKey
from protocol.signature import Owner, Received, Signed, SingleKey, sign
from protocol.suites import Signer, VerifyingKey, thumbprint

_LIFE_S = 7 * 86_400


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


class Grant(Document):
    """What every membership of a node says, until admitted or renewed anew.

    Attributes:
        since: when the present key was certified first.
        earlier: keys in overlap, the latest first.
    """

    title: dict[str, ShortText]
    key: dict[str, str]
    sealing: PublicSealingKey
    roles: tuple[Role, ...]
    allowance: Allowance
    since: int = 0
    earlier: tuple[EarlierKey, ...] = ()

    def in_overlap(self, now: int) -> tuple[EarlierKey, ...]:
        """Return the earlier keys whose overlap is not over."""
        return tuple(key for key in self.earlier if key.until > now)

    def after_change(self, now: int, overlap_s: int) -> tuple[EarlierKey, ...]:
        """Return the earlier keys once the present one is replaced.

        Raises:
            Conflict: so many keys are in overlap already that one more does not fit.
        """
        kept = self.in_overlap(now)
        if len(kept) >= MAX_EARLIER:
            raise Conflict("too many keys are in overlap; wait until one has ended")
        present = EarlierKey(
            key=self.key, since=self.since, replaced=now, until=now + overlap_s
        )
        return (present, *kept)


@dataclass(frozen=True)
class NewKeys:
    """The keys that a node brings: private signing half, public sealing half."""

    signer: Signer
    sealing: SealingKey


def change_keys(
    node: NodeId,
    present: Signer,
    new: NewKeys,
    *,
    title: Mapping[str, str],
    roles: tuple[Role, ...],
    now: int,
    entropy: Entropy,
) -> Signed[KeyChange]:
    """Write a change of keys, good for a week.

    Args:
        node: who changes.
        present: its present signing key.
        new: the keys that it brings.
        title: its name by language.
        roles: what it does.
        now: seconds since 1970.
        entropy: source of random bytes.
    """
    request = request_to_join(
        node,
        new.signer,
        new.sealing,
        title=title,
        roles=roles,
        now=now,
        entropy=entropy,
    )
    claims = KeyChange(
        iss=node,
        aud=node.city,
        jti=new_id(now, entropy),
        iat=now,
        exp=now + _LIFE_S,
        sub=node,
        request=request.token,
    )
    return sign(present, KEY_CHANGE, claims)


def judge_key_change(
    token: str, node: NodeId, present: VerifyingKey, city: CityId, now: int, skew_s: int
) -> KeyChange:
    """Check that the present key wants the change; the request is judged like any.

    Args:
        token: the JWS.
        node: the proven sender, who changes its own keys only.
        present: its key as registered.
        city: who is asked.
        now: seconds since 1970.
        skew_s: how far two clocks may differ.

    Raises:
        ProtocolViolation: any fault.
    """
    claims = Received.parse(token, KEY_CHANGE).verify(
        KeyChange, SingleKey(node, present)
    )
    claims.body.check_times(now, skew_s)
    if claims.body.sub != node or claims.body.aud != city:
        raise WrongAudience("a node changes its own keys, at its own city")
    return claims.body


def wanted_key(change: str) -> VerifyingKey:
    """Return the key that a change brings, unverified: to see whether it is done."""
    claims = Received.parse(change, KEY_CHANGE).peek(KeyChange)
    return VerifyingKey.from_jwk(JoinRequest.verify(claims.request).body.key)


@dataclass(frozen=True)
class KeysOf:
    """The keys that speak for a member: the present one, and those in overlap.

    Attributes:
        member: its verified membership.
        now: seconds since 1970.
    """

    member: Membership
    now: int

    @property
    def present(self) -> str:
        """The name of the present key."""
        return thumbprint(self.member.key)

    def owner_of(self, kid: str) -> Owner | None:
        """Return the member if the key is its present one or in overlap."""
        if kid == self.present:
            return Owner(self.member.sub, self.member.verifying_key())
        earlier = self.earlier(kid)
        if earlier is None:
            return None
        return Owner(self.member.sub, earlier.verifying_key())

    def earlier(self, kid: str) -> EarlierKey | None:
        """Return the key of that name if it is in overlap now."""
        for one in self.member.earlier or ():
            if one.until > self.now and thumbprint(one.key) == kid:
                return one
        return None

    def check_time(self, kid: str, claims: Claims, skew_s: int) -> None:
        """Hold a document by an earlier key to that key's time.

        Raises:
            UnknownKey: the key is neither the present one nor in overlap.
            Expired: it was signed, as it says itself, when the key was not in use.
        """
        if kid == self.present:
            return
        key = self.earlier(kid)
        if key is None:
            raise UnknownKey("no one we trust vouches for this key")
        if not key.since - skew_s <= claims.iat <= key.replaced + skew_s:
            raise Expired("signed by an earlier key outside of that key's time")
