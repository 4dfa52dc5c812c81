# SPDX-License-Identifier: Apache-2.0
"""Signing in with a password and a one-time code.

    attempt = sign_in.begin(c, login=…, source=…, now=…)    # in a transaction: counts
    fits = attempt.check(password)                          # outside: 0.25 s, 64 MiB
    result = sign_in.finish(c, attempt, fits, code, now=…)  # in a transaction

Rules:
 1. An attempt is counted before it is judged. A failure is a value (`Refusal`), so that
    the count is kept.
 2. Unknown login, wrong password, missing or used code, suspended account: one and the
    same refusal, after the same work.
 3. Nobody locks the owner out: attempts are limited per source, and per login and
    source. The limit per login over all sources does not count for a source from which
    the owner has signed in before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select, update

from identity.accounts import Accounts, AccountState, normal_login
from identity.passwords import verify_password
from identity.second_factor import SecondFactor
from identity.sessions import BOTH, PASSWORD, Sessions, SignedIn
from identity.tables import known_sources
from identity.throttle import Limit, Throttle
from protocol.box import blind_index
from protocol.problem import Refusal

_PER_PAIR = Limit(5, 900)
_PER_SOURCE = Limit(50, 900)
_PER_LOGIN = Limit(30, 900)
_REFUSED = Refusal("unauthenticated", "login, password or code do not fit")


@dataclass(frozen=True)
class SignInLimits:
    """How often one may try.

    Attributes:
        pair: per login and source.
        source: per source, over all logins.
        login: per login, over all sources that are new to it.
    """

    pair: Limit = _PER_PAIR
    source: Limit = _PER_SOURCE
    login: Limit = _PER_LOGIN


@dataclass(frozen=True)
class Attempt:
    """A sign-in under way; does not show whether the login exists."""

    login: str
    source: str
    account: str | None = field(repr=False)
    phc: str = field(repr=False)

    def check(self, password: str) -> bool:
        """Tell whether the password fits. Slow on purpose; needs no connection."""
        fits = verify_password(password, self.phc)
        return fits and self.account is not None


class SignIn:
    """The door of a home node."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        factor: SecondFactor,
        sessions: Sessions,
        throttle: Throttle,
        index: bytes,
        limits: SignInLimits | None = None,
    ) -> None:
        """Take the parts.

        Args:
            accounts: who exists.
            factor: their one-time codes.
            sessions: opens sessions.
            throttle: counters.
            index: 32 bytes for blind indexes.
            limits: how often one may try; None for the default.
        """
        self._accounts = accounts
        self._factor = factor
        self._sessions = sessions
        self._throttle = throttle
        self._index = index
        self._limits = limits or SignInLimits()

    def begin(
        self, connection: Connection, *, login: str, source: str, now: int
    ) -> Attempt | Refusal:
        """Count an attempt and prepare to judge it.

        Args:
            connection: transaction of the caller, to be committed before `check`.
            login: as typed.
            source: where it comes from, such as the client's address.
            now: seconds since 1970.
        """
        # Counted in the form it is looked up in, else every spelling had its own count.
        login = normal_login(login)
        account = self._accounts.find(connection, login)
        counters = [
            ("sign-in source", source, self._limits.source),
            ("sign-in pair", _pair(login, source), self._limits.pair),
        ]
        if account is None or not self._is_known(connection, account, source):
            counters.append(("sign-in login", login, self._limits.login))
        for use, key, limit in counters:
            wait_s = self._throttle.take(connection, use, key, limit, now=now)
            if wait_s:
                return Refusal("rate-limited", retry_after_ms=wait_s * 1000)
        if account is None:
            return Attempt(login, source, None, self._accounts.dummy_hash)
        phc = self._accounts.secrets(connection, account).phc
        return Attempt(login, source, account, phc)

    def finish(
        self,
        connection: Connection,
        attempt: Attempt,
        fits: bool,
        code: str | None,
        *,
        now: int,
    ) -> SignedIn | Refusal:
        """Open a session if everything fits.

        Args:
            connection: transaction of the caller.
            attempt: from `begin`.
            fits: what `attempt.check` said.
            code: one-time code; needed once a second factor is set up.
            now: seconds since 1970.
        """
        account = attempt.account
        if not fits or account is None:
            return _REFUSED
        if self._accounts.state(connection, account) is not AccountState.ACTIVE:
            return _REFUSED
        if self._accounts.secrets(connection, account).phc != attempt.phc:
            # The password was changed while this attempt was being judged.
            return _REFUSED
        method = PASSWORD
        if self._factor.is_set_up(connection, account):
            if not self._factor.use(connection, account, code or "", now=now):
                return _REFUSED
            method = BOTH
        pair = _pair(attempt.login, attempt.source)
        self._throttle.clear(connection, "sign-in pair", pair)
        self._remember(connection, account, attempt.source, now)
        return self._sessions.open(connection, account, method, now=now)

    def step_up(
        self, connection: Connection, token: str, code: str, *, now: int
    ) -> SignedIn | Refusal:
        """Exchange a session for one with both factors, as after setting up a code.

        The old token ends, so that a copy of it gains nothing.

        Raises:
            Unauthenticated: no such session.
        """
        account = self._sessions.resolve(connection, token, now=now).account
        wait_s = self._throttle.take(
            connection, "step-up", account, self._limits.pair, now=now
        )
        if wait_s:
            return Refusal("rate-limited", retry_after_ms=wait_s * 1000)
        if not self._factor.use(connection, account, code, now=now):
            return _REFUSED
        self._throttle.clear(connection, "step-up", account)
        self._sessions.end(connection, token)
        return self._sessions.open(connection, account, BOTH, now=now)

    def _source_index(self, account: str, source: str) -> bytes:
        return blind_index(self._index, "source", f"{account}\0{source}")

    def _is_known(self, connection: Connection, account: str, source: str) -> bool:
        name = self._source_index(account, source)
        query = select(known_sources.c.last).where(known_sources.c.source_index == name)
        return connection.execute(query).one_or_none() is not None

    def _remember(
        self, connection: Connection, account: str, source: str, now: int
    ) -> None:
        name = self._source_index(account, source)
        seen = connection.execute(
            update(known_sources)
            .where(known_sources.c.source_index == name)
            .values(last=now)
        )
        if seen.rowcount == 0:
            connection.execute(
                insert(known_sources).values(
                    source_index=name, account=account, last=now
                )
            )


def _pair(login: str, source: str) -> str:
    return f"{login}\0{source}"
