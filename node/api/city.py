# SPDX-License-Identifier: Apache-2.0
"""The city's desk for operators: admit and remove members, install agreements.

Every node takes its own membership here; the other endpoints are a broker's.
"""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from identity.agreements import Entry
from identity.city import Allowance
from identity.errors import NotFound
from node.api.registry import Registry
from node.assemble_broker import STAND_IN_S
from node.clients import Scope
from node.core import Core
from protocol.errors import Misuse
from protocol.ids import CityId, NodeId
from protocol.membership import Credentials, DataClass, Qualification, Role
from protocol.model import Request, Seconds, ShortText
from protocol.suites import thumbprint

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


class Removal(Request):
    """Since when a node, or its key, is refused, and where it may still be accepted.

    Attributes:
        refused_since: here, and wherever the word has arrived.
        accepted_until: the end of its last membership; nobody accepts it after that.
        told_members: members of our city that were told just now.
        told_cities: neighbor cities that were told just now, and tell their own.
        untold_members: members without a link, that are told when they link.
    """

    node: str
    refused_since: int
    accepted_until: int
    told_members: list[str]
    told_cities: list[str]
    untold_members: list[str]


class KeyState(Request):
    """One of this node's own keys.

    Attributes:
        until: end of its overlap; None for the present key.
    """

    kid: str
    since: int | None
    until: int | None


class OwnKeys(Request):
    """This node's own keys, the present one first."""

    node: str
    keys: list[KeyState]


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


class AgreementName(Request):
    """Which agreement."""

    agreement: ShortText


class CityRemoval(Request):
    """Since when another city is refused, and where it may still be accepted.

    Attributes:
        refused_since: at our brokers, and wherever the word has arrived.
        accepted_until: when the last trust bundle ends that may still name it.
        told_members: members of our city that were told just now.
        untold_members: members without a link, that are told when they link.
        still_reached_through: neighbors that still lead to it, with transit; what they
            carry is judged by the agreements with them.
    """

    city: str
    agreement: str
    refused_since: int
    accepted_until: int
    told_members: list[str]
    untold_members: list[str]
    still_reached_through: list[str]


class AgreementEntry(Request):
    """An agreement or proposal; `ends` may be before the day in its text."""

    id: str
    version: int
    city: str
    state: str
    fingerprint: str
    starts: int
    ends: int
    ends_early: bool = False


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

    @registry.route(
        "GET",
        "/v1/membership/keys",
        scope=Scope.ADMIN,
        summary=("This node's own keys", "自ノードの鍵の一覧"),
        tag="membership",
        problems=("not-a-member",),
    )
    async def keys() -> OwnKeys:
        return _own_keys(core)

    @registry.route(
        "POST",
        "/v1/membership/keys",
        scope=Scope.ADMIN,
        summary=("Change this node's keys", "自ノードの鍵を更新する"),
        tag="membership",
        problems=("not-a-member", "not-ready", "conflict"),
    )
    async def rotate() -> OwnKeys:
        await core.parts.rotate_keys()
        return _own_keys(core)


def _entry(core: Core, entry: Entry) -> AgreementEntry:
    body = entry.agreement.body
    return AgreementEntry(
        id=body.id,
        version=body.version,
        city=body.other(core.parts.node.city).city,
        state=entry.state,
        fingerprint=entry.fingerprint,
        starts=body.starts,
        ends=entry.ends,
        ends_early=entry.ends != body.ends,
    )


def _city_removal(core: Core, entry: Entry) -> CityRemoval:
    parts, now = core.parts, core.parts.now()
    city = entry.agreement.body.other(parts.node.city).city
    told, untold = _members_by_link(core)
    ways = () if parts.routes is None else parts.routes.ways(city)
    return CityRemoval(
        city=city,
        agreement=entry.agreement.body.id,
        refused_since=now,
        accepted_until=now + STAND_IN_S,
        told_members=sorted(told),
        untold_members=sorted(untold),
        still_reached_through=sorted({way.neighbor for way in ways}),
    )


