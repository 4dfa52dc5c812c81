# SPDX-License-Identifier: Apache-2.0
"""The portal's pages: sign in, where my data is, my consents, my links.

Every page but the first needs a session; every change is a form of our own, sent by
POST, and ends in a redirect, so that loading a page again repeats nothing. What fails
is a page too, with the problem's words and what to do about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from node.logs import TRACE_ID
from node.parts import Parts
from node.portal.consents import ConsentPages
from node.portal.data import data_view
from node.portal.giving import GivingPages
from node.portal.links import LinkPages
from node.portal.names import Names
from node.portal.pages import HEADERS, HERE, Pages, language_of
from node.portal.visitors import (
    PATH,
    Visitor,
    check_form,
    check_origin,
    forget,
    remember,
    visitor_of,
)
from node.problems import preferred_language, problem_of
from node.residents import ResidentDesk
from protocol.errors import Misuse
from protocol.problem import Refusal

Page: TypeAlias = Callable[[web.Request, Visitor], Awaitable[web.Response]]
_MAX_FORM_BYTES = 16 * 1024


class Portal:
    """All pages of a home node."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts.

        Raises:
            Misuse: the node has no residents' accounts.
        """
        if parts.residents is None or parts.locator is None:
            raise Misuse("the role portal needs the role identity on the same node")
        self._parts = parts
        self._desk: ResidentDesk = parts.residents
        self._locator = parts.locator
        self._pages = Pages(parts.node)
        self._names = Names(parts)

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return every route, the style sheet's too."""
        consents = ConsentPages(self._desk, self._names, self._pages, self._parts)
        giving = GivingPages(self._desk, self._names, self._pages, self._parts)
        links = LinkPages(self._desk, self._names, self._pages)
        under = f"{PATH}/{{lang:ja|en}}"
        one, end = f"{under}/consents/{{id}}", f"{under}/links/{{city}}/{{label}}"
        return [
            web.get(PATH, self._start),
            web.get(f"{PATH}/", self._start),
            web.get(f"{PATH}/static/{{file:portal.css|icon.svg}}", _static),
            web.get(f"{under}/sign-in", self._guarded(self._sign_in_page)),
            web.post(f"{under}/sign-in", self._guarded(self._sign_in)),
            web.post(f"{under}/sign-out", self._form(self._sign_out)),
            web.get(f"{under}/data", self._page(self._data)),
            web.get(f"{under}/consents", self._page(consents.all)),
            web.get(f"{under}/consents/new", self._page(giving.choose)),
            web.post(f"{under}/consents/new/text", self._form(giving.preview)),
            web.post(f"{under}/consents/new", self._form(giving.give)),
            web.get(one, self._page(consents.one)),
            web.get(f"{one}/withdraw", self._page(consents.ask)),
            web.post(f"{one}/withdraw", self._form(consents.withdraw)),
            web.post(f"{one}/pause", self._form(consents.pause)),
            web.post(f"{one}/resume", self._form(consents.resume)),
            web.get(f"{under}/links", self._page(links.all)),
            web.post(f"{under}/links", self._form(links.code)),
            web.get(f"{end}/end", self._page(links.ask)),
            web.post(f"{end}/end", self._form(links.end)),
        ]

    # ------------------------------------------------------------------ guards

    def _guarded(
        self, page: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Turn what fails into a page."""

        async def guarded(request: web.Request) -> web.Response:
            try:
                return await page(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return self._failed(request, error)
            except Exception as error:  # the outermost loop of a page
                return self._failed(request, error)

        return guarded

    def _page(self, page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Ask for a session first."""

        async def signed_in(request: web.Request) -> web.Response:
            visitor = visitor_of(request, self._desk)
            if visitor is None:
                raise web.HTTPSeeOther(f"{PATH}/{language_of(request)}/sign-in")
            return await page(request, visitor)

        return self._guarded(signed_in)

    def _form(self, page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Ask for a session and for a form of our own."""

        async def ours(request: web.Request, visitor: Visitor) -> web.Response:
            check_origin(request)
            sent = await _fields(request)
            check_form(visitor, sent.get("form", ""))
            return await page(request, visitor)

        return self._page(ours)

    def _failed(self, request: web.Request, error: Exception) -> web.Response:
        problem = problem_of(error)
        document = problem.document(language_of(request), TRACE_ID.get())
        return self._pages.show(
            request,
            "problem",
            visitor=visitor_of(request, self._desk),
            status=document["status"],
            problem=document,
        )

    # ------------------------------------------------------------------- pages

    async def _start(self, request: web.Request) -> web.Response:
        language = preferred_language(request.headers.get("Accept-Language", "ja"))
        raise web.HTTPSeeOther(f"{PATH}/{language}/data")

    async def _sign_in_page(self, request: web.Request) -> web.Response:
        out = request.query.get("out") == "1"
        return self._pages.show(
            request, "sign_in", login="", refusal=None, out=out, wait_s=0
        )

    async def _sign_in(self, request: web.Request) -> web.Response:
        check_origin(request)
        sent = await _fields(request)
        login, source = sent.get("login", "")[:256], request.remote or "unknown"
        password, code = sent.get("password", ""), sent.get("code", "").strip()
        outcome = await self._desk.sign_in(login, password, code or None, source)
        if isinstance(outcome, Refusal):
            return self._pages.show(
                request,
                "sign_in",
                status=429 if outcome.retry_after_ms else 401,
                login=login,
                refusal=outcome,
                out=False,
                wait_s=(outcome.retry_after_ms or 0) // 1000,
            )
        response = web.Response(
            status=303,
            headers={**HEADERS, "Location": f"{PATH}/{language_of(request)}/data"},
        )
        remember(response, request, outcome.token)
        return response

    async def _sign_out(self, request: web.Request, visitor: Visitor) -> web.Response:
        await self._desk.sign_out(visitor.token)
        where = f"{PATH}/{language_of(request)}/sign-in?out=1"
        response = web.Response(status=303, headers={**HEADERS, "Location": where})
        forget(response, request)
        return response

    async def _data(self, request: web.Request, visitor: Visitor) -> web.Response:
        found = await self._locator.locate(visitor.session.account)
        view = data_view(found, self._names, language_of(request))
        return self._pages.show(request, "data", visitor=visitor, view=view)


async def _fields(request: web.Request) -> dict[str, str]:
    """Return the text fields of a form; a file or too much of it is refused."""
    if (request.content_length or 0) > _MAX_FORM_BYTES:
        raise web.HTTPRequestEntityTooLarge(
            max_size=_MAX_FORM_BYTES, actual_size=request.content_length or 0
        )
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType
    sent = await request.post()
    return {name: value for name, value in sent.items() if isinstance(value, str)}


async def _static(request: web.Request) -> web.StreamResponse:
    headers = {**HEADERS, "Cache-Control": "max-age=300"}
    file = HERE / "static" / request.match_info["file"]
    return web.FileResponse(file, headers=headers)
