# SPDX-License-Identifier: Apache-2.0
"""What a signed-in resident does: link, consent, withdraw, ask where the data is."""

from __future__ import annotations

from typing import Literal

from identity.sessions import Session
from node.api.drafts import ConsentResult, NewConsent, consent_result, draft_of
from node.api.registry import Registry
from node.auth import Caller
from node.core import Core
from node.locator import Locator
from node.problems import Refused
from node.residents import ResidentDesk
from protocol.ids import NodeId
from protocol.model import Request, ShortText
from protocol.problem import Refusal


class Holder(Request):
    """Which holder to link."""

    holder: NodeId


class LinkCode(Request):
    """A one-time code to show at the holder."""

    holder: str
    home: str
    code: str
    life_s: int


class LinkEntry(Request):
    """A holder that knows the resident."""

    holder: str
    since: int
    state: str


class LinkList(Request):
    """All links."""

    links: list[LinkEntry]


class HolderPath(Request):
    """A holder by its two parts."""

    city: ShortText
    label: ShortText


class ConsentList(Request):
    """All consents, oldest first."""

    consents: list[ConsentResult]


class ConsentName(Request):
    """Which consent."""

    id: ShortText


class WithdrawalWish(Request):
    """What past recipients must do with what they have."""

    obligation: Literal["stop", "delete"] = "stop"


class ToldParty(Request):
    """A party that was told, and what it answered."""

    party: str
    told: int
    acknowledged: int | None
    done: str | None


class ChangedConsent(Request):
    """A consent after a change, and who was told of it."""

    consent: ConsentResult
    told: list[ToldParty]


class LocateQuery(Request):
    """Whether to list single records too."""

    records: Literal["true", "false"] = "false"


class SharingEntry(Request):
    """Releases under one consent."""

    recipient: str
    purpose: str
    consent: str
    releases: int
    last: int | None


class HoldingEntry(Request):
    """What one holder holds of one dataset type."""

    city: str
    holder: str
    dataset_type: str
    count: int
    first: str | None
    last: str | None
    sharing: list[SharingEntry]
    records: list[str]


class AskedParty(Request):
    """A party that was asked: answer, refusal or timeout."""

    party: str
    kind: str
    status: str
    code: str
    took_ms: int
    hops: list[str]


class Whereabouts(Request):
    """Where the resident's data is, in all cities."""

    holdings: list[HoldingEntry]
    asked: list[AskedParty]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    desk, locator = core.parts.residents, core.parts.locator
    if desk is None or locator is None:
        return
    _links(registry, core, desk)
    _consents(registry, core, desk)
    _locations(registry, locator)


def _session(caller: Caller) -> Session:
    """Return the resident's session; an operator is no resident."""
    if not isinstance(caller.session, Session):
        raise Refused(Refusal("unauthenticated", "this needs a resident's session"))
    return caller.session


def _links(registry: Registry, core: Core, desk: ResidentDesk) -> None:
    @registry.route(
        "POST",
        "/v1/me/link-codes",
        resident=True,
        status=201,
        summary=("A one-time code to link a holder", "連携コードの発行"),
        tag="me",
        problems=("conflict",),
    )
    async def code(body: Holder, caller: Caller) -> LinkCode:
        account = _session(caller).account
        return LinkCode(
            holder=body.holder,
            home=core.parts.node,
            code=await desk.link_code(account, body.holder),
            life_s=600,
        )

    @registry.route(
        "GET",
        "/v1/me/links",
        resident=True,
        summary=("Holders that know me", "連携先の一覧"),
        tag="me",
    )
    async def links(caller: Caller) -> LinkList:
        found = desk.links(_session(caller).account)
        return LinkList(
            links=[
                LinkEntry(holder=link.holder, since=link.since, state=link.state)
                for link in found
            ]
        )

    @registry.route(
        "DELETE",
        "/v1/me/links/{city}/{label}",
        resident=True,
        summary=("End a link", "連携の解除"),
        tag="me",
        problems=("not-found",),
    )
    async def unlink(params: HolderPath, caller: Caller) -> None:
        holder = NodeId(f"{params.city}/{params.label}")
        await desk.unlink(_session(caller).account, holder)


