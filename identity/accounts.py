# SPDX-License-Identifier: Apache-2.0
"""Residents' accounts at their home node.

Everything about a person is sealed under a key of that account alone, which is kept
wrapped under the node's identity key. Deleting the account destroys the wrapped key:
what is sealed under it anywhere in the database is then noise, with the node's keys and
without them. The login is found by a blind index.

The database must overwrite what it deletes (SQLite: `PRAGMA secure_delete`).
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Connection, Row, delete, insert, select, update

from identity.entropy import Entropy, new_id
from identity.errors import Conflict, NotFound
from identity.passwords import SALT_BYTES, Cost, hash_password, unfitting_hash
from identity.tables import (
    accounts,
    known_sources,
    link_codes,
    links,
    residents,
    sessions,
)
from protocol.box import KEY_BYTES, NONCE_BYTES, Box, blind_index
from protocol.model import Document, Request, ShortText


class AccountState(StrEnum):
    """Where in its life an account is."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Details(Request):
    """What the home node knows of a person.

    Attributes:
        login: name to sign in with; compared without case and width.
        name: full name.
        contacts: such as `email` and `phone`.
        language: of notices.
    """

    login: Annotated[str, Field(min_length=3, max_length=128)]
    name: ShortText = ""
    contacts: Annotated[dict[str, ShortText], Field(max_length=16)] = Field(
        default_factory=dict
    )
    language: Literal["ja", "en"] = "ja"


class Secrets(Document):
    """What signs a person in.

    Attributes:
        phc: Argon2id hash of the password.
        totp: one-time code secret, base64url; None without second factor.
        pending: a secret that was shown but not confirmed yet.
    """

    phc: str
    totp: str | None = None
    pending: str | None = None


def normal_login(login: str) -> str:
    """Return the form in which logins are compared: one width, one case."""
    return unicodedata.normalize("NFKC", login).casefold().strip()


