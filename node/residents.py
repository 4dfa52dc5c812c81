# SPDX-License-Identifier: Apache-2.0
"""What residents do at their home node: sign in, link, consent, withdraw, locate.

Each act is one transaction; what others must be told is queued in it. Nothing here is
about HTTP: the API, and later the portal, call the same methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from identity.accounts import Details
from identity.consent_store import ConsentEntry
from identity.drafts import ConsentDraft
from identity.residents import Link
from identity.sessions import Session, SignedIn
from identity.withdrawals import Told
from node.database import Database
from node.home_parts import HomeParts
from node.roles.home import HomeDesk
from protocol.consent import Evidence
from protocol.ids import NodeId
from protocol.problem import Refusal


@dataclass(frozen=True)
class NewResident:
    """A fresh account.

    Attributes:
        account: its id.
        totp: secret of the second factor, to be put into an authenticator app.
    """

    account: str
    totp: bytes


class ResidentDesk:
    """Acts of residents, and of officers on their behalf."""

    def __init__(
        self,
        *,
        parts: HomeParts,
        desk: HomeDesk,
        database: Database,
        now_ms: Callable[[], int],
    ) -> None:
        """Take the parts."""
        self._parts = parts
        self._desk = desk
        self._database = database
        self._now_ms = now_ms

    # --------------------------------------------------------------- accounts

    async def register(self, details: Details, password: str) -> NewResident:
        """Open an account with a resident key; the second factor awaits its code.

        Raises:
            Misuse: the login is taken, or the password too short.
        """
        parts, now = self._parts, self._now()
        phc = await asyncio.to_thread(parts.accounts.hash_password, password)

        def create(connection: Connection) -> NewResident:
            account = parts.accounts.create(connection, details, phc, now=now)
            parts.residents.create(connection, account)
            return NewResident(account, parts.factor.begin(connection, account))

        return await self._database.write(create)

    async def confirm_factor(self, account: str, code: str) -> None:
        """Put the drawn second factor in force; a wrong code is `Misuse`."""
        await self._database.write(
            lambda c: self._parts.factor.confirm(c, account, code, now=self._now())
        )

    async def sign_in(
        self, login: str, password: str, code: str | None, source: str
    ) -> SignedIn | Refusal:
        """Sign in with password and, where set up, a one-time code."""
        sign_in, now = self._parts.sign_in, self._now()
        attempt = await self._database.write(
            lambda c: sign_in.begin(c, login=login, source=source, now=now)
        )
        if isinstance(attempt, Refusal):
            return attempt
        begun = attempt
        fits = await asyncio.to_thread(begun.check, password)
        return await self._database.write(
            lambda c: sign_in.finish(c, begun, fits, code, now=now)
        )

    def session(self, token: str) -> Session:
        """Return the session of a token; raises `Unauthenticated`."""
        return self._database.read(
            lambda c: self._parts.sessions.resolve(c, token, now=self._now())
        )

    async def sign_out(self, token: str) -> None:
        """End a session."""
        await self._database.write(lambda c: self._parts.sessions.end(c, token))

    async def forget(self, now: int) -> None:
        """Delete sessions and counters that are over."""

        def forget(connection: Connection) -> None:
            self._parts.sessions.forget(connection, before=now)
            self._parts.throttle.forget(connection, before=now - 86_400)

        await self._database.write(forget)

    # ------------------------------------------------------------------ links

    async def link_code(self, account: str, holder: NodeId) -> str:
        """Return a one-time code to show at a holder; raises `Conflict` if too many."""
        return await self._database.write(
            lambda c: self._parts.linking.issue(c, account, holder, now=self._now())
        )

    def links(self, account: str) -> tuple[Link, ...]:
        """Return the holders that know the resident."""
        return self._database.read(lambda c: self._parts.residents.links(c, account))

    async def unlink(self, account: str, holder: NodeId) -> None:
        """End a link; raises `NotFound`."""
        await self._database.write(
            lambda c: self._parts.residents.unlink(c, account, holder)
        )

    # --------------------------------------------------------------- consents

    async def consent(
        self, account: str, draft: ConsentDraft, evidence: Evidence
    ) -> ConsentEntry:
        """Sign a consent and send it to everybody who must have it.

        Raises:
            Misuse: a draft that makes no sense or breaks a legal limit.
        """
        parts = self._parts

        def issue(connection: Connection) -> ConsentEntry:
            signed = parts.consents.issue(
                connection, account, draft, evidence, now=self._now()
            )
            entry = parts.store.get(connection, signed.body.jti)
            self._desk.announce(connection, entry)
            return entry

        entry = await self._database.write(issue)
        self._desk.wake()
        return entry

    async def withdraw(
        self, account: str, identifier: str, obligation: Literal["stop", "delete"]
    ) -> ConsentEntry:
        """End a consent; everybody it named is told."""
        consents = self._parts.consents
        return await self._change(
            identifier,
            lambda c, now: consents.withdraw(c, account, identifier, now=now),
            obligation,
        )

    async def pause(self, account: str, identifier: str) -> ConsentEntry:
        """Stop releases until the resident resumes."""
        consents = self._parts.consents
        return await self._change(
            identifier,
            lambda c, now: consents.pause(c, account, identifier, now=now),
            "stop",
        )

    async def resume(
        self, account: str, identifier: str, evidence: Evidence
    ) -> ConsentEntry:
        """Allow releases again; everybody gets the new version."""
        parts = self._parts

        def resume(connection: Connection) -> ConsentEntry:
            parts.consents.resume(
                connection, account, identifier, evidence, now=self._now()
            )
            entry = parts.store.get(connection, identifier)
            self._desk.announce(connection, entry)
            return entry

        entry = await self._database.write(resume)
        self._desk.wake()
        return entry

    async def _change(
        self,
        identifier: str,
        act: Callable[[Connection, int], object],
        obligation: Literal["stop", "delete"],
    ) -> ConsentEntry:
        def change(connection: Connection) -> ConsentEntry:
            now = self._now()
            act(connection, now)
            self._desk.revoke(connection, identifier, obligation, now)
            return self._parts.store.get(connection, identifier)

        entry = await self._database.write(change)
        self._desk.wake()
        return entry

    def consents(self, account: str) -> tuple[ConsentEntry, ...]:
        """Return all consents of an account, oldest first."""
        return self._database.read(lambda c: self._parts.store.of_account(c, account))

    def told(self, account: str, identifier: str) -> tuple[Told, ...]:
        """Return who was told of a withdrawal and who has answered."""
        return self._database.read(
            lambda c: self._parts.withdrawals.told(c, account, identifier)
        )

    def _now(self) -> int:
        return self._now_ms() // 1000
