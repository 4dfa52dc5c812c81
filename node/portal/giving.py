# SPDX-License-Identifier: Apache-2.0
"""Giving a consent: what and to whom, for what and how long, the text, then the yes.

1. Holder, kind of data and recipient are chosen.
2. Purposes with the fields that each needs, the end, and whether the holder is hidden.
3. The text of the consent is shown, word for word as it will be signed.
4. The yes carries the digest of that text. If it would be another one by now, nothing
   is signed and the new text is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from identity.drafts import ConsentDraft
from identity.notice import notice_of, render
from identity.residents import LinkState
from node.api.drafts import NewConsent, NewScope, draft_of
from node.parts import Parts
from node.portal.names import Names
from node.portal.pages import HEADERS, Pages, language_of
from node.portal.texts import LANGUAGES, Language
from node.portal.visitors import PATH, Visitor
from node.residents import ResidentDesk
from protocol.dataset import DatasetType
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from protocol.membership import DataClass

_DAY_S: Final = 86_400
PERIODS: Final[Mapping[str, int | None]] = {
    "month": 30 * _DAY_S,
    "half-year": 183 * _DAY_S,
    "year": 365 * _DAY_S,
    "none": None,
}
"""How long a consent may last, by the word in the form; `none` until withdrawn."""


@dataclass(frozen=True)
class Purpose:
    """A purpose to choose, with what it needs."""

    name: str
    title: str
    fields: str


class GivingPages:
    """Leads to a consent."""

    def __init__(
        self, desk: ResidentDesk, names: Names, pages: Pages, parts: Parts
    ) -> None:
        """Take the parts."""
        self._desk = desk
        self._names = names
        self._pages = pages
        self._parts = parts

    async def choose(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Show the first form, or the second once the first is filled in."""
        chosen, language = request.query, language_of(request)
        if not chosen.get("dataset_type"):
            return self._first(request, visitor, language)
        dataset = self._parts.vault.types.get(chosen["dataset_type"])
        holder, recipient = (NodeId(chosen.get(n, "")) for n in ("holder", "recipient"))
        return self._pages.show(
            request,
            "give_terms",
            visitor=visitor,
            dataset=dataset.name,
            dataset_title=self._names.dataset(dataset.name, language),
            holder=holder,
            holder_title=self._names.node(holder, language),
            recipient=recipient,
            recipient_title=self._names.node(recipient, language),
            purposes=self._purposes(dataset, language),
            periods=_periods(dataset),
            special=dataset.data_class is DataClass.SPECIAL_CARE,
        )

    def _first(
        self, request: web.Request, visitor: Visitor, language: Language
    ) -> web.Response:
        links = self._desk.links(visitor.session.account)
        linked = [x.holder for x in links if x.state is LinkState.LINKED]
        types = self._parts.vault.types.all()
        return self._pages.show(
            request,
            "give",
            visitor=visitor,
            holders=[(self._names.node(h, language), h) for h in sorted(linked)],
            datasets=sorted(
                (self._names.dataset(d.name, language), str(d.name)) for d in types
            ),
            level=visitor.session.level,
        )

    async def preview(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Show the text that would be signed."""
        sent = await _sent(request)
        return self._show_text(request, visitor, sent, self._parts.now())

    async def give(self, request: web.Request, visitor: Visitor) -> web.Response:
        """Sign, if the text is the one that was shown."""
        evidence = visitor.session.evidence()
        sent = await _sent(request)
        try:
            starts = int(sent.get("starts", ""))
        except ValueError as error:
            raise Misuse("the form is incomplete") from error
        now = self._parts.now()
        draft = self._draft(sent, language_of(request), starts)
        stale = not now - 3600 <= starts <= now
        if stale or notice_of(draft).digest != sent.get("notice"):
            return self._show_text(request, visitor, sent, now, changed=True)
        entry = await self._desk.consent(visitor.session.account, draft, evidence)
        where = f"{PATH}/{language_of(request)}/consents/{entry.consent.jti}?done=give"
        return web.Response(status=303, headers={**HEADERS, "Location": where})

    def _show_text(
        self,
        request: web.Request,
        visitor: Visitor,
        sent: Mapping[str, str],
        now: int,
        *,
        changed: bool = False,
    ) -> web.Response:
        draft = self._draft(sent, language_of(request), now)
        return self._pages.show(
            request,
            "give_text",
            visitor=visitor,
            text=render(draft),
            notice=notice_of(draft).digest,
            starts=now,
            sent={name: sent.get(name, "") for name in _FIELDS},
            seconds=self._parts.settings.trust.status_max_age_s,
            level=visitor.session.level,
            changed=changed,
        )

    def _draft(
        self, sent: Mapping[str, str], language: Language, starts: int
    ) -> ConsentDraft:
        """Return the draft that the form describes, its words filled in.

        Raises:
            Misuse: the form describes none.
        """
        if sent.get("period") not in PERIODS:
            raise Misuse("choose how long")
        lasts_s = PERIODS[sent["period"]]
        holder, recipient = NodeId(sent["holder"]), NodeId(sent["recipient"])
        scope = NewScope(dataset_type=DatasetTypeName(sent["dataset_type"]))
        try:
            wish = NewConsent(
                recipients=[recipient],
                holders=[holder],
                scope=[scope],
                purposes=[PurposeName(p) for p in sent["purposes"].split()],
                starts=starts,
                ends=None if lasts_s is None else starts + lasts_s,
                hidden_holder=sent.get("hidden") == "yes",
                language=language,
            )
        except ValidationError as error:
            raise Misuse("choose at least one purpose") from error
        draft = draft_of(wish, self._parts.vault.types, starts)
        titles = {
            str(node): {lang: self._names.node(node, lang) for lang in LANGUAGES}
            for node in (holder, recipient)
            if self._names.node(node, language) != node
        }
        return draft.model_copy(update={"titles": {**draft.titles, **titles}})

    def _purposes(
        self, dataset: DatasetType, language: Language
    ) -> tuple[Purpose, ...]:
        return tuple(
            Purpose(
                str(name),
                self._names.purpose(dataset.name, name, language),
                ("、" if language == "ja" else ", ").join(
                    self._names.field(dataset, field, language)
                    for field in purpose.fields
                ),
            )
            for name, purpose in sorted(dataset.purposes.items())
        )


_FIELDS = ("holder", "recipient", "dataset_type", "purposes", "period", "hidden")


async def _sent(request: web.Request) -> dict[str, str]:
    """Return the form's fields; purposes, of which there can be many, as one text.

    Raises:
        Misuse: one is missing.
    """
    form = await request.post()
    sent = {name: value for name, value in form.items() if isinstance(value, str)}
    purposes = [v for v in form.getall("purposes", []) if isinstance(v, str)]
    sent["purposes"] = " ".join(purposes)
    if any(name not in sent for name in _FIELDS if name != "hidden"):
        raise Misuse("the form is incomplete")
    return sent


def _periods(dataset: DatasetType) -> tuple[str, ...]:
    """Return how long a consent may last: special-care data needs an end."""
    special = dataset.data_class is DataClass.SPECIAL_CARE
    return tuple(n for n, s in PERIODS.items() if s is not None or not special)