class Accounts:
    """All accounts of a home node."""

    def __init__(
        self, *, key: bytes, index: bytes, entropy: Entropy, cost: Cost | None = None
    ) -> None:
        """Take the keys and settings.

        Args:
            key: 32 bytes that wrap account keys.
            index: 32 bytes for blind indexes.
            entropy: source of random bytes.
            cost: of a password hash; None for the default.
        """
        self._wrap = Box(key)
        self._index = index
        self._entropy = entropy
        self._cost = cost or Cost()
        # A hash that nobody's password fits, as slow to check as a real one.
        self.dummy_hash = unfitting_hash(entropy(SALT_BYTES), entropy(32), self._cost)

    def hash_password(self, password: str) -> str:
        """Return the hash for `create` or `set_password`.

        Takes a quarter of a second and 64 MiB: call it outside of transactions.

        Raises:
            Misuse: shorter than 10 or longer than 256 characters.
        """
        return hash_password(password, self._entropy(SALT_BYTES), self._cost)

    def create(
        self, connection: Connection, details: Details, phc: str, *, now: int
    ) -> str:
        """Open an account and return its id.

        Args:
            connection: transaction of the caller.
            details: the person.
            phc: from `hash_password`.
            now: seconds since 1970.

        Raises:
            Conflict: the login is taken.
        """
        account = new_id(now, self._entropy)
        if self.find(connection, details.login) is not None:
            raise Conflict("this login is taken")
        key = self._entropy(KEY_BYTES)
        wrapped = self._wrap.seal(self._nonce(), key, "account-key", account)
        box = Box(key)
        connection.execute(
            insert(accounts).values(
                id=account,
                login_index=self._login_index(details.login),
                wrapped_key=wrapped,
                sealed_details=self._seal_details(box, account, details),
                sealed_credentials=self._seal_secrets(box, account, Secrets(phc=phc)),
                totp_step=0,
                state=AccountState.ACTIVE.value,
                created=now,
            )
        )
        return account

    def find(self, connection: Connection, login: str) -> str | None:
        """Return the account that signs in with `login`."""
        query = select(accounts.c.id).where(
            accounts.c.login_index == self._login_index(login)
        )
        account: str | None = connection.execute(query).scalar_one_or_none()
        return account

    def state(self, connection: Connection, account: str) -> AccountState:
        """Return the account's state; raises `NotFound`."""
        return AccountState(self._row(connection, account).state)

    def details(self, connection: Connection, account: str) -> Details:
        """Return what is known of the person; raises `NotFound`."""
        row = self._row(connection, account)
        opened = self._box_of(row).open(row.sealed_details, "details", account)
        return Details.model_validate_json(opened)

    def change_details(
        self, connection: Connection, account: str, details: Details
    ) -> None:
        """Replace what is known of the person.

        Raises:
            Conflict: the new login is another account's.
            NotFound: no such account.
        """
        box = self.box(connection, account)
        if self.find(connection, details.login) not in (None, account):
            raise Conflict("this login is taken")
        self._update(
            connection,
            account,
            login_index=self._login_index(details.login),
            sealed_details=self._seal_details(box, account, details),
        )

    def secrets(self, connection: Connection, account: str) -> Secrets:
        """Return what signs the person in; raises `NotFound`."""
        row = self._row(connection, account)
        opened = self._box_of(row).open(row.sealed_credentials, "credentials", account)
        return Secrets.decode(opened)

    def keep_secrets(
        self, connection: Connection, account: str, secrets: Secrets
    ) -> None:
        """Replace what signs the person in; raises `NotFound`."""
        box = self.box(connection, account)
        sealed = self._seal_secrets(box, account, secrets)
        self._update(connection, account, sealed_credentials=sealed)

    def set_password(self, connection: Connection, account: str, phc: str) -> None:
        """Replace the password; all sessions end.

        Args:
            connection: transaction of the caller.
            account: whose.
            phc: from `hash_password`.
        """
        secrets = self.secrets(connection, account)
        self.keep_secrets(connection, account, secrets.model_copy(update={"phc": phc}))
        connection.execute(delete(sessions).where(sessions.c.account == account))

    def suspend(self, connection: Connection, account: str) -> None:
        """Keep the person from signing in; sessions end at once."""
        self._update(connection, account, state=AccountState.SUSPENDED.value)
        connection.execute(delete(sessions).where(sessions.c.account == account))

    def resume(self, connection: Connection, account: str) -> None:
        """Lift a suspension."""
        self._update(connection, account, state=AccountState.ACTIVE.value)

    def delete(self, connection: Connection, account: str) -> None:
        """Delete the account and destroy its key.

        The caller withdraws the account's consents first; their signed versions stay
        as rows that nothing can open any more.

        Raises:
            NotFound: no such account.
        """
        self._row(connection, account)
        # Overwritten before it is deleted, for storage that only unlinks rows.
        self._update(connection, account, wrapped_key=b"")
        for table in (sessions, known_sources, link_codes, links, residents):
            connection.execute(delete(table).where(table.c.account == account))
        connection.execute(delete(accounts).where(accounts.c.id == account))

    def box(self, connection: Connection, account: str) -> Box:
        """Return the encryption under the account's own key; raises `NotFound`."""
        return self._box_of(self._row(connection, account))

    def _row(self, connection: Connection, account: str) -> Row[Any]:
        query = select(accounts).where(accounts.c.id == account)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("no such account")
        return row

    def _box_of(self, row: Row[Any]) -> Box:
        return Box(self._wrap.open(row.wrapped_key, "account-key", row.id))

    def _update(self, connection: Connection, account: str, **values: object) -> None:
        changed = connection.execute(
            update(accounts).where(accounts.c.id == account).values(**values)
        )
        if changed.rowcount != 1:
            raise NotFound("no such account")

    def _seal_details(self, box: Box, account: str, details: Details) -> bytes:
        plain = details.model_dump_json().encode("utf-8")
        return box.seal(self._nonce(), plain, "details", account)

    def _seal_secrets(self, box: Box, account: str, secrets: Secrets) -> bytes:
        return box.seal(self._nonce(), secrets.encode(), "credentials", account)

    def _login_index(self, login: str) -> bytes:
        return blind_index(self._index, "login", normal_login(login))

    def _nonce(self) -> bytes:
        return self._entropy(NONCE_BYTES)
