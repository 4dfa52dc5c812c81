# SPDX-License-Identifier: Apache-2.0
"""Pages about consents: all of them, one, and ending it."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from identity.consent_store import ConsentEntry
from identity.notice import render
from identity.withdrawals import Told
from node.parts import Parts
from node.portal.names import Names
from node.portal.pages import HEADERS, Pages, language_of
from node.portal.texts import Language
from node.portal.visitors import PATH, Visitor
from node.problems import Refused
from node.residents import ResidentDesk
from protocol.consent import State
from protocol.problem import Refusal


@dataclass(frozen=True)
class ConsentView:
    """One consent in words.

    Attributes:
        id: of the consent.
        state: as shown; a consent that has ended by its date is `expired`.
        holders, recipients: name and id of each.
        datasets, purposes: titles.
        ends: seconds since 1970, None until withdrawn.
        hidden: the recipient must not learn the holder.
        level, method: how it was given.
        shown: the text that was agreed to.
    """

    id: str
    state: str
    holders: tuple[tuple[str, str], ...]
    recipients: tuple[tuple[str, str], ...]
    datasets: tuple[str, ...]
    purposes: tuple[str, ...]
    ends: int | None
    hidden: bool
    level: int
    method: str
    shown: str


class ConsentPages:
    """Shows and ends consents."""

    def __init__(
        self, desk: ResidentDesk, names: Names, pages: Pages, parts: Parts
    ) -> None:
        """Take the parts."""
        self._desk = desk
        self._names = names
        self._pages = pages
        self._parts = parts

    async def all(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Show all consents, the newest first."""
        language = language_of(request)
        entries = reversed(self._desk.consents(visitor.session.account))
        return self._pages.show(
            request,
            "consents",
            visitor=visitor,
            consents=[self._view(entry, language) for entry in entries],
        )

    async def one(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Show one consent, and who has acknowledged its end."""
        entry = self._find(request, visitor)
        told = self._desk.told(visitor.session.account, entry.consent.jti)
        language = language_of(request)
        return self._pages.show(
            request,
            "consent",
            visitor=visitor,
            consent=self._view(entry, language),
            told=[self._told(one, language) for one in told],
            done=request.query.get("done", ""),
        )

    async def ask(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Ask whether to withdraw, and say what it does."""
        entry = self._find(request, visitor)
        return self._pages.show(
            request,
            "withdraw",
            visitor=visitor,
            consent=self._view(entry, language_of(request)),
            seconds=self._parts.settings.trust.status_max_age_s,
        )

    async def withdraw(self, request: web.Request, visitor: Visitor) -> web.Response:
        """End a consent for good."""
        entry = self._find(request, visitor)
        wish = (await request.post()).get("obligation")
        await self._desk.withdraw(
            visitor.session.account,
            entry.consent.jti,
            "delete" if wish == "delete" else "stop",
        )
        return _to(request, entry, "withdraw")

    async def pause(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Stop releases until the resident resumes."""
        entry = self._find(request, visitor)
        await self._desk.pause(visitor.session.account, entry.consent.jti)
        return _to(request, entry, "pause")

    async def resume(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Allow releases again."""
        entry, session = self._find(request, visitor), visitor.session
        await self._desk.resume(session.account, entry.consent.jti, session.evidence())
        return _to(request, entry, "resume")

    def _find(self, request: web.Request, visitor: Visitor) -> ConsentEntry:
        """Return the consent of the path, if it is this visitor's."""
        wanted = request.match_info["id"]
        for entry in self._desk.consents(visitor.session.account):
            if entry.consent.jti == wanted:
                return entry
        raise Refused(Refusal("not-found", "no such consent"))

    def _view(self, entry: ConsentEntry, language: Language) -> ConsentView:
        consent, draft, names = entry.consent, entry.draft, self._names
        over = consent.ends is not None and consent.ends <= self._parts.now()
        active = consent.state is State.ACTIVE
        return ConsentView(
            id=consent.jti,
            state="expired" if active and over else str(consent.state),
            holders=tuple((names.node(n, language), n) for n in draft.holders),
            recipients=tuple((names.node(n, language), n) for n in draft.recipients),
            datasets=tuple(
                names.dataset(scope.dataset_type, language) for scope in draft.scope
            ),
            purposes=tuple(
                names.purpose(draft.scope[0].dataset_type, purpose, language)
                for purpose in draft.purposes
            ),
            ends=draft.ends,
            hidden=draft.hidden_holder,
            level=consent.evidence.level,
            method=consent.evidence.method,
            shown=render(draft),
        )

    def _told(self, told: Told, language: Language) -> dict[str, object]:
        return {
            "name": self._names.node(told.party, language),
            "id": told.party,
            "told": told.told,
            "acknowledged": told.acknowledged,
            "done": told.done,
        }


def _to(request: web.Request, entry: ConsentEntry, done: str) -> web.Response:
    where = f"{PATH}/{language_of(request)}/consents/{entry.consent.jti}?done={done}"
    return web.Response(status=303, headers={**HEADERS, "Location": where})