def _members_by_link(core: Core) -> tuple[set[NodeId], set[NodeId]]:
    """Return the members of our city that are linked with us, and the others."""
    parts = core.parts
    linked = {peer.node for peer, _ in parts.peers.all()}
    register = (
        () if parts.authority is None else parts.database.read(parts.authority.members)
    )
    members = {m.node for m in register if m.removed is None} - {parts.node}
    return members & linked, members - linked


def _own_keys(core: Core) -> OwnKeys:
    shown = core.parts.standing.membership()
    present = KeyState(kid=thumbprint(shown.key), since=shown.since, until=None)
    earlier = [
        KeyState(kid=thumbprint(key.key), since=key.since, until=key.until)
        for key in shown.earlier or ()
        if key.until > core.parts.now()
    ]
    return OwnKeys(node=shown.sub, keys=[present, *earlier])


def _removal(core: Core, node: NodeId, ends: int) -> Removal:
    parts, now = core.parts, core.parts.now()
    told, untold = _members_by_link(core)
    neighbors = {peer.city for peer, _ in parts.peers.all()} - {parts.node.city}
    return Removal(
        node=node,
        refused_since=now,
        accepted_until=max(now, ends),
        told_members=sorted(told - {node}),
        told_cities=sorted(neighbors),
        untold_members=sorted(untold - {node}),
    )


def register_broker(registry: Registry, *, core: Core) -> None:
    """Describe what every broker offers its operator, authority or relay."""
    parts = core.parts

    @registry.route(
        "POST",
        "/v1/cities/{city}/unpin",
        scope=Scope.ADMIN,
        summary=("Forget the root key of a far city", "遠方都市の鍵の固定を解く"),
        tag="agreements",
        problems=("not-found",),
    )
    async def unpin(params: CityName) -> None:
        if parts.desk is None or not parts.desk.unpin(params.city):
            raise NotFound("no such city was introduced here")


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
    async def remove(params: MemberLabel) -> Removal:
        node = NodeId(f"{parts.node.city}/{params.label}")
        return _removal(core, node, await core.remove_member(node))

    @registry.route(
        "POST",
        "/v1/members/{label}/revoke-keys",
        scope=Scope.ADMIN,
        summary=("Revoke a member's stolen keys", "会員の鍵を失効させる"),
        tag="members",
        problems=("not-found",),
    )
    async def revoke(params: MemberLabel) -> Removal:
        node = NodeId(f"{parts.node.city}/{params.label}")
        return _removal(core, node, await core.revoke_keys(node))

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
        await core.agreements_installed()
        return _entry(core, entry)

    @registry.route(
        "POST",
        "/v1/agreements/endings",
        scope=Scope.ADMIN,
        status=201,
        summary=("End an agreement before its day", "協定の早期終了"),
        tag="agreements",
        returns=AgreementEntry,
        problems=("bad-signature", "conflict", "needs-both-cities", "not-found"),
    )
    async def end(request: web.Request) -> AgreementEntry:
        wire = await request.read()
        if len(wire) > _MAX_AGREEMENT_BYTES:
            raise Misuse("an ending is smaller than that")
        entry = await parts.database.write(
            lambda c: parts.agreements.end(c, wire.strip(), now=parts.now())
        )
        await core.agreements_installed()
        return _entry(core, entry)

    @registry.route(
        "DELETE",
        "/v1/agreements/{agreement}",
        scope=Scope.ADMIN,
        summary=("Stop serving an agreement here, at once", "協定の即時停止(自都市側)"),
        tag="agreements",
        problems=("not-found",),
    )
    async def stop(params: AgreementName) -> CityRemoval:
        stopped = await parts.database.write(
            lambda c: parts.agreements.stop(c, params.agreement, now=parts.now())
        )
        await core.agreements_installed()
        return _city_removal(core, stopped[0])

    @registry.route(
        "GET",
        "/v1/agreements",
        scope=Scope.ADMIN,
        summary=("Agreements with other cities", "協定の一覧"),
        tag="agreements",
    )
    async def agreements() -> AgreementList:
        entries = parts.database.read(parts.agreements.entries)
        return AgreementList(agreements=[_entry(core, e) for e in entries])
