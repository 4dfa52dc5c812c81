# SPDX-License-Identifier: Apache-2.0
"""Operators look at the evidence: alarms, neighbors, journals compared."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.evidence.reconcile import DIFFERENCES, Compared, Reconciler
from node.evidence.routes import ProvenRoute
from protocol.ids import ExchangeId, NodeId
from protocol.model import Millis, Request
from protocol.route_proof import Verdict
from vault.errors import NotFound

_MOST_LINES = 10_000


class AlarmEntry(Request):
    """Something that the evidence contradicts."""

    id: int
    peer: str
    kind: str
    subject: str
    detail: str
    count: int
    first_ms: int
    last_ms: int
    acknowledged_ms: int | None
    has_proof: bool


class AlarmList(Request):
    """Alarms, the newest first."""

    alarms: list[AlarmEntry]


class AlarmId(Request):
    """Which alarm."""

    id: Annotated[int, Field(ge=1, lt=2**63)]


class WhichAlarms(Request):
    """Open alarms alone, or those that were acknowledged too."""

    all: bool = False


class AlarmProof(Request):
    """What was kept with an alarm: signed statements, one in a line."""

    id: int
    statements: list[str]


class NeighborEvidence(Request):
    """How things stand with one peer."""

    peer: str
    links: int
    speaks: bool
    unconfirmed: int
    unsigned: int
    taken_ms: int | None


class EvidenceStatus(Request):
    """How things stand with every peer of this run."""

    neighbors: list[NeighborEvidence]
    open_alarms: int


class ReconcileQuestion(Request):
    """Whose journal to compare with ours, over which time."""

    peer: NodeId
    since_ms: Millis
    until_ms: Millis
    differences_only: bool = False


class ReconcileLine(Request):
    """What two journals say of one exchange."""

    exchange: str
    asked: bool
    at_ms: int
    verdict: Compared
    ours: str | None
    theirs: str | None
    adopted: bool


class ReconcileResult(Request):
    """Both journals compared.

    Attributes of note: `kept` counts batches that the peer signed and no longer gives;
    `truncated` tells that there are more lines than are shown.
    """

    peer: str
    batches: int
    kept: int
    counts: dict[str, int]
    differences: int
    faults: list[str]
    truncated: bool
    lines: list[ReconcileLine]


class ProvenHop(Request):
    """One broker on the way; `code` tells why it has not proven its record."""

    by: str
    next: str
    at_ms: int
    decision: str
    verdict: Verdict
    code: str


class ProvenWay(Request):
    """The route of an exchange in which we took part.

    `proofs` are the brokers' signed words with what verifies them, for third parties.
    """

    exchange: str
    asked: bool
    at_ms: int
    request: str
    checked_ms: int | None
    verdict: Verdict
    hops: list[ProvenHop]
    chain: str
    proofs: list[dict[str, Any]]


class ProvenWays(Request):
    """One entry for each role in which we took part."""

    routes: list[ProvenWay]


class WhichExchange(Request):
    """Which exchange."""

    id: ExchangeId


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts
    journal, store = parts.evidence.journal, parts.evidence.store

    @registry.route(
        "GET",
        "/v1/evidence",
        scope=Scope.STATUS_READ,
        summary=("Evidence with each neighbor", "隣接ノードとの証拠の状態"),
        tag="evidence",
    )
    async def evidence_status() -> EvidenceStatus:
        return EvidenceStatus(
            neighbors=[
                NeighborEvidence(
                    peer=peer,
                    links=len(party.links),
                    speaks=any(up.speaks for up in party.links),
                    unconfirmed=party.book.count,
                    unsigned=len(party.book.witness.fresh) + len(party.book.unbatched),
                    taken_ms=party.taken_ms or None,
                )
                for peer, party in sorted(journal.parties.items())
            ],
            open_alarms=parts.database.read(store.count_open),
        )

    @registry.route(
        "GET",
        "/v1/evidence/alarms",
        scope=Scope.STATUS_READ,
        summary=("What the evidence contradicts", "証拠の不一致(警報)"),
        tag="evidence",
    )
    async def list_alarms(params: WhichAlarms) -> AlarmList:
        find = partial(store.alarms, everything=params.all)
        return AlarmList(
            alarms=[
                AlarmEntry(
                    id=alarm.id,
                    peer=alarm.peer,
                    kind=alarm.kind,
                    subject=alarm.subject,
                    detail=alarm.detail,
                    count=alarm.count,
                    first_ms=alarm.first_ms,
                    last_ms=alarm.last_ms,
                    acknowledged_ms=alarm.acknowledged_ms,
                    has_proof=alarm.has_proof,
                )
                for alarm in parts.database.read(find)
            ]
        )

    @registry.route(
        "POST",
        "/v1/evidence/alarms/{id}/acknowledge",
        scope=Scope.ADMIN,
        summary=("Note that an alarm was seen", "警報の確認"),
        tag="evidence",
        problems=("not-found",),
    )
    async def acknowledge_alarm(params: AlarmId) -> None:
        now_ms = parts.world.clock.now_ms()
        note = partial(store.acknowledge, number=params.id, now_ms=now_ms)
        if not await parts.database.write(note):
            raise NotFound("no such alarm")

    @registry.route(
        "GET",
        "/v1/evidence/alarms/{id}/proof",
        scope=Scope.ADMIN,
        summary=("The signed statements behind an alarm", "警報の根拠となる署名文書"),
        tag="evidence",
        problems=("not-found",),
    )
    async def alarm_proof(params: AlarmId) -> AlarmProof:
        found = parts.database.read(partial(store.proof, number=params.id))
        if found is None:
            raise NotFound("no proof was kept with that alarm")
        return AlarmProof(id=params.id, statements=found.decode().split("\n"))

    @registry.route(
        "GET",
        "/v1/evidence/routes/{id}",
        scope=Scope.STATUS_READ,
        summary=("The route of an exchange, as proven so far", "交換の経路と証明"),
        tag="evidence",
        problems=("not-found",),
    )
    async def proven_route(params: WhichExchange) -> ProvenWays:
        found = parts.ways.shown(params.id)
        if not found:
            raise NotFound("no route of that exchange is kept here")
        return ProvenWays(routes=[_way(one) for one in found])

    @registry.route(
        "POST",
        "/v1/evidence/routes/{id}/prove",
        scope=Scope.ADMIN,
        summary=("Let the brokers of an exchange prove its route", "経路の証明の取得"),
        tag="evidence",
        problems=("not-found",),
    )
    async def prove_route(params: WhichExchange) -> ProvenWays:
        await parts.ways.make()
        found = [
            await parts.ways.prove(params.id, one.kept.asked)
            for one in parts.ways.shown(params.id)
        ]
        if not found:
            raise NotFound("no route of that exchange is kept here")
        return ProvenWays(routes=[_way(one) for one in found if one is not None])

    @registry.route(
        "POST",
        "/v1/evidence/reconcile",
        scope=Scope.ADMIN,
        summary=("Compare our journal with a peer's", "交換履歴の突合"),
        tag="evidence",
        problems=("not-found", "peer-unreachable"),
    )
    async def reconcile(body: ReconcileQuestion) -> ReconcileResult:
        if body.peer not in journal.parties:
            raise NotFound("no such neighbor")
        found = await Reconciler(journal).reconcile(
            body.peer, body.since_ms, body.until_ms
        )
        counts = {str(verdict): 0 for verdict in Compared}
        for line in found.lines:
            counts[line.verdict] += 1
        wanted = [
            line
            for line in found.lines
            if line.verdict in DIFFERENCES or not body.differences_only
        ]
        return ReconcileResult(
            peer=body.peer,
            batches=found.batches,
            kept=found.kept,
            counts=counts,
            differences=sum(counts[verdict] for verdict in DIFFERENCES),
            faults=[f"{f.kind} {f.subject}: {f.detail}" for f in found.faults],
            truncated=len(wanted) > _MOST_LINES,
            lines=[
                ReconcileLine(
                    exchange=line.exchange,
                    asked=line.asked,
                    at_ms=line.at_ms,
                    verdict=line.verdict,
                    ours=line.ours,
                    theirs=line.theirs,
                    adopted=line.adopted,
                )
                for line in wanted[:_MOST_LINES]
            ],
        )


def _way(proven: ProvenRoute) -> ProvenWay:
    kept = proven.kept
    return ProvenWay(
        exchange=kept.exchange,
        asked=kept.asked,
        at_ms=kept.at_ms,
        request=kept.request,
        checked_ms=kept.checked_ms,
        verdict=proven.worst,
        hops=[
            ProvenHop(
                by=one.record.by,
                next=one.record.next,
                at_ms=one.record.at_ms,
                decision=one.record.decision,
                verdict=one.verdict,
                code="" if one.proof is None else one.proof.code,
            )
            for one in proven.hops
        ],
        chain=kept.chain,
        proofs=[
            proof.model_dump(mode="json", exclude_none=True) for proof in kept.proofs
        ],
    )
