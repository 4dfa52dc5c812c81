# SPDX-License-Identifier: Apache-2.0
"""Operators register and remove the organization's applications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from node import clients
from node.api.registry import Registry
from node.clients import Scope
from node.database import Database
from protocol.model import Millis, Request

PATH = "/v1/clients"
_ClientId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class NewClient(Request):
    """An application to register."""

    id: _ClientId
    title: Annotated[str, Field(max_length=200)] = ""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]


class ClientEntry(Request):
    """A registered application."""

    id: str
    title: str
    scopes: list[Scope]
    created_ms: Millis


class ClientWithSecret(ClientEntry):
    """A fresh application. The secret is shown this once."""

    secret: Annotated[str, Field(repr=False)]


class ClientList(Request):
    """All registered applications, by id."""

    clients: list[ClientEntry]


class ClientName(Request):
    """Which application."""

    id: _ClientId


def register(
    registry: Registry,
    *,
    database: Database,
    now_ms: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> None:
    """Describe the endpoints."""

    @registry.route(
        "POST",
        PATH,
        scope=Scope.ADMIN,
        status=201,
        tag="clients",
        summary=("Register an application", "アプリケーションを登録する"),
        problems=("conflict",),
    )
    async def add_client(body: NewClient) -> ClientWithSecret:
        now = now_ms()
        scopes = frozenset(body.scopes)
        secret = await database.write(
            lambda c: clients.add(
                c, body.id, body.title, scopes, now_ms=now, entropy=entropy
            )
        )
        return ClientWithSecret(
            id=body.id,
            title=body.title,
            scopes=sorted(scopes),
            created_ms=now,
            secret=secret,
        )

    @registry.route(
        "GET",
        PATH,
        scope=Scope.ADMIN,
        tag="clients",
        summary=("List the applications", "アプリケーションの一覧"),
    )
    async def list_clients() -> ClientList:
        found = database.read(clients.listed)
        return ClientList(
            clients=[
                ClientEntry(
                    id=client.id,
                    title=client.title,
                    scopes=sorted(client.scopes),
                    created_ms=client.created_ms,
                )
                for client in found
            ]
        )

    @registry.route(
        "DELETE",
        PATH + "/{id}",
        scope=Scope.ADMIN,
        status=204,
        tag="clients",
        summary=(
            "Remove an application and end its tokens",
            "アプリケーションを削除し、トークンを失効させる",
        ),
        problems=("not-found",),
    )
    async def remove_client(params: ClientName) -> None:
        await database.write(lambda c: clients.remove(c, params.id))
