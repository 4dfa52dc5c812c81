# SPDX-License-Identifier: Apache-2.0
"""Federated reads and pushes for the organization's own applications."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from node.api.registry import Registry
from node.api.waiting import CallbackTo, WaitingApi, preferred, shown
from node.auth import Caller
from node.clients import Scope
from node.core import Core
from node.reader import ReadRequest
from node.results import ReadResults, result_of
from protocol.errors import Malformed
from protocol.ids import DatasetTypeName, NodeId, PurposeName, RecordId
from protocol.membership import DataClass
from protocol.model import Request, ShortText


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
    wait_until: ShortText | None = None
    callback: CallbackTo | None = None
    after: ShortText | None = None
    attachments: bool = False


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
    waiting = WaitingApi(core)
    waiting.register(registry)

    @registry.route(
        "POST",
        "/v1/exchanges/read",
        scope=Scope.EXCHANGE_READ,
        summary=("Read from other organizations", "他組織の記録の参照"),
        tag="exchanges",
        returns=ReadResults,
        abandoned=True,
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
            "callback-not-allowed",
        ),
    )
    async def read(body: Read, request: web.Request, caller: Caller) -> web.Response:
        wish = wished(body)
        prefers = preferred(request)
        if body.wait_until is not None or prefers.asynchronous:
            return await waiting.begin(
                wish,
                client=caller.name,
                wait_until=body.wait_until,
                callback=body.callback,
                prefers=prefers,
                request=request,
            )
        if body.callback is not None:
            raise Malformed("a callback is for reads that may wait: add wait_until")
        answers = await parts.reader.read(wish)
        return shown(request, [result_of(answer) for answer in answers])

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


def wished(body: Read) -> ReadRequest:
    """Return what the reader is asked for."""
    fields, records = body.fields, body.records
    return ReadRequest(
        dataset_type=body.dataset_type,
        purpose=body.purpose,
        consent=body.consent,
        holder=body.holder,
        fields=None if fields is None else tuple(fields),
        records=None if records is None else tuple(records),
        since=body.since,
        until=body.until,
        limit=body.limit,
        after=body.after,
        attachments=body.attachments,
        hops=body.hops,
        timeout_ms=body.timeout_ms,
        data_class=body.data_class,
    )
