# SPDX-License-Identifier: Apache-2.0
"""Sessions: that a resident has signed in, how, and until when.

The token is 256 random bits that only the resident's device gets; stored is its
SHA-256, so a stolen database opens no session. A session ends with its time, by signing
out, and at once when the account is suspended or the password changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select

from identity.accounts import AccountState
from identity.entropy import Entropy
from identity.errors import EvidenceTooLow, Unauthenticated
from identity.tables import accounts, sessions
from protocol.canonical import b64url
from protocol.consent import Evidence

PASSWORD = "password"
BOTH = "password+totp"
# DESIGN knows no level for one factor alone: enough to look and to withdraw.
_LEVELS = {PASSWORD: 0, BOTH: 2}


@dataclass(frozen=True)
class Session:
    """A resident who has signed in.

    Attributes:
        account: whose.
        level: 2 after both factors, 0 after the password alone.
        method: how, such as `password+totp`.
        ends: seconds since 1970.
    """

    account: str
    level: int
    method: str
    ends: int

    def evidence(self) -> Evidence:
        """Return what a consent given in this session is proven by.

        Raises:
            EvidenceTooLow: signed in with one factor only.
        """
        if self.level < 1:
            raise EvidenceTooLow("a consent needs a sign-in with both factors")
        return Evidence(level=self.level, method=self.method)


@dataclass(frozen=True)
class SignedIn:
    """A fresh session, and the token that only the resident's device gets."""

    token: str = field(repr=False)
    session: Session


class Sessions:
    """All sessions of a home node."""

    def __init__(self, *, entropy: Entropy, life_s: int = 4 * 3600) -> None:
        """Take the parts; `life_s` is the life of a session in seconds."""
        self._entropy = entropy
        self._life_s = life_s

    def open(
        self, connection: Connection, account: str, method: str, *, now: int
    ) -> SignedIn:
        """Open a session for a resident whose factors were checked.

        Args:
            connection: transaction of the caller.
            account: whose.
            method: `PASSWORD` or `BOTH`.
            now: seconds since 1970.
        """
        token = b64url(self._entropy(32))
        session = Session(account, _LEVELS[method], method, now + self._life_s)
        connection.execute(
            insert(sessions).values(
                token_hash=_hash(token),
                account=account,
                level=session.level,
                method=method,
                ends=session.ends,
            )
        )
        return SignedIn(token, session)

    def resolve(self, connection: Connection, token: str, *, now: int) -> Session:
        """Return the session of a token.

        Raises:
            Unauthenticated: none, over, or the account was suspended.
        """
        row = connection.execute(
            select(sessions, accounts.c.state)
            .join(accounts, accounts.c.id == sessions.c.account)
            .where(sessions.c.token_hash == _hash(token))
        ).one_or_none()
        if row is None or row.ends <= now or row.state != AccountState.ACTIVE:
            raise Unauthenticated("the session is unknown or has ended")
        return Session(row.account, row.level, row.method, row.ends)

    def end(self, connection: Connection, token: str) -> None:
        """End a session; one that has ended stays so."""
        by_token = sessions.c.token_hash == _hash(token)
        connection.execute(delete(sessions).where(by_token))

    def end_all(self, connection: Connection, account: str) -> None:
        """End all sessions of an account, on every device."""
        connection.execute(delete(sessions).where(sessions.c.account == account))

    def forget(self, connection: Connection, *, before: int) -> None:
        """Delete sessions that ended before `before`, seconds since 1970."""
        connection.execute(delete(sessions).where(sessions.c.ends < before))


def assisted(officer: str) -> Evidence:
    """Return the evidence of a consent given at a counter (level 1).

    Args:
        officer: who assisted, as the operators' sign-in named them.
    """
    return Evidence(level=1, method="counter", officer=officer)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
