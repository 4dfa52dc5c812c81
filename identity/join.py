# SPDX-License-Identifier: Apache-2.0
"""The join request: a node asks its city to be admitted, signed by the key it brings.

The signature proves that the node holds the key (proof of possession), so nobody can
register another's public key as its own. The same document changes keys or roles later.
"""

from __future__ import annotations

from collections.abc import Mapping

from identity.entropy import Entropy, new_id
from protocol.errors import BadKey, UnsupportedSuite, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.membership import JoinRequest, Role
from protocol.sealed import SealingKey
from protocol.signature import Signed, sign
from protocol.suites import Signer, Suite, VerifyingKey

JOIN_REQUEST = "join-request"
_LIFE_S = 30 * 86_400


def request_to_join(
    node: NodeId,
    signer: Signer,
    sealing: SealingKey,
    *,
    title: Mapping[str, str],
    roles: tuple[Role, ...],
    now: int,
    entropy: Entropy,
) -> Signed[JoinRequest]:
    """Write a join request, good for 30 days.

    Args:
        node: the id that the node asks for.
        signer: its signing key.
        sealing: the public half of its opening key.
        title: its name by language.
        roles: what it wants to do.
        now: seconds since 1970.
        entropy: source of random bytes.
    """
    claims = JoinRequest(
        iss=node,
        aud=node.city,
        jti=new_id(now, entropy),
        iat=now,
        exp=now + _LIFE_S,
        sub=node,
        title=dict(title),
        key=signer.public.jwk,
        sealing=sealing.document,
        roles=roles,
    )
    return sign(signer, JOIN_REQUEST, claims)


def judge_join_request(
    token: str,
    city: CityId,
    operating: VerifyingKey,
    suites: frozenset[Suite],
    now: int,
    skew_s: int,
) -> JoinRequest:
    """Check everything about a join request that does not need the register.

    Args:
        token: the JWS.
        city: who is asked.
        operating: the city's operating key, which is no member's.
        suites: suites of keys that the city admits.
        now: seconds since 1970.
        skew_s: how far two clocks may differ.

    Raises:
        ProtocolViolation: any fault.
    """
    claims = JoinRequest.verify(token).body
    claims.check_times(now, skew_s)
    if claims.aud != city or claims.sub.city != city:
        raise WrongAudience("the join request is for another city")
    key = VerifyingKey.from_jwk(claims.key)
    if not {key.suite, claims.sealing.suite} <= suites:
        raise UnsupportedSuite("this city does not admit keys of that suite")
    if key == operating:
        raise BadKey("the city's operating key is no member's key")
    return claims
