# SPDX-License-Identifier: Apache-2.0
"""The city's desk for operators: admit and remove members, install agreements.

Every node takes its own membership here; the other endpoints are a broker's.
"""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from identity.city import Allowance
from identity.errors import NotFound
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from protocol.errors import Misuse
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Qualification, Role
from protocol.model import Request, Seconds, ShortText

_MAX_AGREEMENT_BYTES = 64 * 1024
_Document = Annotated[str, Field(max_length=256 * 1024)]


class NewQualification(Request):
    """A qualification that the city attests."""

    scheme: ShortText
    number: ShortText = ""
    until: Seconds


class Admission(Request):
    """Which node is admitted, and what it may do."""

    request: _Document
    roles: list[Role]
    qualifications: list[NewQualification] = []
    data_classes: list[DataClass] = []


class MembershipFile(Request):
    """What the node takes home: membership and operating certificate."""

    membership: _Document
    operating: _Document


class MemberEntry(Request):
    """A node in the city's register."""

    node: str
    ends: int
    admitted: int
    removed: int | None


class MemberList(Request):
    """The register."""

    members: list[MemberEntry]


class CityName(Request):
    """Which city."""

    city: CityId


class MemberLabel(Request):
    """The node's own name within the city."""

    label: ShortText


class Standing(Request):
    """This node's membership after taking it."""

    node: str
    ends: int


class AgreementEntry(Request):
    """An agreement or proposal."""

    id: str
    version: int
    city: str
    state: str
    fingerprint: str
    starts: int
    ends: int


class AgreementList(Request):
    """All agreements and proposals."""

    agreements: list[AgreementEntry]


def register_member(registry: Registry, *, core: Core) -> None:
    """Describe what every node offers its operator."""

    @registry.route(
        "POST",
        "/v1/membership",
        scope=Scope.ADMIN,
        summary=("Take the membership that the city gave", "会員証を受け取る"),
        tag="membership",
    )
    async def accept(body: MembershipFile) -> Standing:
        credentials = Credentials(membership=body.membership, operating=body.operating)
        parts = core.parts
        membership = await parts.standing.accept(credentials, parts.now())
        return Standing(node=membership.sub, ends=membership.exp)


def register_city(registry: Registry, *, core: Core) -> None:
    """Describe what a broker offers the city's operators."""
    parts = core.parts
    authority = parts.authority
    if authority is None:
        return

    @registry.route(
        "POST",
        "/v1/members",
        scope=Scope.ADMIN,
        status=201,
        summary=("Admit a node to the city", "ノードの加入を認める"),
        tag="members",
        problems=("conflict", "bad-signature"),
    )
    async def admit(body: Admission) -> MembershipFile:
        allowance = Allowance(
            roles=tuple(body.roles),
            qualifications=tuple(
                Qualification(scheme=q.scheme, number=q.number, until=q.until)
                for q in body.qualifications
            ),
            data_classes=tuple(body.data_classes),
        )
        request = body.request.strip()
        membership = await parts.database.write(
            lambda c: authority.admit(c, request, allowance, now=parts.now())
        )
        return MembershipFile(
            membership=membership.token,
            operating=parts.standing.credentials().operating,
        )

    @registry.route(
        "GET",
        "/v1/members",
        scope=Scope.ADMIN,
        summary=("The city's members", "会員の一覧"),
        tag="members",
    )
    async def members() -> MemberList:
        found = parts.database.read(authority.members)
        return MemberList(
            members=[
                MemberEntry(
                    node=m.node, ends=m.ends, admitted=m.admitted, removed=m.removed
                )
                for m in found
            ]
        )

    @registry.route(
        "DELETE",
        "/v1/members/{label}",
        scope=Scope.ADMIN,
        summary=("Remove a node from the city", "ノードを除名する"),
        tag="members",
        problems=("not-found",),
    )
    async def remove(params: MemberLabel) -> None:
        await core.remove_member(NodeId(f"{parts.node.city}/{params.label}"))

    @registry.route(
        "POST",
        "/v1/agreements",
        scope=Scope.ADMIN,
        status=201,
        summary=("Install an agreement that both cities signed", "協定の登録"),
        tag="agreements",
        returns=AgreementEntry,
        problems=("bad-signature", "conflict"),
    )
    async def install(request: web.Request) -> AgreementEntry:
        wire = await request.read()
        if len(wire) > _MAX_AGREEMENT_BYTES:
            raise Misuse("an agreement file is smaller than that")
        entry = await parts.database.write(
            lambda c: parts.agreements.install(c, wire.strip(), now=parts.now())
        )
        await parts.take_agreements()
        core.dial_neighbors()
        if parts.city is not None:
            parts.city.changed()
        body = entry.agreement.body
        return AgreementEntry(
            id=body.id,
            version=body.version,
            city=body.other(parts.node.city).city,
            state=entry.state,
            fingerprint=entry.fingerprint,
            starts=body.starts,
            ends=body.ends,
        )

    @registry.route(
        "GET",
        "/v1/agreements",
        scope=Scope.ADMIN,
        summary=("Agreements with other cities", "協定の一覧"),
        tag="agreements",
    )
    async def agreements() -> AgreementList:
        entries = parts.database.read(parts.agreements.entries)
        return AgreementList(
            agreements=[
                AgreementEntry(
                    id=e.agreement.body.id,
                    version=e.agreement.body.version,
                    city=e.agreement.body.other(parts.node.city).city,
                    state=e.state,
                    fingerprint=e.fingerprint,
                    starts=e.agreement.body.starts,
                    ends=e.agreement.body.ends,
                )
                for e in entries
            ]
        )

    @registry.route(
        "POST",
        "/v1/cities/{city}/unpin",
        scope=Scope.ADMIN,
        summary=("Forget the root key of a far city", "遠方都市の鍵の固定を解く"),
        tag="agreements",
        problems=("not-found",),
    )
    async def unpin(params: CityName) -> None:
        if parts.city is None or not parts.city.unpin(params.city):
            raise NotFound("no such city was introduced here")
