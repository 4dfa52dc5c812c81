# SPDX-License-Identifier: Apache-2.0
"""The second factor of an account: one-time codes, set up once, each used once.

A secret counts only after a code made from it was seen, so nobody locks themselves out
with an app that did not scan. The last time step used is kept with the account: a code
works once (RFC 6238, section 5.2).
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from identity import totp
from identity.accounts import Accounts
from identity.entropy import Entropy
from identity.tables import accounts as table
from protocol.canonical import b64url, unb64url
from protocol.errors import Misuse


class SecondFactor:
    """One-time codes of all accounts."""

    def __init__(self, *, accounts: Accounts, entropy: Entropy) -> None:
        """Take the parts."""
        self._accounts = accounts
        self._entropy = entropy

    def begin(self, connection: Connection, account: str) -> bytes:
        """Draw a secret for the resident's app; raises `NotFound`.

        A factor that is in use stays in use until the new one is confirmed.
        """
        secret = self._entropy(totp.SECRET_BYTES)
        kept = self._accounts.secrets(connection, account)
        pending = kept.model_copy(update={"pending": b64url(secret)})
        self._accounts.keep_secrets(connection, account, pending)
        return secret

    def confirm(
        self, connection: Connection, account: str, code: str, *, now: int
    ) -> None:
        """Make the drawn secret the second factor.

        Raises:
            Misuse: nothing was drawn, or the code does not fit.
        """
        secrets = self._accounts.secrets(connection, account)
        if secrets.pending is None:
            raise Misuse("no second factor is being set up")
        step = totp.matching_step(unb64url(secrets.pending), code, now, after=0)
        if step is None:
            raise Misuse("the code does not fit; check the clock of the device")
        confirmed = {"totp": secrets.pending, "pending": None}
        self._accounts.keep_secrets(
            connection, account, secrets.model_copy(update=confirmed)
        )
        connection.execute(
            update(table).where(table.c.id == account).values(totp_step=step)
        )

    def is_set_up(self, connection: Connection, account: str) -> bool:
        """Tell whether the account has a second factor; raises `NotFound`."""
        return self._accounts.secrets(connection, account).totp is not None

    def use(self, connection: Connection, account: str, code: str, *, now: int) -> bool:
        """Tell whether a code is good, and use it up; raises `NotFound`."""
        secret = self._accounts.secrets(connection, account).totp
        if secret is None:
            return False
        query = select(table.c.totp_step).where(table.c.id == account)
        after: int = connection.execute(query).scalar_one()
        step = totp.matching_step(unb64url(secret), code, now, after=after)
        if step is None:
            return False
        # Two sign-ins with one code at the same moment: the later one finds no row.
        used = connection.execute(
            update(table)
            .where(table.c.id == account, table.c.totp_step < step)
            .values(totp_step=step)
        )
        return used.rowcount == 1