def _consents(registry: Registry, core: Core, desk: ResidentDesk) -> None:
    def changed(account: str, identifier: str) -> ChangedConsent:
        entry = next(e for e in desk.consents(account) if e.consent.jti == identifier)
        return ChangedConsent(
            consent=consent_result(entry),
            told=[
                ToldParty(
                    party=told.party,
                    told=told.told,
                    acknowledged=told.acknowledged,
                    done=told.done,
                )
                for told in desk.told(account, identifier)
            ],
        )

    @registry.route(
        "POST",
        "/v1/me/consents",
        resident=True,
        status=201,
        summary=("Give a consent", "同意する"),
        tag="me",
        problems=(
            "special-care-no-end",
            "special-care-opt-out",
            "evidence-too-low",
            "unknown-dataset-type",
        ),
    )
    async def give(body: NewConsent, caller: Caller) -> ConsentResult:
        session = _session(caller)
        draft = draft_of(body, core.parts.vault.types, core.parts.now())
        entry = await desk.consent(session.account, draft, session.evidence())
        return consent_result(entry)

    @registry.route(
        "GET",
        "/v1/me/consents",
        resident=True,
        summary=("My consents", "同意の一覧"),
        tag="me",
    )
    async def consents(caller: Caller) -> ConsentList:
        entries = desk.consents(_session(caller).account)
        return ConsentList(consents=[consent_result(entry) for entry in entries])

    @registry.route(
        "GET",
        "/v1/me/consents/{id}",
        resident=True,
        summary=("A consent, and who has acknowledged its end", "同意と撤回の確認状況"),
        tag="me",
        problems=("not-found",),
    )
    async def consent(params: ConsentName, caller: Caller) -> ChangedConsent:
        account = _session(caller).account
        desk.told(account, params.id)
        return changed(account, params.id)

    @registry.route(
        "POST",
        "/v1/me/consents/{id}/withdraw",
        resident=True,
        summary=("Withdraw a consent for good", "同意の撤回"),
        tag="me",
        problems=("not-found", "conflict"),
    )
    async def withdraw(
        params: ConsentName, body: WithdrawalWish, caller: Caller
    ) -> ChangedConsent:
        account = _session(caller).account
        await desk.withdraw(account, params.id, body.obligation)
        return changed(account, params.id)

    @registry.route(
        "POST",
        "/v1/me/consents/{id}/pause",
        resident=True,
        summary=("Pause a consent", "同意の一時停止"),
        tag="me",
        problems=("not-found", "conflict"),
    )
    async def pause(params: ConsentName, caller: Caller) -> ChangedConsent:
        account = _session(caller).account
        await desk.pause(account, params.id)
        return changed(account, params.id)

    @registry.route(
        "POST",
        "/v1/me/consents/{id}/resume",
        resident=True,
        summary=("Resume a paused consent", "同意の再開"),
        tag="me",
        problems=("not-found", "conflict", "evidence-too-low"),
    )
    async def resume(params: ConsentName, caller: Caller) -> ChangedConsent:
        session = _session(caller)
        await desk.resume(session.account, params.id, session.evidence())
        return changed(session.account, params.id)


def _locations(registry: Registry, locator: Locator) -> None:
    @registry.route(
        "GET",
        "/v1/me/locations",
        resident=True,
        summary=("Where is my data", "自分のデータの所在"),
        tag="me",
    )
    async def locate(params: LocateQuery, caller: Caller) -> Whereabouts:
        account = _session(caller).account
        found = await locator.locate(account, records=params.records == "true")
        return Whereabouts(
            holdings=[
                HoldingEntry(
                    city=located.holder.city,
                    holder=located.holder,
                    dataset_type=located.holding.dataset_type,
                    count=located.holding.count,
                    first=located.holding.first,
                    last=located.holding.last,
                    sharing=[
                        SharingEntry(
                            recipient=s.recipient,
                            purpose=s.purpose,
                            consent=s.consent,
                            releases=s.releases,
                            last=s.last,
                        )
                        for s in located.holding.sharing
                    ],
                    records=[str(record) for record in located.holding.records],
                )
                for located in found.found
            ],
            asked=[
                AskedParty(
                    party=p.party,
                    kind=p.kind,
                    status=p.status,
                    code=p.code,
                    took_ms=p.took_ms,
                    hops=list(p.hops),
                )
                for p in found.asked
            ],
        )
