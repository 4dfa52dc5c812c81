# SPDX-License-Identifier: Apache-2.0
"""Residents' accounts and sessions at their home node."""

from __future__ import annotations

import base64
from typing import Annotated
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from identity.accounts import Details
from identity.sessions import assisted
from node.api.drafts import ConsentResult, NewConsent, consent_result, draft_of
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.problems import Refused
from node.residents import ResidentDesk
from protocol.canonical import b64url
from protocol.model import Request, ShortText
from protocol.problem import Refusal


class NewAccount(Request):
    """A resident to register."""

    login: Annotated[str, Field(min_length=3, max_length=128)]
    password: Annotated[str, Field(min_length=10, max_length=256, repr=False)]
    name: ShortText = ""
    contacts: dict[str, ShortText] = {}


class Account(Request):
    """A fresh account; the second factor awaits its first code."""

    account: str
    totp_secret: Annotated[str, Field(repr=False)]
    totp_uri: Annotated[str, Field(repr=False)]


class AccountName(Request):
    """Which account."""

    account: ShortText


class FirstCode(Request):
    """The first one-time code, to prove that the authenticator works."""

    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class SignIn(Request):
    """Login, password, one-time code."""

    login: ShortText
    password: Annotated[str, Field(max_length=256, repr=False)]
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")] | None = None


class SessionToken(Request):
    """A session: show it as `Authorization: Session <token>`."""

    token: Annotated[str, Field(repr=False)]
    level: int
    method: str
    ends: int


class AssistedConsent(Request):
    """A consent given at a counter, with an officer's help (evidence level 1)."""

    officer: ShortText
    consent: NewConsent


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    desk = core.parts.residents
    if desk is None:
        return
    _accounts(registry, core, desk)
    _sessions(registry, desk)


def _accounts(registry: Registry, core: Core, desk: ResidentDesk) -> None:
    @registry.route(
        "POST",
        "/v1/residents",
        scope=Scope.RESIDENTS_WRITE,
        status=201,
        summary=("Register a resident", "住民の登録"),
        tag="residents",
        problems=("conflict", "invalid-input"),
    )
    async def add(body: NewAccount) -> Account:
        details = Details(login=body.login, name=body.name, contacts=body.contacts)
        new = await desk.register(details, body.password)
        secret = base64.b32encode(new.totp).decode().rstrip("=")
        label = quote(f"{core.parts.node}:{body.login}")
        return Account(
            account=new.account,
            totp_secret=b64url(new.totp),
            totp_uri=f"otpauth://totp/{label}?secret={secret}&issuer=Machikura",
        )

    @registry.route(
        "POST",
        "/v1/residents/{account}/second-factor",
        scope=Scope.RESIDENTS_WRITE,
        summary=("Put the second factor in force", "第二要素の有効化"),
        tag="residents",
        problems=("not-found", "invalid-input"),
    )
    async def confirm(params: AccountName, body: FirstCode) -> None:
        await desk.confirm_factor(params.account, body.code)

    @registry.route(
        "POST",
        "/v1/residents/{account}/consents",
        scope=Scope.RESIDENTS_WRITE,
        status=201,
        summary=("Take a consent at the counter", "窓口での同意の受付"),
        tag="residents",
        problems=("not-found", "evidence-too-low", "special-care-no-end"),
    )
    async def at_counter(params: AccountName, body: AssistedConsent) -> ConsentResult:
        draft = draft_of(body.consent, core.parts.vault.types, core.parts.now())
        entry = await desk.consent(params.account, draft, assisted(body.officer))
        return consent_result(entry)


def _sessions(registry: Registry, desk: ResidentDesk) -> None:
    @registry.route(
        "POST",
        "/v1/sessions",
        status=201,
        summary=("Sign in", "サインイン"),
        tag="sessions",
        problems=("unauthenticated", "rate-limited"),
    )
    async def sign_in(body: SignIn, request: web.Request) -> SessionToken:
        source = request.remote or "socket"
        outcome = await desk.sign_in(body.login, body.password, body.code, source)
        if isinstance(outcome, Refusal):
            raise Refused(outcome)
        session = outcome.session
        return SessionToken(
            token=outcome.token,
            level=session.level,
            method=session.method,
            ends=session.ends,
        )

    @registry.route(
        "DELETE",
        "/v1/sessions",
        resident=True,
        summary=("Sign out", "サインアウト"),
        tag="sessions",
    )
    async def sign_out(request: web.Request) -> None:
        _, _, token = request.headers.get("Authorization", "").partition(" ")
        await desk.sign_out(token.strip())
