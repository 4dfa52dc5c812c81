# SPDX-License-Identifier: Apache-2.0
"""Who looks at a page: the session cookie, and proof that a form is our own.

The cookie holds the session token of `identity.sessions`; scripts cannot read it and
other sites cannot have it sent along. A form carries a MAC of that token besides, and
browsers say where a request comes from: one from elsewhere is refused (CSRF).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from identity.errors import Unauthenticated
from identity.sessions import Session
from node.problems import Refused
from node.residents import ResidentDesk
from protocol.canonical import b64url
from protocol.problem import Refusal

COOKIE: Final = "machikura-session"
PATH: Final = "/portal"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Visitor:
    """A resident who has signed in."""

    session: Session
    token: str = field(repr=False)

    @property
    def form_token(self) -> str:
        """What each form of this visitor carries."""
        mac = hmac.digest(self.token.encode(), b"machikura portal form 1", "sha256")
        return b64url(mac)


def visitor_of(request: web.Request, desk: ResidentDesk) -> Visitor | None:
    """Return who looks, None when nobody has signed in or the session has ended."""
    token = request.cookies.get(COOKIE, "")
    if not token or len(token) > 128:
        return None
    try:
        return Visitor(desk.session(token), token)
    except Unauthenticated:
        return None


def remember(response: web.Response, request: web.Request, token: str) -> None:
    """Give the browser the session."""
    response.set_cookie(
        COOKIE,
        token,
        path=PATH,
        httponly=True,
        samesite="Strict",
        secure=_needs_tls(request),
    )


def forget(response: web.Response, request: web.Request) -> None:
    """Take the session from the browser."""
    response.del_cookie(
        COOKIE,
        path=PATH,
        httponly=True,
        samesite="Strict",
        secure=_needs_tls(request),
    )


def check_origin(request: web.Request) -> None:
    """Refuse a form that another site sends.

    Raises:
        Refused: `forbidden`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Refused(Refusal("forbidden", "the form comes from another site"))
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Refused(Refusal("forbidden", "the form comes from another site"))


def check_form(visitor: Visitor, sent: str) -> None:
    """Refuse a form that is not one of this visitor's.

    Raises:
        Refused: `forbidden`.
    """
    if not hmac.compare_digest(sent.encode(), visitor.form_token.encode()):
        raise Refused(Refusal("forbidden", "the form is too old; load the page again"))


def _needs_tls(request: web.Request) -> bool:
    """Tell whether the cookie may travel over TLS only: always but on this machine.

    A proxy in front that does TLS speaks plainly to us, so what counts is the name by
    which the browser came.
    """
    if request.secure:
        return True
    host = urlsplit(f"//{request.host}").hostname or ""
    return host not in _LOOPBACK
