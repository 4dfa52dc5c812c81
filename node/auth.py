# SPDX-License-Identifier: Apache-2.0
"""Who is calling, and whether they may.

    the admin Unix socket          the operator: every scope (file mode 0600 is the
                                   key), unless one of the two below is shown there
    Authorization: Bearer <token>  an application, with the scopes of its token
    Authorization: Session <token> a resident who has signed in

The three never mix: a resident has no scopes, and an application is no resident. Tokens
are looked up at each request, so that removing a client counts at once.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from aiohttp import web

from federation.shares import Shares
from node.clients import EVERY_SCOPE, Scope, by_token
from node.database import Database
from node.limits import RateLimit
from node.problems import Refused
from protocol.problem import Refusal

MAX_TOKEN_CHARACTERS = 512
_RETRY_MS = 1_000


class CallerKind(StrEnum):
    """How a caller has shown who they are."""

    OPERATOR = "operator"
    APPLICATION = "application"
    RESIDENT = "resident"
    ANYONE = "anyone"


@dataclass(frozen=True)
class Caller:
    """Who is calling.

    Attributes:
        kind: how we know.
        name: client id or account id; fixed words for the others.
        scopes: what an application or the operator may do.
        session: what the resident's sign-in has made, as the resolver returned it.
    """

    kind: CallerKind
    name: str
    scopes: frozenset[Scope] = frozenset()
    session: object = field(default=None, repr=False)


OPERATOR = Caller(CallerKind.OPERATOR, "operator", EVERY_SCOPE)
ANYONE = Caller(CallerKind.ANYONE, "anyone")

ResidentResolver: TypeAlias = Callable[[str], Awaitable[Caller | None]]
"""Returns the resident of a session token, None if there is no such session (now)."""


async def no_residents(token: str) -> Caller | None:
    """Resolve nobody: for nodes without residents' accounts."""
    return None


class Unauthenticated(Refused):
    """No caller, or one that we do not know."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Refusal("unauthenticated", detail))


class Gate:
    """Decides about each request: who it is, how often, whether allowed."""

    def __init__(
        self,
        *,
        database: Database,
        now_ms: Callable[[], int],
        admin_socket: Path,
        rate: RateLimit,
        residents: ResidentResolver = no_residents,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        longest_delay_ms: int = 0,
        in_flight: int = 512,
    ) -> None:
        """Take the parts.

        Args:
            database: has clients and tokens.
            now_ms: clock.
            admin_socket: whoever comes through it is the operator.
            rate: how often one caller may come.
            residents: finds residents.
            sleep: waits so many seconds; without it nobody is delayed.
            longest_delay_ms: how long who is too fast is delayed before it is refused.
            in_flight: calls at the same time, shared out fairly between callers.
        """
        self._database = database
        self._now_ms = now_ms
        self._admin_socket = str(admin_socket)
        self._rate = rate
        self._residents = residents
        self._sleep = sleep
        self._longest_delay_ms = 0 if sleep is None else longest_delay_ms
        self._in_flight = Shares(in_flight)

    @contextmanager
    def at_work(self, caller: Caller) -> Iterator[None]:
        """Count a call while it is worked on.

        Raises:
            Refused: `overloaded`: the caller has its share of calls going on.
        """
        if caller.kind is CallerKind.OPERATOR:
            yield
            return
        name = f"{caller.kind}:{caller.name}"
        if not self._in_flight.take(name):
            raise Refused(Refusal("overloaded", retry_after_ms=_RETRY_MS))
        try:
            yield
        finally:
            self._in_flight.give_back(name)

    async def admit(
        self, request: web.Request, *, scope: Scope | None, resident: bool = False
    ) -> Caller:
        """Let a request in or end it.

        Args:
            request: the request.
            scope: what an application needs; None where anyone may come.
            resident: a resident may come (too, if `scope` is given).

        Raises:
            Refused: `unauthenticated`, `forbidden` or `rate-limited`.
        """
        caller = await self.caller(request)
        if scope is None and not resident:
            return caller
        if caller.kind is CallerKind.ANYONE:
            raise Unauthenticated("this needs an access token or a session")
        if caller.kind is CallerKind.OPERATOR and scope is not None:
            return caller
        delay_ms, retry_ms = self._rate.pace(
            f"{caller.kind}:{caller.name}", self._now_ms(), self._longest_delay_ms
        )
        if retry_ms:
            raise Refused(Refusal("rate-limited", retry_after_ms=retry_ms))
        if delay_ms and self._sleep is not None:
            await self._sleep(delay_ms / 1000)
        if caller.kind is CallerKind.RESIDENT and resident:
            return caller
        if scope is None or scope not in caller.scopes:
            needed = f"the scope {scope}" if scope else "a resident's session"
            raise Refused(Refusal("forbidden", f"this needs {needed}"))
        return caller

    async def caller(self, request: web.Request) -> Caller:
        """Return who calls.

        Raises:
            Refused: `unauthenticated`, where token or session is not valid any more.
        """
        header = request.headers.getall("Authorization", [])
        if not header:
            # An operator who shows a session or a token acts as its owner instead.
            return OPERATOR if self._came_through_admin_socket(request) else ANYONE
        kind, _, token = header[0].partition(" ")
        if len(header) > 1 or len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("one Authorization header with one token, please")
        if kind.lower() == "bearer":
            return self._application(token.strip())
        if kind.lower() == "session":
            found = await self._residents(token.strip())
            if found is not None:
                return found
            raise Unauthenticated("the session is unknown or has ended")
        raise Unauthenticated("use a Bearer token or a Session")

    def _application(self, token: str) -> Caller:
        now_ms = self._now_ms()
        owner = self._database.read(lambda c: by_token(c, token, now_ms))
        if owner is None:
            raise Unauthenticated("the access token is unknown or has ended")
        return Caller(CallerKind.APPLICATION, owner.client, owner.scopes)

    def _came_through_admin_socket(self, request: web.Request) -> bool:
        """Tell by the listening end: only it cannot be chosen by the caller."""
        transport = request.transport
        if transport is None:
            return False
        local = transport.get_extra_info("sockname")
        return isinstance(local, str) and local == self._admin_socket


def bind_admin_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket that only this user can connect to.

    A socket file left over by a crash is replaced; a live one is not.

    Raises:
        OSError: the path is too long (about 100 bytes), in use, or not writable.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _answers(path):
        raise OSError(f"another process serves {path.name}")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody can connect before it listens, and by then the mode is right.
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
