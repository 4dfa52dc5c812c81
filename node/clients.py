# SPDX-License-Identifier: Apache-2.0
"""The organization's own applications: who they are, what they may do, their tokens.

    secret = clients.add(connection, "emr", "Medical records", scopes, …)  # shown once
    grant = clients.issue_token(connection, "emr", secret, …)
    token = clients.by_token(connection, grant.token, now_ms)

Client secrets and tokens are 32 random bytes and stored as SHA-256: slow hashing guards
words that people choose, and these are none. Removing a client ends its tokens at once.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from sqlalchemy import Connection, delete, insert, select

from node.sqlite import driver
from node.tables import access_tokens, clients
from protocol.canonical import b64url
from protocol.errors import Misuse

SECRET_BYTES = 32


class Scope(StrEnum):
    """What an application may be allowed to do."""

    RECORDS_READ = "records:read"
    RECORDS_WRITE = "records:write"
    EXCHANGE_READ = "exchange:read"
    EXCHANGE_PUSH = "exchange:push"
    RESIDENTS_WRITE = "residents:write"
    LINKS_WRITE = "links:write"
    CONSENTS_READ = "consents:read"
    DATASETS_WRITE = "datasets:write"
    STATUS_READ = "status:read"
    ADMIN = "admin"


EVERY_SCOPE = frozenset(Scope)


class ClientExists(Misuse):
    """A client of that id is registered already."""

    slug = "conflict"


class NoSuchClient(Misuse):
    """No client of that id."""

    slug = "not-found"


@dataclass(frozen=True)
class Client:
    """An application as operators see it."""

    id: str
    title: str
    scopes: frozenset[Scope]
    created_ms: int


@dataclass(frozen=True)
class Grant:
    """A fresh access token; the only time that it is seen.

    Attributes:
        token: the bearer token.
        scopes: what it allows.
        ends_ms: when it ends.
    """

    token: str = field(repr=False)
    scopes: frozenset[Scope]
    ends_ms: int


@dataclass(frozen=True)
class TokenOwner:
    """Whom a valid token speaks for."""

    client: str
    scopes: frozenset[Scope]


def add(
    connection: Connection,
    client: str,
    title: str,
    scopes: frozenset[Scope],
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> str:
    """Register an application and return its secret, which is not stored.

    Raises:
        ClientExists: as named.
    """
    if connection.execute(select(clients.c.id).where(clients.c.id == client)).first():
        raise ClientExists("a client of that id is registered already")
    secret = b64url(entropy(SECRET_BYTES))
    connection.execute(
        insert(clients).values(
            id=client,
            title=title,
            secret_hash=_hash(secret),
            scopes=_joined(scopes),
            created_ms=now_ms,
        )
    )
    return secret


def listed(connection: Connection) -> list[Client]:
    """Return all applications, by id."""
    rows = connection.execute(select(clients).order_by(clients.c.id))
    return [Client(r.id, r.title, _split(r.scopes), r.created_ms) for r in rows]


def remove(connection: Connection, client: str) -> None:
    """Remove an application and end its tokens.

    Raises:
        NoSuchClient: as named.
    """
    connection.execute(delete(access_tokens).where(access_tokens.c.client == client))
    if not connection.execute(delete(clients).where(clients.c.id == client)).rowcount:
        raise NoSuchClient("no client of that id is registered")


def authenticate(connection: Connection, client: str, secret: str) -> Client | None:
    """Return the application if the secret is its own.

    An unknown client takes the same steps: time does not tell who is registered.
    """
    row = connection.execute(select(clients).where(clients.c.id == client)).first()
    expected = row.secret_hash if row else bytes(32)
    if not hmac.compare_digest(expected, _hash(secret)) or row is None:
        return None
    return Client(row.id, row.title, _split(row.scopes), row.created_ms)


def issue_token(
    connection: Connection,
    client: Client,
    scopes: frozenset[Scope],
    *,
    now_ms: int,
    life_s: int,
    entropy: Callable[[int], bytes],
) -> Grant:
    """Make a token for an application that has authenticated, and drop ended ones.

    Raises:
        NoSuchClient: it was removed since.
    """
    known = select(clients.c.id).where(clients.c.id == client.id)
    if connection.execute(known).first() is None:
        raise NoSuchClient("no client of that id is registered")
    token = b64url(entropy(SECRET_BYTES))
    ends_ms = now_ms + life_s * 1000
    connection.execute(delete(access_tokens).where(access_tokens.c.ends_ms <= now_ms))
    connection.execute(
        insert(access_tokens).values(
            token_hash=_hash(token),
            client=client.id,
            scopes=_joined(scopes),
            ends_ms=ends_ms,
        )
    )
    return Grant(token, scopes, ends_ms)


_BY_TOKEN = "SELECT client, scopes, ends_ms FROM access_tokens WHERE token_hash = ?"


def by_token(connection: Connection, token: str, now_ms: int) -> TokenOwner | None:
    """Return whom the token speaks for, None if it is unknown or has ended."""
    # Found by its hash: comparing tokens byte by byte would tell how much is right.
    row = driver(connection).execute(_BY_TOKEN, (_hash(token),)).fetchone()
    if row is None or row[2] <= now_ms:
        return None
    return TokenOwner(row[0], _split(row[1]))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _joined(scopes: frozenset[Scope]) -> str:
    return " ".join(sorted(scopes))


@lru_cache(maxsize=256)
def _split(text: str) -> frozenset[Scope]:
    return frozenset(Scope(word) for word in text.split())
