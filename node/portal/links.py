# SPDX-License-Identifier: Apache-2.0
"""Pages about links: which organizations know me, linking one, ending a link."""

from __future__ import annotations

from aiohttp import web

from node.portal.names import Names
from node.portal.pages import HEADERS, Pages, language_of
from node.portal.visitors import PATH, Visitor
from node.residents import ResidentDesk
from protocol.ids import NodeId

_CODE_LIFE_MIN = 10


class LinkPages:
    """Shows, makes and ends links."""

    def __init__(self, desk: ResidentDesk, names: Names, pages: Pages) -> None:
        """Take the parts."""
        self._desk = desk
        self._names = names
        self._pages = pages

    async def all(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Show all links, and a form for one more."""
        return self._show(request, visitor)

    async def code(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Make a one-time code; it is shown on this page and nowhere else."""
        wanted = (await request.post()).get("holder", "")
        holder = NodeId(str(wanted).strip().lower())
        code = await self._desk.link_code(visitor.session.account, holder)
        return self._show(request, visitor, holder=holder, code=code)

    async def ask(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Ask whether to end a link."""
        holder = _holder(request)
        return self._pages.show(
            request,
            "unlink",
            visitor=visitor,
            holder=holder,
            title=self._names.node(holder, language_of(request)),
        )

    async def end(self, request: web.Request, visitor: Visitor) -> web.Response:
        """End a link."""
        await self._desk.unlink(visitor.session.account, _holder(request))
        where = f"{PATH}/{language_of(request)}/links?done=unlink"
        return web.Response(status=303, headers={**HEADERS, "Location": where})

    def _show(
        self,
        request: web.Request,
        visitor: Visitor,
        *,
        holder: NodeId | None = None,
        code: str = "",
    ) -> web.Response:
        language = language_of(request)
        links = self._desk.links(visitor.session.account)
        return self._pages.show(
            request,
            "links",
            visitor=visitor,
            links=[(self._names.node(x.holder, language), x) for x in links],
            holder="" if holder is None else self._names.node(holder, language),
            code=code,
            minutes=_CODE_LIFE_MIN,
            done=request.query.get("done", ""),
        )


def _holder(request: web.Request) -> NodeId:
    return NodeId(f"{request.match_info['city']}/{request.match_info['label']}")
