# SPDX-License-Identifier: Apache-2.0
"""Federated reads and pushes for the organization's own applications."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field

from federation.exchange import Answer, Refused
from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.problems import Problem
from node.reader import HolderAnswer, ReadRequest
from protocol.answer import ReadResult
from protocol.hop import HopRecord
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass
from protocol.model import Request, ShortText
from protocol.problem import Refusal, describe


class Read(Request):
    """What to read, why, and under which consent."""

    dataset_type: DatasetTypeName
    purpose: PurposeName
    consent: ShortText | None = None
    holder: NodeId | None = None
    fields: list[str] | None = None
    records: Annotated[list[RecordId], Field(max_length=1000)] | None = None
    since: ShortText | None = None
    until: ShortText | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    hops: Annotated[int, Field(ge=1, le=16)] | None = None
    timeout_ms: Annotated[int, Field(ge=100, le=120_000)] | None = None
    data_class: DataClass | None = None


class Hop(Request):
    """One broker that carried the exchange."""

    by: str
    next: str
    at_ms: int
    decision: str


class ReadRecord(Request):
    """A released record."""

    id: str
    dataset_type: str
    version: int
    time: str | None
    content: dict[str, Any]


class ReadProblem(Request):
    """Why a holder gave nothing; who said so, and whether its signature verified."""

    code: str
    detail: str
    by: str | None
    signed: bool
    title_en: str
    title_ja: str
    remedy_en: str
    remedy_ja: str


class HolderResult(Request):
    """What one holder said. `holder` is null when it stays hidden."""

    holder: str | None
    by: str | None
    exchange: str
    took_ms: int
    hops: list[Hop]
    records: list[ReadRecord] = []
    fields: list[str] = []
    cut: dict[str, list[str]] = {}
    more: bool = False
    problem: ReadProblem | None = None


class ReadResults(Request):
    """What each holder said."""

    results: list[HolderResult]


class PushOrder(Request):
    """Which records to push to whom under which consent."""

    consent: ShortText
    recipient: NodeId
    dataset_type: DatasetTypeName
    purpose: PurposeName
    records: Annotated[list[RecordId], Field(max_length=1000)] | None = None


class Queued(Request):
    """A push that will be sent as soon as the recipient can be reached."""

    queued: bool


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoints."""
    parts = core.parts

    @registry.route(
        "POST",
        "/v1/exchanges/read",
        scope=Scope.EXCHANGE_READ,
        summary=("Read from other organizations", "他組織の記録の参照"),
        tag="exchanges",
        returns=ReadResults,
        problems=(
            "consent-missing",
            "purpose-not-consented",
            "field-outside-purpose",
            "consent-withdrawn",
            "proof-stale",
            "qualification-missing",
            "hop-budget-exhausted",
            "agreement-data-class",
            "timeout",
        ),
    )
    async def read(body: Read, request: web.Request) -> web.Response:
        fields, records = body.fields, body.records
        answers = await parts.reader.read(
            ReadRequest(
                dataset_type=body.dataset_type,
                purpose=body.purpose,
                consent=body.consent,
                holder=body.holder,
                fields=None if fields is None else tuple(fields),
                records=None if records is None else tuple(records),
                since=body.since,
                until=body.until,
                limit=body.limit,
                hops=body.hops,
                timeout_ms=body.timeout_ms,
                data_class=body.data_class,
            )
        )
        results = [_result(answer) for answer in answers]
        if any(result["problem"] is None for result in results):
            return web.Response(
                body=orjson.dumps({"results": results}),
                content_type="application/json",
            )
        return _refused(request, results)

    @registry.route(
        "POST",
        "/v1/exchanges/push",
        scope=Scope.EXCHANGE_PUSH,
        status=202,
        summary=("Push records to a recipient", "記録の送信"),
        tag="exchanges",
        problems=("not-found", "unknown-dataset-type"),
    )
    async def push(body: PushOrder) -> Queued:
        if parts.provider is None:
            return Queued(queued=False)
        records = body.records
        await parts.provider.push(
            consent=body.consent,
            recipient=body.recipient,
            purpose=body.purpose,
            dataset_type=body.dataset_type,
            records=None if records is None else tuple(records),
        )
        return Queued(queued=True)


def _refused(request: web.Request, results: list[dict[str, Any]]) -> web.Response:
    """Answer with the first holder's problem, and what every holder said beside it."""
    first = results[0]["problem"]
    problem = Problem(first["code"], detail=first["detail"], by=first["by"])
    response = problem.response(request)
    document = orjson.loads(response.text or "{}")
    document["results"] = results
    response.body = orjson.dumps(document)
    return response


def _result(answer: HolderAnswer) -> dict[str, Any]:
    """Return what one holder said, in the form of `HolderResult`."""
    outcome = answer.outcome
    if isinstance(outcome, Refusal):
        return _refusal(answer.holder, outcome, "", 0, ())
    if isinstance(outcome, Refused):
        return _refusal(
            answer.holder,
            outcome.refusal,
            outcome.exchange,
            outcome.took_ms,
            outcome.hops,
        )
    return _released(answer.holder, outcome)


def _released(holder: NodeId | None, outcome: Answer) -> dict[str, Any]:
    result = outcome.result
    if not isinstance(result, ReadResult):
        return _refusal(holder, Refusal("answer-invalid"), outcome.exchange, 0, ())
    # Every part has been verified and is the bulk of the answer, so it is not put
    # through a model again; the content stays the JSON text that the source wrote,
    # which the reader has held to what JSON may be.
    return {
        "holder": holder,
        "by": outcome.by,
        "exchange": outcome.exchange,
        "took_ms": outcome.took_ms,
        "hops": _hops(outcome.hops),
        "records": [
            {
                "id": record.id,
                "dataset_type": record.dataset_type,
                "version": record.version,
                "time": record.time,
                "content": orjson.Fragment(record.content),
            }
            for record in result.records
        ],
        "fields": result.fields,
        "cut": result.cut,
        "more": result.more,
        "problem": None,
    }


def _refusal(
    holder: NodeId | None,
    refusal: Refusal,
    exchange: str,
    took_ms: int,
    hops: tuple[HopRecord, ...],
) -> dict[str, Any]:
    entry = describe(refusal.code)
    result = HolderResult(
        holder=holder,
        by=refusal.by,
        exchange=exchange,
        took_ms=took_ms,
        hops=[Hop(**hop) for hop in _hops(hops)],
        problem=ReadProblem(
            code=refusal.code,
            detail=refusal.detail,
            by=refusal.by,
            signed=refusal.signed,
            title_en=entry.title_en,
            title_ja=entry.title_ja,
            remedy_en=entry.remedy_en,
            remedy_ja=entry.remedy_ja,
        ),
    )
    return result.model_dump(mode="json")


def _hops(hops: tuple[HopRecord, ...]) -> list[dict[str, Any]]:
    return [
        {
            "by": hop.by,
            "next": hop.next,
            "at_ms": hop.at_ms,
            "decision": hop.decision,
        }
        for hop in hops
    ]
