# SPDX-License-Identifier: Apache-2.0
"""The token endpoint: OAuth 2.0 client credentials (RFC 6749, section 4.4).

    POST /oauth/token   grant_type=client_credentials&scope=records:read
    Authorization: Basic …          or client_id and client_secret in the form

Errors have the form of RFC 6749, section 5.2, since OAuth libraries read that one. Each
failed attempt of a client from an address costs a token of a slow bucket; with none
left it is answered before the secret is looked at. (Not by address: behind a proxy
all share one, and a broken application would lock out the others.)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

from node.api.openapi import TOKEN_PATH
from node.clients import Client, Grant, NoSuchClient, Scope, authenticate, issue_token
from node.database import Database
from node.limits import RateLimit

MAX_FORM_BYTES = 4096
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """An error as RFC 6749 names it."""

    def __init__(self, code: str, description: str, retry_after_s: int = 0) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """Return the answer that OAuth libraries understand."""
        headers = dict(_NO_STORE)
        status = 400
        if self.code == "invalid_client":
            status, headers["WWW-Authenticate"] = 401, 'Basic realm="machikura"'
        if self.retry_after_s:
            status, headers["Retry-After"] = 429, str(self.retry_after_s)
        body = {"error": self.code, "error_description": self.description}
        return web.json_response(body, status=status, headers=headers)


@dataclass(frozen=True)
class Credentials:
    """What a client showed, from the header or from the form."""

    client: str
    secret: str = field(repr=False)


class TokenEndpoint:
    """Gives access tokens to the organization's own applications."""

    def __init__(
        self,
        *,
        database: Database,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        life_s: int,
        failures: RateLimit,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._entropy = entropy
        self._life_s = life_s
        self._failures = failures

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(TOKEN_PATH, self.serve)]

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one token request."""
        try:
            grant = await self._grant(request)
        except OAuthError as error:
            return error.response()
        body = {
            "access_token": grant.token,
            "token_type": "Bearer",
            "expires_in": (grant.ends_ms - self._now_ms()) // 1000,
            "scope": " ".join(sorted(grant.scopes)),
        }
        return web.json_response(body, headers=_NO_STORE)

    async def _grant(self, request: web.Request) -> Grant:
        form = await _form(request)
        grant_type = form.get("grant_type")
        if grant_type is None:
            raise OAuthError("invalid_request", "grant_type is missing")
        if grant_type != "client_credentials":
            raise OAuthError("unsupported_grant_type", "use client_credentials")
        shown = _credentials(request.headers.getall("Authorization", []), form)
        client = self._authenticate(shown, request.remote or "")
        scopes = _scopes(form.get("scope"), client)
        try:
            return await self._database.write(
                lambda c: issue_token(
                    c,
                    client,
                    scopes,
                    now_ms=self._now_ms(),
                    life_s=self._life_s,
                    entropy=self._entropy,
                )
            )
        except NoSuchClient:
            raise _invalid_client() from None

    def _authenticate(self, shown: Credentials, address: str) -> Client:
        now_ms = self._now_ms()
        name = f"{shown.client[:64]}@{address}"
        wait_ms = self._failures.wait_ms(name, now_ms)
        if wait_ms:
            # Also for a right secret: else waiting would tell whether it is right.
            wait_s = -(-wait_ms // 1000)
            raise OAuthError("slow_down", "too many failed attempts", wait_s)
        client = self._database.read(
            lambda c: authenticate(c, shown.client, shown.secret)
        )
        if client is None:
            self._failures.take(name, now_ms)
            raise _invalid_client()
        return client


def _invalid_client() -> OAuthError:
    return OAuthError("invalid_client", "unknown client or wrong secret")


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send a form (urlencoded)")
    data = await request.content.read(MAX_FORM_BYTES + 1)
    while len(data) <= MAX_FORM_BYTES and not request.content.at_eof():
        data += await request.content.read(MAX_FORM_BYTES + 1 - len(data))
    if len(data) > MAX_FORM_BYTES:
        raise OAuthError("invalid_request", "the form is too long")
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "the form is not urlencoded") from None
    if len(dict(pairs)) != len(pairs):
        raise OAuthError("invalid_request", "a parameter stands twice")
    return dict(pairs)


def _credentials(headers: list[str], form: dict[str, str]) -> Credentials:
    """Take client_secret_basic or client_secret_post, not both (section 2.3)."""
    in_form = "client_secret" in form
    if (headers and in_form) or len(headers) > 1:
        raise OAuthError("invalid_request", "authenticate in one way only")
    if in_form:
        return Credentials(form.get("client_id", ""), form["client_secret"])
    if not headers:
        raise OAuthError("invalid_client", "client authentication is missing")
    kind, _, value = headers[0].partition(" ")
    if kind.lower() != "basic":
        raise OAuthError("invalid_client", "use Basic, or the form")
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError("invalid_request", "the Basic header is malformed") from None
    client, colon, secret = decoded.partition(":")
    if not colon:
        raise OAuthError("invalid_request", "the Basic header is malformed")
    client = unquote_plus(client)
    if form.get("client_id", client) != client:
        raise OAuthError("invalid_request", "header and form name different clients")
    return Credentials(client, unquote_plus(secret))


def _scopes(asked: str | None, client: Client) -> frozenset[Scope]:
    """Return what is granted: all that the client has, or the part that it asks for."""
    if asked is None:
        return client.scopes
    words = frozenset(asked.split())
    if not words or not words <= client.scopes:
        raise OAuthError("invalid_scope", "ask for scopes that the client has")
    return frozenset(Scope(word) for word in words)
