# SPDX-License-Identifier: Apache-2.0
"""One-time codes by which a resident links a holder to the home node.

The resident asks for a code for one holder in the portal and shows it there. The holder
redeems it at the home node and gets its handle and a location grant. Rules:
 1. 60 random bits, good for minutes, once.
 2. The holder is part of what is stored (a keyed hash of code and holder): a code in
    another holder's hands is simply wrong. A stolen database yields no code.
 3. A holder can try so often per hour; the attempt counts before it is judged, so a
    wrong code is a value (`Refusal`) and not an exception.
"""

from __future__ import annotations

import unicodedata

from sqlalchemy import Connection, delete, func, insert, select

from identity.entropy import Entropy, new_id
from identity.errors import Conflict
from identity.residents import Residents
from identity.tables import link_codes
from identity.throttle import Limit, Throttle
from protocol.box import blind_index
from protocol.ids import NodeId
from protocol.location import LOCATION_GRANT, LinkGrant, LocationGrant
from protocol.membership import Credentials
from protocol.problem import Refusal
from protocol.signature import sign
from protocol.suites import Signer

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U
_LOOKALIKES = str.maketrans("ILO", "110", " -\t")
_CHARACTERS = 12
_GROUP = 4
_DAY_S = 86_400
MAX_OPEN_CODES = 8


class Linking:
    """Issues and redeems link codes at a home node."""

    def __init__(
        self,
        *,
        node: NodeId,
        signer: Signer,
        residents: Residents,
        throttle: Throttle,
        index: bytes,
        entropy: Entropy,
        code_life_s: int = 600,
        grant_days: int = 400,
        attempts: Limit | None = None,
    ) -> None:
        """Take the parts.

        Args:
            node: this home node.
            signer: its key; signs location grants.
            residents: handles, locators, links.
            throttle: counters.
            index: 32 bytes for blind indexes.
            entropy: source of random bytes.
            code_life_s: life of a code, in seconds.
            grant_days: life of a location grant.
            attempts: how often one holder may try; None for 20 an hour.
        """
        self._node = node
        self._signer = signer
        self._residents = residents
        self._throttle = throttle
        self._index = index
        self._entropy = entropy
        self._code_life_s = code_life_s
        self._grant_days = grant_days
        self._attempts = attempts or Limit(20, 3600)

    def issue(
        self, connection: Connection, account: str, holder: NodeId, *, now: int
    ) -> str:
        """Return a code for one holder, such as `7K3M-Q0XV-9TBD`.

        Raises:
            Conflict: too many codes of this account are open.
        """
        connection.execute(delete(link_codes).where(link_codes.c.ends <= now))
        query = select(func.count()).where(link_codes.c.account == account)
        if connection.execute(query).scalar_one() >= MAX_OPEN_CODES:
            raise Conflict("too many codes are open; wait until some have ended")
        code = self._draw()
        connection.execute(
            insert(link_codes).values(
                code_index=self._code_index(code, holder),
                account=account,
                ends=now + self._code_life_s,
            )
        )
        return "-".join(code[i : i + _GROUP] for i in range(0, _CHARACTERS, _GROUP))

    def redeem(
        self,
        connection: Connection,
        code: str,
        holder: NodeId,
        *,
        now: int,
        credentials: Credentials | None = None,
    ) -> LinkGrant | Refusal:
        """Link the resident who showed the code.

        Args:
            connection: transaction of the caller, to be committed whatever comes out.
            code: as typed at the holder.
            holder: the proven sender.
            now: seconds since 1970.
            credentials: this home node's, so that directories can verify the grant.
        """
        wait_s = self._throttle.take(
            connection, "link-code", holder, self._attempts, now=now
        )
        if wait_s:
            return Refusal("rate-limited", retry_after_ms=wait_s * 1000)
        name = self._code_index(_normal(code), holder)
        found = connection.execute(
            select(link_codes).where(link_codes.c.code_index == name)
        ).one_or_none()
        # Deleting is what makes it single-use: of two at the same moment one finds it.
        used = connection.execute(
            delete(link_codes).where(link_codes.c.code_index == name)
        )
        if found is None or used.rowcount != 1 or found.ends <= now:
            return Refusal("link-code-wrong")
        account: str = found.account
        self._throttle.clear(connection, "link-code", holder)
        link = self._residents.link(connection, account, holder, now=now)
        locator = self._residents.locator_in(connection, account, holder.city)
        return LinkGrant(
            home=self._node,
            handle=link.handle,
            grant=self.grant(holder, locator, now=now),
            credentials=credentials,
        )

    def grant(self, holder: NodeId, locator: str, *, now: int) -> str:
        """Return a fresh location grant for a linked holder."""
        claims = LocationGrant(
            iss=self._node,
            aud=holder.city,
            jti=new_id(now, self._entropy),
            iat=now,
            exp=now + self._grant_days * _DAY_S,
            holder=holder,
            locator=locator,
        )
        return sign(self._signer, LOCATION_GRANT, claims).token

    def _draw(self) -> str:
        # 32 divides 256: every character is equally likely.
        return "".join(_ALPHABET[byte % 32] for byte in self._entropy(_CHARACTERS))

    def _code_index(self, code: str, holder: NodeId) -> bytes:
        return blind_index(self._index, "link-code", f"{holder}\0{code}")


def _normal(code: str) -> str:
    # A Japanese keyboard may send full-width letters.
    return unicodedata.normalize("NFKC", code).upper().translate(_LOOKALIKES)
