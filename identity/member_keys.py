# SPDX-License-Identifier: Apache-2.0
"""Nameless member keys: the city certifies "a member of this city" for hidden reads.

A holder that must stay hidden (requirement 7) answers under a key made for one consent.
The certificate names the city and the consent, not the holder; who it is the city's
brokers keep sealed (`identity.key_owners`). Keys are fresh each time: a known key
would name its node, or link two consents.
"""

from __future__ import annotations

from sqlalchemy import Connection

from identity.entropy import Entropy, new_id
from identity.key_owners import MemberKeyOwners
from identity.key_register import claim_nameless, kids_of
from protocol.errors import Misuse, UnsupportedSuite
from protocol.ids import CityId
from protocol.membership import MEMBER_KEY, MemberKey, Membership
from protocol.sealed import PublicSealingKey
from protocol.signature import Signed, sign
from protocol.suites import Signer, Suite, VerifyingKey


class MemberKeys:
    """Certifies nameless keys with the city's operating key."""

    def __init__(
        self,
        *,
        city: CityId,
        operating: Signer,
        owners: MemberKeyOwners,
        entropy: Entropy,
        life_s: int = 86_400,
        suites: frozenset[Suite] = frozenset(Suite),
    ) -> None:
        """Take the keys and settings.

        Args:
            city: the city.
            operating: its operating key.
            owners: keeps who stands behind a key.
            entropy: source of random bytes.
            life_s: longest life of a certificate; a removed holder ends with it.
            suites: suites of keys that are certified.
        """
        self._city = city
        self._operating = operating
        self._owners = owners
        self._entropy = entropy
        self._life_s = life_s
        self._suites = suites

    def certify(
        self,
        connection: Connection,
        member: Membership,
        *,
        consent: str,
        key: VerifyingKey,
        sealing: PublicSealingKey,
        until: int,
        now: int,
    ) -> Signed[MemberKey]:
        """Certify a holder's fresh keys for one consent.

        Args:
            connection: transaction of the caller.
            member: newest membership of who asks (`Authority.membership_of`).
            consent: id of the one consent that the keys are for.
            key: fresh verifying key.
            sealing: fresh sealing key.
            until: wished end, seconds since 1970; shortened to the city's limit.
            now: seconds since 1970.

        Raises:
            Conflict: a key is known already.
            BadKey, UnsupportedSuite: a key that must not be used.
            Misuse: it would end before it starts, or for a member of another city.
        """
        ends = min(until, now + self._life_s)
        if ends <= now or member.iss != self._city:
            raise Misuse("this city certifies its own members' keys, for the future")
        if not {key.suite, sealing.suite} <= self._suites:
            raise UnsupportedSuite("this city does not certify keys of that suite")
        kids = kids_of(key, sealing)
        claim_nameless(connection, kids)
        self._owners.add(connection, kids, member.sub, ends=ends, now=now)
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
