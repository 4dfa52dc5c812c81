# SPDX-License-Identifier: Apache-2.0
"""The authority's desk for its city's own keys: ask the root, install its answer."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from identity.root import fingerprint
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.errors import Misuse
from protocol.model import Request

_MAX_BYTES = 512 * 1024


class KeyWish(Request):
    """Which operating key the root shall certify.

    Attributes:
        fresh: a new key; else the present one, whose certificate ends soon.
    """

    fresh: bool = True


class KeyRequest(Request):
    """What goes to the root's desk, and the fingerprint to compare."""

    city: str
    request: str
    fingerprint: str


class Settle(Request):
    """How long a new certificate is told before it is used.

    Attributes:
        settle_s: 0 uses it at once, where the old key was stolen.
    """

    settle_s: Annotated[int, Field(ge=0, le=86_400)] = 60


class Installed(Request):
    """The city's keys after installing.

    Attributes:
        root: fingerprint of the root key.
        operating: fingerprint of the operating key.
        ends: end of its certificate, seconds since 1970.
        used_from: from when it signs.
        accepted_until: by name of each replaced operating key, until when others
            accept what it signed.
    """

    city: str
    root: str
    operating: str
    ends: int
    used_from: int
    accepted_until: dict[str, int]


def register_city_keys(registry: Registry, *, core: Core) -> None:
    """Describe what the authority of a city offers its operator."""
    parts = core.parts

    @registry.route(
        "POST",
        "/v1/city/key-requests",
        scope=Scope.ADMIN,
        status=201,
        summary=("Ask the root to certify an operating key", "運用鍵の認証申請"),
        tag="city",
    )
    async def ask(body: KeyWish) -> KeyRequest:
        if parts.city is None or parts.city.changes is None:
            raise Misuse("a city's keys are changed at its authority")
        token, key = parts.city.changes.request(fresh=body.fresh)
        return KeyRequest(
            city=parts.node.city, request=token, fingerprint=fingerprint(key)
        )

    @registry.route(
        "POST",
        "/v1/city/keys",
        scope=Scope.ADMIN,
        status=201,
        summary=("Install what the root has signed", "ルート鍵の署名を反映する"),
        tag="city",
        returns=Installed,
        problems=("bad-signature", "conflict", "key-revoked"),
    )
    async def install_keys(params: Settle, request: web.Request) -> Installed:
        wire = await request.read()
        if len(wire) > _MAX_BYTES:
            raise Misuse("a file from the root's desk is smaller than that")
        taken = await core.install_city_change(wire.strip(), params.settle_s)
        return Installed(
            city=parts.node.city,
            root=fingerprint(parts.trust.root),
            operating=fingerprint(taken.verifying_key()),
            ends=taken.exp,
            used_from=parts.now() + params.settle_s,
            accepted_until={one.kid: one.until for one in taken.earlier or ()},
        )
