# SPDX-License-Identifier: Apache-2.0
"""A city's root key is replaced: the old and the new one sign the same statement.

    Succession.make(city, old, new, …)       # at the desk, with both keys
    succession.verify()                      # by everybody who knows the old one

The old key's signature moves whoever pinned it; the new key's shows that somebody holds
it. A succession has no end: whoever was away for years follows it. Its place in the
line is its sequence, so a stolen old root that signs another one comes too late
wherever the first has arrived.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocol.errors import BadSignature, Malformed
from protocol.ids import CityId
from protocol.model import ANYONE, Claims, Document, Seconds
from protocol.signature import MAX_TOKEN_BYTES, Received, Signed, SingleKey, sign
from protocol.suites import Signer, VerifyingKey

ROOT_SUCCESSION = "root-succession"
MAX_SUCCESSIONS = 8
"""The latest that a city tells; whoever missed more learns the root anew, by people."""


class RootSuccession(Claims):
    """The statement. `iss` and `sub` are the city.

    Attributes:
        sequence: 1 for the first succession of a city, then one more each time.
        previous: the root key that is replaced.
        key: the new one.
        until: what the old one signed *before* is accepted until then.
    """

    sub: CityId
    sequence: Annotated[int, Field(ge=1)]
    previous: dict[str, str]
    key: dict[str, str]
    until: Seconds

    def old_key(self) -> VerifyingKey:
        """Return the key that is replaced."""
        return VerifyingKey.from_jwk(self.previous)

    def new_key(self) -> VerifyingKey:
        """Return the key that takes its place."""
        return VerifyingKey.from_jwk(self.key)


class Succession(Document):
    """The statement under both signatures."""

    by_old: Annotated[str, Field(max_length=MAX_TOKEN_BYTES)]
    by_new: Annotated[str, Field(max_length=MAX_TOKEN_BYTES)]

    @classmethod
    def make(
        cls,
        city: CityId,
        old: Signer,
        new: Signer,
        *,
        sequence: int,
        until: int,
        now: int,
        identifier: str,
    ) -> Succession:
        """Sign a succession with both keys.

        Args:
            city: whose root it is.
            old: the key that is replaced.
            new: the key that takes its place.
            sequence: its place in the line.
            until: end of the overlap, seconds since 1970.
            now: seconds since 1970.
            identifier: fresh id.
        """
        claims = RootSuccession(
            iss=city,
            aud=ANYONE,
            jti=identifier,
            iat=now,
            exp=2**40,
            sub=city,
            sequence=sequence,
            previous=old.public.jwk,
            key=new.public.jwk,
            until=until,
        )
        return cls(
            by_old=sign(old, ROOT_SUCCESSION, claims).token,
            by_new=sign(new, ROOT_SUCCESSION, claims).token,
        )

    def verify(self, city: CityId) -> Signed[RootSuccession]:
        """Check both signatures over the same bytes.

        The caller MUST know the old key from elsewhere: anybody can make two keys.

        Raises:
            ProtocolViolation: any fault.
        """
        old = Received.parse(self.by_old, ROOT_SUCCESSION)
        new = Received.parse(self.by_new, ROOT_SUCCESSION)
        claimed = old.peek(RootSuccession)
        signed = old.verify(RootSuccession, SingleKey(city, claimed.old_key()))
        new.verify(RootSuccession, SingleKey(city, claimed.new_key()))
        if old.payload != new.payload:
            raise BadSignature("the two roots have signed different statements")
        if claimed.sub != city or claimed.old_key() == claimed.new_key():
            raise Malformed("a succession names a city's old root and another new one")
        return signed
